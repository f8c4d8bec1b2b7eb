"""How long one HTTP/2 connection lasts: its deadlines, its slow clients, and the ways in which it ends.

The part of http2.HTTP2Connection that does not look at requests. Calls http2_output for GOAWAY, and the
transport.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from daphne.errors import ConnectionFailed
from daphne.protocols import http2_frames as frames
from daphne.protocols.http2_exchange import Exchange, time_stall
from daphne.protocols.http2_output import Output
from daphne.protocols.http2_reader import FrameReader
from daphne.protocols.outflow import Connection
from daphne.streams.deadlines import Deadline
from daphne.streams.scope import ConnectionFacts

if TYPE_CHECKING:
    from daphne.protocols.site import Site

logger = logging.getLogger("daphne.http_protocol")

_LINGER = 2.0
"""Seconds that a client which is still sending has to read why we close."""
_FLUSH = 60.0
"""Seconds that a client has to read the last answers after the connection has ended."""
_ROUND_TRIP = 1.0
"""Seconds after which a client is taken to have heard that the connection will end."""

_MOST_UNREAD = 1000
"""Answers to pings and settings that are made for a client which reads nothing."""


class ConnectionLife(Connection):
    """The life of one connection; http2.HTTP2Connection adds what happens in it."""

    facts: ConnectionFacts
    output: Output
    reader: FrameReader
    exchanges: dict[int, Exchange]
    _greeted: bool
    """Whether the client's settings have come."""

    def begin_life(self, site: Site) -> None:
        """Make the deadlines, none of which runs yet."""
        self.idle = Deadline(site.schedule, self._idle_expired)
        self.block = Deadline(site.schedule, self._block_too_slow)
        self._stall = Deadline(site.schedule, self._stalled_too_long)
        self.closing = False
        self.last_taken = frames.LARGEST
        """The highest stream that is served, once that has been said."""
        self.draining = False
        self.input_ended = False
        self._goodbye: Any = None
        self._half_close: Any = None
        self.unread = 0
        """Replies that have been written while the client takes nothing."""

    # ---- back-pressure ---------------------------------------------------------------------------

    def pauseProducing(self) -> None:
        """The transport holds more than its high-water mark (IPushProducer)."""
        self.output.paused = True
        super().pauseProducing()

    def resumeProducing(self) -> None:
        """The transport has room again (IPushProducer)."""
        self.output.paused = False
        self.unread = 0
        super().resumeProducing()
        self.output.flush()

    def stopProducing(self) -> None:
        """The transport is gone (IPushProducer); connectionLost follows."""

    def count_reply(self) -> None:
        """A reply is written that the client can ask for as often as it likes."""
        if self.output.paused:
            self.unread += 1
            if self.unread > _MOST_UNREAD:
                raise ConnectionFailed(
                    frames.ENHANCE_YOUR_CALM, "replies pile up", limit="http2_max_frames_per_second"
                )

    def stall(self, sent: int | None) -> None:
        """The client keeps the connection's window shut, or lets `sent` bytes through, or (None) all."""
        time_stall(self._stall, sent, self.site.settings, self.input_ended)

    def _stalled_too_long(self) -> None:
        if self.input_ended:
            self._close(frames.NO_ERROR, "", linger=False)
            return
        self.fail(ConnectionFailed(frames.ENHANCE_YOUR_CALM, "window shut", limit="http2_stall_timeout"))

    # ---- what must come in time ------------------------------------------------------------------

    def allow(self, seconds: float) -> None:
        """Give the client this time until its next request, 0 for any."""
        if seconds:
            self.idle.set(seconds)
        else:
            self.idle.clear()

    def watch_unfinished(self, size: int) -> None:
        """A field block must be complete in time, and DATA that is on its way counts as body that comes."""
        kind, stream_id = self.reader.unfinished or (-1, 0)
        if kind in (frames.HEADERS, frames.CONTINUATION):
            if not self.block.is_set and self.site.settings.request_head_timeout:
                self.block.set(self.site.settings.request_head_timeout)
            return
        self.block.clear()
        if kind == frames.DATA and stream_id in self.exchanges:
            self.exchanges[stream_id].body_coming(size)

    def _block_too_slow(self) -> None:
        self.fail(
            ConnectionFailed(frames.ENHANCE_YOUR_CALM, "field block too slow", limit="request_head_timeout")
        )

    # ---- the end ---------------------------------------------------------------------------------

    def _idle_expired(self) -> None:
        if (self.closing or self.write_paused) and self._sent_some():
            self.idle.set(_FLUSH)  # the client still takes our last answers
        elif self.closing:
            self.transport.abortConnection()
        else:
            self.site.closed_idle(self._greeted, self.facts.client)
            self._close(frames.NO_ERROR, "idle", linger=False)

    def drain(self) -> None:
        """The server stops: let requests that are under way arrive, answer them, close (section 6.8)."""
        if self.draining or self.closing:
            return
        self.draining = True
        self.output.goaway(frames.LARGEST, frames.NO_ERROR)
        self.output.ping(b"goodbye!", answer=False)
        self._goodbye = self.site.loop.call_later(_ROUND_TRIP, self._say_goodbye)

    def _say_goodbye(self) -> None:
        self._goodbye = None
        self.last_taken = self.reader.highest
        self.output.goaway(self.last_taken, frames.NO_ERROR)
        self.close_when_done()

    def close_when_done(self) -> None:
        if self.draining and self._goodbye is None and not self.exchanges and not self.closing:
            self._close(frames.NO_ERROR, "", linger=False)

    def fail(self, failure: ConnectionFailed) -> None:
        """The client has broken a rule of the connection, or a limit: nothing more of it is read."""
        if failure.limit:
            self.site.limit_fired(failure.limit, self.facts.client)
        else:
            logger.debug("Connection from %s failed: %s", self.facts.client, failure.reason)
        self._close(failure.code, failure.reason, linger=True)

    def _close(self, code: int, reason: str, linger: bool) -> None:
        """Say GOAWAY, flush and close; a client that is still sending gets time to read it."""
        if self.closing:
            return
        self.closing = True
        self.end_exchanges()
        self.close_deadlines()
        self.output.goaway(self.reader.highest, code, reason)
        self.output.flush()
        self.transport.unregisterProducer()
        self.flush_in_time()
        if linger and hasattr(self.transport, "loseWriteConnection"):
            self.transport.loseWriteConnection()
            self.idle.set(_LINGER)
        else:
            self.transport.loseConnection()
            self.idle.set(_FLUSH)

    def end_of_input(self) -> None:
        """The client sends no more; as it may have closed altogether, applications hear of it later."""
        self.input_ended = True
        self.no_more_requests()
        for exchange in self.exchanges.values():
            if exchange.stalled:
                exchange.stall(0)
        if self.output.stalled:
            self.stall(0)
        if not self.closing:
            self._half_close = self.site.loop.call_later(
                self.site.settings.half_close_timeout, self._tell_half_closed
            )

    def _tell_half_closed(self) -> None:
        self._half_close = None
        for exchange in list(self.exchanges.values()):
            if exchange.stream is not None:
                exchange.stream.client_half_closed()
                self.site.left(exchange.stream)

    def end_exchanges(self) -> None:
        """Every stream that is still there is over."""
        exchanges = list(self.exchanges.values())
        self.exchanges.clear()
        for exchange in exchanges:
            exchange.gone()

    def close_deadlines(self) -> None:
        """Give the loop its timers back."""
        for deadline in (self.idle, self.block, self._stall, self._write_deadline):
            if deadline is not None:
                deadline.close()
        for timer in (self._goodbye, self._half_close):
            if timer is not None:
                timer.cancel()
        self._goodbye = self._half_close = None

    def pong_received(self, payload: bytes) -> None:
        """The answer to the ping that follows our first GOAWAY: whatever was under way has arrived."""
        if self._goodbye is not None:
            self._goodbye.cancel()
            self._say_goodbye()

    def goaway_received(self, code: int) -> None:
        """The client opens no more streams."""
        self.no_more_requests()

    def no_more_requests(self) -> None:
        """Close when the client has its answers; no request is on its way that would have to be awaited."""
        self.draining = True
        self.last_taken = self.reader.highest
        if self._goodbye is not None:
            self._goodbye.cancel()
            self._goodbye = None
        self.close_when_done()
