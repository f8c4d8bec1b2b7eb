"""daphne.protocols.http2_priority: what clients say about the order (RFC 9218)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis.strategies import binary

from daphne.protocols.http2_priority import LEVELS, parse_priority


@pytest.mark.parametrize(
    ("value", "urgency", "incremental"),
    [
        (b"", 3, False),
        (b"u=0", 0, False),
        (b"u=7, i", 7, True),
        (b"i", 3, True),
        (b"i=?1", 3, True),
        (b"i=?0", 3, False),
        (b"u=5,i", 5, True),
        (b" u=5 ,\ti ", 5, True),
        (b"i, u=2", 2, True),
        (b"u=1;a=b, i;c", 1, True),
        (b"u=1, u=6", 6, False),
        (b"x=1, u=2", 2, False),
        (b"u=8", 3, False),
        (b"u=-1", 3, False),
        (b"u=10", 3, False),
        (b"u=1.5", 3, False),
        (b"u", 3, False),
        (b"u=?1", 3, False),
        (b"i=1", 3, False),
        (b"U=1", 3, False),
        (b"u =1", 3, False),
        (b",,;=", 3, False),
        (b"u=\xff", 3, False),
    ],
)
def test_values(value: bytes, urgency: int, incremental: bool) -> None:
    assert parse_priority(value) == (urgency, not incremental)


@given(binary())
def test_any_value_is_some_priority(value: bytes) -> None:
    assert 0 <= parse_priority(value).urgency < LEVELS
