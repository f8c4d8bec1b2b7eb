"""The life of one HTTP/1 connection: between requests, at its end, and when it is refused, cut or drained.

Inherited by http1.HTTP1Connection, which reads; calls the transport, the site and the stream under way.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure

from daphne.errors import RequestRefused
from daphne.protocols.http1_body import LengthBody
from daphne.protocols.http1_response import ResponseWriting, Stream
from daphne.streams.deadlines import Deadline
from daphne.streams.http import HTTPStream
from daphne.streams.pages import PAGE_HEADERS, error_page
from daphne.streams.response import check_response
from daphne.streams.scope import ConnectionFacts

if TYPE_CHECKING:
    from daphne.protocols.site import Site

_SKIPPABLE_BODY = 65536
"""Bytes of unread request body that are read past so that the connection can stay."""
_LINGER = 2.0
"""Seconds that a client which is still sending has to read our last answer (RFC 9112 section 9.6)."""
_FIRST_REQUEST = 1.0
"""Seconds in which the request of a new connection must come once the server stops."""
_FLUSH = 60.0
"""Seconds in which a client must have read some of what is left of the last answer."""


class ConnectionLife(ResponseWriting):
    """The state of one connection, and how it goes on or ends. `stream` is the exchange under way."""

    # Slots, although the base classes have none: what every request reads is found faster in them.
    __slots__ = (
        "_body",
        "_body_paused",
        "_checked",
        "_chunked",
        "_closing",
        "_detours",
        "_gathered",
        "_gathered_size",
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
        "_waits",
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
        self.connected = 0
        self.transport: Any = None
        self.stream = None
        self.facts: ConnectionFacts | None = None
        self.keep_alive = True
        self.write_paused = False
        self.continue_due = False
        self._peer = peer
        self._successor: Any = None
        self._detours = 0
        self._held = b""
        """Bytes that cannot be parsed yet: a head that is not complete, or what follows the request."""
        self._body = None
        self._body_paused = False
        self._chunked = self._until_close = self._suppress_body = False
        self._gathered = None
        self._gathered_size = 0
        self._closing = self._taking = self._input_ended = self._waits = False
        self._served = 0
        self._head_begun = False
        """Whether some of a head is there, and its deadline runs."""
        self._checked = 0
        """Bytes of a head in `_held` that have been looked at: one in drops is not read over and over."""
        self._websocket_key = b""
        self._half_close: asyncio.TimerHandle | None = None
        self._pace: Deadline | None = None
        self._idle = Deadline(site.schedule, self._idle_expired)

    def _take(self, data: bytes) -> None:
        """Parse what has been received."""
        raise NotImplementedError

    # ---- the client ends -------------------------------------------------------------------------

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
            self.site.settings.half_close_timeout, self._client_half_closed, stream
        )

    def _client_half_closed(self, stream: Stream) -> None:
        stream.client_half_closed()
        self.site.left(stream)

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
        self._closing = True
        self._held = b""
        stream, self.stream = self.stream, None
        if stream is not None:
            stream.client_left()
            self.site.left(stream)
        self.stop_writing()

    def _close_deadlines(self) -> None:
        """Close all for good; nothing is left that refers back to this object."""
        self._idle.forget()
        self._end_request_deadlines()

    def _end_request_deadlines(self) -> None:
        if self._pace is not None:
            self._pace.forget()
            self._pace = None
        if self._half_close is not None:
            self._half_close.cancel()
            self._half_close = None

    # ---- between requests ------------------------------------------------------------------------

    def body_can_be_skipped(self) -> bool:
        """Whether the rest of the request body is little enough to read past."""
        body = self._body
        return body is None or (isinstance(body, LengthBody) and body.remaining <= _SKIPPABLE_BODY)

    def response_done(self) -> None:
        """The response is complete: log it, and go on to the next request or close."""
        stream, self.stream = self.stream, None
        assert stream is not None
        if self.site.action_logger is not None and isinstance(stream, HTTPStream):
            self.site.log_http(stream, self.request.target)
        if self._half_close is not None:
            self._half_close.cancel()
            self._half_close = None
        if stream.kind == "websocket" and self._held:
            self.keep_alive = False  # frames that were sent early must not pass for a request
        if not self.keep_alive or not (self._body is None or self.body_can_be_skipped()):
            self._close(linger=self._body is not None or bool(self._held))
        else:
            self._allow(self.site.keep_alive_timeout)
            if self._body is not None:
                if self._body_paused:
                    self._resume_reading()
            elif self._held and not self._taking:
                self._wait_for_turn()

    def _allow(self, seconds: float) -> None:
        """Let the client be idle for `seconds`, or without limit if that is 0."""
        if seconds:
            self._idle.set(seconds)
        else:
            self._idle.clear()

    def _hold(self, data: bytes) -> None:
        if self._closing:
            return  # whatever follows the last request of a connection is read and thrown away
        if self._successor is not None:
            self._successor.dataReceived(data)
            return
        self._held = data
        if len(data) > self.site.settings.read_buffer_size and not self._body_paused:
            self._pause_reading()

    def _take_held(self) -> None:
        """Go on with what has waited for the end of the response."""
        data, self._held = self._held, b""
        if self._body_paused:
            self._resume_reading()
        self._take(data)
        if self._input_ended and self.stream is None and not (self._closing or self._requests_wait):
            self._close(linger=False)

    def _is_free(self) -> bool:
        """Whether the last response is complete. Asked in a call of its own where calls in between may have
        changed it: what mypy concludes from an earlier look at `stream`, compiled code insists on.
        """
        return self.stream is None

    @property
    def _requests_wait(self) -> bool:
        """Whether the connection has made way for others although requests are there."""
        return self.stream is None and bool(self._held) and not self._head_begun

    def _wait_for_turn(self) -> None:
        """Others first: those who have asked for less."""
        if not self._waits:
            self._waits = True
            self.site.turns.wait(self._peer, self._take_turn)

    def _take_turn(self) -> None:
        self._waits = False
        if self._body is not None:
            self._take_more_body()
        elif self._requests_wait:
            self._take_held()

    def _close(self, linger: bool) -> None:
        """Flush and close; while the client is still sending, read on for a while lest it miss our answer."""
        self._closing = True
        self._held = b""
        self._body = None
        self._end_request_deadlines()
        if self._body_paused or self._waits:
            self._resume_reading()
        self.transport.unregisterProducer()
        self.flush_in_time()
        if linger and not self._input_ended and hasattr(self.transport, "loseWriteConnection"):
            self.transport.loseWriteConnection()
            self._idle.set(_LINGER)
        else:
            self.transport.loseConnection()
            self._idle.set(_FLUSH)

    def _idle_expired(self) -> None:
        if (self._closing or self.write_paused) and self._sent_some():
            self._idle.set(_FLUSH)  # the client still takes our last answer
        elif self._closing:
            self.transport.abortConnection()
        elif self._held and self.stream is None:
            self._refuse(RequestRefused(408, "request head too slow", limit="request_head_timeout"))
        else:
            facts = self.facts or self.site.facts(self.transport)
            self.site.closed_idle(self._served > 0, facts.client)
            self._close(linger=False)

    def drain(self) -> None:
        """The server stops: answer what is under way or may be on its way here, then close.

        A client that has used its connection before has to expect that it is closed while it is idle (RFC
        9112 section 9.3.1); one that has just connected has not.
        """
        if self._closing or self._successor is not None:
            return
        self.keep_alive = False
        if self.stream is None and self._body is None and not (self._head_begun or self._requests_wait):
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
        self.write_gathered()
        if self._until_close or self.write_paused:
            self.transport.abortConnection()
        else:
            self._close(linger=False)

    # ---- reading on and off ----------------------------------------------------------------------

    def _pause_reading(self) -> None:
        self._body_paused = True
        self.transport.pauseProducing()

    def _resume_reading(self) -> None:
        self._body_paused = False
        if self._body is not None and self._held:
            self._wait_for_turn()  # and read on then: more would only be held, too
        else:
            self.transport.resumeProducing()

    def _take_more_body(self) -> None:
        """Go on with a body of many small chunks: others have had their turn, the application caught up."""
        if self._body_paused:
            return
        self.transport.resumeProducing()
        if self._held:
            data, self._held = self._held, b""
            self._take(data)
