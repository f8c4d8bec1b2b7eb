"""One HTTP/2 stream that looks like a Twisted transport: what a WebSocket over HTTP/2 is carried by (RFC
8441).

Made by http2_exchange when the application accepts; calls the WebSocket protocol as any transport does, and
the exchange to write. END_STREAM stands for TCP's FIN, RST_STREAM for its RST (RFC 8441 section 5).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from twisted.internet import error
from twisted.internet.interfaces import IConsumer, IPushProducer, ITransport
from twisted.python.failure import Failure
from zope.interface import implementer

from daphne.protocols.http2_frames import CANCEL, NO_ERROR
from daphne.streams.deadlines import Deadline

if TYPE_CHECKING:
    from daphne.protocols.http2_exchange import Exchange

_LINGER = 2.0
"""Seconds that the client has to end its side after we have ended ours."""


@implementer(ITransport, IConsumer, IPushProducer)
class Tunnel:
    """The transport of one WebSocket. See twisted.internet.interfaces for the methods without a docstring."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._protocol: Any = None
        self._producer: Any = None
        self._reading = True
        self._held = bytearray()
        """What has come while the protocol does not read."""
        self._input_ended = False
        self._end_told = False
        self._ended = False
        self._linger: Deadline | None = None
        self.disconnecting = False

    # What the exchange calls

    def begin(self, protocol: Any, early: bytes) -> None:
        """Give the stream to `protocol`, and what has come for it already."""
        self._protocol = protocol
        protocol.makeConnection(self)
        if early:
            self.data_received(early, False)

    def data_received(self, data: bytes, ended: bool) -> None:
        """Hand on what came, or hold it while the protocol does not read: the window is not opened then."""
        self._input_ended = self._input_ended or ended
        if data and self._protocol is not None and not self.disconnecting:
            if self._reading and not self._held:
                self._protocol.dataReceived(data)
            else:
                self._held += data
        self._deliver()

    def _deliver(self) -> None:
        if self._held and self._reading and self._protocol is not None:
            data, self._held = bytes(self._held), bytearray()
            self._protocol.dataReceived(data)
        self._exchange.give_credit(len(self._held))
        if self._input_ended and not self._held and not self._end_told:
            self._end_told = True
            if self._ended:
                self._exchange.connection.stream_closed(self._exchange)
                self.lost(error.ConnectionDone())
            elif self._protocol is not None:
                self._protocol.readConnectionLost()

    def end_written(self) -> None:
        """END_STREAM has gone out."""
        self._ended = True
        if not self._exchange.receiving:
            self.lost(error.ConnectionDone())
        elif self.disconnecting:
            self._tell_lost(error.ConnectionDone())
            self._linger = Deadline(self._exchange.site.schedule, self._lingered)
            self._linger.set(_LINGER)

    def _lingered(self) -> None:
        self._exchange.reset(NO_ERROR)

    def drained(self) -> None:
        """There is room for more."""
        if self._producer is not None:
            self._producer.resumeProducing()

    def lost(self, reason: Exception | None = None) -> None:
        """The stream is over; tell the protocol once, in the loop's next turn."""
        if self._linger is not None:
            self._linger.forget()
        self._tell_lost(reason or error.ConnectionLost())

    def _tell_lost(self, reason: Exception) -> None:
        protocol, self._protocol = self._protocol, None
        self._producer = None
        self._held.clear()
        if protocol is not None:
            self._exchange.site.loop.call_soon(protocol.connectionLost, Failure(reason))

    # ITransport

    def write(self, data: bytes) -> None:
        exchange = self._exchange
        if not self.disconnecting and exchange.sending:
            paused = exchange.write_paused
            exchange.connection.output.data(exchange, data, False)
            if exchange.write_paused and not paused and self._producer is not None:
                self._producer.pauseProducing()

    def writeSequence(self, data: Iterable[bytes]) -> None:
        for piece in data:
            self.write(piece)

    def loseConnection(self) -> None:
        """Send END_STREAM when all is sent; what still comes is thrown away."""
        if not self.disconnecting:
            self._end_output()
            self.disconnecting = True
            self._held.clear()
            if self._ended and self._exchange.receiving:
                self.end_written()

    def loseWriteConnection(self) -> None:
        """Send END_STREAM when all is sent, and go on reading."""
        self._end_output()

    def _end_output(self) -> None:
        if self._exchange.sending and not self._closing_output:
            self._closing_output = True
            self._exchange.connection.output.data(self._exchange, b"", True)

    _closing_output = False

    def abortConnection(self) -> None:
        """Send RST_STREAM at once, dropping what is unsent."""
        if self._protocol is not None or self._linger is not None:
            self._tell_lost(error.ConnectionAborted())
            self._exchange.reset(CANCEL)

    def unsentBytes(self) -> int:
        """Bytes that have been written and that the client's window or the connection does not take yet."""
        return self._exchange.queued

    def getPeer(self) -> Any:
        return self._exchange.connection.transport.getPeer()

    def getHost(self) -> Any:
        return self._exchange.connection.transport.getHost()

    # IConsumer and IPushProducer

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        if self._producer is not None:
            raise RuntimeError(f"{self._producer!r} is registered already")
        self._producer = producer
        if self._exchange.write_paused:
            producer.pauseProducing()

    def unregisterProducer(self) -> None:
        self._producer = None

    def pauseProducing(self) -> None:
        """Read no more for now."""
        self._reading = False

    def resumeProducing(self) -> None:
        self._reading = True
        self._deliver()

    def stopProducing(self) -> None:
        self.loseConnection()
