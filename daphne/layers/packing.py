"""MessagePack, with one packer for each thread: to make one, with its buffer, takes longer than to use it.

Called by the local and the Redis layer for every message, and by the local layer's frames; calls msgpack.
Compiled (setup.py).
"""

from __future__ import annotations

import threading
from typing import Any

import msgpack

LARGE = 256 * 1024
"""Bytes of a value after which a packer is not kept, because it would keep as much memory."""


_of_thread = threading.local()


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
