"""HTTP/1.1 and HTTP/1.0 on one connection: the reading half and the connection's life.

Made by site.Site for every accepted transport; also the place where a connection turns out to speak HTTP/2 or
becomes a WebSocket. Calls http1_head and http1_body to parse, negotiation to open streams, and the site to
run the application.

One request at a time, answers strictly in order (RFC 9112 section 9.3): bytes of a pipelined request wait
unparsed.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from daphne.errors import RequestRefused
from daphne.protocols import negotiation
from daphne.protocols.http1_body import ChunkedBody, LengthBody
from daphne.protocols.http1_response import ResponseWriting, Stream
from daphne.protocols.outflow import USUAL_BUFFER
from daphne.protocols.websocket import handshake_accept, open_socket
from daphne.streams.deadlines import Deadline
from daphne.streams.head import Headers, RequestHead
from daphne.streams.http import HTTPStream
from daphne.streams.pages import PAGE_HEADERS, error_page
from daphne.streams.response import check_response
from daphne.streams.scope import ConnectionFacts
from daphne.streams.websocket import Socket, WebSocketStream

if TYPE_CHECKING:
    from daphne.protocols.site import Site

_SKIPPABLE_BODY = 65536
"""Bytes of unread request body that are read past so that the connection can stay."""
_LINGER = 2.0
"""Seconds that a client which is still sending has to read our last answer (RFC 9112 section 9.6)."""
_FIRST_REQUEST = 1.0
"""Seconds in which the request of a new connection must come once the server stops."""
_REQUESTS_IN_A_ROW = 64
"""Pipelined requests after which others get a turn, where each is answered at once (an eager task)."""
_MOST_EMPTY_LINES = 4
_FLUSH = 60.0
"""Seconds in which a client must have read some of what is left of the last answer."""
_LONGEST_STALL = 60.0
"""Seconds that a body which came fast so far may stand still."""


def _skip_empty_lines(data: bytes) -> bytes:
    """Pass over a few empty lines before a request line (RFC 9112 section 2.2)."""
    for _ in range(_MOST_EMPTY_LINES):
        if data[:2] != b"\r\n":
            return data
        data = data[2:]
    raise RequestRefused(400, "too many empty lines before a request")


@implementer(IHalfCloseableProtocol, IPushProducer)
class HTTP1Connection(ResponseWriting, Protocol):
    """One connection. `stream` is the exchange under way, or None."""

    # Slots, although the base classes have none: what every request reads is found faster in them.
    __slots__ = (
        "_body",
        "_body_paused",
        "_checked",
        "_chunked",
        "_closing",
        "_half_close",
        "_head_begun",
        "_held",
        "_idle",
        "_input_ended",
        "_pace",
        "_peer",
        "_served",
        "_successor",
        "_suppress_body",
        "_taking",
        "_until_close",
        "_websocket_key",
        "connected",
        "continue_due",
        "facts",
        "keep_alive",
        "request",
        "site",
        "stream",
        "transport",
        "write_paused",
    )

    def __init__(self, site: Site, peer: str | None = None) -> None:
        """`peer`: the client's IP address, None on a unix socket."""
        self.site = site
        self.transport: Any = None
        self.stream: Stream | None = None
        self.facts: ConnectionFacts | None = None
        self.keep_alive = True
        self.write_paused = False
        self.continue_due = False
        self._peer = peer
        self._successor: Any = None
        self._held = b""
        """Bytes that cannot be parsed yet: a head that is not complete, or what follows the request."""
        self._body: LengthBody | ChunkedBody | None = None
        self._body_paused = False
        self._chunked = self._until_close = self._suppress_body = False
        self._closing = self._taking = self._input_ended = False
        self._served = 0
        self._head_begun = False
        """Whether some of a head is there, and its deadline runs."""
        self._checked = 0
        """Bytes of a head in `_held` that have been looked at: one in drops is not read over and over."""
        self._websocket_key = b""
        self._half_close: asyncio.TimerHandle | None = None
        self._pace: Deadline | None = None
        self._idle = Deadline(site.loop, self._idle_expired)

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
            self._successor.dataReceived(data)
            return
        if self._held:
            data = self._held + data
            self._held = b""
        self._take(data)

    def readConnectionLost(self) -> None:
        """The client sends no more (RFC 9112 section 9.6); what it asked for completely is still answered."""
        if self._successor is not None:
            self._successor.readConnectionLost()
        elif self._closing:
            self.transport.loseConnection()
        elif self._requests_wait:
            self._input_ended = True
        elif self.stream is None or self._body is not None or self.stream.kind == "websocket":
            self._close(linger=False)
        else:
            self._input_ended = True
            self._tell_half_close(self.stream, last=not self._held)

    def _tell_half_close(self, stream: Stream, last: bool) -> None:
        """A client that closes altogether looks the same at first: the application hears of it later."""
        if last:
            self.keep_alive = False
        self._half_close = self.site.loop.call_later(
            self.site.settings.half_close_timeout, stream.client_half_closed
        )

    def writeConnectionLost(self) -> None:
        """We send no more; nothing to do."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The connection is gone, for whatever reason."""
        if self._successor is not None:
            self._successor.connectionLost(reason)
            return
        self.site.connections.discard(self)
        self.site.admission.leave(self.transport)
        self._close_deadlines()
        self._idle.forget()
        self._closing = True
        self._held = b""
        stream, self.stream = self.stream, None
        if stream is not None:
            stream.client_left()
            self.site.left(stream)
        self.stop_writing()

    def _close_deadlines(self) -> None:
        self._idle.close()
        if self._pace is not None:
            self._pace.close()
        if self._half_close is not None:
            self._half_close.cancel()
            self._half_close = None

    # ---- reading ---------------------------------------------------------------------------------

    def _take(self, data: bytes) -> None:
        """Parse as far as the state of the connection allows, and hold the rest."""
        self._taking = True
        try:
            while data:
                if self._body is not None:
                    data = self._take_body(data)
                elif self.stream is not None or self._closing or self._successor is not None:
                    self._hold(data)
                    break
                else:
                    data = self._take_head(data)
                    if data and self.stream is None and not self._served % _REQUESTS_IN_A_ROW:
                        self._hold(data)
                        self.site.loop.call_soon(self._take_turn)
                        break
        except RequestRefused as refusal:
            self._refuse(refusal)
        finally:
            self._taking = False

    def _hold(self, data: bytes) -> None:
        if self._closing:
            return  # whatever follows the last request of a connection is read and thrown away
        if self._successor is not None:
            self._successor.dataReceived(data)
            return
        self._held = data
        if len(data) > self.site.settings.read_buffer_size and not self._body_paused:
            self._pause_reading()

    def _take_head(self, data: bytes) -> bytes:
        """Parse one head if it is complete; what comes after it."""
        if data[:2] == b"\r\n":
            data = _skip_empty_lines(data)
            self._checked = 0
        end = data.find(b"\r\n\r\n", self._checked and max(self._checked - 3, 0)) + 4
        if end == 3:
            self._await_head(data)
            return b""
        site = self.site
        if end > site.small_head:
            self._check_head_size(data, end)
        head, rest = (data, b"") if end == len(data) else (data[:end], data[end:])
        if not self._served and site.settings.http2 and head == negotiation.HTTP2_PREFACE[:18]:
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
        if self.site.draining or self._served == self.site.settings.max_requests_per_connection:
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
            self._allow(self.site.settings.keep_alive_timeout)
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
            self._pace = Deadline(self.site.loop, self._too_slow)
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

    def _pause_reading(self) -> None:
        self._body_paused = True
        self.transport.pauseProducing()

    def _resume_reading(self) -> None:
        self._body_paused = False
        self.transport.resumeProducing()

    # ---- between requests ------------------------------------------------------------------------

    def body_can_be_skipped(self) -> bool:
        """Whether the rest of the request body is little enough to read past."""
        body = self._body
        return body is None or (isinstance(body, LengthBody) and body.remaining <= _SKIPPABLE_BODY)

    def response_done(self) -> None:
        """The response is complete: log it, and go on to the next request or close."""
        stream, self.stream = self.stream, None
        assert stream is not None
        if self.site.action_logger is not None and stream.kind == "http":
            self.site.log_http(stream, self.request.target)
        if self._half_close is not None:
            self._half_close.cancel()
            self._half_close = None
        if stream.kind == "websocket" and self._held:
            self.keep_alive = False  # frames that were sent early must not pass for a request
        if not self.keep_alive or not (self._body is None or self.body_can_be_skipped()):
            self._close(linger=self._body is not None or bool(self._held))
        else:
            self._allow(self.site.settings.keep_alive_timeout)
            if self._body is not None:
                if self._body_paused:
                    self._resume_reading()
            elif self._held and not self._taking:
                self._take_held()

    def _allow(self, seconds: float) -> None:
        """Let the client be idle for `seconds`, or without limit if that is 0."""
        if seconds:
            self._idle.set(seconds)
        else:
            self._idle.clear()

    def _take_held(self) -> None:
        """Go on with what has waited for the end of the response."""
        data, self._held = self._held, b""
        if self._body_paused:
            self._resume_reading()
        self._take(data)
        if self._input_ended and self.stream is None and not (self._closing or self._requests_wait):
            self._close(linger=False)

    @property
    def _requests_wait(self) -> bool:
        """Whether the connection has made way for others although requests are there."""
        return self.stream is None and bool(self._held) and not self._head_begun

    def _take_turn(self) -> None:
        if self._requests_wait:
            self._take_held()

    def _close(self, linger: bool) -> None:
        """Flush and close; while the client is still sending, read on for a while lest it miss our answer."""
        self._closing = True
        self._held = b""
        self._body = None
        self._close_deadlines()
        if self._body_paused:
            self._resume_reading()
        self.transport.unregisterProducer()
        self._sent_some()
        if linger and not self._input_ended and hasattr(self.transport, "loseWriteConnection"):
            self.transport.loseWriteConnection()
            self._idle.set(_LINGER)
        else:
            self.transport.loseConnection()
            self._idle.set(_FLUSH)

    def _idle_expired(self) -> None:
        if self._sent_some():
            self._idle.set(_FLUSH)  # the client still takes our last answer
        elif self._closing:
            self.transport.abortConnection()
        elif self._held and self.stream is None:
            self._refuse(RequestRefused(408, "request head too slow", limit="request_head_timeout"))
        else:
            self._close(linger=False)

    def drain(self) -> None:
        """The server stops: answer what is under way or may be on its way here, then close.

        A client that has used its connection before has to expect that it is closed while it is idle (RFC
        9112 section 9.3.1); one that has just connected has not.
        """
        if self._closing or self._successor is not None:
            return
        self.keep_alive = False
        if self.stream is None and self._body is None and not self._head_begun:
            if self._served:
                self._close(linger=False)
            else:
                self._idle.set(_FIRST_REQUEST)

    def _refuse(self, refusal: RequestRefused) -> None:
        """Answer a request that cannot be served, and close: nothing after it can be trusted (R4)."""
        if self.facts is None:
            self.facts = self.site.facts(self.transport)
        self.site.log_refusal(refusal, self.facts)
        stream, self.stream = self.stream, None
        if stream is None and self._body is not None:
            self._close(linger=False)  # the request has had its answer: only the rest of its body was bad
            return
        self._body = None
        if stream is not None:
            begun = stream.begun
            stream.client_left()
            self.site.left(stream)
            if begun:
                self._closing = True
                self.transport.abortConnection()
                return
        page = error_page(refusal.status)
        head = check_response(
            refusal.status, [*PAGE_HEADERS, (b"content-length", b"%d" % len(page)), *refusal.headers]
        )
        lines = self.head_lines(head, "1.1")
        if b"connection" in dict(refusal.headers):  # 426 names what to upgrade to (RFC 9110 section 15.5.22)
            lines += [
                b"%b: %b" % field for field in refusal.headers if field[0] in (b"connection", b"upgrade")
            ]
        else:
            lines.append(b"connection: close")
        self.transport.write(b"\r\n".join([*lines, b"", page]))
        self._close(linger=True)

    def cut(self, stream: Stream) -> None:
        """End the connection so that the client can tell that the response is not complete (R13)."""
        self.stream = None
        self._closing = True
        if self._until_close or self.write_paused:
            self.transport.abortConnection()
        else:
            self._close(linger=False)

    # ---- other protocols -------------------------------------------------------------------------

    def _become_http2(self, data: bytes) -> None:
        self._idle.close()
        self.site.connections.discard(self)
        self._hand_over(self.site.http2_connection())
        self._successor.dataReceived(data)
        if self.site.draining:
            self._successor.drain()

    def _begin_websocket(self, head: RequestHead, rest: bytes) -> None:
        """Open the stream of a handshake; `rest` is frames that came early and wait for the answer to it."""
        assert self.facts is not None
        if self._input_ended:
            raise RequestRefused(400, "a WebSocket handshake from a client that sends no more")
        self._websocket_key = negotiation.check_upgrade(head)
        stream = negotiation.open_websocket(self.site, self, head, self.facts)
        self.stream = stream
        self._hold(rest)
        self.site.start(stream)

    def accept_websocket(self, stream: WebSocketStream, subprotocol: str | None, headers: Headers) -> Socket:
        """Complete the opening handshake (RFC 6455 section 4.2.2); the transport is the socket's then."""
        socket = open_socket(self.site, stream, negotiation.offered_extensions(self.request))
        own = check_response(200, headers)
        own.status = 101
        lines = [*self.head_lines(own, "1.1"), b"Upgrade: WebSocket", b"Connection: Upgrade"]
        if subprotocol is not None:
            lines.append(b"Sec-WebSocket-Protocol: " + subprotocol.encode("latin-1"))
        lines += [b"%b: %b" % field for field in socket.handshake_fields]
        lines.append(b"Sec-WebSocket-Accept: " + handshake_accept(self._websocket_key))
        self.transport.write(b"\r\n".join([*lines, b"", b""]))
        self.stream = None
        self._close_deadlines()
        early, self._held = self._held, b""
        self.site.connections.discard(self)
        stream.socket = socket
        self._hand_over(socket)
        if self._body_paused:
            self._resume_reading()
        if early:
            socket.dataReceived(early)
        if self.site.draining:
            self.site.loop.call_soon(socket.drain)
        return socket

    def _hand_over(self, successor: Any) -> None:
        """Give the transport to another protocol, for good."""
        self._successor = successor
        self.transport.unregisterProducer()
        # Where the transport lets itself be handed over there is no detour through this object from now on.
        for attribute in ("wrappedProtocol", "protocol"):
            if getattr(self.transport, attribute, None) is self:
                setattr(self.transport, attribute, successor)
        successor.makeConnection(self.transport)
