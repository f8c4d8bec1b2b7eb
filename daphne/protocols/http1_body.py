"""Request bodies of HTTP/1: where they end (RFC 9112 sections 6 and 7).

Called by http1.HTTP1Connection with the bytes that follow a head. Each decoder says what it took, so that the
bytes of the next request are never touched.
"""

from __future__ import annotations

import re

from daphne.errors import RequestRefused

LONGEST_CHUNK_LINE = 4096
"""Bytes of one chunk-size line with its extensions."""
LONGEST_TRAILERS = 16384
"""Bytes of all trailer fields together. They are checked and thrown away: never merged into the headers."""
_SPARE_LINES = 65536
"""Bytes of chunk extensions that one body may carry in all before it counts as an attack (CVE-2023-39326)."""

_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,16})([ \t]*;[\t -~\x80-\xff]*)?")
_TRAILER_LINE = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t -~\x80-\xff]*")


class LengthBody:
    """A body of Content-Length bytes."""

    __slots__ = ("done", "received", "remaining")

    def __init__(self, length: int) -> None:
        self.remaining = length
        self.received = 0
        self.done = length == 0

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """Split `data` into (body bytes, what comes after the body)."""
        size = len(data)
        if size < self.remaining:
            self.remaining -= size
            self.received += size
            return data, b""
        body, rest = data[: self.remaining], data[self.remaining :]
        self.received += self.remaining
        self.remaining = 0
        self.done = True
        return body, rest


PIECES_IN_A_ROW = 64
"""Chunks that are read in one call: they may have a byte each, and the loop reads some 100 KB at once."""


class ChunkedBody:
    """A body in the chunked transfer coding.

    Sizes are hexadecimal digits and nothing else, every line ends in CRLF, extensions are bounded and
    ignored, trailers are bounded, checked and dropped. Raises RequestRefused(400) for anything else.
    """

    __slots__ = ("_held", "_read", "_remaining", "_spare", "_trailer_size", "done", "received")

    def __init__(self) -> None:
        self.done = False
        self.received = 0
        self._held = b""
        self._remaining = 0
        self._spare = _SPARE_LINES
        self._trailer_size = 0
        self._read = self._size_line

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """Split `data` into (body bytes, what comes after the body); the latter is to be fed again where the
        body is not `done`: others may have their turn first.
        """
        if self._held:
            data, self._held = self._held + data, b""
        pieces: list[bytes] = []
        at: int | None = 0
        while not self.done and len(pieces) < PIECES_IN_A_ROW:
            before = at
            at = self._read(data, at or 0, pieces)
            if at is None:
                self._held = data[before:]
                return b"".join(pieces), b""
        return b"".join(pieces), data[at:]

    def _line(self, data: bytes, at: int, longest: int) -> tuple[bytes, int] | None:
        """The line at `at` and the place after its CRLF; None while it is not complete."""
        end = data.find(b"\n", at)
        if end < 0:
            if len(data) - at > longest:
                raise RequestRefused(400, "a line in a chunked body that is too long")
            return None
        if end == at or data[end - 1] != 13:
            raise RequestRefused(400, "a line in a chunked body that does not end in CRLF")
        if end - at > longest:
            raise RequestRefused(400, "a line in a chunked body that is too long")
        return data[at : end - 1], end + 1

    def _size_line(self, data: bytes, at: int, pieces: list[bytes]) -> int | None:
        found = self._line(data, at, LONGEST_CHUNK_LINE)
        if found is None:
            return None
        line, at = found
        match = _CHUNK_LINE.fullmatch(line)
        if match is None:
            raise RequestRefused(400, "malformed chunk size")
        self._spare -= len(match.group(2) or b"")
        if self._spare < 0:
            raise RequestRefused(400, "too many chunk extensions")
        self._remaining = int(match.group(1), 16)
        self._read = self._data if self._remaining else self._trailer
        return at

    def _data(self, data: bytes, at: int, pieces: list[bytes]) -> int | None:
        piece = data[at : at + self._remaining]
        if not piece:
            return None
        pieces.append(piece)
        self.received += len(piece)
        self._remaining -= len(piece)
        if not self._remaining:
            self._read = self._data_end
        return at + len(piece)

    def _data_end(self, data: bytes, at: int, pieces: list[bytes]) -> int | None:
        end = data[at : at + 2]
        if end == b"\r\n":
            self._read = self._size_line
            return at + 2
        if end and end != b"\r":
            raise RequestRefused(400, "chunk data that is longer than its size")
        return None

    def _trailer(self, data: bytes, at: int, pieces: list[bytes]) -> int | None:
        found = self._line(data, at, LONGEST_TRAILERS)
        if found is None:
            return None
        line, at = found
        self._trailer_size += len(line)
        if not line:
            self.done = True
        elif self._trailer_size > LONGEST_TRAILERS or _TRAILER_LINE.fullmatch(line) is None:
            raise RequestRefused(400, "malformed or too many trailers")
        return at
