"""daphne.protocols.http2_hpack: against the hpack library, the examples of RFC 7541, and hostile bytes."""

from __future__ import annotations

import hpack
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.strategies import binary

from daphne.errors import ConnectionFailed
from daphne.protocols.http2_frames import COMPRESSION_ERROR, ENHANCE_YOUR_CALM
from daphne.protocols.http2_hpack import (
    EMPTY_TABLE,
    TABLE_SIZE,
    Decoder,
    HeadBlocks,
    encode_field,
    encode_fields,
    encode_status,
)
from daphne.streams.response import check_response

Headers = list[tuple[bytes, bytes]]
NAMES = st.sampled_from([b":path", b":status", b"cookie", b"x-a", b"accept", b"a" * 130]) | binary(
    min_size=1, max_size=300
)
FIELDS = st.lists(st.tuples(NAMES, binary(max_size=600)), max_size=12)


def size_of(fields: Headers) -> int:
    return sum(32 + len(name) + len(value) for name, value in fields)


@given(st.lists(st.tuples(FIELDS, st.booleans(), st.integers(0, TABLE_SIZE) | st.none()), max_size=8))
def test_whatever_the_library_writes_is_read(blocks: list[tuple[Headers, bool, int | None]]) -> None:
    encoder, decoder = hpack.Encoder(), Decoder(1 << 20)
    for fields, huffman, table_size in blocks:
        if table_size is not None:
            encoder.header_table_size = table_size
        block = encoder.encode([(name, value, len(value) % 7 == 0) for name, value in fields], huffman)
        assert decoder.decode(block) == (fields, size_of(fields))


@given(FIELDS)
def test_whatever_we_write_the_library_reads(fields: Headers) -> None:
    assert hpack.Decoder(1 << 20).decode(EMPTY_TABLE + encode_fields(fields), raw=True) == fields


@given(binary(max_size=200))
def test_any_bytes_are_read_or_refused_as_the_library_does(block: bytes) -> None:
    library = hpack.Decoder(1 << 20)
    try:
        expected = [(bytes(name), bytes(value)) for name, value in library.decode(block, raw=True)]
    except (hpack.HPACKError, IndexError):
        expected = None
    try:
        fields, _ = Decoder(1 << 20).decode(block)
    except ConnectionFailed as failure:
        assert failure.code == COMPRESSION_ERROR
        # What we refuse beyond the library: table sizes that do not stand first.
        assert expected is None or "table size" in failure.reason
    else:
        assert fields == expected


REQUESTS = [  # RFC 7541, appendix C.4: one connection, Huffman codes
    ("828684418cf1e3c2e5f23a6ba0ab90f4ff", {}),
    ("828684be5886a8eb10649cbf", {b"cache-control": b"no-cache"}),
    ("828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf", {b"custom-key": b"custom-value"}),
]


def test_the_examples_of_the_rfc() -> None:
    decoder = Decoder(65536)
    for index, (block, more) in enumerate(REQUESTS):
        fields = dict(decoder.decode(bytes.fromhex(block))[0])
        assert fields[b":authority"] == b"www.example.com"
        assert fields[b":path"] == (b"/index.html" if index == 2 else b"/")
        assert {name: value for name, value in fields.items() if name[:1] != b":"} == more


@pytest.mark.parametrize(
    ("block", "what"),
    [
        (b"\x80", "index 0"),
        (b"\xbe", "index beyond the table"),
        (b"\xff\x80\x80\x80\x80\x80\x01", "integer that is too long"),
        (b"\x40", "name that is missing"),
        (b"\x40\x05ab", "name that is cut"),
        (b"\x40\x01a\x05ab", "value that is cut"),
        (b"\x7f", "index that is cut"),
        (b"\x40\x81\x00\x01a", "Huffman code with wrong padding"),
        (b"\x40\x84\xff\xff\xff\xff\x01a", "Huffman code with EOS"),
        (b"\x3f\xe2\x1f", "table of 4097 bytes"),
        (b"\x82\x20", "table size after a field"),
    ],
)
def test_blocks_that_are_broken(block: bytes, what: str) -> None:
    with pytest.raises(ConnectionFailed) as caught:
        Decoder(65536).decode(block)
    assert caught.value.code == COMPRESSION_ERROR, what


def test_a_table_of_the_size_that_we_allow() -> None:
    assert Decoder(65536).decode(b"\x3f\xe1\x1f\x82") == ([(b":method", b"GET")], 42)


def test_entries_leave_the_table_when_it_shrinks() -> None:
    decoder = Decoder(65536)
    decoder.decode(encode_into_table(b"a", b"1") + encode_into_table(b"b", b"2"))
    assert decoder.decode(b"\xbf\xbe")[0] == [(b"a", b"1"), (b"b", b"2")]
    assert decoder.decode(b"\x3f\x15\xbe")[0] == [(b"b", b"2")]  # 52 bytes: room for one entry of 34
    with pytest.raises(ConnectionFailed):
        decoder.decode(b"\xbf")


def test_an_entry_larger_than_the_table_empties_it() -> None:
    decoder = Decoder(65536)
    decoder.decode(encode_into_table(b"a", b"1") + encode_into_table(b"b", b"x" * 5000))
    with pytest.raises(ConnectionFailed):
        decoder.decode(b"\xbe")
    assert decoder.decode(encode_into_table(b"c", b"3") + b"\xbe")[0] == [(b"c", b"3")] * 2


def encode_into_table(name: bytes, value: bytes) -> bytes:
    literal = encode_field(b"x", value)[3:]
    return b"\x40" + bytes((len(name),)) + name + literal


# ---- limits ------------------------------------------------------------------------------------------


def test_of_a_list_that_is_too_large_the_first_fields_are_kept_and_the_table_stays_right() -> None:
    decoder = Decoder(100)
    fields, size = decoder.decode(encode_into_table(b"a", b"1") + encode_into_table(b"b", b"x" * 60))
    assert (fields, size) == ([(b"a", b"1")], 34 + 93)
    assert decoder.decode(b"\xbf")[0] == [(b"a", b"1")]
    assert decoder.decode(b"\xbe")[0] == [(b"b", b"x" * 60)]


def test_a_list_of_just_the_largest_size() -> None:
    fields = [(b"a", b"x" * 67)]
    assert Decoder(100).decode(encode_fields(fields)) == (fields, 100)
    assert Decoder(99).decode(encode_fields(fields)) == ([], 100)


def test_a_bomb_ends_the_connection() -> None:
    decoder = Decoder(65536)
    decoder.decode(encode_into_table(b"a", b"x" * 4000))
    decoder.decode(b"\xbe" * 200)  # 800 KB, which is answered with 431
    with pytest.raises(ConnectionFailed) as caught:
        decoder.decode(b"\xbe" * 300)
    assert (caught.value.code, caught.value.limit) == (ENHANCE_YOUR_CALM, "http2_max_header_list_size")


# ---- what goes out -----------------------------------------------------------------------------------


def test_statuses() -> None:
    for status in range(100, 1000):
        assert hpack.Decoder().decode(encode_status(status)) == [(":status", str(status))]
    assert encode_status(200) == b"\x88"


def test_secrets_are_marked_for_proxies() -> None:
    (field,) = hpack.Decoder().decode(encode_field(b"set-cookie", b"a=1"))
    assert isinstance(field, hpack.NeverIndexedHeaderTuple)


def test_the_block_of_a_head() -> None:
    standard = [(b"date", b"now"), (b"server", b"daphne")]
    blocks = HeadBlocks(lambda: standard)
    decoder = hpack.Decoder()

    def fields(*headers: tuple[bytes, bytes]) -> Headers:
        return decoder.decode(blocks.encode(check_response(200, headers)), raw=True)  # type: ignore[return-value]

    assert fields((b"x", b"y")) == [(b":status", b"200"), *standard, (b"x", b"y")]
    assert fields((b"Date", b"then")) == [(b":status", b"200"), (b"server", b"daphne"), (b"date", b"then")]
    standard = [(b"date", b"later")]
    assert fields() == [(b":status", b"200"), (b"date", b"later")]
