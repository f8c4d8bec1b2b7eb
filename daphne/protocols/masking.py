"""Take the mask off WebSocket payloads (RFC 6455 section 5.3).

Called by websocket.WebSocketConnection for every data frame from a client. Large payloads go through
Autobahn's C masker (NVX) in place, small ones through one big-integer XOR, which beats the calls into C up to
about a hundred bytes. Where Autobahn was built without NVX, all do: its masker in Python takes a byte at a
time.
"""

from __future__ import annotations

from collections.abc import Callable

Payload = bytes | memoryview

_INTEGER_UP_TO = 128


def unmask_small(mask: bytes, payload: Payload) -> bytes:
    """`payload` XOR the repeated four bytes of `mask`, as one integer operation."""
    size = len(payload)
    key = (mask * ((size + 3) >> 2))[:size]
    return (int.from_bytes(payload, "little") ^ int.from_bytes(key, "little")).to_bytes(size, "little")


def _in_c() -> Callable[[bytes, Payload], bytes | bytearray] | None:
    """The same through NVX, without its Python wrapper's copies; None where Autobahn was built without."""
    try:
        from _nvx_xormasker import ffi, lib
    except ImportError:
        return None
    new, process, free, from_buffer = (
        lib.nvx_xormask_new,
        lib.nvx_xormask_process,
        lib.nvx_xormask_free,
        ffi.from_buffer,
    )

    def unmask(mask: bytes, payload: Payload) -> bytes | bytearray:
        if len(payload) <= _INTEGER_UP_TO:
            return unmask_small(mask, payload)
        buffer = bytearray(payload)
        masker = new(mask)
        process(masker, from_buffer(buffer), len(buffer))
        free(masker)
        return buffer

    return unmask


unmask: Callable[[bytes, Payload], bytes | bytearray] = _in_c() or unmask_small
"""`unmask(mask, payload)`: the payload as the client meant it; a bytearray where that saves a copy."""
