"""How data is cut for TLS, so that its records are full.

Called by tls_transport; calls nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

RECORD: Final = 16384
"""The most data that is in one record (RFC 8446 section 5.1)."""

BATCH: Final = 65536
"""Data that OpenSSL is given at a time, and that is encrypted before it is taken out of the buffer behind it,
which keeps its size."""


def full_records(pieces: Iterable[Any]) -> Iterator[memoryview | bytes]:
    """What OpenSSL is given one after the other for these pieces (bytes or like bytes), so that all records
    but the last are full."""
    begun = b""
    for piece in pieces:
        rest = memoryview(piece).cast("B")
        if begun:
            room = RECORD - len(begun)
            begun += rest[:room]
            if len(begun) < RECORD:
                continue
            yield begun
            rest = rest[room:]
        whole = len(rest) - len(rest) % RECORD
        for start in range(0, whole, BATCH):
            yield rest[start : min(start + BATCH, whole)]
        begun = bytes(rest[whole:])
    if begun:
        yield begun
