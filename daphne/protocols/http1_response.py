"""Responses on the HTTP/1 wire (RFC 9112): the writing half of http1.HTTP1Connection.

Called by the streams through the `Wire` methods; calls the transport. A small response is one write.
"""

from __future__ import annotations

from typing import Any

from daphne.protocols.files import send_file
from daphne.protocols.outflow import Connection
from daphne.protocols.standard import status_line
from daphne.protocols.waiting import until_writable
from daphne.streams.head import Headers, RequestHead
from daphne.streams.http import HTTPStream, Pending
from daphne.streams.response import BODILESS, ResponseHead
from daphne.streams.websocket import WebSocketStream

Stream = HTTPStream | WebSocketStream

_JOIN_UP_TO = 16384
"""Bytes of body that are copied behind their head or chunk line; larger ones are handed on as they are."""

_GATHER = 4
"""What is gathered at most, in write buffer sizes: one call for each 64 KiB costs a quarter more."""

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_CHUNK_END = b"\r\n"
_LAST_CHUNK = b"0\r\n\r\n"
_HEAD_END = (b"", b"")


class ResponseWriting(Connection):
    """How responses get onto one HTTP/1 connection; `response_done` says that one is over."""

    stream: Stream | None
    request: RequestHead
    keep_alive: bool
    continue_due: bool
    """Whether the client awaits `100 Continue` before it sends the body."""
    _body: Any
    """The LengthBody or ChunkedBody of a body that is not complete, or None. Not typed as that: calls end it,
    and compiled code would insist on what it was before them."""
    _chunked: bool
    _until_close: bool
    _suppress_body: bool
    _gathered: list[bytes] | None
    """Further parts of a body that come in the same turn of the loop as a large one, which was written; None
    in a turn without any."""
    _gathered_size: int

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
        suppressed = self._suppress_body = request.method == "HEAD" or status in BODILESS
        self._chunked = self._until_close = False
        if self.continue_due:
            # The client may send the body now or leave it: what comes next could be read in two ways.
            self.continue_due = self.keep_alive = False
        lines = self.head_lines(head, version)
        if head.content_length is None and not suppressed:
            if more or not self.site.settings.auto_content_length:
                self._frame(lines, version)
            else:
                lines.append(b"content-length: %d" % len(body))
        if head.close or not (more or self._body is None or self.body_can_be_skipped()):
            self.keep_alive = False
        if not self.keep_alive:
            lines.append(b"connection: close")
        elif version == "1.0":
            lines.append(b"connection: keep-alive")
        if len(body) > _JOIN_UP_TO and not suppressed:
            lines += _HEAD_END
            self._write_large((b"\r\n".join(lines), *self._framed(body, more)), len(body), more)
            if not more:
                self.response_done()
        elif self._chunked or suppressed:
            lines += _HEAD_END
            self.transport.write(b"\r\n".join(lines))
            self.respond_more(stream, body, more)
        else:
            lines += (b"", body)
            self.transport.write(b"\r\n".join(lines))
            if not more:
                self.response_done()

    def head_lines(self, head: ResponseHead, version: str) -> list[bytes]:
        """The lines of a response head, without framing and without line ends."""
        if head.own_standard:
            return [self.site.standard.start_beside(head, version), *head.lines]
        return [self.site.standard.start(head.status, version), *head.lines]

    def _frame(self, lines: list[bytes], version: str) -> None:
        """Say how the client knows where a body of unknown length ends (RFC 9112 section 6)."""
        if version == "1.1":
            self._chunked = True
            lines.append(b"transfer-encoding: chunked")
        else:
            self._until_close = True
            self.keep_alive = False

    def respond_more(self, stream: Stream, body: bytes, more: bool) -> None:
        """Write a further part of the body."""
        if self._suppress_body:
            pass
        elif len(body) > _JOIN_UP_TO or self._gathered:
            self._write_large(self._framed(body, more), len(body), more)
        elif self._chunked and body:
            self.transport.write(b"".join(self._framed(body, more)))
        elif self._chunked and not more:
            self.transport.write(_LAST_CHUNK)
        elif body:
            self.transport.write(body)
        if not more:
            self.response_done()

    def _write_large(self, pieces: tuple[bytes, ...], size: int, more: bool) -> None:
        """Write the pieces of a large part, or gather them for one write at the end of the turn.

        The first of a turn goes out at once: who sends one now and then does not wait.
        """
        gathered = self._gathered
        if gathered is None:
            self.transport.writeSequence(pieces)
            if more:
                self._gathered, self._gathered_size = [], 0
                self.site.loop.call_soon(self._end_of_turn)
            return
        gathered += pieces
        self._gathered_size += size
        if not more or self._gathered_size >= _GATHER * self.site.settings.write_buffer_size:
            self.write_gathered()

    def write_gathered(self) -> None:
        """Write what has been gathered: more than that is to be written, or nothing more will come."""
        if self._gathered:
            self.transport.writeSequence(self._gathered)
            self._gathered, self._gathered_size = [], 0

    def _end_of_turn(self) -> None:
        self.write_gathered()
        self._gathered = None

    def _framed(self, body: bytes, more: bool) -> tuple[bytes, ...]:
        """The pieces of what goes out for a part of a body."""
        if not body:
            return () if more or not self._chunked else (_LAST_CHUNK,)
        if not self._chunked:
            return (body,)
        return b"%x\r\n" % len(body), body, _CHUNK_END if more else _CHUNK_END + _LAST_CHUNK

    def respond_trailers(self, stream: Stream, trailers: Headers) -> None:
        """End a chunked response with trailers (RFC 9112 section 7.1.2); other framings have none."""
        self.write_gathered()
        if self._chunked and not self._suppress_body:
            lines = [b"0", *[name + b": " + value for name, value in trailers], b"", b""]
            self.transport.write(b"\r\n".join(lines))
        self.response_done()

    def early_hint(self, stream: Stream, headers: Headers) -> None:
        """Write a 103 response (RFC 8297); HTTP/1.0 clients do not know interim responses."""
        if self.request.http_version == "1.1":
            lines = [status_line(103, "1.1"), *[name + b": " + value for name, value in headers], b"", b""]
            self.transport.write(b"\r\n".join(lines))

    def respond_file(self, stream: HTTPStream, descriptor: int, size: int) -> Pending:
        """Write the first `size` bytes of an open file as body."""
        return send_file(self, stream, descriptor, size)

    def say_continue(self) -> None:
        """Write `100 Continue` if the client still awaits it (RFC 9110 section 10.1.1)."""
        if self.continue_due:
            self.continue_due = False
            self.transport.write(_CONTINUE)

    def writable(self, stream: Stream) -> Pending:
        """Return once the peer has taken enough, or raise ClientDisconnected."""
        return until_writable(self, stream)
