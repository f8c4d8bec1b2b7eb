"""WebSocket close codes (RFC 6455 section 7.4 and the IANA registry).

Used by the WebSocket stream for what applications send and by the protocol for what clients send.
"""

from __future__ import annotations

NORMAL = 1000
GOING_AWAY = 1001
PROTOCOL_ERROR = 1002
NO_STATUS = 1005
ABNORMAL = 1006
INVALID_PAYLOAD = 1007
POLICY_VIOLATION = 1008
TOO_BIG = 1009
INTERNAL_ERROR = 1011
SERVICE_RESTART = 1012
TRY_AGAIN_LATER = 1013

_REGISTERED = frozenset((1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014))

LONGEST_REASON = 123
"""Bytes of UTF-8 that a close frame can carry beside the code (RFC 6455 section 5.5)."""


def may_be_sent(code: int) -> bool:
    """Whether `code` may stand in a close frame: registered codes and 3000 to 4999; never 1004, 1005, 1006
    and 1015.
    """
    return code in _REGISTERED or 3000 <= code <= 4999


def reason_bytes(reason: str) -> bytes:
    """`reason` in UTF-8, cut at a character's end where it is longer than a close frame holds."""
    encoded = reason.encode("utf-8", "replace")
    if len(encoded) <= LONGEST_REASON:
        return encoded
    return encoded[:LONGEST_REASON].decode("utf-8", "ignore").encode("utf-8")
