"""From the bytes of one HTTP/1 request head to a validated RequestHead.

Called by http1.HTTP1Connection with a whole head, up to and including its empty line, however it was split on
the way. llhttp (through httptools, its lenient flags off) takes the field lines apart; what it lets pass and
RFC 9112 does not, or what can be read in two ways, is refused here. Body framing is decided here and nowhere
else.
"""

from __future__ import annotations

from types import SimpleNamespace

import httptools

from daphne.errors import RequestRefused
from daphne.settings import Settings
from daphne.streams.head import (
    SPECIAL,
    Headers,
    RequestHead,
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
    """Parses whole heads, one at a time; keeps nothing from one to the next. One serves a whole site."""

    def __init__(self, settings: Settings) -> None:
        self._most_headers = settings.max_header_count
        self._as_daphne_4 = not settings.strict_host
        self._headers: Headers = []
        self._special: Headers = []
        self._fields = self._callbacks()
        self._parser: httptools.HttpRequestParser | None = None

    def parse(self, head: bytes) -> RequestHead:
        """The validated head of one request.

        `head` ends with the first CRLF CRLF. Raises RequestRefused with the status that answers it.
        """
        try:
            method, target, version = head[: head.index(b"\r\n")].split(b" ")
        except ValueError:
            raise RequestRefused(400, "a request line that is not method SP target SP version") from None
        http_version = _VERSIONS.get(version)
        if http_version is None:
            raise _bad_version(version)
        name = _KNOWN_TO_LLHTTP.get(method)
        if name is None:
            name = self._unusual_method(method)
            head = b"GET" + head[len(method) :]
        parser = self._parser or httptools.HttpRequestParser(self._fields)
        self._parser = None  # unless it turns out below that llhttp awaits the start of a request
        self._headers.clear()
        self._special.clear()
        try:
            parser.feed_data(head)
        except httptools.HttpParserUpgrade:
            pass
        except httptools.HttpParserError as error:
            raise RequestRefused(400, f"malformed header: {error}") from None
        if len(self._headers) > self._most_headers:
            raise RequestRefused(431, "too many header fields", limit="max_header_count")
        request = RequestHead(name, target, http_version, self._headers.copy())
        for field, value in self._special:
            request.take_special(field, value)
        if request.chunked:
            _check_chunked(request)
        if self._as_daphne_4:
            if b"\x85" in head:
                raise RequestRefused(400, "the byte 0x85, which is a line end in Latin-1")
        elif request.host is None and http_version == "1.1":
            raise RequestRefused(400, "no Host field")
        request.take_target()
        if not request.framed and http_version == "1.1":
            self._parser = parser
        return request

    def _callbacks(self) -> SimpleNamespace:
        """What llhttp calls for every field line. It calls for nothing else."""
        append, append_special, known = self._headers.append, self._special.append, field_names.get

        def on_header(name: bytes, value: bytes) -> None:
            if value and value[-1] <= 32:
                value = value.rstrip(b" \t")  # llhttp leaves this to us (RFC 9112 section 5.1)
            lower, kind = known(name) or learn_field_name(name)
            if not kind:
                append((lower, value))
            elif kind == SPECIAL:
                append_special((lower, value))
                if lower != b"daphne-root-path":
                    append((lower, value))

        return SimpleNamespace(on_header=on_header)

    def _unusual_method(self, method: bytes) -> str:
        """A method that llhttp does not know, or CONNECT: this is an origin server and opens no tunnels."""
        if not is_token(method):
            raise RequestRefused(400, "malformed method")
        if method == b"CONNECT" and not self._as_daphne_4:
            raise RequestRefused(501, "CONNECT")
        return method.decode("ascii")


def _bad_version(version: bytes) -> RequestRefused:
    if version[:5] == b"HTTP/" and version[5:6].isdigit() and version[6:7] == b"." and len(version) == 8:
        return RequestRefused(505, "an HTTP version other than 1.0 and 1.1")
    return RequestRefused(400, "malformed HTTP version")


def _check_chunked(request: RequestHead) -> None:
    if request.content_length is not None:
        raise RequestRefused(400, "both Content-Length and Transfer-Encoding")
    if request.http_version == "1.0":
        raise RequestRefused(400, "Transfer-Encoding in HTTP/1.0")
