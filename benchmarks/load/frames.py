"""The bytes that a WebSocket client sends and expects (RFC 6455), made once, before the clock runs.

Called by `benchmarks.load.websockets`; pure.
"""

import base64
import hashlib

TEXT, BINARY, CLOSE, PING, PONG = 0x1, 0x2, 0x8, 0x9, 0xA
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def head(opcode: int, length: int, masked: bool) -> bytes:
    """The first bytes of an unfragmented frame, up to the mask (RFC 6455 section 5.2)."""
    bit = 0x80 if masked else 0
    first = bytes([0x80 | opcode])
    if length < 126:
        return first + bytes([bit | length])
    if length < 65536:
        return first + bytes([bit | 126]) + length.to_bytes(2, "big")
    return first + bytes([bit | 127]) + length.to_bytes(8, "big")


def masked_frame(opcode: int, payload: bytes, mask: bytes) -> bytes:
    """A frame from a client; `mask` is four bytes (section 5.3)."""
    repeated = (mask * (len(payload) // 4 + 1))[: len(payload)]
    masked = int.from_bytes(payload, "big") ^ int.from_bytes(repeated, "big")
    return head(opcode, len(payload), masked=True) + mask + masked.to_bytes(len(payload), "big")


def plain_frame(opcode: int, payload: bytes) -> bytes:
    """A frame from a server."""
    return head(opcode, len(payload), masked=False) + payload


def handshake(host: str, path: str, key: bytes) -> bytes:
    """The opening request (section 4.1)."""
    lines = [
        f"GET {path} HTTP/1.1",
        f"Host: {host}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {key.decode()}",
        "Sec-WebSocket-Version: 13",
        "",
        "",
    ]
    return "\r\n".join(lines).encode()


def accept_token(key: bytes) -> bytes:
    """What the server must answer to `key` (section 4.2.2)."""
    return base64.b64encode(hashlib.sha1(key + GUID).digest())


def handshake_problem(response_head: bytes, key: bytes) -> str | None:
    """Why this answer to the handshake is not an acceptance, or None."""
    status, *lines = response_head.split(b"\r\n")
    if status.split(b" ")[1:2] != [b"101"]:
        return f"the handshake was answered {status.decode('latin-1')!r}"
    headers = {
        name.strip().lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines)
    }
    if headers.get(b"sec-websocket-accept") != accept_token(key):
        return "the handshake was answered with a wrong sec-websocket-accept"
    return None
