"""daphne.protocols.masking: taking masks off, and bytes that are still to be written."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from daphne.protocols import masking
from daphne.testing.frames import masked_payload


@given(st.binary(min_size=4, max_size=4), st.one_of(st.binary(max_size=300), st.integers(0, 5000).map(bytes)))
def test_both_ways_give_the_same(mask: bytes, payload: bytes) -> None:
    expected = bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))
    assert masked_payload(mask, payload) == expected
    assert masking.unmask_small(mask, payload) == expected
    alone = bytes(bytearray(payload))
    assert masking.unmask(mask, alone) == expected


@given(st.binary(min_size=4, max_size=4), st.binary(min_size=1, max_size=300), st.integers(0, 300))
def test_bytes_are_written_where_they_stay(mask: bytes, payload: bytes, cut: int) -> None:
    assert masking.HAS_NVX
    made, memory = masking.unwritten(len(payload))
    memory[:cut] = payload[:cut]
    memory[cut:] = payload[cut:]
    assert type(made) is bytes and made == bytes(memory) == payload
    again, memory = masking.unwritten(len(payload))
    memory[:] = payload
    del memory
    assert masking.unmask(mask, again) == masked_payload(mask, payload)
    assert payload == made
