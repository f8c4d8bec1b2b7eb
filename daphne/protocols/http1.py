"""HTTP/1.1 and HTTP/1.0 on one connection: the reading half.

Made by site.Site for every accepted transport. Calls http1_head and http1_body to parse, negotiation to open
streams, and the site to run the application. What it inherits writes (http1_response), goes on and ends
(http1_life), and hands over to other protocols (http1_upgrade).

One request at a time, answers strictly in order (RFC 9112 section 9.3): bytes of a pipelined request wait
unparsed.
"""

from __future__ import annotations

from typing import Final

from twisted.internet.interfaces import IHalfCloseableProtocol, IProtocol, IPushProducer
from zope.interface import classImplements

from daphne.errors import RequestRefused
from daphne.protocols import negotiation
from daphne.protocols.http1_body import ChunkedBody, LengthBody
from daphne.protocols.http1_upgrade import Upgrading
from daphne.protocols.outflow import USUAL_BUFFER
from daphne.streams.deadlines import Deadline
from daphne.streams.head import RequestHead
from daphne.streams.http import HTTPStream

_REQUESTS_IN_A_ROW = 2
"""Pipelined requests after which others get a turn, where each is answered at once (an eager task)."""
_HEAD_END: Final = b"\r\n\r\n"
_PREFACE_HEAD: Final = negotiation.HTTP2_PREFACE[: negotiation.HTTP2_PREFACE.index(b"\r\n")]
_MOST_EMPTY_LINES = 4
_LONGEST_STALL = 60.0
"""Seconds that a body which came fast so far may stand still."""


def _skip_empty_lines(data: bytes) -> bytes:
    """Pass over a few empty lines before a request line (RFC 9112 section 2.2)."""
    for _ in range(_MOST_EMPTY_LINES):
        if data[:2] != b"\r\n":
            return data
        data = data[2:]
    raise RequestRefused(400, "too many empty lines before a request")


class HTTP1Connection(Upgrading):
    """One connection, from its first byte on."""

    __slots__ = ()

    # ---- the transport's calls -------------------------------------------------------------------

    def connectionMade(self) -> None:
        """A client has connected."""
        site = self.site
        site.connections.add(self)
        site.admission.enter(self.transport, self._peer)
        size = site.settings.write_buffer_size
        if size != USUAL_BUFFER and hasattr(self.transport, "setWriteBufferSize"):
            self.transport.setWriteBufferSize(size)
        self.transport.registerProducer(self, True)
        self._allow(site.settings.request_head_timeout)

    def dataReceived(self, data: bytes) -> None:
        """Take bytes from the client, however they are split."""
        if self._successor is not None:
            self._pass_on(data)
            return
        if self._held:
            data = self._held + data
            self._held = b""
            if self._waits:
                if self._body is None:
                    self._hold(data)
                else:
                    self._held = data  # reading is paused already, but Twisted's TLS may hold some more
                return
        self._take(data)

    # ---- reading ---------------------------------------------------------------------------------

    def _take(self, data: bytes) -> None:
        """Parse as far as the state of the connection allows, and hold the rest."""
        self._taking = True
        try:
            while data:
                if self._body is not None:
                    data = self._take_body(data)
                    if data and self._body is not None:
                        self._held = data
                        self.transport.pauseProducing()
                        self._wait_for_turn()
                        break
                elif self.stream is not None or self._closing or self._successor is not None:
                    self._hold(data)
                    break
                else:
                    data = self._take_head(data)
                    if data and self._is_free() and not self._served % _REQUESTS_IN_A_ROW:
                        self._hold(data)
                        self._wait_for_turn()
                        break
        except RequestRefused as refusal:
            self._refuse(refusal)
        finally:
            self._taking = False

    def _take_head(self, data: bytes) -> bytes:
        """Parse one head if it is complete; what comes after it."""
        if data[:2] == b"\r\n":
            data = _skip_empty_lines(data)
            self._checked = 0
        if self._checked and data.find(_HEAD_END, max(self._checked - 3, 0)) < 0:
            self._await_head(data)
            return b""
        head: bytes
        rest: bytes
        head, end, rest = data.partition(_HEAD_END)
        if not end:
            self._await_head(data)
            return b""
        site = self.site
        if len(head) + 4 > site.small_head:
            self._check_head_size(data, len(head) + 4)
        if not self._served and site.settings.http2 and head == _PREFACE_HEAD:
            self._become_http2(data)
            return b""
        self._served += 1
        return self._begin(site.head_parser.parse(head), rest)

    def _check_head_size(self, data: bytes, size: int) -> None:
        settings, line_end = self.site.settings, data.find(b"\r\n")
        longest = settings.max_request_line
        if line_end > longest or (line_end < 0 and len(data) > longest + 1):
            raise RequestRefused(414, "request line too long", limit="max_request_line")
        if size > settings.max_header_size:
            raise RequestRefused(431, "header too large", limit="max_header_size")

    def _await_head(self, data: bytes) -> None:
        """A head that is not complete yet: refuse early what cannot become one."""
        if len(data) > self.site.small_head:
            self._check_head_size(data, len(data))
        checked = self._checked
        new = data[checked - 1 :] if checked and data[checked - 1] == 13 else data[checked:]
        if new.count(b"\n") != new.count(b"\r\n") or new.count(b"\r", 0, -1) > new.count(b"\n"):
            raise RequestRefused(400, "a line that does not end in CRLF")
        self._checked = len(data)
        if not self._head_begun and data:
            self._head_begun = True
            self._allow(self.site.settings.request_head_timeout)
        self._held = data

    def _begin(self, head: RequestHead, rest: bytes) -> bytes:
        """Open the stream of a parsed request and run the application; what comes after the request."""
        self._idle.clear()
        self._head_begun = False
        self._checked = 0
        self.request = head
        if self.facts is None:
            self.facts = self.site.facts(self.transport)
        if head.scheme is not None:
            negotiation.check_scheme(head, self.facts)
        if self.site.draining or self._served == self.site.max_requests:
            self.keep_alive = False
        elif head.http_version == "1.1":
            self.keep_alive = b"close" not in head.connection
        else:
            self.keep_alive = b"keep-alive" in head.connection
        if head.framed:
            if negotiation.wants_websocket(head):
                self._begin_websocket(head, rest)
                return b""
            if head.chunked:
                self._body = ChunkedBody()
            elif head.content_length:
                self._check_body_size(head.content_length)
                self._body = LengthBody(head.content_length)
        self.stream = stream = negotiation.open_http(self.site, self, head, self.facts, self._body is None)
        if self._body is not None:
            self.continue_due = head.expects_continue and head.http_version == "1.1"
            rest = self._take_body(rest)
        if self._input_ended:
            if self._body is not None:
                raise RequestRefused(400, "the client has closed within its request")
            self._tell_half_close(stream, last=not rest)
        self.site.start(stream)
        return rest

    def _take_body(self, data: bytes) -> bytes:
        """Hand body bytes to the stream; what comes after the body."""
        body = self._body
        assert body is not None
        piece: bytes
        rest: bytes
        piece, rest = body.feed(data)
        self._check_body_size(body.received)
        if body.done:
            self._body = None
            self.continue_due = False
            if self._pace is not None:
                self._pace.clear()
            if self._body_paused:
                self._resume_reading()
        else:
            self._keep_pace(len(piece))
        if self.stream is not None:
            if piece or body.done:
                if piece:
                    self.continue_due = False
                self.stream.body_received(piece, body.done)
        elif body.done and self.keep_alive:
            self._allow(self.site.keep_alive_timeout)
        elif body.done:
            self._close(linger=False)  # the server has begun to stop in the meantime
        return rest

    def _check_body_size(self, size: int) -> None:
        most = self.site.settings.max_body_size
        if most and size > most:
            raise RequestRefused(413, "body too large", limit="max_body_size")

    def _keep_pace(self, size: int) -> None:
        """A body must come at a minimum rate; what came fast earns time, up to a bound."""
        settings = self.site.settings
        if not settings.min_body_rate or self.continue_due or self._body_paused:
            return
        if self._pace is None:
            self._pace = Deadline(self.site.schedule, self._too_slow)
        if self._pace.is_set:
            self._pace.extend(size / settings.min_body_rate, _LONGEST_STALL)
        else:
            self._pace.set(settings.rate_grace)

    def _too_slow(self) -> None:
        self._refuse(RequestRefused(408, "request body too slow", limit="min_body_rate"))

    def body_full(self, stream: HTTPStream) -> None:
        """The application has not taken what is there: read no more for now."""
        if not self._body_paused:
            self._pause_reading()
            if self._pace is not None:
                self._pace.clear()

    def body_wanted(self, stream: HTTPStream) -> None:
        """The application waits for body: read on, and say `100 Continue` if that is awaited."""
        self.say_continue()
        if self._body_paused:
            self._resume_reading()
        if self._body is not None:
            self._keep_pace(0)


classImplements(HTTP1Connection, IProtocol, IHalfCloseableProtocol, IPushProducer)
