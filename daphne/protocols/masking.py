"""Take the mask off WebSocket payloads (RFC 6455 section 5.3).

Called by websocket_reader and websocket_large for every frame from a client. Large payloads go through
Autobahn's C masker (NVX), small ones through one big-integer XOR, which beats the calls into C up to about a
hundred bytes. Where Autobahn was built without NVX, all do: its masker in Python takes a byte at a time.
Compiled (setup.py).

The C masker works within the bytes object itself, so that the application gets the very memory that the
payload was read into. That is what CPython's own functions do with bytes that they are still making: nobody
else may have them, and their hash may not have been asked for.
"""

from __future__ import annotations

import ctypes
from typing import Any, Final

try:
    from _nvx_xormasker import ffi, lib
except ImportError:
    ffi = lib = None

HAS_NVX: Final = lib is not None
"""Whether `unwritten` may be called."""
_INTEGER_UP_TO: Final = 100

_new: Final[Any] = getattr(lib, "nvx_xormask_new", None)
_process: Final[Any] = getattr(lib, "nvx_xormask_process", None)
_free: Final[Any] = getattr(lib, "nvx_xormask_free", None)
_memory_of: Final[Any] = getattr(ffi, "from_buffer", None)
_buffer: Final[Any] = getattr(ffi, "buffer", None)
_make: Final[Any] = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_char_p, ctypes.c_ssize_t)(
    ("PyBytes_FromStringAndSize", ctypes.pythonapi)
)
# Any, because compiled code has its own way with what it knows to be integers: slower, where they are large.
_from_bytes: Final[Any] = int.from_bytes


def unmask(mask: bytes, payload: bytes) -> bytes:
    """`payload` as the client meant it. It must be the caller's alone: it may be changed and given back."""
    size = len(payload)
    if size <= _INTEGER_UP_TO or not HAS_NVX:
        return unmask_small(mask, payload)
    masker = _new(mask)
    _process(masker, _memory_of(payload), size)
    _free(masker)
    return payload


def unmask_small(mask: bytes, payload: bytes) -> bytes:
    """`payload` XOR the repeated four bytes of `mask`, as one integer operation."""
    size = len(payload)
    words = (size + 3) >> 2
    key: Any = _from_bytes(mask * words, "little")
    masked: Any = _from_bytes(payload, "little")
    unmasked: bytes = (masked ^ key).to_bytes(words << 2, "little")
    return unmasked[:size]


def unwritten(size: int) -> tuple[bytes, memoryview]:
    """`size` bytes that are still to be made, and the memory to write them to.

    Nothing of the memory is touched, so that it costs what has been written. The bytes must not be shown to
    anybody before all of them are written: they have what was in that memory before.
    """
    payload: bytes = _make(None, size)
    return payload, memoryview(_buffer(_memory_of(payload)))
