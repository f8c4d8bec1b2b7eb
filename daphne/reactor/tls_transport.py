"""A connection over TLS: OpenSSL between two buffers in memory, on the loop's plain transport.

Made by `daphne.reactor.ports.TLSPort`; calls the `ssl` module's object for the connection and the Twisted
protocol, which is built when the handshake is done.

The loops have TLS of their own. uvloop's costs a request more than half of what OpenSSL does, and asyncio's
is Python. Neither is needed where the transport is ours already: what comes goes into one buffer, from which
OpenSSL reads records; what OpenSSL writes into the other goes to the loop at once. So what is unsent is all
in the loop's transport, and flow control is its own, as without TLS.

One read of the loop's may bring 256 KiB, and OpenSSL is fed with them by the `SLICE`. A turn of the loop goes
on with the next slice only if the last one was mostly data, so small records (1 byte in 23) take a turn for
each slice. As many bytes without any data (key updates) end the connection.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final, cast

from twisted.internet import interfaces
from zope.interface import classImplements

from daphne.reactor.records import BATCH, RECORD, full_records
from daphne.reactor.transports import LoopTransport, discard

if TYPE_CHECKING:
    from daphne.reactor.ports import TLSPort

log = logging.getLogger(__name__)

SHUTDOWN_TIMEOUT = 10.0
"""Seconds for the peer to answer our close_notify, from when all data has been handed to the kernel."""

SLICE: Final = 17408
"""Longer than any record on the wire (2^14 + 256 bytes and 5 of header), so that each slice ends one."""

OVERHEAD: Final = 29
"""The most that a record without padding is longer than its data (AES-GCM in TLS 1.2: RFC 5288 section 3)."""

BATCHES: Final = 4
"""So many BATCHes are written with one call: a call for each costs a quarter more."""

MOST_ANSWERS: Final = 16384
"""Bytes that may wait of what OpenSSL answers by itself; the client that demands them takes none."""

NOTHING = memoryview(b"")


class TLSTransport(LoopTransport):
    """A LoopTransport over TLS.

    It is not half closed: `loseWriteConnection` is `loseConnection`, and a peer that ends its side ends the
    connection once what is written has been sent.
    """

    __slots__ = (
        "_alpn",
        "_deadline",
        "_deliver",
        "_encrypt",
        "_encrypted",
        "_end",
        "_feed",
        "_fruitless",
        "_incoming",
        "_outgoing",
        "_paused",
        "_problem",
        "_put_off",
        "_read",
        "_rest",
        "_ssl_object",
        "_unsent",
    )

    _deliver: Any
    """The Twisted protocol's `dataReceived`."""
    _deadline: asyncio.TimerHandle | None
    """For the handshake, and then for the end."""
    _fruitless: int
    """Bytes that were received since the last data."""
    _incoming: Any
    _outgoing: Any
    _ssl_object: Any
    _end: ssl.SSLError | None
    """Why nothing more can be read; SSLZeroReturnError if the peer has said goodbye."""
    _problem: Exception | None
    """Why we have ended the connection, if `connectionLost` is to tell."""
    _put_off: asyncio.Handle | None
    """The call that goes on with `_rest`."""
    _rest: Any
    """What has been received and is still to be fed to OpenSSL; nothing more is received meanwhile."""

    def connection_made(self, loop_transport: Any) -> None:
        """Wait for the client to begin the handshake."""
        port = cast("TLSPort", self.port)
        self.loop_transport = loop_transport
        self._peer = loop_transport.get_extra_info("peername")
        self.write = self._deliver = discard
        self._alpn: str | None = None
        self._end = self._problem = self._put_off = None
        self._paused = False
        self._rest = NOTHING
        self._fruitless = self._unsent = 0
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._ssl_object = port.context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        # The methods of the C object: the ones of SSLObject do nothing but call them.
        self._read: Any = self._ssl_object._sslobj.read
        self._encrypt: Any = self._ssl_object._sslobj.write
        self._feed: Any = self._incoming.write
        self._encrypted: Any = self._outgoing.read
        self._deadline = port.loop.call_later(port.tls.handshake_timeout, self._handshake_too_slow)
        self._receive_by(self._shake_hands)

    # The handshake

    def _receive_by(self, receive: Any) -> None:
        """Have the loop call `receive` with what comes."""
        self.data_received = receive
        self.loop_transport.set_protocol(self)

    def _shake_hands(self, data: bytes) -> None:
        """What the loop calls with what comes before the handshake is done."""
        self._feed(data[:SLICE])
        try:
            self._ssl_object.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
            if len(data) > SLICE:
                self._shake_hands(data[SLICE:])
        except ssl.SSLError as problem:
            self._fail(problem)
        else:
            if len(data) > SLICE:
                self._rest = memoryview(data)[SLICE:]
            self._secured()

    def _secured(self) -> None:
        self._end_deadline()
        self._alpn = self._ssl_object.selected_alpn_protocol()
        self._receive_by(self._received)
        self._begin(self._send)
        if not self.loop_transport.is_closing():
            self._receive_rest([])  # a request may have come with the end of the handshake

    def _handshake_too_slow(self) -> None:
        cast("TLSPort", self.port).handshakeTooSlow(self._peer)
        self.loop_transport.abort()

    # Reading

    def _received(self, data: bytes) -> None:
        """What the loop calls with what comes: most often one record, with one request."""
        size = len(data)
        if size > SLICE or self._rest:
            self._rest = memoryview(bytes(self._rest) + data) if self._rest else memoryview(data)
            self._receive_rest([])
            return
        self._feed(data)
        try:
            plain = self._read(size)
        except ssl.SSLWantReadError:
            self._fruitless += size
            self._answer()
        except ssl.SSLError as problem:
            self._finish(problem)
        else:
            self._fruitless = 0
            if plain and 0 < size - len(plain) <= OVERHEAD and not self._incoming.pending:
                self._deliver(plain)
            else:  # there is more, or something else was in front that wants an answer
                self._receive_rest([plain])

    def _receive_rest(self, parts: list[bytes]) -> None:
        """Decrypt what this turn of the loop is to take, deliver it in one piece and see to what is left."""
        self._decrypt(parts)
        while self._rest and self._end is None and not self._paused:
            piece, self._rest = self._rest[:SLICE], self._rest[SLICE:]
            self._feed(piece)
            self._fruitless += len(piece)
            if self._decrypt(parts) < SLICE // 2:
                break
        if data := b"".join(parts):
            self._deliver(data)
        if self._end is not None:
            self._finish(self._end)
            return
        self._answer()
        self._go_on()

    def _decrypt(self, parts: list[bytes]) -> int:
        """Append the data of all records that are whole, and say how much it is."""
        got = 0
        try:
            while part := self._read(RECORD + 1):
                parts.append(part)
                got += len(part)
                self._fruitless = 0
                if not self._incoming.pending:
                    return got
            self._end = ssl.SSLZeroReturnError()
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as problem:
            self._end = problem
        return got

    def _go_on(self) -> None:
        """Receive what is left in another turn of the loop; where nothing is, let the loop read again."""
        if self.loop_transport.is_closing():
            self._rest = NOTHING
        elif self._rest:
            self.loop_transport.pause_reading()
            if not self._paused and self._put_off is None:
                self._put_off = self.port.loop.call_soon(self._receive_put_off)
        else:
            self._rest = NOTHING  # an empty slice keeps all that was received
            if not self._paused:
                self.loop_transport.resume_reading()

    def _receive_put_off(self) -> None:
        self._put_off = None
        if self._paused or not self._rest:
            return
        try:
            self._receive_rest([])
        except Exception:
            # The loop called, and nobody above would end the connection.
            log.exception("%r raised in dataReceived", self._protocol)
            self.abortConnection()

    def pauseProducing(self) -> None:
        self._paused = True
        super().pauseProducing()

    def resumeProducing(self) -> None:
        if self.connected and not self.disconnecting and not self._end_of_input:
            self._paused = False
            self._go_on()

    def _deliver_to(self, protocol: Any) -> None:
        if self.write is not discard:
            self._deliver = protocol.dataReceived

    # Writing

    def _send(self, data: Any) -> None:
        """The transport's `write` while the connection is open."""
        if not 0 < len(data) <= RECORD:
            self.writeSequence((data,))
            return
        try:
            self._encrypt(data)
            self.loop_transport.write(self._encrypted())
        except ssl.SSLError as problem:
            # The peer can bring this about: by half a message of the handshake, for which a write waits.
            self._fail(problem)

    def writeSequence(self, data: Iterable[bytes]) -> None:
        if self.write is discard:
            return
        encrypted: list[bytes] = []
        try:
            for part in full_records(data):
                while part:
                    part = part[self._encrypt(part) :]
                if self._outgoing.pending >= BATCH:
                    encrypted.append(self._encrypted())
                    if len(encrypted) == BATCHES:
                        self._write_all(encrypted)
                        encrypted = []
        except ssl.SSLError as problem:
            self._fail(problem)
            return
        if self._outgoing.pending:
            encrypted.append(self._encrypted())
        if encrypted:
            self._write_all(encrypted)

    def _flush(self) -> None:
        """Send what OpenSSL has written by itself: handshakes, alerts, answers."""
        if self._outgoing.pending:
            self.loop_transport.write(self._encrypted())

    def _answer(self) -> None:
        """Send what a record without data demanded: renegotiation is refused. But not for ever."""
        if self._fruitless > SLICE:
            self._fail(ssl.SSLError("so much without any data is what no client needs"))
        elif not self._writing_paused:
            self._flush()
        elif self._outgoing.pending > MOST_ANSWERS:
            self._fail(ssl.SSLError("answers are demanded, and not taken"))

    def resume_writing(self) -> None:
        super().resume_writing()
        self._answer()

    # The end

    def _finish(self, problem: ssl.SSLError) -> None:
        """Nothing more can be read, be it by the peer's close_notify."""
        if isinstance(problem, ssl.SSLZeroReturnError):
            self.eof_received()
            self.loop_transport.close()
        else:
            self._fail(problem)

    def eof_received(self) -> bool:
        """The peer's side has ended: what is written is still sent, at least some of it in each timeout."""
        self._end_of_input = True
        self.disconnecting = True
        self._rest = NOTHING
        self._say_goodbye()
        self._set_deadline()
        return False

    def _fail(self, problem: Exception) -> None:
        """End a connection that cannot go on; OpenSSL may have written an alert that says why."""
        log.debug("TLS with %s has failed: %s", self._peer, problem)
        self._problem = ConnectionAbortedError(str(problem))
        self._end_of_input = True
        self.disconnecting = True
        self.write = self._deliver = discard
        self._rest = NOTHING
        if self.loop_transport.get_write_buffer_size():
            self.loop_transport.abort()  # or the alert would wait for a peer that may never read
        else:
            self._flush()
            self.loop_transport.close()

    def _say_goodbye(self) -> None:
        """Send close_notify, after which we can send nothing and wait only for the peer's (section 6.1)."""
        self.write = self._deliver = discard
        try:
            self._ssl_object._sslobj.shutdown()
        except ssl.SSLError as problem:
            log.debug("%s has not said goodbye yet: %s", self._peer, problem)
        self._flush()

    def _close_when_sent(self) -> None:
        if self.connected and self._deadline is None and not self._end_of_input:
            self._say_goodbye()
            self._set_deadline()
            self._paused = False
            self._go_on()

    def _end_output(self) -> None:
        self.loseConnection()

    def _set_deadline(self) -> None:
        self._end_deadline()
        self._unsent = self.unsentBytes()
        self._deadline = self.port.loop.call_later(SHUTDOWN_TIMEOUT, self._too_slow_to_end)

    def _end_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_slow_to_end(self) -> None:
        unsent = self.unsentBytes()
        if unsent and (unsent < self._unsent or not self._end_of_input):
            # It takes what has been written, or has the time that the Twisted protocol gives it.
            self._set_deadline()
        else:
            self._problem = TimeoutError("the peer does not end the connection")
            self.loop_transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_deadline()
        self._rest = NOTHING
        self.data_received = self._deliver = None
        super().connection_lost(exc or self._problem)
        self._ssl_object = self._incoming = self._outgoing = None
        self._read = self._encrypt = self._feed = self._encrypted = None

    # What is known about the peer

    @property
    def ssl_object(self) -> ssl.SSLObject | None:
        return cast("ssl.SSLObject | None", self._ssl_object)

    @property
    def negotiatedProtocol(self) -> bytes | None:
        return None if self._alpn is None else self._alpn.encode("ascii")

    def getPeerCertificate(self) -> Any:
        """The client's certificate as an OpenSSL.crypto.X509, or None (Twisted's ISSLTransport)."""
        from OpenSSL import crypto  # slow to import, and hardly anybody asks

        certificate = self._ssl_object and self._ssl_object.getpeercert(binary_form=True)
        return certificate and crypto.load_certificate(crypto.FILETYPE_ASN1, certificate)


classImplements(TLSTransport, interfaces.INegotiated, interfaces.ISSLTransport)
