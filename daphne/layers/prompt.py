"""Sending that takes no waiting: into a layer that can take a message at once, past no line.

Called by the bridge and the worker for nearly every message, through `sending.LineSender`, which has the
lines and sends what has to wait; calls the layer's `give`. Compiled (setup.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from daphne.errors import ChannelFull
from daphne.layers.interface import AsyncLayer, Message, PackedLayer, PromptLayer
from daphne.layers.names import local_prefix


class PromptSender:
    """Sends over one layer what it takes at once."""

    def __init__(self, layer: AsyncLayer) -> None:
        self.give: Callable[[str, Message], bool] | None = _own(layer, "give", PromptLayer)
        """The layer's, if it has one; raises its errors."""
        self._gate: Any = _own(layer, "gate", PackedLayer)
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

    @property
    def packs(self) -> bool:
        """Whether `send_packed` may be called."""
        return self._gate is not None and bool(self._gate.is_open)

    def send_packed(self, queue: str, channel: str, body: bytes) -> bool:
        """As `send_now`, for a message that is packed already; see `interface.Gate`."""
        if self.lines and queue in self.lines:
            return False
        try:
            return bool(self._gate.give_packed(queue, channel, body))
        except ChannelFull:
            return False


def _own(layer: AsyncLayer, name: str, interface: Any) -> Any:
    """The attribute `name` of a layer with this `interface`, unless a class derived from the one that has it
    has a send of its own: that sees every message."""
    for kind in type(layer).__mro__:
        if name in vars(kind) and isinstance(layer, interface):
            return getattr(layer, name)
        if not {"send", "send_async", "give"}.isdisjoint(vars(kind)):
            break
    return None
