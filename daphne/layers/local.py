"""`ChannelLayer`: a channel layer for the processes of one machine, with no server to install.

Called by the bridge, by workers and by users' code. The first process that uses the layer becomes its broker
(`local_broker`), the others attach to it (`local_client`); when the broker goes, another takes its place.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from re import Pattern
from typing import Any, cast

import msgpack

from daphne.errors import ConfigurationError, LayerError, LayerUnavailable
from daphne.layers.arrivals import Arrivals, Batch, Names
from daphne.layers.blocking import BlockingDoor
from daphne.layers.copying import check_values
from daphne.layers.interface import BATCH, MAX_MESSAGE_SIZE, Message
from daphne.layers.local_broker import PARTING_LIMIT, Broker
from daphne.layers.local_client import Attachment, AttachmentFetch, BrokerGone
from daphne.layers.local_frames import LARGEST_MESSAGE
from daphne.layers.local_gate import Gate, Unpacker
from daphne.layers.local_place import Place
from daphne.layers.mailboxes import Closed, Mailboxes, Take
from daphne.layers.names import Capacities, checked_group, receiving_queue, receiving_queues, sending_queue

FIRST_PAUSE, LONGEST_PAUSE = 0.001, 0.05
"""Seconds between attempts to attach while one broker follows another: doubled each time."""
ATTACH_LIMIT = 5.0
"""Seconds after which a call gives up when there is no broker."""

log = logging.getLogger("daphne.layers.local")


class ChannelLayer(BlockingDoor):
    """A channel layer over a unix socket, for any number of processes of one user on one machine.

    `path` of the socket (the default lies in the user's run-time directory); `mode` of its file and ids of
    further `users` whose processes are let in; the other arguments as in `memory.ChannelLayer`. All processes
    of a layer should be given the same: those of the broker count. Raises ConfigurationError.
    """

    def __init__(
        self,
        path: str | None = None,
        expiry: float = 60,
        group_expiry: float = 86400,
        capacity: int = 100,
        channel_capacity: Mapping[str | Pattern[str], int] | None = None,
        max_message_size: int = MAX_MESSAGE_SIZE,
        mode: int = 0o600,
        users: Sequence[int] = (),
    ) -> None:
        if max_message_size > LARGEST_MESSAGE:
            raise ConfigurationError(f"max_message_size is {LARGEST_MESSAGE} at most, not {max_message_size}")
        self.max_message_size = max_message_size
        super().__init__()
        self.expiry = expiry
        self.group_expiry = group_expiry
        self.capacity = capacity
        self.path = path
        self._capacities = Capacities(capacity, channel_capacity)
        self._mode = mode
        self._users = users

    def begin_anew(self) -> None:
        """Called once more in a forked child."""
        super().begin_anew()
        self.abandon((getattr(self, "_sides", None), getattr(self, "_broker", None)))
        self._sides: dict[asyncio.AbstractEventLoop, _LoopSide] = {}
        self._broker: Broker | None = None
        self._gate = Gate(self.max_message_size)
        self._attended: dict[str, tuple[Take, int, Take]] = {}

    def use_socket(self, path: str) -> None:
        """Take another path, before the layer is first used."""
        self.path = path

    @property
    def same_files(self) -> bool:
        """See `interface.NearLayer`. Not where other users' processes are let in, which have other rights."""
        return not self._users

    @property
    def is_broker(self) -> bool:
        """Whether this process holds the messages."""
        return self._broker is not None and not self._broker.leaving

    async def send_async(self, channel: str, message: Message) -> None:
        """See `interface.AsyncLayer`."""
        sending_queue(channel)
        check_values(message)
        await self._call("send", channel, self._gate.pack(channel, message))

    def give(self, channel: str, message: Message) -> bool:
        """See `interface.PromptLayer`. What another process than the broker's gives at once is what goes to
        an owner of process-local channels in that, who attends them."""
        if self._gate.boxes is not None:
            return self._gate.give(channel, message)
        side = self._sides.get(asyncio.get_running_loop())
        if side is None or side.attachment is None or not side.attachment.takes(sending_queue(channel)):
            return False
        side.attachment.give(channel, self._gate.pack(channel, message))
        return True

    @property
    def gate(self) -> Gate:
        """See `interface.PackedLayer`. It is open in the broker's process."""
        return self._gate

    def attend(self, prefix: str, take: Callable[[str, Message], None]) -> None:
        """See `interface.AttendedLayer`. Only the broker's process can."""
        attended = take, threading.get_ident(), Unpacker(take).unpack
        self._attended[receiving_queue(prefix)] = attended
        if self._broker is not None:
            self._broker.attend(prefix, *attended)

    def forsake(self, prefix: str) -> None:
        """See `interface.AttendedLayer`."""
        self._attended.pop(prefix, None)
        if self._broker is not None:
            self._broker.forsake(prefix)

    async def receive_batch(self, channels: Sequence[str], limit: int = BATCH) -> list[tuple[str, Message]]:
        """See `interface.AsyncLayer`. Goes on with the next broker when one has gone."""
        names = tuple(receiving_queues(channels))
        while True:
            try:
                access = await self._access()
                arrivals = self._side().arrivals
                if isinstance(access, Broker):
                    return _unpacked(arrivals.take(names, limit) or await access.receive(names, limit))
                return _unpacked(await arrivals.receive(names, limit))
            except (BrokerGone, Closed):
                continue

    async def take_now(self, channels: Sequence[str], limit: int) -> list[tuple[str, Message]]:
        """What waits on `channels` at this moment, up to `limit` messages."""
        return _unpacked(await self._call("take", tuple(receiving_queues(channels)), limit))

    async def watch_async(self, prefix: str) -> None:
        """See `interface.WatchingLayer`."""
        while True:
            try:
                return await (await self._access()).watch(prefix)
            except (BrokerGone, Closed):
                continue

    async def group_add_async(self, group: str, channel: str) -> None:
        """See `interface.AsyncLayer`."""
        sending_queue(channel)
        await self._call("group_add", checked_group(group), channel)

    async def group_discard_async(self, group: str, channel: str) -> None:
        """See `interface.AsyncLayer`."""
        sending_queue(channel)
        await self._call("group_discard", checked_group(group), channel)

    async def group_channels_async(self, group: str) -> list[str]:
        """The members of `group`."""
        return list(await self._call("group_channels", checked_group(group)))

    async def send_group_async(self, group: str, message: Message) -> None:
        """See `interface.AsyncLayer`."""
        check_values(message)
        await self._call("send_group", checked_group(group), self._gate.pack(group, message))

    async def flush_async(self) -> None:
        """See `interface.AsyncLayer`."""
        await self._call("flush")

    async def statistics_async(self, channel: str | None) -> dict[str, float]:
        """Since the broker's start or the last flush; of a channel, or of all."""
        statistics: dict[str, float] = await self._call("statistics", channel)
        return statistics

    async def pending_async(self, channel: str) -> int:
        """See `interface.CountingLayer`."""
        return int((await self.statistics_async(channel))["messages_pending"])

    async def close_async(self) -> None:
        """Give back what cancelled receives were about to get, and detach this loop. A broker leaves what it
        holds to the next one."""
        loop = asyncio.get_running_loop()
        if loop in self._sides:
            await self._sides[loop].close()
            self._sides.pop(loop, None)
        broker = self._broker
        if broker is not None and broker.loop is loop and not broker.leaving:
            self._gate.boxes = None
            await broker.close()
            self._broker = None

    async def _put_back(self, batch: Batch) -> None:
        access = self._broker or self._side().attachment
        try:
            if access is None:
                raise BrokerGone("there is no broker")
            await access.call("put_back", batch)
        except LayerError as error:
            log.error("%d messages could not be given back and are lost: %s", len(batch), error)

    async def _call(self, operation: str, *arguments: Any) -> Any:
        while True:
            try:
                return await (await self._access(ATTACH_LIMIT)).call(operation, *arguments)
            except Closed:  # has not been done
                continue

    async def _access(self, limit: float | None = None) -> Broker | Attachment:
        """The broker if this process has it, or this loop's connection to it; waits for either."""
        if self._broker is not None and not self._broker.leaving:
            return self._broker
        side = self._side()
        if side.attachment is not None:
            return side.attachment
        if side.attaching is None or side.attaching.done():
            side.attaching = asyncio.ensure_future(self._attach(side))
        try:
            async with asyncio.timeout(limit):
                return await asyncio.shield(side.attaching)
        except TimeoutError:
            raise LayerUnavailable(f"no broker for the local layer after {limit} seconds") from None

    async def _attach(self, side: _LoopSide) -> Broker | Attachment:
        place = Place(self.path, self._mode, self._users)
        pause = FIRST_PAUSE
        while True:
            if self._broker is not None and not self._broker.leaving:
                return self._broker
            if place.try_lock():
                return await self._become_broker(place)
            try:
                return await side.attach(place)
            except OSError:  # one broker has gone, and the next one does not listen yet
                await asyncio.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE)

    async def _become_broker(self, place: Place) -> Broker:
        broker = Broker(place, Mailboxes(self.expiry, self.group_expiry, self._capacities))
        try:
            await broker.serve()
        except BaseException:
            place.unlock()
            raise
        for prefix, attended in self._attended.items():
            broker.attend(prefix, *attended)
        self._broker = broker
        self._gate.boxes = broker.boxes
        log.info("This process is the broker of the local layer %s", place.path)
        return broker

    def _side(self) -> _LoopSide:
        loop = asyncio.get_running_loop()
        side = self._sides.get(loop)
        if side is None:
            self.close_with_loop()
            side = self._sides[loop] = _LoopSide(self._put_back)
        return side


class _LoopSide:
    """One loop's connection to the broker, and the receives under way on it."""

    def __init__(self, put_back: Callable[[Batch], Awaitable[None]]) -> None:
        self.attachment: Attachment | None = None
        self.attaching: asyncio.Task[Broker | Attachment] | None = None
        self.arrivals = Arrivals(self._begin, lambda names: [names], put_back)

    async def attach(self, place: Place) -> Attachment:
        """Connect to the broker. OSError when nobody listens, LayerUnavailable when it is a stranger."""
        loop = asyncio.get_running_loop()
        protocol: Any = partial(Attachment, self._detach)
        transport, attachment = await loop.create_unix_connection(protocol, place.path)
        if not place.is_trusted(transport.get_extra_info("socket")):
            transport.abort()
            raise LayerUnavailable(f"the local layer's socket {place.path} belongs to another user's process")
        await attachment.admitted
        if not attachment.is_usable:
            raise ConnectionResetError("the broker leaves")
        self.attachment = usable = cast(Attachment, attachment)
        return usable

    async def close(self) -> None:
        """Give back what is left, and disconnect."""
        if self.attaching is not None:
            self.attaching.cancel()
        await self.arrivals.close()
        if self.attachment is not None:
            attachment = self.attachment
            attachment.part()
            await asyncio.wait([attachment.closed], timeout=PARTING_LIMIT)  # unlike `await`, cancels nothing
            if not attachment.closed.done():
                attachment.abort()
                await asyncio.wait([attachment.closed])

    def _begin(self, names: Names, limit: int) -> AttachmentFetch:
        if self.attachment is None:
            raise Closed("the broker of the local layer has left")
        return AttachmentFetch(self.attachment, names, limit)

    def _detach(self, attachment: Attachment) -> None:
        if self.attachment is attachment:
            self.attachment = None


def _unpacked(batch: Batch) -> list[tuple[str, Message]]:
    return [(channel, msgpack.unpackb(body, raw=False)) for channel, body in batch]
