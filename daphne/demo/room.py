"""The chat's room: it carries a line to every guest, in this process and in all others that share the layer.

Called by `chat`; calls the asynchronous side of a channel layer (`daphne.layers.interface`).

Each process reads one channel of its own, which is a member of the layer's group, and hands what it hears to
its own guests. Over a layer of one process (memory) the group has one member, and the room is that process.
"""

from __future__ import annotations

import asyncio
import logging
from weakref import WeakKeyDictionary

from daphne.demo.wiring import channel_layer
from daphne.errors import LayerError, LayerUnavailable
from daphne.layers.interface import AsyncLayer, Message
from daphne.layers.names import random_name

GROUP = "demo.chat"
OUTBOX = 256
RETRY_AFTER = 1.0

logger = logging.getLogger("daphne.demo")


class Guest:
    """One WebSocket in the room: the lines that wait to be sent to it, at most `OUTBOX` of them."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.outbox: asyncio.Queue[Message] = asyncio.Queue(OUTBOX)
        self.too_slow = asyncio.Event()

    def hear(self, line: Message) -> None:
        """Keep `line` for the guest; one that has let its outbox fill up is marked as too slow."""
        try:
            self.outbox.put_nowait(line)
        except asyncio.QueueFull:
            self.too_slow.set()


class Room:
    """The guests of one event loop, joined to all others by the group `demo.chat` of `layer`."""

    def __init__(self, layer: AsyncLayer) -> None:
        self.layer = layer
        self.channel = f"{GROUP}.{random_name()}!"
        self.guests: set[Guest] = set()
        self._listening: asyncio.Task[None] | None = None
        self._doorway = asyncio.Lock()

    async def enter(self, guest: Guest) -> None:
        """Let `guest` hear what is said from now on. Raises `LayerError` when the layer cannot be reached."""
        async with self._doorway:
            await self._join_group()  # each time, since a membership ends after the layer's `group_expiry`
            self.guests.add(guest)
            if self._listening is None:
                self._listening = asyncio.create_task(self._listen())

    async def leave(self, guest: Guest) -> None:
        """Let `guest` hear no more. The last one out ends the process's membership of the group."""
        async with self._doorway:
            self.guests.discard(guest)
            if self.guests or self._listening is None:
                return
            self._listening.cancel()
            self._listening = None
            try:
                await self.layer.group_discard_async(GROUP, self.channel + "room")
            except LayerError as error:
                logger.warning("The chat could not leave its group: %s", error)

    async def say(self, line: Message) -> None:
        """Send `line` to every guest of every process. Raises `LayerError` when that is not possible."""
        await self.layer.send_group_async(GROUP, line)

    async def _join_group(self) -> None:
        await self.layer.group_add_async(GROUP, self.channel + "room")

    async def _listen(self) -> None:
        while True:
            try:
                for _, line in await self.layer.receive_batch([self.channel]):
                    for guest in self.guests:
                        guest.hear(line)
                await asyncio.sleep(0)  # so that outboxes empty between two batches, however fast those come
            except LayerUnavailable as error:
                logger.warning("The chat waits for its channel layer: %s", error)
                await asyncio.sleep(RETRY_AFTER)


_rooms: WeakKeyDictionary[asyncio.AbstractEventLoop, Room] = WeakKeyDictionary()


def room_of_this_loop() -> Room:
    """The room of the running event loop: a process that serves from several threads has one in each."""
    loop = asyncio.get_running_loop()
    if loop not in _rooms:
        _rooms[loop] = Room(channel_layer)
    return _rooms[loop]
