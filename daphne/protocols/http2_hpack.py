"""Field blocks of HTTP/2 (HPACK, RFC 7541): from bytes to header lists and back.

Called by http2_reader with each field block that has come, and by http2_exchange for those that go out;
calls the `hpack` library for the static table and for Huffman codes.

The decoder is our own because it bounds what is decoded while it decodes, and is several times as fast as
the library's. What goes out is never put into the dynamic table: a block then means the same wherever it is
written, no state has to be kept in step, and nothing secret can be guessed from its size (RFC 7541 section
7.1).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from hpack.table import HeaderTable

from daphne.errors import ConnectionFailed
from daphne.protocols.http2_frames import COMPRESSION_ERROR, ENHANCE_YOUR_CALM
from daphne.protocols.http2_huffman import decode_huffman
from daphne.streams.head import Headers
from daphne.streams.response import ResponseHead

TABLE_SIZE = 4096
"""Bytes of the dynamic table that the client may use: the default, which we do not change (RFC 7541
section 4.2)."""
ENTRY_OVERHEAD = 32
"""What an entry counts beside its name and value (RFC 7541 section 4.1)."""
_BOMB = 16
"""A block that decodes to this many times the largest header list ends the connection."""
_LONGEST_INTEGER = 5
"""Bytes after the prefix of an integer; more than 2^35 is said by nobody who is honest."""

_STATIC: tuple[tuple[bytes, bytes], ...] = tuple(HeaderTable.STATIC_TABLE)
_FIRST_DYNAMIC = len(_STATIC) + 1


def _broken(what: str) -> ConnectionFailed:
    return ConnectionFailed(COMPRESSION_ERROR, f"field block: {what}")


class Decoder:
    """The decoding state of one connection.

    `most`: bytes of a header list (counted as in RFC 9113 section 6.5.2) that are kept; of a larger one the
    rest is decoded, because later blocks refer to it, and thrown away.
    """

    __slots__ = ("_capacity", "_most", "_table", "_used")

    def __init__(self, most: int) -> None:
        self._most = most
        self._table: Headers = []
        """The dynamic table, the newest entry last."""
        self._used = 0
        self._capacity = TABLE_SIZE

    def decode(self, block: bytes) -> tuple[Headers, int]:
        """The header list of a block and its whole size.

        Raises ConnectionFailed: COMPRESSION_ERROR for what cannot be decoded (RFC 9113 section 4.3),
        ENHANCE_YOUR_CALM for a bomb.
        """
        fields: Headers = []
        size, most = 0, self._most
        at, end = 0, len(block)
        table = self._table
        try:
            while at < end:
                byte = block[at]
                at += 1
                if byte >= 0x80:  # an indexed field, section 6.1
                    index = byte & 0x7F
                    if index == 0x7F:
                        index, at = _integer(block, at, 0x7F)
                    if index >= _FIRST_DYNAMIC:
                        field = table[_FIRST_DYNAMIC - 1 - index]
                    elif index:
                        field = _STATIC[index - 1]
                    else:
                        raise _broken("index 0")
                elif byte >= 0x40:  # a literal that enters the table, section 6.2.1
                    field, at = self._literal(block, at, byte & 0x3F, 0x3F)
                    self._insert(field)
                elif byte >= 0x20:  # a new size of the table, section 6.3
                    if size:
                        raise _broken("a table size after a field")
                    at = self._resize(block, at, byte & 0x1F)
                    continue
                else:  # a literal that does not, sections 6.2.2 and 6.2.3
                    field, at = self._literal(block, at, byte & 0x0F, 0x0F)
                size += ENTRY_OVERHEAD + len(field[0]) + len(field[1])
                if size <= most:
                    fields.append(field)
                elif size > most * _BOMB:
                    raise ConnectionFailed(
                        ENHANCE_YOUR_CALM, "a field block that swells", limit="http2_max_header_list_size"
                    )
        except IndexError:
            raise _broken("truncated, or an index beyond the table") from None
        return fields, size

    def _literal(self, block: bytes, at: int, index: int, full: int) -> tuple[tuple[bytes, bytes], int]:
        if index == 0:
            name, at = _string(block, at)
        else:
            if index == full:
                index, at = _integer(block, at, full)
            if index >= _FIRST_DYNAMIC:
                name = self._table[_FIRST_DYNAMIC - 1 - index][0]
            else:
                name = _STATIC[index - 1][0]
        value, at = _string(block, at)
        return (name, value), at

    def _insert(self, field: tuple[bytes, bytes]) -> None:
        """Add to the table, after making room (RFC 7541 section 4.4)."""
        size = ENTRY_OVERHEAD + len(field[0]) + len(field[1])
        self._used += size
        if self._used > self._capacity:
            self._evict()
        if size <= self._capacity:
            self._table.append(field)
        else:
            self._used = 0

    def _evict(self) -> None:
        table, gone = self._table, 0
        while self._used > self._capacity and gone < len(table):
            name, value = table[gone]
            self._used -= ENTRY_OVERHEAD + len(name) + len(value)
            gone += 1
        del table[:gone]

    def _resize(self, block: bytes, at: int, capacity: int) -> int:
        if capacity == 0x1F:
            capacity, at = _integer(block, at, 0x1F)
        if capacity > TABLE_SIZE:
            raise _broken("a table larger than we allow")
        self._capacity = capacity
        self._evict()
        return at


def _integer(block: bytes, at: int, value: int) -> tuple[int, int]:
    """The rest of an integer whose prefix was full with `value`, and the place after it (RFC 7541 section
    5.1).
    """
    for shift in range(0, _LONGEST_INTEGER * 7, 7):
        byte = block[at]
        at += 1
        value += (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise _broken("an integer that is too long")


def _string(block: bytes, at: int) -> tuple[bytes, int]:
    """A string literal and the place after it (RFC 7541 section 5.2)."""
    first = block[at]
    at += 1
    length = first & 0x7F
    if length == 0x7F:
        length, at = _integer(block, at, 0x7F)
    end = at + length
    raw = block[at:end]
    if len(raw) != length:
        raise _broken("truncated")
    if first >= 0x80:
        try:
            raw = decode_huffman(raw)
        except ValueError as error:
            raise _broken(str(error)) from None
    return raw, end


# ---- what goes out -------------------------------------------------------------------------------

EMPTY_TABLE = b"\x20"
"""Says that our table has no entries (a size of 0, RFC 7541 section 6.3); stands once, in front of the
first block that is written."""

_NEVER_INDEXED = frozenset((b"set-cookie", b"authorization", b"proxy-authorization"))
"""Fields that no proxy on the way may put in a table either (RFC 7541 section 7.1.3)."""
_MOST_NAMES = 1024

_STATIC_NAMES: dict[bytes, int] = {}
for _index, (_name, _) in enumerate(_STATIC, 1):
    _STATIC_NAMES.setdefault(_name, _index)
_STATUS = {
    int(value): bytes((0x80 | index,)) for index, (name, value) in enumerate(_STATIC, 1) if name == b":status"
}
_BYTE = tuple(bytes((code,)) for code in range(127))
_prefixes: dict[bytes, bytes] = {}
"""Name -> how a literal without indexing begins that bears it."""


def encode_status(status: int) -> bytes:
    """The field `:status`."""
    return _STATUS.get(status) or encode_field(b":status", b"%d" % status)


def encode_fields(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Checked header fields, lower-case, as part of a field block."""
    return b"".join([encode_field(name, value) for name, value in headers])


def encode_field(name: bytes, value: bytes) -> bytes:
    """One field as a literal that stays out of the table (RFC 7541 sections 6.2.2 and 6.2.3)."""
    prefix = _prefixes.get(name) or _prefix(name)
    size = len(value)
    return prefix + (_BYTE[size] if size < 127 else _encode_integer(size, 0x7F)) + value


def _prefix(name: bytes) -> bytes:
    first = 0x10 if name in _NEVER_INDEXED else 0
    index = _STATIC_NAMES.get(name, 0)
    if index:
        prefix = _encode_integer(index, 0x0F, first)
    else:
        prefix = bytes((first,)) + _encode_integer(len(name), 0x7F) + name
    if len(_prefixes) < _MOST_NAMES:
        _prefixes[name] = prefix
    return prefix


def _encode_integer(value: int, full: int, first: int = 0) -> bytes:
    """An integer behind the bits of `first`; `full` is the prefix with all its bits set (RFC 7541 section
    5.1).
    """
    if value < full:
        return bytes((first | value,))
    encoded = bytearray((first | full,))
    value -= full
    while value >= 128:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


class HeadBlocks:
    """Makes the field blocks of answers. `standard_fields` gives Date and Server, the same list as long as
    they are the same.
    """

    __slots__ = ("_standard_block", "_standard_fields", "_standard_list")

    def __init__(self, standard_fields: Callable[[], Headers]) -> None:
        self._standard_fields = standard_fields
        self._standard_list: Headers = []
        self._standard_block = b""

    def encode(self, head: ResponseHead) -> bytes:
        """Status, Date and Server where the application gave none, and the application's fields."""
        standard = self._standard_fields()
        if standard is not self._standard_list:
            self._standard_list = standard
            self._standard_block = encode_fields(standard)
        block = self._standard_block
        if head.own_standard:
            own = [name for name, _ in head.headers]
            block = encode_fields([field for field in standard if field[0] not in own])
        return encode_status(head.status) + block + encode_fields(head.headers)
