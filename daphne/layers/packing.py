"""MessagePack, with one packer for each thread: to make one, with its buffer, takes longer than to use it.

Called by the local and the Redis layer for every message, and by the local layer's frames; calls msgpack.
Compiled (setup.py).
"""

from __future__ import annotations

import threading
from typing import Any, Final

import msgpack

LARGE = 256 * 1024
"""Bytes of a value after which a packer is not kept, because it would keep as much memory."""

_of_thread = threading.local()
_BYTE: Final[list[bytes]] = [bytes([value]) for value in range(256)]
_TEXT_HEADS: Final[list[bytes]] = [bytes([0xA0 | size] if size < 32 else [0xD9, size]) for size in range(256)]
_BYTES_HEADS: Final[list[bytes]] = [bytes([0xC4, size]) for size in range(256)]


def packed(value: Any) -> bytes:
    """`value` in MessagePack. Raises TypeError, ValueError or OverflowError for what that cannot hold."""
    try:
        packer: Any = _of_thread.packer
    except AttributeError:
        packer = _of_thread.packer = msgpack.Packer(use_bin_type=True)
    body: bytes = packer.pack(value)
    if len(body) > LARGE:
        del _of_thread.packer
    return body


def text_head(size: int) -> bytes:
    """What stands before a text of `size` bytes in UTF-8."""
    if size < 0x100:
        return _TEXT_HEADS[size]
    if size < 0x10000:
        return b"\xda" + size.to_bytes(2, "big")
    return b"\xdb" + size.to_bytes(4, "big")


def bytes_head(size: int) -> bytes:
    """What stands before `size` bytes."""
    if size < 0x100:
        return _BYTES_HEADS[size]
    if size < 0x10000:
        return b"\xc5" + size.to_bytes(2, "big")
    return b"\xc6" + size.to_bytes(4, "big")


def packed_array(length: int) -> bytes:
    """What stands before the items of an array of fewer than 65,536."""
    if length < 16:
        return _BYTE[0x90 | length]
    return b"".join([b"\xdc", _BYTE[length >> 8], _BYTE[length & 0xFF]])


def packed_number(number: int) -> bytes:
    """A whole number of 64 bits that is not negative."""
    if number < 0x80:
        return _BYTE[number]
    if number < 0x10000:
        return b"".join([b"\xcd", _BYTE[number >> 8], _BYTE[number & 0xFF]])
    if number < 0x100000000:
        return b"\xce" + number.to_bytes(4, "big")
    return b"\xcf" + number.to_bytes(8, "big")
