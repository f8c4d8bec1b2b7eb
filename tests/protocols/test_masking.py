"""daphne.protocols.masking: taking masks off."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from daphne.protocols import masking
from daphne.testing.frames import masked_payload


@given(st.binary(min_size=4, max_size=4), st.one_of(st.binary(max_size=300), st.integers(0, 5000).map(bytes)))
def test_both_ways_give_the_same(mask: bytes, payload: bytes) -> None:
    expected = masked_payload(mask, payload)
    assert masking.unmask(mask, payload) == expected
    assert masking.unmask_small(mask, payload) == expected


def test_the_payload_itself_is_left_alone() -> None:
    payload = b"x" * 1000
    masking.unmask(b"abcd", payload)
    assert payload == b"x" * 1000
