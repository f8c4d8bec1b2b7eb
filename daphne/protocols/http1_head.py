"""From the bytes of one HTTP/1 request head to a validated RequestHead (RFC 9112 sections 2 to 5).

Called by http1.HTTP1Connection with a whole head, up to its empty line, however it was split; judges
field names by streams.head. One reading or a refusal: no line end but CRLF, no folded line, no space before a
colon, no control character. Body framing is decided here and nowhere else.
"""

from __future__ import annotations

from typing import Any, Final

from daphne.errors import RequestRefused
from daphne.settings import Settings
from daphne.streams.head import (
    COMMON_FIELDS,
    DROPPED,
    PLAIN,
    RequestHead,
    field_names,
    is_token,
    learn_field_name,
)

_METHODS: Final = {
    name.encode(): name
    for name in (
        *("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"),
        *("PROPFIND", "PROPPATCH", "MKCOL", "COPY", "MOVE", "LOCK", "UNLOCK", "SEARCH", "REPORT"),
    )
}
"""Methods that need no look at their characters."""

_CONTROLS: Final = bytes(63 if (code < 32 and code != 9) or code == 127 else code for code in range(256))
"""A translation that changes every control character but the tab."""

_MOST_LINES = 1024
_LONGEST_LINE = 256


class FieldLine:
    """A field line, validated."""

    __slots__ = ("kind", "name", "pair", "value")

    def __init__(self, name: bytes, value: bytes, kind: int) -> None:
        self.name = name
        self.value = value
        self.kind = kind
        self.pair: Any = (name, value)


class HeadParser:
    """Parses whole heads, one at a time. One serves a whole site.

    It remembers common field lines. Each stands for itself alone: no head changes what another means.
    """

    def __init__(self, settings: Settings) -> None:
        self._most_headers = settings.max_header_count
        self._as_daphne_4 = not settings.strict_host
        self._known: dict[bytes, FieldLine] = {}

    def parse(self, head: bytes) -> RequestHead:
        """The validated head of one request.

        `head` is what stands before CRLF CRLF. Raises RequestRefused with the status that answers it.
        """
        lines = head.split(b"\r\n")
        request = self._request_line(lines[0])
        if len(lines) - 1 > self._most_headers:
            raise RequestRefused(431, "too many header fields", limit="max_header_count")
        headers: list[Any] = request.headers
        for index in range(1, len(lines)):
            field = self._known.get(lines[index])
            if field is None:
                field = self._field(lines[index])
            if field.kind == PLAIN:
                headers.append(field.pair)
            elif field.kind != DROPPED:
                request.take_special(field.name, field.value)
                if field.name != b"daphne-root-path":
                    headers.append(field.pair)
        if request.chunked:
            _check_chunked(request)
        if self._as_daphne_4:
            if b"\x85" in head:
                raise RequestRefused(400, "the byte 0x85, which is a line end in Latin-1")
        elif request.host is None and request.http_version == "1.1":
            raise RequestRefused(400, "no Host field")
        request.take_target()
        return request

    def _request_line(self, line: bytes) -> RequestHead:
        try:
            method, target, version = line.split(b" ")
        except ValueError:
            raise RequestRefused(400, "a request line that is not method SP target SP version") from None
        if version == b"HTTP/1.1":
            http_version = "1.1"
        elif version == b"HTTP/1.0":
            http_version = "1.0"
        else:
            raise _bad_version(version)
        name = _METHODS.get(method)
        if name is None:
            name = self._unusual_method(method)
        return RequestHead(name, target, http_version, [])

    def _unusual_method(self, method: bytes) -> str:
        """Any token is a method (RFC 9110 section 9.1), but this is an origin server and opens no tunnels."""
        if not is_token(method):
            raise RequestRefused(400, "malformed method")
        if method == b"CONNECT" and not self._as_daphne_4:
            raise RequestRefused(501, "CONNECT")
        return method.decode("ascii")

    def _field(self, line: bytes) -> FieldLine:
        """Take a field line apart that is not known (RFC 9112 section 5)."""
        name, colon, value = line.partition(b":")
        if not colon:
            raise RequestRefused(400, "a line that is not field-name colon value")
        lower, kind = field_names.get(name) or _learn(name)
        if value.translate(_CONTROLS) != value:
            raise RequestRefused(400, "a control character in a header, or a line that does not end in CRLF")
        field = FieldLine(lower, value.strip(b" \t"), kind)
        if lower in COMMON_FIELDS and len(line) <= _LONGEST_LINE:
            if len(self._known) >= _MOST_LINES:
                self._known.clear()
            self._known[line] = field
        return field


def _learn(name: bytes) -> tuple[bytes, int]:
    if not is_token(name):
        raise RequestRefused(400, "malformed field name")
    return learn_field_name(name)


def _bad_version(version: bytes) -> RequestRefused:
    if version[:5] == b"HTTP/" and version[5:6].isdigit() and version[6:7] == b"." and len(version) == 8:
        return RequestRefused(505, "an HTTP version other than 1.0 and 1.1")
    return RequestRefused(400, "malformed HTTP version")


def _check_chunked(request: RequestHead) -> None:
    if request.content_length is not None:
        raise RequestRefused(400, "both Content-Length and Transfer-Encoding")
    if request.http_version == "1.0":
        raise RequestRefused(400, "Transfer-Encoding in HTTP/1.0")
