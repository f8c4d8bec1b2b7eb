"""Responses on the HTTP/1 wire (RFC 9112): the writing half of http1.HTTP1Connection.

Called by the streams through the `Wire` methods; calls the transport. A small response is one write.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from daphne.errors import ClientDisconnected
from daphne.protocols.files import send_file
from daphne.streams.deadlines import Deadline
from daphne.streams.head import Headers, RequestHead
from daphne.streams.http import HTTPStream
from daphne.streams.pages import reason_phrase
from daphne.streams.response import ResponseHead
from daphne.streams.signal import Signal
from daphne.streams.websocket import WebSocketStream

if TYPE_CHECKING:
    from daphne.protocols.site import Site

Stream = HTTPStream | WebSocketStream

_JOIN_UP_TO = 16384
"""Bytes of body that are copied behind their head or chunk line; larger ones are handed on as they are."""

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_LAST_CHUNK = b"0\r\n\r\n"

_status_lines: dict[tuple[int, str], bytes] = {}


def status_line(status: int, version: str) -> bytes:
    """The status line with its CRLF (RFC 9112 section 4), in the version that the client speaks."""
    line = _status_lines.get((status, version))
    if line is None:
        line = f"HTTP/{version} {status} {reason_phrase(status)}\r\n".encode("ascii")
        _status_lines[status, version] = line
    return line


def field_lines(headers: Headers) -> bytes:
    """Checked header fields as field lines."""
    return b"".join([b"%b: %b\r\n" % field for field in headers])


class ResponseWriting:
    """How responses get onto one HTTP/1 connection; `response_done` says that one is over."""

    site: Site
    transport: Any
    stream: Stream | None
    request: RequestHead
    write_paused = False
    keep_alive = True
    continue_due = False
    """Whether the client awaits `100 Continue` before it sends the body."""
    _chunked = False
    _until_close = False
    _suppress_body = False
    _writable: Signal | None = None
    _write_deadline: Deadline | None = None

    def response_done(self) -> None:
        """The response is complete."""
        raise NotImplementedError

    def body_can_be_skipped(self) -> bool:
        """Whether the rest of the request body is little enough to read past."""
        raise NotImplementedError

    # ---- Wire ------------------------------------------------------------------------------------

    def respond(self, stream: Stream, head: ResponseHead, body: bytes, more: bool) -> None:
        """Write the head and the first part of the body."""
        request, status = self.request, head.status
        version = request.http_version
        framing = b""
        self._chunked = self._until_close = False
        self._suppress_body = request.method == "HEAD" or head.bodiless
        if head.content_length is None and not head.bodiless:
            if not more and self.site.settings.auto_content_length and request.method != "HEAD":
                framing = b"content-length: %d\r\n" % len(body)
            elif version == "1.1":
                self._chunked = True
                framing = b"transfer-encoding: chunked\r\n"
            else:
                self._until_close = True
                self.keep_alive = False
        if head.close or (not more and not self.body_can_be_skipped()):
            self.keep_alive = False
        if not self.keep_alive:
            framing += b"connection: close\r\n"
        elif version == "1.0":
            framing += b"connection: keep-alive\r\n"
        self.continue_due = False
        start = b"".join(
            (
                status_line(status, version),
                self.site.standard_fields(head.has_date, head.has_server),
                field_lines(head.headers),
                framing,
                b"\r\n",
            )
        )
        self._write_body(start, b"" if self._suppress_body else body, more)

    def respond_more(self, stream: Stream, body: bytes, more: bool) -> None:
        """Write a further part of the body."""
        self._write_body(b"", b"" if self._suppress_body else body, more)

    def _write_body(self, start: bytes, body: bytes, more: bool) -> None:
        if self._chunked and not self._suppress_body:
            if body:
                start += b"%x\r\n" % len(body)
                end = b"\r\n" if more else b"\r\n0\r\n\r\n"
            else:
                end = b"" if more else _LAST_CHUNK
        else:
            end = b""
        if len(body) <= _JOIN_UP_TO:
            data = start + body + end
            if data:
                self.transport.write(data)
        else:
            self.transport.writeSequence([part for part in (start, body, end) if part])
        if not more:
            self.response_done()

    def respond_trailers(self, stream: Stream, trailers: Headers) -> None:
        """End a chunked response with trailers (RFC 9112 section 7.1.2); other framings have none."""
        if self._chunked and not self._suppress_body:
            self.transport.write(b"0\r\n" + field_lines(trailers) + b"\r\n")
        self.response_done()

    def early_hint(self, stream: Stream, headers: Headers) -> None:
        """Write a 103 response (RFC 8297); HTTP/1.0 clients do not know interim responses."""
        if self.request.http_version == "1.1":
            self.transport.write(status_line(103, "1.1") + field_lines(headers) + b"\r\n")

    async def respond_file(self, stream: HTTPStream, descriptor: int, size: int) -> None:
        """Write the first `size` bytes of an open file as body."""
        await send_file(self, stream, descriptor, size)

    def say_continue(self) -> None:
        """Write `100 Continue` if the client still awaits it (RFC 9110 section 10.1.1)."""
        if self.continue_due:
            self.continue_due = False
            self.transport.write(_CONTINUE)

    # ---- back-pressure ---------------------------------------------------------------------------

    async def writable(self, stream: Stream | None = None) -> None:
        """Return once the peer has taken enough, or raise ClientDisconnected."""
        while self.write_paused:
            if self._writable is None:
                self._writable = Signal(self.site.loop)
            await self._writable.wait()
        if stream is not None and stream.disconnected:
            raise ClientDisconnected("the client has disconnected")

    def pauseProducing(self) -> None:
        """The transport holds more than its high-water mark (IPushProducer)."""
        self.write_paused = True
        settings = self.site.settings
        if settings.min_response_rate:
            if self._write_deadline is None:
                self._write_deadline = Deadline(self.site.loop, self._peer_too_slow)
            held = max(settings.write_buffer_size, 65536)
            self._write_deadline.set(settings.rate_grace + held / settings.min_response_rate)

    def resumeProducing(self) -> None:
        """The transport has room again (IPushProducer)."""
        self.write_paused = False
        if self._write_deadline is not None:
            self._write_deadline.clear()
        if self._writable is not None:
            self._writable.fire()

    def stopProducing(self) -> None:
        """The transport is gone (IPushProducer); connectionLost follows."""
        self.resumeProducing()

    def _peer_too_slow(self) -> None:
        self.site.limit_fired("min_response_rate", self.transport.getPeer())
        self.transport.abortConnection()

    def stop_writing(self) -> None:
        """The connection is gone: let every `writable()` return."""
        if self._write_deadline is not None:
            self._write_deadline.close()
        self.resumeProducing()
