"""Read HTTP/1 responses strictly: what a client may rely on, and nothing else passes.

Used by `daphne.testing.memory` and by tests with the bytes that a server wrote.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_STATUS_LINE = re.compile(rb"HTTP/(1\.[01]) ([1-9][0-9]{2}) ([\t -~]*)")
_FIELD_LINE = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+): ?([\t -~\x80-\xff]*)")
_CHUNK_SIZE = re.compile(rb"[0-9A-Fa-f]+")


@dataclass
class Response:
    """One response. Names of fields are lower-case."""

    status: int
    headers: list[tuple[bytes, bytes]]
    version: str = "1.1"
    body: bytes = b""
    trailers: list[tuple[bytes, bytes]] = field(default_factory=list)
    interim: list[Response] = field(default_factory=list)
    """The 1xx responses that came before it."""
    complete: bool = True
    """False where the connection ended before the body did."""

    def header(self, name: bytes) -> bytes | None:
        """The one value of a field, or None. Raises ValueError when there are several."""
        values = [value for key, value in self.headers if key == name]
        if len(values) > 1:
            raise ValueError(f"{name!r} stands {len(values)} times")
        return values[0] if values else None


def read_response(data: bytes, method: str = "GET", ended: bool = False) -> tuple[Response, bytes] | None:
    """The first final response in `data` and the bytes after it; None while it is not complete.

    `method` is that of the request, on which the length depends (RFC 9112 section 6.3); `ended` says that
    nothing follows `data`. Raises ValueError for anything that is not a well-formed response.
    """
    interim: list[Response] = []
    while True:
        head, separator, rest = data.partition(b"\r\n\r\n")
        if not separator:
            return None
        response = _head(head)
        if response.status >= 200 or response.status == 101:
            response.interim = interim
            return _with_body(response, rest, method, ended)
        interim.append(response)
        data = rest


def _head(head: bytes) -> Response:
    status, *lines = head.split(b"\r\n")
    match = _STATUS_LINE.fullmatch(status)
    if match is None:
        raise ValueError(f"malformed status line {status!r}")
    return Response(int(match[2]), _fields(lines), match[1].decode())


def _fields(lines: list[bytes]) -> list[tuple[bytes, bytes]]:
    fields = []
    for line in lines:
        match = _FIELD_LINE.fullmatch(line)
        if match is None:
            raise ValueError(f"malformed field line {line!r}")
        fields.append((match[1].lower(), match[2]))
    return fields


def _with_body(response: Response, rest: bytes, method: str, ended: bool) -> tuple[Response, bytes] | None:
    coding, length = response.header(b"transfer-encoding"), response.header(b"content-length")
    if coding is not None and (coding != b"chunked" or length is not None or response.version == "1.0"):
        raise ValueError("a response with two lengths, or a coding that the client does not know")
    if method == "HEAD" or response.status in (101, 204, 304):
        return response, rest
    if coding is not None:
        return _chunked(response, rest, ended)
    if length is not None:
        if not length.isdigit():
            raise ValueError(f"malformed content-length {length!r}")
        response.body = rest[: int(length)]
        response.complete = len(response.body) == int(length)
        return (response, rest[int(length) :]) if response.complete or ended else None
    response.body = rest
    return (response, b"") if ended else None


def _chunked(response: Response, rest: bytes, ended: bool) -> tuple[Response, bytes] | None:
    while True:
        line, separator, after = rest.partition(b"\r\n")
        if separator and _CHUNK_SIZE.fullmatch(line) is None:
            raise ValueError(f"malformed chunk size {line!r}")
        size = int(line, 16) if separator else -1
        if size == 0:
            return _trailers(response, after, ended)
        if size < 0 or len(after) < size + 2:
            response.complete = False
            response.body += after[: max(size, 0)]
            return (response, b"") if ended else None
        if after[size : size + 2] != b"\r\n":
            raise ValueError("a chunk that does not end in CRLF")
        response.body += after[:size]
        rest = after[size + 2 :]


def _trailers(response: Response, rest: bytes, ended: bool) -> tuple[Response, bytes] | None:
    if rest.startswith(b"\r\n"):
        return response, rest[2:]
    section, separator, after = rest.partition(b"\r\n\r\n")
    if not separator:
        response.complete = False
        return (response, b"") if ended else None
    response.trailers = _fields(section.split(b"\r\n"))
    return response, after
