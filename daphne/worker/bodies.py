"""The rest of long request bodies: one reader for all `http.request.body?` channels that are being read.

Called by `http.HTTPRun` when its request names a body channel; calls the layer's `receive_batch`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from daphne.layers.interface import AsyncLayer, Message

log = logging.getLogger("daphne.worker")

PAUSE = 0.5
"""Seconds before the reader tries again after an error of the layer."""


class BodyChannels:
    """The body channels that runs of this worker read. There is a task only while there are any."""

    def __init__(self, layer: AsyncLayer) -> None:
        self._layer = layer
        self._takers: dict[str, Callable[[Message], None]] = {}
        self._task: asyncio.Task[None] | None = None

    def open(self, channel: str, take: Callable[[Message], None]) -> None:
        """From now on give each message of `channel` to `take`."""
        self._takers[channel] = take
        self._restart()

    def close(self, channel: str) -> None:
        """Read `channel` no more."""
        if self._takers.pop(channel, None) is not None:
            self._restart()

    def _restart(self) -> None:
        """Cancelling a receive loses nothing: what was on its way stays for the next."""
        if self._task is not None:
            self._task.cancel()
            self._task = None
        if self._takers:
            self._task = asyncio.get_running_loop().create_task(self._read(list(self._takers)))

    async def _read(self, channels: list[str]) -> None:
        while True:
            try:
                batch = await self._layer.receive_batch(channels)
            except (
                Exception
            ) as problem:  # a foreign layer may raise anything, and the reader must not die of it
                log.error("Error trying to receive messages: %s", problem)
                await asyncio.sleep(PAUSE)
                continue
            for channel, message in batch:
                take = self._takers.get(channel)
                if take is not None:
                    take(message)
