"""Take the mask off WebSocket payloads (RFC 6455 section 5.3).

Called by websocket_reader for every data frame from a client. Large payloads go through Autobahn's C masker
(NVX), small ones through one big-integer XOR, which beats the calls into C up to about a hundred bytes. Where
Autobahn was built without NVX, all do: its masker in Python takes a byte at a time.

The C masker works within the bytes object itself, so that the application gets the very memory that the
payload was read into. That is what CPython's own functions do with bytes that they are still making: nobody
else may have them, and their hash may not have been asked for.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable

_INTEGER_UP_TO = 128

_make = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_char_p, ctypes.c_ssize_t)(
    ("PyBytes_FromStringAndSize", ctypes.pythonapi)
)


def _ones(words: int) -> int:
    """An integer with 1 in each of so many words of four bytes: it repeats what it is multiplied by."""
    return int.from_bytes(b"\1\0\0\0" * words, "little")


_ONES = [_ones(words) for words in range(_INTEGER_UP_TO // 4 + 1)]


def unmask_small(mask: bytes, payload: bytes) -> bytes:
    """`payload` XOR the repeated four bytes of `mask`, as one integer operation."""
    words = (len(payload) + 3) >> 2
    key = int.from_bytes(mask, "little") * (_ONES[words] if words < len(_ONES) else _ones(words))
    return (int.from_bytes(payload, "little") ^ key).to_bytes(words << 2, "little")[: len(payload)]


def _with_nvx() -> tuple[Callable[[bytes, bytes], bytes], Callable[[int], tuple[bytes, memoryview]] | None]:
    """`unmask` and `unwritten`; the big integers and None where Autobahn was built without NVX."""
    try:
        from _nvx_xormasker import ffi, lib
    except ImportError:
        return unmask_small, None
    new, process, free, memory_of, buffer = (
        lib.nvx_xormask_new,
        lib.nvx_xormask_process,
        lib.nvx_xormask_free,
        ffi.from_buffer,
        ffi.buffer,
    )

    def unmask(mask: bytes, payload: bytes) -> bytes:
        size = len(payload)
        if size <= _INTEGER_UP_TO:
            return unmask_small(mask, payload)
        if type(payload) is not bytes:
            payload = bytes(payload)
        masker = new(mask)
        process(masker, memory_of(payload), size)
        free(masker)
        return payload

    def unwritten(size: int) -> tuple[bytes, memoryview]:
        payload: bytes = _make(None, size)
        return payload, memoryview(buffer(memory_of(payload)))

    return unmask, unwritten


unmask, unwritten = _with_nvx()
"""`unmask(mask, payload)`: the payload as the client meant it. `payload` must be the caller's alone: it may
be changed and given back.

`unwritten(size)`: bytes that are still to be made, and the memory to write them to. Nothing of the memory is
touched, so that it costs what has been written. They must not be shown to anybody before all of them are
written: they have what was in that memory before.
"""
