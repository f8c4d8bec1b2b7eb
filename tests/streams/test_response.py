"""daphne.streams.response: checked once, and the same every time."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daphne.errors import ApplicationError
from daphne.streams.response import check_fields, check_response

some_bytes = st.one_of(
    st.sampled_from(
        [b"", b"x", b"X-Y", b"a b", b"a\r\nb", b"a\x00", b"\t ok \xff", b"chunked", b"5", b"\x7f"]
    ),
    st.binary(max_size=8),
)


@given(st.lists(st.tuples(some_bytes, some_bytes), max_size=4))
def test_what_passes_can_be_written_in_one_way_only(fields: list[tuple[bytes, bytes]]) -> None:
    """Also when it has been seen before: checked fields are kept."""
    results = []
    for _ in range(2):
        try:
            results.append(check_fields(fields))
        except ApplicationError:
            results.append(None)
    assert results[0] == results[1]
    for name, value in results[0] or ():
        line = name + b": " + value
        assert not set(line) & {*range(9), *range(10, 32), 127}
        assert name and not set(name) & set(b' \t:"(),/;<=>?@[\\]{}')


def test_lists_and_generators_are_fields_too() -> None:
    expected = [(b"x", b"1"), (b"y", b"2")]
    given_fields: Any = [[b"X", b"1"], (b"y", b"2")]
    assert check_response(200, given_fields).headers == expected
    assert check_response(200, iter(given_fields)).headers == expected
    assert check_fields(iter(given_fields)) == expected


@pytest.mark.parametrize(
    "field", [(b"x", bytearray(b"1")), (b"x", memoryview(b"2")), (bytearray(b"x"), b"1")]
)
def test_only_bytes_are_bytes(field: Any) -> None:
    for _ in range(2):
        with pytest.raises(ApplicationError, match="expected to be `bytes`"):
            check_response(200, [field])


def test_the_lengths_must_be_one() -> None:
    assert check_response(200, [(b"content-length", b"5"), (b"Content-Length", b"5")]).headers == [
        (b"content-length", b"5")
    ]
    for first, second in ((b"0", b"5"), (b"5", b"0"), (b"5", b"6")):
        with pytest.raises(ApplicationError):
            check_response(200, [(b"content-length", first), (b"content-length", second)])


def test_what_the_connection_needs_to_know() -> None:
    head = check_response(200, [(b"Connection", b"Close"), (b"Date", b"x"), (b"Transfer-Encoding", b"gzip")])
    assert (head.close, head.own_standard, head.headers) == (True, True, [(b"date", b"x")])
    assert check_response(204, []).bodiless and not check_response(200, []).bodiless
