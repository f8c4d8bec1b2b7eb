"""WebSocket frames as a client writes and reads them (RFC 6455 section 5.2).

Used by `daphne.testing.sockets` and by tests with frames of every kind, wrong ones included.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA


@dataclass(frozen=True)
class Frame:
    """One frame from the server."""

    opcode: int
    payload: bytes
    final: bool = True
    reserved: int = 0
    """The three reserved bits: 4 for RSV1, which marks a compressed message."""

    @property
    def close_code(self) -> int | None:
        """The code of a close frame, or None where it has none."""
        return struct.unpack("!H", self.payload[:2])[0] if self.payload else None

    @property
    def close_reason(self) -> str:
        """The reason in a close frame."""
        return self.payload[2:].decode("utf-8")


def client_frame(
    opcode: int,
    payload: bytes = b"",
    *,
    final: bool = True,
    reserved: int = 0,
    mask: bytes | None = b"\x37\xfa\x21\x3d",
    length_bytes: int | None = None,
) -> bytes:
    """The bytes of one frame. `mask` None leaves it unmasked, which a client must not do.

    `length_bytes` is 0, 2 or 8: write the length in that many bytes besides the seven bits, even where fewer
    would do.
    """
    size = len(payload)
    if length_bytes is None:
        length_bytes = 0 if size < 126 else 2 if size < 65536 else 8
    masked = 0 if mask is None else 0x80
    start = bytes(((0x80 if final else 0) | reserved << 4 | opcode,))
    if length_bytes == 0:
        start += bytes((masked | size,))
    elif length_bytes == 2:
        start += bytes((masked | 126,)) + struct.pack("!H", size)
    else:
        start += bytes((masked | 127,)) + struct.pack("!Q", size)
    return start + payload if mask is None else start + mask + masked_payload(mask, payload)


def masked_payload(mask: bytes, payload: bytes) -> bytes:
    """`payload` with the mask put on, or taken off (RFC 6455 section 5.3)."""
    size = len(payload)
    key = (mask * (size // 4 + 1))[:size]
    # Numbers of any length: a megabyte takes a millisecond, and byte by byte 200.
    return (int.from_bytes(payload, "little") ^ int.from_bytes(key, "little")).to_bytes(size, "little")


def close_frame(code: int | None = 1000, reason: bytes = b"") -> bytes:
    """The bytes of a client's close frame; `code` None leaves it empty."""
    return client_frame(CLOSE, b"" if code is None else struct.pack("!H", code) + reason)


def read_frame(data: bytes) -> tuple[Frame, bytes] | None:
    """The first frame in `data` and what follows it; None while it is not complete.

    Raises ValueError for a masked frame (RFC 6455 section 5.1: a server must not mask).
    """
    if len(data) < 2:
        return None
    if data[1] & 0x80:
        raise ValueError("a masked frame from the server")
    size, start = data[1], 2
    if size == 126:
        size, start = int.from_bytes(data[2:4], "big"), 4
    elif size == 127:
        size, start = int.from_bytes(data[2:10], "big"), 10
    if len(data) < start or len(data) < start + size:
        return None
    frame = Frame(data[0] & 0xF, data[start : start + size], data[0] >= 0x80, data[0] >> 4 & 7)
    return frame, data[start + size :]
