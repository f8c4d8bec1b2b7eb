"""MessagePack, with one packer for each thread: to make one, with its buffer, takes longer than to use it.

Called by the local and the Redis layer for every message, and by the local layer's frames; calls msgpack.
"""

from __future__ import annotations

import threading
from typing import Any

import msgpack

LARGE = 256 * 1024
"""Bytes of a value after which a packer is not kept, because it would keep as much memory."""


class _OfThread(threading.local):
    def __init__(self) -> None:
        self.packer = msgpack.Packer(use_bin_type=True)


_of_thread = _OfThread()


def packed(value: Any) -> bytes:
    """`value` in MessagePack. Raises TypeError, ValueError or OverflowError for what that cannot hold."""
    body: bytes = _of_thread.packer.pack(value)
    if len(body) > LARGE:
        _of_thread.packer = msgpack.Packer(use_bin_type=True)
    return body
