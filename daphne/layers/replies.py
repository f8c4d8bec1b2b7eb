"""Reply channels: their names, and the one reader that brings each reply to its live connection.

Called by the bridge, which opens an inbox for every request and WebSocket; calls the layer's `receive_batch`
on the two prefixes of this process. Nothing polls: the reader waits in the layer, a connection in its inbox.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable
from typing import Any

from daphne.layers.inbox import CONTROL, BacklogFull, Inbox, Inboxes
from daphne.layers.interface import AsyncLayer, AttendedLayer, Message

__all__ = ["CONTROL", "BacklogFull", "Inbox", "Replies", "next_reply"]

log = logging.getLogger("daphne.server")

FIRST_PAUSE = 0.1
LONGEST_PAUSE = 5.0
"""Seconds before the reader tries again after an error of the layer; each pause is twice the one before."""


async def next_reply(inbox: Inbox) -> Any:
    """What comes next to `inbox`. Cancelling loses nothing."""
    while (message := inbox.take_now()) is None:
        await inbox.arrival()
    return message


class Replies:
    """The reply channels of one process on one layer.

    HTTP requests are answered on `http.response.<process>!<id>`, WebSockets on
    `websocket.send.<process>!<id>`, so that the classic capacity globs and consumers that look at the first
    word of the name work. `on_control` is given what workers say to the process, and the name on which they
    said it.
    """

    def __init__(self, layer: AsyncLayer, on_control: Callable[[str, Message], None]) -> None:
        process = f"{secrets.token_hex(3)}.{layer.client_prefix}"
        self.http_prefix = f"http.response.{process}!"
        self.websocket_prefix = f"websocket.send.{process}!"
        self._prefixes = (self.http_prefix, self.websocket_prefix)
        self._layer = layer
        self.inboxes = Inboxes(self.http_prefix, self.websocket_prefix, on_control, self.start)
        self.open = self.inboxes.open
        self.find = self.inboxes.find
        self.close = self.inboxes.close
        self._task: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self.inboxes)

    def start(self) -> None:
        """Start the reader, in the running loop."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._read(), name="daphne-replies")
            if isinstance(self._layer, AttendedLayer):
                for prefix in self._prefixes:
                    self._layer.attend(prefix, self.inboxes.deliver)

    async def stop(self) -> None:
        """Stop the reader. What is on its way stays in the layer."""
        task, self._task = self._task, None
        self.inboxes.loop = None
        if task is not None:
            if isinstance(self._layer, AttendedLayer):
                for prefix in self._prefixes:
                    self._layer.forsake(prefix)
            task.cancel()
            await asyncio.wait([task])

    async def _read(self) -> None:
        pause = FIRST_PAUSE
        while True:
            try:
                batch = await self._layer.receive_batch(self._prefixes)
            except (
                Exception
            ) as problem:  # a foreign layer may raise anything, and the reader must not die of it
                log.error("Error trying to receive messages: %s", problem)
                await asyncio.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE)
                continue
            pause = FIRST_PAUSE
            for channel, message in batch:
                self.inboxes.deliver(channel, message)
