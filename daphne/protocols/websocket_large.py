"""Large WebSocket frames: the payload is received where it stays.

Made by websocket_reader for a frame that does not come whole; filled by it or by the transport.
"""

from __future__ import annotations

from daphne.protocols.masking import HAS_NVX, unmask, unwritten

LARGE = 131072
"""Bytes of payload from which that is done: less may come in one read."""
ONE_PART_OF = 64
"""Of the payload one part in so many must be there before there is memory for all of it: it is not touched
before bytes come, but addresses are not without end either, and a head announces up to 2**63 bytes."""


def needed(length: int) -> int:
    """How much of a payload of `length` bytes must be there before it can be a LargeFrame."""
    return length if length < LARGE or not HAS_NVX else length // ONE_PART_OF


class LargeFrame:
    """A data frame whose payload has not come whole."""

    __slots__ = ("_mask", "_payload", "is_text", "rest")

    def __init__(self, is_text: bool, mask: bytes, length: int) -> None:
        self.is_text = is_text
        self._mask = mask
        self._payload, self.rest = unwritten(length)
        """`rest` is the memory for what has not come."""

    def take(self, data: bytes) -> bytes:
        """Take what belongs to the payload; what comes after it."""
        count = min(len(data), len(self.rest))
        self.rest[:count] = memoryview(data)[:count]
        self.written(count)
        return data[count:]

    def written(self, count: int) -> None:
        """The next `count` bytes have been written to `rest`."""
        self.rest = self.rest[count:]

    def payload(self) -> bytes:
        """What the client meant, when nothing is missing. Once only."""
        assert not self.rest
        return unmask(self._mask, self._payload)
