"""daphne.protocols.http1_body: where a body ends, whatever the pieces it comes in."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from daphne.errors import RequestRefused
from daphne.protocols.http1_body import LONGEST_CHUNK_LINE, LONGEST_TRAILERS, ChunkedBody, LengthBody


def read(body: LengthBody | ChunkedBody, *pieces: bytes) -> tuple[bytes, bytes, bool]:
    """What a body is made of, what follows it, and whether it is complete."""
    taken, rest = b"", b""
    for index, piece in enumerate(pieces):
        data, rest = body.feed(piece)
        taken += data
        while rest and not body.done:  # many chunks: the reader has others served in between
            data, rest = body.feed(rest)
            taken += data
        assert body.received == len(taken)
        if body.done:
            return taken, rest + b"".join(pieces[index + 1 :]), True
        assert rest == b""
    return taken, b"", False


def result(data: bytes, cuts: list[int]) -> tuple[bytes, bytes, bool] | str:
    """What a chunked body in pieces is read as, or "refused"."""
    edges = [0, *cuts, len(data)]
    try:
        return read(ChunkedBody(), *[data[a:b] for a, b in zip(edges, edges[1:], strict=False)])
    except RequestRefused as refused:
        assert refused.status == 400
        return "refused"


def test_a_body_of_known_length() -> None:
    assert read(LengthBody(5), b"123", b"45678") == (b"12345", b"678", True)
    assert read(LengthBody(5), b"123") == (b"123", b"", False)
    assert LengthBody(0).done


@given(st.binary(max_size=30), st.binary(max_size=10), st.lists(st.integers(0, 40), max_size=5).map(sorted))
def test_a_body_of_known_length_in_any_pieces(body: bytes, after: bytes, cuts: list[int]) -> None:
    data = body + after
    edges = [0, *[min(cut, len(data)) for cut in cuts], len(data)]
    pieces = [data[a:b] for a, b in zip(edges, edges[1:], strict=False)]
    assert read(LengthBody(len(body)), *pieces) == (body, after, True)


@pytest.mark.parametrize(
    ("data", "body", "rest"),
    [
        (b"0\r\n\r\n", b"", b""),
        (b"0\r\n\r\nGET", b"", b"GET"),
        (b"5\r\nhello\r\n0\r\n\r\n", b"hello", b""),
        (b"A\r\n0123456789\r\n00000000\r\n\r\nx", b"0123456789", b"x"),
        (b'1;a\r\nx\r\n1;a=b;c="d;e"\r\ny\r\n1 ; a\r\nz\r\n0;last\r\n\r\n', b"xyz", b""),
        (b"2\r\n\r\n\r\n0\r\n\r\n", b"\r\n", b""),
        (b"1\r\nx\r\n0\r\nTrailer: value\r\nX-Y:\r\n\r\n", b"x", b""),
    ],
)
def test_well_formed_chunks(data: bytes, body: bytes, rest: bytes) -> None:
    for cut in range(len(data)):
        assert result(data, [cut]) == (body, rest, True)
    assert result(data, list(range(1, len(data)))) == (body, rest, True)


@pytest.mark.parametrize(
    "data",
    [
        b"\r\n",
        b"x\r\n",
        b"0x1\r\nx\r\n",
        b"+1\r\nx\r\n",
        b"-1\r\nx\r\n",
        b" 1\r\nx\r\n",
        b"1 \r\nx\r\n",
        b"1 x\r\nx\r\n",
        b"1_0\r\nx\r\n",
        b"\xd9\xa1\r\nx\r\n",
        b"1\nx\r\n",
        b"1\r\nx\n",
        b"1\r\nxx\r\n",
        b"1\r\nx\rx",
        b"1\r\r\nx\r\n",
        b"1;a\x00b\r\nx\r\n",
        b"1;a\nb\r\nx\r\n",
        b"1;a\rb\r\nx\r\n",
        b"00000000000000001\r\nx\r\n",
        b"0\r\nTrailer\r\n\r\n",
        b"0\r\nTrailer : x\r\n\r\n",
        b"0\r\n folded\r\n\r\n",
        b"0\r\nT: x\r\n folded\r\n\r\n",
        b"0\r\nT: a\x00b\r\n\r\n",
        b"0\r\nT: x\n\r\n",
        b"0\r\n\n",
        b"1;" + b"a" * LONGEST_CHUNK_LINE + b"\r\nx\r\n",
        b"1" * (LONGEST_CHUNK_LINE + 1),
        b"0\r\n" + b"T: xxxxxxxxxxxxxxxxxxxxxxxxxx\r\n" * (LONGEST_TRAILERS // 25) + b"\r\n",
        b"0\r\nT: " + b"x" * LONGEST_TRAILERS,
        (b"1;" + b"a" * 1000 + b"\r\nx\r\n") * 70,
    ],
)
def test_malformed_chunks_are_refused_however_they_are_split(data: bytes) -> None:
    assert result(data, []) == "refused"
    if len(data) < 100:
        for cut in range(len(data)):
            assert result(data, [cut]) == "refused"
    assert result(data, list(range(1, len(data)))) == "refused"


@pytest.mark.parametrize(
    "length", [LONGEST_CHUNK_LINE - 2, LONGEST_CHUNK_LINE - 1, LONGEST_CHUNK_LINE, LONGEST_CHUNK_LINE + 1]
)
def test_the_longest_chunk_line_is_the_same_for_every_split(length: int) -> None:
    data = b"1;" + b"a" * (length - 3) + b"\r\nx\r\n0\r\n\r\n"
    whole = result(data, [])
    for cut in (length - 2, length - 1, length, length + 1):
        assert result(data, [cut]) == whole
    assert result(data, list(range(1, len(data)))) == whole


parts = st.sampled_from(
    [
        b"0",
        b"1",
        b"5",
        b"a",
        b"F",
        b"\r\n",
        b"\r",
        b"\n",
        b";x=y",
        b" ",
        b"hello",
        b"x",
        b"0\r\n\r\n",
        b"5\r\nhello\r\n",
        b"T: v\r\n",
        b"GET / HTTP/1.1",
    ]
)


@given(st.lists(parts, max_size=12).map(b"".join), st.lists(st.integers(0, 60), max_size=8).map(sorted))
@example(b"5\r\nhello\r\n0\r\n\r\n", [6, 9, 10])
def test_any_split_of_any_bytes_gives_the_same(data: bytes, cuts: list[int]) -> None:
    whole = result(data, [])
    assert result(data, [min(cut, len(data)) for cut in cuts]) == whole
    assert result(data, list(range(1, len(data)))) == whole
