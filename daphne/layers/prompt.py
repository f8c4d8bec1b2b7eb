"""Sending that takes no waiting: into a layer that can take a message at once, past no line.

Called by the bridge and the worker for nearly every message, through `sending.LineSender`, which has the lines
and sends what has to wait; calls the layer's `give`. Compiled (setup.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from daphne.errors import ChannelFull
from daphne.layers.interface import AsyncLayer, Message, PromptLayer
from daphne.layers.names import local_prefix


class PromptSender:
    """Sends over one layer what it takes at once."""

    def __init__(self, layer: AsyncLayer) -> None:
        self.give = _give_of(layer)
        """The layer's, if it has one; raises its errors."""
        self.lines: dict[str, Any] = {}
        """The queues that others wait in line for."""

    def send_now(self, channel: str, message: Message) -> bool:
        """Send, if that takes no waiting of any kind; else False, and the sender's `send` is to be called.

        Raises the layer's MessageTooLarge.
        """
        give = self.give
        if give is None or (self.lines and local_prefix(channel) in self.lines):
            return False
        try:
            return give(channel, message)
        except ChannelFull:
            return False


def _give_of(layer: AsyncLayer) -> Callable[[str, Message], bool] | None:
    """The `give` of a `PromptLayer`, unless a class derived from it has a send of its own: that sees every
    message."""
    for kind in type(layer).__mro__:
        if "give" in vars(kind) and isinstance(layer, PromptLayer):
            return layer.give
        if "send" in vars(kind) or "send_async" in vars(kind):
            break
    return None
