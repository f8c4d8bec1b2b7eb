"""daphne.protocols.http2_huffman: against the codes and the decoder of the hpack library."""

from __future__ import annotations

import pytest
from hpack.exceptions import HPACKDecodingError
from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH
from hpack.huffman_table import decode_huffman as decode_with_library
from hypothesis import given
from hypothesis import strategies as st

from daphne.protocols import http2_huffman
from daphne.protocols.http2_huffman import decode_huffman

encode = HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH).encode


@given(st.binary())
def test_what_is_encoded_is_decoded(text: bytes) -> None:
    assert decode_huffman(encode(text)) == text


@pytest.mark.parametrize("symbol", range(256))
def test_every_symbol_at_every_place_in_a_byte(symbol: int) -> None:
    for before in (b"", b"0", b"00", b"000", b"0000", b" ", b"a!", b"&"):
        text = before + bytes((symbol,)) * 3
        assert decode_huffman(encode(text)) == text


@given(
    st.binary()
    | st.binary().map(lambda data: data + b"\xff")
    | st.binary().map(lambda data: b"\xff" * 3 + data)
)
def test_any_bytes_are_decoded_or_refused_as_the_library_does(data: bytes) -> None:
    try:
        expected: bytes | None = bytes(decode_with_library(data))
    except HPACKDecodingError:
        expected = None
    try:
        decoded: bytes | None = decode_huffman(data)
    except ValueError:
        decoded = None
    assert decoded == expected


@pytest.mark.parametrize("encoded", [b"\xff", b"\xff\xff\xff\xff", b"\x00", b"\x1f\xff", b"\x07\x00"])
def test_wrong_ends(encoded: bytes) -> None:
    with pytest.raises(ValueError, match="padding|EOS"):
        decode_huffman(encoded)


def test_what_is_kept_is_bounded() -> None:
    assert len(http2_huffman._points) == 256
    for point in range(256):
        for byte in range(256):
            try:
                http2_huffman._make_step(point << 8 | byte)
            except ValueError:
                continue
    assert len(http2_huffman._steps) <= 65536
