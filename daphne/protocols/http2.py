"""HTTP/2 on one connection (RFC 9113): its life, and which exchange every event belongs to.

Made by site.Site when a connection begins with HTTP/2's preface; http1 hands the transport over.
http2_reader makes events of bytes and calls this; http2_exchange serves each request; http2_output writes.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from twisted.internet.interfaces import IHalfCloseableProtocol, IProtocol, IPushProducer
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from zope.interface import classImplements

from daphne.errors import ConnectionFailed, RequestRefused, StreamReset
from daphne.protocols import http2_frames as frames
from daphne.protocols.http2_exchange import Exchange, Stream
from daphne.protocols.http2_head import check_trailers, read_head
from daphne.protocols.http2_hpack import HeadBlocks
from daphne.protocols.http2_life import ConnectionLife
from daphne.protocols.http2_limits import Floods, Places
from daphne.protocols.http2_output import Output
from daphne.protocols.http2_priority import parse_priority
from daphne.protocols.http2_reader import FRAMES_IN_A_ROW, FrameReader
from daphne.protocols.turns import LARGEST
from daphne.streams.head import Headers

if TYPE_CHECKING:
    from daphne.protocols.site import Site

logger = logging.getLogger("daphne.http_protocol")


class HTTP2Connection(ConnectionLife):
    """One connection. `exchanges` are the live streams by their number."""

    stream = None
    """Other connections have one exchange at a time; here each has its own, and each socket its own drain."""
    head_blocks: HeadBlocks

    def __init__(self, site: Site) -> None:
        self.site = site
        self.exchanges: dict[int, Exchange] = {}
        self.floods = Floods(site.loop, site.settings)
        self.reader = FrameReader(site.settings, self.exchanges, self, self.floods)
        self.begin_life(site)
        self._served = 0
        self._greeted = False
        self._settings_known = False
        self._waits = False
        """Whether it waits for its turn."""
        self._priorities: dict[int, bytes] = {}
        """Priorities of streams that are still to come."""
        self._places = Places(site.settings)
        self.head_blocks = HeadBlocks(site.standard.fields)

    # ---- the transport's calls -------------------------------------------------------------------

    def connectionMade(self) -> None:
        """The transport is ours: say our settings (RFC 9113 section 3.4)."""
        site, settings = self.site, self.site.settings
        self.output = Output(site, self.transport, self, self.floods)
        self.facts = site.facts(self.transport)
        site.connections.add(self)
        self.transport.registerProducer(self, True)
        values = {
            frames.MAX_CONCURRENT_STREAMS: settings.http2_max_concurrent_streams,
            frames.INITIAL_WINDOW_SIZE: settings.http2_stream_window,
            frames.MAX_HEADER_LIST_SIZE: settings.http2_max_header_list_size,
            frames.ENABLE_CONNECT_PROTOCOL: 1,
            frames.NO_RFC7540_PRIORITIES: 1,
        }
        self.output.settings(values)
        if settings.http2_connection_window > frames.DEFAULT_WINDOW:
            more = settings.http2_connection_window - frames.DEFAULT_WINDOW
            self.output.allow(0, more)
        self.allow(settings.request_head_timeout)
        if site.draining:
            self.drain()

    def dataReceived(self, data: bytes) -> None:
        """Take bytes from the client; what they bring about is written at once."""
        self._receive(data, FRAMES_IN_A_ROW)

    def _receive(self, data: bytes, most: int) -> None:
        if self.closing:
            return
        output, reader = self.output, self.reader
        output.gathering = True
        try:
            reader.receive(data, most)
            window = self.site.settings.http2_connection_window
            if reader.credit * 2 <= window:
                # On arrival, not when the application has taken it: a stream that is not read must not
                # stop others.
                output.allow(0, window - reader.credit)
                reader.credit = window
            if reader.behind:
                self.transport.pauseProducing()
                self._wait_for_turn()
            elif reader.unfinished or self.block.is_set:
                self.watch_unfinished(len(data))
        except ConnectionFailed as failure:
            self.fail(failure)
        finally:
            output.gathering = False
            output.flush()

    def _wait_for_turn(self) -> None:
        if not self._waits:
            self._waits = True
            client = self.facts.client
            self.site.turns.wait(client[0] if client is not None else None, self._read_on)

    def _read_on(self) -> None:
        """Others have had their turn."""
        self._waits = False
        self.transport.resumeProducing()
        self._receive(b"", FRAMES_IN_A_ROW * self.site.turns.size // LARGEST)

    def readConnectionLost(self) -> None:
        """The client sends no more; what it asked for completely is still answered."""
        if self.closing:
            self.transport.loseConnection()
            return
        for exchange in list(self.exchanges.values()):
            if exchange.receiving:
                exchange.reset(frames.CANCEL)
        self.end_of_input()

    def writeConnectionLost(self) -> None:
        """We send no more; nothing to do."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The connection is gone, for whatever reason."""
        self.closing = True
        self.site.connections.discard(self)
        self.site.admission.leave(self.transport)
        self.end_exchanges()
        self.close_deadlines()

    # ---- the reader's events ---------------------------------------------------------------------

    def request_received(self, stream_id: int, fields: Headers, size: int, ended: bool) -> None:
        """A field block opens a stream."""
        self._check_room(stream_id)
        if not self.exchanges:
            self.idle.clear()
        exchange = Exchange(self, stream_id)
        if ended:
            exchange.receiving = False
        self.exchanges[stream_id] = exchange
        self._served += 1
        if self._served == self.site.settings.max_requests_per_connection:
            self.drain()
        try:
            request = read_head(fields, size, self.site.settings)
            if stream_id in self._priorities:
                request.priority = self._priorities.pop(stream_id)
            exchange.begin(request)
        except RequestRefused as refusal:
            exchange.is_head = (b":method", b"HEAD") in fields
            exchange.refuse(refusal)

    def _check_room(self, stream_id: int) -> None:
        """Raise StreamReset(REFUSED_STREAM) for a request that finds no place; the client may try again."""
        if stream_id > self.last_taken:
            raise StreamReset(frames.REFUSED_STREAM, "the connection ends")
        if not self._places.room_beside(len(self.exchanges)):
            if self._settings_known:
                self.site.limit_fired("http2_max_concurrent_streams", self.facts.client)
            raise StreamReset(frames.REFUSED_STREAM, "too many streams")

    def body_received(self, stream_id: int, data: bytes, ended: bool) -> None:
        """A part of a body."""
        exchange = self.exchanges[stream_id]
        try:
            exchange.take_body(data, ended)
        except RequestRefused as refusal:
            exchange.refuse(refusal)

    def trailers_received(self, stream_id: int, fields: Headers) -> None:
        """Trailers end a body; they are checked and dropped, never merged into the headers (R3)."""
        check_trailers(fields)
        self.body_received(stream_id, b"", True)

    def stream_failed(self, stream_id: int, error: StreamReset) -> None:
        """The client has broken a rule on a stream, or found no place for it."""
        if error.code == frames.REFUSED_STREAM and (self.draining or not self._settings_known):
            self.floods.frame()  # it could not know
        else:
            self.floods.reset()
        logger.debug("Stream %d from %s ended: %s", stream_id, self.facts.client, error.reason)
        exchange = self.exchanges.get(stream_id)
        if exchange is not None:
            exchange.reset(error.code)
        else:
            self.output.reset(stream_id, error.code)
            self.reader.forget(stream_id, True)
            self.close_when_done()

    def stream_reset(self, stream_id: int, code: int) -> None:
        """The client has ended a stream."""
        exchange = self.exchanges[stream_id]
        exchange.receiving = False
        exchange.gone()
        self.stream_closed(exchange)
        self.floods.reset()

    def settings_received(self, values: dict[int, int]) -> None:
        """The client's settings: of those that bind us, only the window is of use."""
        if frames.INITIAL_WINDOW_SIZE in values:
            self.output.set_initial_window(values[frames.INITIAL_WINDOW_SIZE], self.exchanges.values())
        if not self._greeted:
            self._greeted = True
            if not self.exchanges:
                self.allow(self.site.settings.keep_alive_timeout)
        self.count_reply()
        self.output.acknowledge_settings()

    def settings_acknowledged(self) -> None:
        """The client knows our limits from now on."""
        self._settings_known = True

    def window_opened(self, stream_id: int, increment: int) -> None:
        """The client takes more."""
        self.output.open_window(self.exchanges[stream_id] if stream_id else None, increment)

    def priority_received(self, stream_id: int, value: bytes) -> None:
        """PRIORITY_UPDATE; of streams that are still to come no more are remembered than may be open."""
        exchange = self.exchanges.get(stream_id)
        if exchange is not None:
            self.output.prioritize(exchange, parse_priority(value))
            return
        most, highest = self.site.settings.http2_max_concurrent_streams, self.reader.highest
        if len(self._priorities) >= most:
            self._priorities = {key: kept for key, kept in self._priorities.items() if key > highest}
        if len(self._priorities) < most:
            self._priorities[stream_id] = value

    def ping_received(self, payload: bytes) -> None:
        """A ping: answer it."""
        self.count_reply()
        self.output.ping(payload, answer=True)

    # ---- the exchanges' calls --------------------------------------------------------------------

    def stream_closed(self, exchange: Exchange) -> None:
        """A stream is closed on both sides."""
        if self.exchanges.pop(exchange.id, None) is None:
            return
        exchange.close_deadlines()
        self.reader.forget(exchange.id, exchange.receiving)
        if not self.exchanges and not self.closing:
            self.allow(self.site.settings.keep_alive_timeout)
            self.close_when_done()

    def stream_left(self, stream: Stream) -> None:
        """A stream's client has gone."""
        stream.client_left()
        self.site.left(stream)
        self._places.left_behind(stream)


classImplements(HTTP2Connection, IProtocol, IHalfCloseableProtocol, IPushProducer)
