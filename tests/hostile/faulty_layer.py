"""A channel layer that fails where a request's path says so, and now and then when it is read.

Loaded by the servers of test_layer_faults.py.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from typing import Any

from daphne.layers.memory import ChannelLayer

FAULTS = ("raises", "hangs", "no dictionary", "no type", "wrong types", "lists for bytes")

_GARBAGE: dict[str, Any] = {
    "no dictionary": {"arrives as": "a list"},
    "no type": {"nothing": "known"},
    "wrong types": {"status": "many", "headers": 7, "content": None, "more_content": "perhaps"},
    "lists for bytes": {"status": 200, "headers": [["a"]], "content": ["b"]},
}


class FaultyLayer(ChannelLayer):
    """The layer in memory, with faults."""

    def __init__(self) -> None:
        super().__init__()
        self._reads = itertools.count(1)

    async def send_async(self, channel: str, message: Any) -> None:
        """Send, unless the message is a request for /fault/..."""
        fault = message.get("path", "").partition("/fault/")[2]
        if channel not in ("http.request", "websocket.connect") or not fault:
            await super().send_async(channel, message)
        elif fault == "raises":
            raise RuntimeError("secret: the layer is broken")
        elif fault == "hangs":
            await asyncio.Event().wait()
        else:
            await super().send_async(message["reply_channel"], _GARBAGE[fault])

    async def receive_batch(self, channels: Sequence[str], *limit: int) -> list[tuple[str, Any]]:
        """Receive, but every fiftieth time raise first."""
        if next(self._reads) % 50 == 0:
            raise RuntimeError("secret: the layer cannot be read")
        batch = await super().receive_batch(channels, *limit)
        return [(name, [1] if "arrives as" in message else message) for name, message in batch]


channel_layer = FaultyLayer()
