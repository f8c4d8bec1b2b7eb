"""From the bytes of one HTTP/1 request head to a validated RequestHead.

Called by http1.HTTP1Connection with a whole head, up to and including its empty line, however it was split on
the way. llhttp (through httptools, its lenient flags off) takes the field lines apart; what it lets pass and
RFC 9112 does not, or what can be read in two ways, is refused here. Body framing is decided here and nowhere
else.
"""

from __future__ import annotations

import httptools

from daphne.errors import RequestRefused
from daphne.settings import Settings
from daphne.streams.head import (
    PLAIN,
    SPECIAL,
    Headers,
    RequestHead,
    check_target,
    field_names,
    is_token,
    learn_field_name,
)

_VERSIONS = {b"HTTP/1.1": "1.1", b"HTTP/1.0": "1.0"}

_KNOWN_TO_LLHTTP = {
    name.encode(): name
    for name in (
        *("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"),
        *("PROPFIND", "PROPPATCH", "MKCOL", "COPY", "MOVE", "LOCK", "UNLOCK", "SEARCH", "REPORT"),
    )
}
"""Methods that llhttp takes for what they are. Any other token is shown to it as GET: llhttp only refuses
what it does not know, and the framing that it infers from a method is not used."""


class HeadParser:
    """Parses head after head of one connection; keeps nothing from one to the next."""

    __slots__ = ("_connect_allowed", "_headers", "_host_required", "_most_headers", "_parser", "_special")

    def __init__(self, settings: Settings) -> None:
        self._most_headers = settings.max_header_count
        self._host_required = settings.strict_host
        self._connect_allowed = not settings.strict_host
        self._headers: Headers = []
        self._special: Headers = []
        self._parser: httptools.HttpRequestParser | None = None

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take one field line from llhttp (called by httptools)."""
        lower, kind = field_names.get(name) or learn_field_name(name)
        value = value.rstrip(b" \t")
        if kind == PLAIN:
            self._headers.append((lower, value))
        elif kind == SPECIAL:
            self._special.append((lower, value))
            if lower != b"daphne-root-path":
                self._headers.append((lower, value))

    def parse(self, head: bytes) -> RequestHead:
        """The validated head of one request.

        `head` ends with the first CRLF CRLF. Raises RequestRefused with the status that answers it.
        """
        method, target, version = self._request_line(head)
        self._headers = []
        self._special = []
        self._fields(head, method)
        if len(self._headers) > self._most_headers:
            raise RequestRefused(431, "too many header fields", limit="max_header_count")
        request = RequestHead(
            _KNOWN_TO_LLHTTP.get(method) or method.decode("ascii"), target, _VERSIONS[version], self._headers
        )
        for name, value in self._special:
            request.take_special(name, value)
        if request.content_length or request.chunked or request.upgrade:
            self._parser = None  # what follows is not shown to llhttp: the next head gets a new one
        if request.method == "CONNECT":
            self._check_connect()
        request.take_target()
        if request.host is None and version == b"HTTP/1.1" and self._host_required:
            raise RequestRefused(400, "no Host field")
        if request.chunked:
            _check_chunked(request)
        return request

    def _request_line(self, head: bytes) -> tuple[bytes, bytes, bytes]:
        parts = head[: head.index(b"\r\n")].split(b" ")
        if len(parts) != 3:
            raise RequestRefused(400, "a request line that is not method SP target SP version")
        method, target, version = parts
        if version not in _VERSIONS:
            if (
                version[:5] == b"HTTP/"
                and version[5:6].isdigit()
                and version[6:7] == b"."
                and len(version) == 8
            ):
                raise RequestRefused(505, "an HTTP version other than 1.0 and 1.1")
            raise RequestRefused(400, "malformed HTTP version")
        if method not in _KNOWN_TO_LLHTTP and not is_token(method):
            raise RequestRefused(400, "malformed method")
        check_target(target)
        return method, target, version

    def _fields(self, head: bytes, method: bytes) -> None:
        """Show the head to llhttp, which calls `on_header` for every field line."""
        if method not in _KNOWN_TO_LLHTTP:
            head = b"GET" + head[len(method) :]
        parser = self._parser
        if parser is None:
            parser = self._parser = httptools.HttpRequestParser(self)
        try:
            parser.feed_data(head)
        except httptools.HttpParserUpgrade:
            self._parser = None
        except httptools.HttpParserError as error:
            self._parser = None
            raise RequestRefused(400, f"malformed header: {error}") from None

    def _check_connect(self) -> None:
        """This is an origin server: it opens no tunnels (RFC 9110 section 9.3.6)."""
        if not self._connect_allowed:
            raise RequestRefused(501, "CONNECT")


def _check_chunked(request: RequestHead) -> None:
    if request.content_length is not None:
        raise RequestRefused(400, "both Content-Length and Transfer-Encoding")
    if request.http_version == "1.0":
        raise RequestRefused(400, "Transfer-Encoding in HTTP/1.0")
