"""Huffman codes of HPACK (RFC 7541 section 5.2 and appendix B), read a byte at a time.

Called by http2_hpack for each string that is encoded so; takes the codes from the `hpack` library. Where a
byte leads from a point within a code is found out when it is first needed, and kept: there are 256 points,
and so 65536 such steps at most.
"""

from __future__ import annotations

from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH

_EOS = 256
_LONGEST_PADDING = 7


def _make_tree() -> tuple[list[list[int]], frozenset[int]]:
    """The points, the root first, each with where a 0 and a 1 lead: to a point, or to a symbol as its
    complement.

    Besides, the points where a string may end: the root, and within the code for EOS after up to seven bits.
    """
    points = [[0, 0]]
    ends = {0}
    for symbol, code in enumerate(REQUEST_CODES):
        at = 0
        for bit in range(REQUEST_CODES_LENGTH[symbol] - 1, 0, -1):
            ways = points[at]
            way = code >> bit & 1
            if not ways[way]:
                ways[way] = len(points)
                points.append([0, 0])
            at = ways[way]
            if symbol == _EOS and REQUEST_CODES_LENGTH[symbol] - bit <= _LONGEST_PADDING:
                ends.add(at)
        points[at][code & 1] = ~symbol
    return points, frozenset(ends)


_points, _ends = _make_tree()
_steps: dict[int, tuple[bytes, int]] = {}
"""256 * point + byte -> the symbols that it completes, and 256 * the point where it ends."""


def _make_step(key: int) -> tuple[bytes, int]:
    point, byte = key >> 8, key & 0xFF
    symbols = bytearray()
    for bit in range(7, -1, -1):
        point = _points[point][byte >> bit & 1]
        if point < 0:
            if ~point == _EOS:
                raise ValueError("EOS within a string")
            symbols.append(~point)
            point = 0
    step = _steps[key] = bytes(symbols), point << 8
    return step


def decode_huffman(encoded: bytes) -> bytes:
    """The string that `encoded` stands for. Raises ValueError for EOS, and for padding other than its
    first bits.
    """
    point = 0
    parts = []
    for byte in encoded:
        key = point | byte
        symbols, point = _steps.get(key) or _make_step(key)
        parts.append(symbols)
    if point >> 8 not in _ends:
        raise ValueError("wrong padding")
    return b"".join(parts)
