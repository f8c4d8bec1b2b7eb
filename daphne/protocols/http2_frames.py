"""HTTP/2 frames as bytes: their names, and how ours are written (RFC 9113 sections 4 and 6).

Called by http2_reader and http2_output and by nobody else; calls nothing.
"""

from __future__ import annotations

import struct

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""What a client sends first (RFC 9113 section 3.4)."""

# Types (RFC 9113 section 6, RFC 9218 section 7.1)
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = (
    range(10)
)
PRIORITY_UPDATE = 0x10

# Flags
END_STREAM = ACK = 0x1
END_HEADERS = 0x4
PADDED = 0x8
PRIORITIZED = 0x20

# Error codes (RFC 9113 section 7)
NO_ERROR = 0x0
PROTOCOL_ERROR = 0x1
INTERNAL_ERROR = 0x2
FLOW_CONTROL_ERROR = 0x3
STREAM_CLOSED = 0x5
FRAME_SIZE_ERROR = 0x6
REFUSED_STREAM = 0x7
CANCEL = 0x8
COMPRESSION_ERROR = 0x9
ENHANCE_YOUR_CALM = 0xB

# Settings (RFC 9113 section 6.5.2, RFC 8441 section 3, RFC 9218 section 2.1)
HEADER_TABLE_SIZE = 0x1
ENABLE_PUSH = 0x2
MAX_CONCURRENT_STREAMS = 0x3
INITIAL_WINDOW_SIZE = 0x4
MAX_FRAME_SIZE = 0x5
MAX_HEADER_LIST_SIZE = 0x6
ENABLE_CONNECT_PROTOCOL = 0x8
NO_RFC7540_PRIORITIES = 0x9

FRAME_SIZE = 16384
"""Bytes of payload that every peer takes (RFC 9113 section 4.2); we send no larger frames and take none."""
DEFAULT_WINDOW = 65535
"""Bytes of either window before anything is said about it (RFC 9113 section 6.9.2)."""
LARGEST = 2**31 - 1
"""The largest window and the largest stream identifier."""

_pack_head = struct.Struct(">BHBBI").pack
_pack_setting = struct.Struct(">HI").pack
_pack_two = struct.Struct(">II").pack


def frame_head(size: int, kind: int, flags: int, stream_id: int) -> bytes:
    """The nine bytes in front of a payload of `size` bytes, at most FRAME_SIZE."""
    return _pack_head(0, size, kind, flags, stream_id)


def headers_frame(stream_id: int, block: bytes, flags: int) -> bytes:
    """A field block as HEADERS and as many CONTINUATION frames as it takes; `flags` is END_STREAM or 0."""
    if len(block) <= FRAME_SIZE:
        return _pack_head(0, len(block), HEADERS, flags | END_HEADERS, stream_id) + block
    frames = [frame_head(FRAME_SIZE, HEADERS, flags, stream_id), block[:FRAME_SIZE]]
    for at in range(FRAME_SIZE, len(block), FRAME_SIZE):
        piece = block[at : at + FRAME_SIZE]
        last = END_HEADERS if at + FRAME_SIZE >= len(block) else 0
        frames += (frame_head(len(piece), CONTINUATION, last, stream_id), piece)
    return b"".join(frames)


def rst_stream_frame(stream_id: int, code: int) -> bytes:
    """The end of a stream with an error code."""
    return frame_head(4, RST_STREAM, 0, stream_id) + code.to_bytes(4, "big")


def settings_frame(values: dict[int, int]) -> bytes:
    """Our settings."""
    payload = b"".join([_pack_setting(*item) for item in values.items()])
    return frame_head(len(payload), SETTINGS, 0, 0) + payload


SETTINGS_ACK = frame_head(0, SETTINGS, ACK, 0)


def ping_frame(payload: bytes, flags: int = 0) -> bytes:
    """A ping with eight bytes of payload, or with ACK the answer to one."""
    return frame_head(8, PING, flags, 0) + payload


def goaway_frame(last_stream_id: int, code: int, text: str = "") -> bytes:
    """The end of the connection: nothing above `last_stream_id` was or will be looked at."""
    debug = text.encode("ascii", "replace")[:100]
    return frame_head(8 + len(debug), GOAWAY, 0, 0) + _pack_two(last_stream_id, code) + debug


def window_update_frame(stream_id: int, increment: int) -> bytes:
    """Leave for the client to send `increment` more bytes, on a stream or (0) on the connection."""
    return frame_head(4, WINDOW_UPDATE, 0, stream_id) + increment.to_bytes(4, "big")
