"""Extensible priorities (RFC 9218): what a client says about the order in which it wants its answers.

Called by http2 with the `priority` field of a request and with PRIORITY_UPDATE frames; http2_output orders by
the result.
"""

from __future__ import annotations

from typing import NamedTuple

LEVELS = 8
"""Urgencies, 0 to 7; 0 goes first (RFC 9218 section 4.1)."""


class Priority(NamedTuple):
    """Where an answer stands in the order."""

    urgency: int
    sequential: bool
    """Whether the answer is of use only as a whole: answers like it go out one after the other."""


UNSAID = Priority(3, False)
"""For requests that say nothing. RFC 9218 would have them one after the other; but a client that knows no
priorities is served better, and cannot starve one answer with another, if all of them move on together."""


def parse_priority(value: bytes) -> Priority:
    """What a `priority` field value says: `u=0` to `u=7`, and `i` (RFC 9218 section 4).

    Members that are unknown, malformed or out of range are passed over.
    """
    urgency, incremental = 3, False
    for member in value.split(b","):
        key, _, content = member.partition(b";")[0].strip(b" \t").partition(b"=")
        if key == b"u" and len(content) == 1 and b"0" <= content < b"%d" % LEVELS:
            urgency = int(content)
        elif key == b"i" and content in (b"", b"?0", b"?1"):
            incremental = content != b"?0"
    return Priority(urgency, not incremental)
