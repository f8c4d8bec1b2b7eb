"""daphne.reactor.records: all records are full but the last, whatever the pieces."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from daphne.reactor.records import BATCH, RECORD, full_records

LENGTHS = st.integers(0, 60) | st.integers(0, 5 * RECORD) | st.sampled_from([RECORD, RECORD + 9, BATCH])


@given(st.lists(LENGTHS, max_size=12))
def test_records_are_full(lengths: list[int]) -> None:
    pieces = [bytes([number]) * length for number, length in enumerate(lengths)]
    parts = list(full_records(pieces))
    assert b"".join(parts) == b"".join(pieces)
    assert all(0 < len(part) <= BATCH for part in parts)
    assert all(len(part) % RECORD == 0 for part in parts[:-1])
