"""One HTTP/2 stream as the wire of an HTTPStream or a WebSocketStream.

Made by http2.HTTP2Connection for each request; calls http2_head to judge it, negotiation to open its
stream, and http2_output to write. Gives the client leave to send more only as the application takes what is
there.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from daphne.errors import RequestRefused, StreamReset
from daphne.protocols import http2_frames as codes
from daphne.protocols import negotiation
from daphne.protocols.files import send_pieces
from daphne.protocols.http2_head import HTTP2Head
from daphne.protocols.http2_hpack import encode_field, encode_fields, encode_status
from daphne.protocols.http2_output import SendingStream
from daphne.protocols.http2_priority import parse_priority
from daphne.protocols.http2_tunnel import Tunnel
from daphne.protocols.waiting import until_writable
from daphne.protocols.websocket_handshake import open_socket
from daphne.settings import Settings
from daphne.streams.deadlines import Deadline
from daphne.streams.head import Headers, RequestHead
from daphne.streams.http import HTTPStream, Pending
from daphne.streams.pages import PAGE_HEADERS, error_page
from daphne.streams.response import BODILESS, ResponseHead, check_response
from daphne.streams.signal import Signal
from daphne.streams.websocket import WebSocketStream
from daphne.streams.wire import Socket
from daphne.streams.writes import Writes

if TYPE_CHECKING:
    from daphne.protocols.http2 import HTTP2Connection

Stream = HTTPStream | WebSocketStream

_SKIPPABLE_BODY = 65536
"""Bytes of request body that are read past after the answer, instead of a reset."""
_LONGEST_STALL = 60.0
"""Seconds that a body which came fast so far may stand still."""


class Exchange(SendingStream):
    """A request and its answer. `stream` is what the application sees; None before and after."""

    stream: Stream | None
    head: RequestHead
    receiving = True
    """Whether the client has not ended its side (http2_reader)."""
    tunnel: Tunnel | None = None
    """The transport of an accepted WebSocket."""
    is_head = False
    """Whether the request is known to be HEAD, whose answer has no body."""
    _expected: int | None = None
    """Bytes of the body that are still due after Content-Length."""
    _received = 0
    _continue_due = False
    _suppressed = False
    _early: bytearray | None = None
    """What came for a WebSocket before it was accepted."""
    _writable: Signal | None = None
    _pace: Deadline | None = None
    _stall: Deadline | None = None

    def __init__(self, connection: HTTP2Connection, stream_id: int) -> None:
        self.id = stream_id
        self.stream = None
        self.connection = connection
        self.site = connection.site
        self.window = connection.output.initial_window
        self.credit = connection.site.settings.http2_stream_window

    @property
    def writes(self) -> Writes:
        """Where large pieces get in line."""
        return self.site.writes

    # ---- the request -----------------------------------------------------------------------------

    def begin(self, request: HTTP2Head) -> None:
        """Open the stream of a validated request and run the application."""
        head = self.head = request.head
        self.is_head = head.method == "HEAD"
        if head.scheme == b"https":
            negotiation.check_scheme(head, self.connection.facts)
        if request.priority is not None:
            self.priority = parse_priority(request.priority)
        if request.protocol is not None:
            self._begin_websocket(head)
            return
        self._expected = head.content_length
        if not self.receiving:
            self._check_length(ended=True)
        elif head.content_length:
            self._check_body_size(head.content_length)
        self._continue_due = self.receiving and head.expects_continue
        self.stream = stream = negotiation.open_http(
            self.site, self, head, self.connection.facts, not self.receiving
        )
        self.site.start(stream)

    def _begin_websocket(self, head: RequestHead) -> None:
        """RFC 8441 section 5: the opening handshake without its key."""
        if not self.receiving:
            raise RequestRefused(400, "a WebSocket handshake that ends the stream")
        negotiation.check_version(negotiation.handshake_fields(head))
        self.stream = stream = negotiation.open_websocket(self.site, self, head, self.connection.facts)
        self.site.start(stream)

    def take_body(self, data: bytes, ended: bool) -> None:
        """Take a part of the body, or the end of it. Raises StreamReset or RequestRefused for what breaks a
        rule."""
        if self.tunnel is not None:
            self.tunnel.data_received(data, ended)
            return
        size = len(data)
        if self._expected is not None:
            self._expected -= size
            self._check_length(ended)
        self._received += size
        stream = self.stream
        kept = 0
        if isinstance(stream, HTTPStream):
            self._check_body_size(self._received)
            stream.body_received(data, ended)
            kept = stream.unread
        elif stream is not None:
            if self._early is None:
                self._early = bytearray()
            self._early += data  # before the handshake is answered; the stream's window bounds it
            kept = len(self._early)
        if ended:
            self._body_ended()
        else:
            self._keep_pace(size, kept)
            self.give_credit(kept)

    def _check_length(self, ended: bool) -> None:
        """RFC 9113 section 8.1.1: Content-Length and the sum of the DATA must agree."""
        if self._expected and (self._expected < 0 or ended):
            raise StreamReset(codes.PROTOCOL_ERROR, "Content-Length and the body differ")

    def _check_body_size(self, size: int) -> None:
        most = self.site.settings.max_body_size
        if most and size > most:
            raise RequestRefused(413, "body too large", limit="max_body_size")

    def _body_ended(self) -> None:
        self._continue_due = False
        if self._pace is not None:
            self._pace.clear()
        if isinstance(self.stream, WebSocketStream):
            self.reset(codes.CANCEL)
        elif not self.sending:
            self.connection.stream_closed(self)

    def body_coming(self, size: int) -> None:
        """Bytes of a DATA frame have come that is not complete yet."""
        self._earn_time(size)

    # ---- leave to send more ----------------------------------------------------------------------

    def give_credit(self, kept: int) -> None:
        """Let the client send again what it has sent, but for `kept` bytes that nobody has taken yet.

        Said when it makes half a window, so that updates are few and the client never waits for us.
        """
        window = self.site.settings.http2_stream_window
        taken = window - self.credit - kept
        if taken * 2 >= window and self.receiving and self.id in self.connection.exchanges:
            self.credit += taken
            self.connection.output.allow(self.id, taken)

    def body_wanted(self, stream: HTTPStream) -> None:
        """The application waits for body: all that came is taken, and `100 Continue` is said if awaited."""
        if self._continue_due:
            self._continue_due = False
            self.connection.output.headers(self, encode_status(100), False)
        if self.receiving:
            self.give_credit(0)
            self._keep_pace(0, 0)

    def body_full(self, stream: HTTPStream) -> None:
        """The application has not taken what is there: that closes the window by itself."""

    def _keep_pace(self, size: int, kept: int) -> None:
        """While the client has leave to send, a body must come at a minimum rate (as in HTTP/1.1)."""
        settings = self.site.settings
        if not settings.min_body_rate or self._continue_due:
            return
        if kept * 2 >= settings.http2_stream_window:
            if self._pace is not None:
                self._pace.clear()  # the client may be waiting for us
            return
        if isinstance(self.stream, WebSocketStream):
            return
        if self._pace is None:
            self._pace = Deadline(self.site.schedule, self._too_slow)
        if self._pace.is_set:
            self._earn_time(size)
        else:
            self._pace.set(settings.rate_grace)

    def _earn_time(self, size: int) -> None:
        if self._pace is not None:
            self._pace.extend(size / self.site.settings.min_body_rate, _LONGEST_STALL)

    def _too_slow(self) -> None:
        if not self.sending:
            self.reset(codes.NO_ERROR)
            return
        self.refuse(RequestRefused(408, "request body too slow", limit="min_body_rate"))

    # ---- the answer ------------------------------------------------------------------------------

    def respond(self, stream: Stream, head: ResponseHead, body: bytes, more: bool) -> None:
        """Write the head and the first part of the body."""
        self._continue_due = False
        self._suppressed = self.is_head or head.status in BODILESS
        block = self.connection.head_blocks.encode(head)
        if self._suppressed:
            body = b""
        elif head.content_length is None and not more and self.site.settings.auto_content_length:
            block += encode_field(b"content-length", b"%d" % len(body))
        output = self.connection.output
        if body:
            output.headers(self, block, False)
            output.data(self, body, not more)
        else:
            output.headers(self, block, not more)

    def respond_more(self, stream: Stream, body: bytes, more: bool) -> None:
        """Write a further part of the body."""
        self.connection.output.data(self, b"" if self._suppressed else body, not more)

    def respond_trailers(self, stream: HTTPStream, trailers: Headers) -> None:
        """End the response with trailer fields (RFC 9113 section 8.1)."""
        if trailers and not self._suppressed:
            self.connection.output.headers(self, encode_fields(trailers), True)
        else:
            self.connection.output.data(self, b"", True)

    def early_hint(self, stream: HTTPStream, headers: Headers) -> None:
        """Write a 103 response (RFC 8297)."""
        self.connection.output.headers(self, encode_status(103) + encode_fields(headers), False)

    def respond_file(self, stream: HTTPStream, descriptor: int, size: int) -> Pending:
        """Write the first `size` bytes of an open file as body."""
        return send_pieces(self, stream, descriptor, size)

    def writable(self, stream: Stream) -> Pending:
        """Return once the client has taken enough, or raise ClientDisconnected."""
        return until_writable(self, stream)

    def room(self) -> asyncio.Future[None]:
        """What to await until the client may have taken enough, or has gone."""
        if self._writable is None:
            self._writable = Signal(self.site.loop)
        return self._writable.waiter()

    def refuse(self, refusal: RequestRefused) -> None:
        """Answer a request that cannot be served, or cut an answer that has begun."""
        self.site.log_refusal(refusal, self.connection.facts)
        stream, self.stream = self.stream, None
        begun = stream is not None and stream.begun
        if stream is not None:
            stream.client_left()
            self.site.left(stream)
        if not self.sending or begun:
            self.reset(codes.CANCEL)
            return
        page = error_page(refusal.status)
        head = check_response(
            refusal.status, [*PAGE_HEADERS, (b"content-length", b"%d" % len(page)), *refusal.headers]
        )
        if self.is_head:
            page = b""
        self.connection.output.headers(self, self.connection.head_blocks.encode(head), not page)
        if page:
            self.connection.output.data(self, page, True)

    # ---- WebSocket -------------------------------------------------------------------------------

    def accept_websocket(self, stream: WebSocketStream, subprotocol: str | None, headers: Headers) -> Socket:
        """Answer the opening handshake with 200 (RFC 8441 section 5); the stream is the socket's now."""
        socket = open_socket(self.site, stream, negotiation.offered_extensions(self.head))
        fields = [(name.lower(), value) for name, value in socket.handshake_fields]
        if subprotocol is not None:
            fields.append((b"sec-websocket-protocol", subprotocol.encode("latin-1")))
        block = self.connection.head_blocks.encode(check_response(200, headers)) + encode_fields(fields)
        self.connection.output.headers(self, block, False)
        self.stream = None
        if self._pace is not None:
            self._pace.forget()
        early, self._early = bytes(self._early or b""), None
        self.tunnel = Tunnel(self)
        stream.socket = socket
        self.tunnel.begin(socket, early)
        return socket

    # ---- ends ------------------------------------------------------------------------------------

    def end_written(self) -> None:
        """The answer has gone out to its end."""
        stream, self.stream = self.stream, None
        if self.tunnel is not None:
            self.tunnel.end_written()
        elif isinstance(stream, HTTPStream) and self.site.action_logger is not None:
            self.site.log_http(stream, self.head.target)
        if not self.receiving:
            self.connection.stream_closed(self)
        elif self.tunnel is None:
            self._skip_rest()

    def _skip_rest(self) -> None:
        """The request has its answer, but its body has not ended (RFC 9113 section 8.1)."""
        if self._expected is None or self._expected > _SKIPPABLE_BODY:
            self.reset(codes.NO_ERROR)
        else:
            self.give_credit(0)
            self._keep_pace(0, 0)

    def drained(self) -> None:
        """What waited has gone out: go on."""
        if self._writable is not None:
            self._writable.fire()
        if self.tunnel is not None:
            self.tunnel.drained()

    def cut(self, stream: Stream) -> None:
        """End the exchange so that the client can tell that the response is not complete (R13)."""
        self.stream = None
        self.reset(codes.INTERNAL_ERROR)

    def reset(self, code: int) -> None:
        """End the stream from our side with an error code."""
        self.connection.output.reset(self.id, code)
        self.gone()
        self.connection.stream_closed(self)

    def gone(self) -> None:
        """The stream is over for both: drop what waits, tell who is concerned."""
        self.connection.output.forget(self)
        self.sending = self.write_paused = False
        self.close_deadlines()
        stream, self.stream = self.stream, None
        if stream is not None:
            self.connection.stream_left(stream)
        if self.tunnel is not None:
            self.tunnel.lost()
        if self._writable is not None:
            self._writable.fire()

    def close_deadlines(self) -> None:
        """Give the loop its timers back, for good."""
        if self._pace is not None:
            self._pace.forget()
        if self._stall is not None:
            self._stall.forget()

    # ---- stalls ----------------------------------------------------------------------------------

    def stall(self, sent: int | None) -> None:
        """The client keeps the stream's window shut, or lets `sent` bytes through, or (None) all."""
        if self._stall is None:
            self._stall = Deadline(self.site.schedule, self._stalled_too_long)
        time_stall(self._stall, sent, self.site.settings, self.connection.input_ended)

    def _stalled_too_long(self) -> None:
        if not self.connection.input_ended:
            self.site.limit_fired("http2_stall_timeout", self.connection.facts.client)
        self.reset(codes.CANCEL)


def time_stall(deadline: Deadline, sent: int | None, settings: Settings, for_ever: bool) -> None:
    """Run a deadline while a window is shut: what gets through earns time, at `min_response_rate`.

    `for_ever`: the client sends no more, so that no window will ever open.
    """
    longest = settings.http2_stall_timeout
    if for_ever and sent is not None:
        deadline.set(0)
    elif sent is None or not longest:
        deadline.clear()
    elif not deadline.is_set or (sent and not settings.min_response_rate):
        deadline.set(longest)
    elif sent:
        deadline.extend(sent / settings.min_response_rate, longest)
