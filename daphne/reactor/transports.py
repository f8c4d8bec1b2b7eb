"""Twisted's transport interface over a transport of the asyncio (or uvloop) loop.

Made by `daphne.reactor.ports` for each accepted connection; calls the Twisted protocol that the factory
builds.

A `LoopTransport` is two things at once: the protocol that the loop's transport calls, and the transport that
the Twisted protocol calls. On the way of the data it adds nothing: its `data_received` *is* the Twisted
protocol's bound `dataReceived`, and its `write` *is* the loop transport's bound `write`. Both are attributes
of the instance, replaced where Twisted and asyncio differ (asyncio raises on a write after the end, Twisted
ignores it).
"""

from __future__ import annotations

import logging
import socket
import ssl
import struct
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

from twisted.internet import error, interfaces
from twisted.internet.address import UNIXAddress
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from zope.interface import classImplements

from daphne.reactor.addresses import Address, build_protocol, twisted_address
from daphne.reactor.filling import Filling
from daphne.reactor.pulled import PulledProducer

if TYPE_CHECKING:
    from daphne.reactor.ports import LoopPort

log = logging.getLogger(__name__)

RESET_ON_CLOSE = struct.pack("ii", 1, 0)
"""SO_LINGER on with no time: `close` sends RST, so that nobody takes a cut answer for a whole one."""

WRITE_BUFFER_SIZE = 65536
"""Unsent bytes above which writing counts as paused, unless `setWriteBufferSize` says otherwise."""

JOIN_UP_TO = 65536
"""Bytes that cost less to copy than to write in pieces."""

_half_closing: Final[dict[Any, bool]] = {}
"""Classes of protocols, and whether they are IHalfCloseableProtocol: zope takes a while to say so."""


def _knows_half_close(protocol: Any) -> bool:
    """Whether the protocol is an IHalfCloseableProtocol, by its class or by itself."""
    kind = type(protocol)
    known = _half_closing.get(kind)
    if known is None:
        known = _half_closing[kind] = interfaces.IHalfCloseableProtocol.implementedBy(kind)
    return known or interfaces.IHalfCloseableProtocol.providedBy(protocol)


def discard(data: bytes) -> None:
    """Stand in for `write` once nothing can be written any more."""


class LoopTransport:
    """One accepted connection. See twisted.internet.interfaces for the methods without a docstring.

    Attributes for protocols that know the loop: `port`, `loop_transport` (asyncio's; do not call its `write`
    after `connectionLost`), `write`, and `disconnecting` (True from `loseConnection` on). Assigning
    `protocol` hands the connection to another protocol, whose `makeConnection` the caller calls.
    """

    __slots__ = (
        "__weakref__",
        "_aborted",
        "_end_of_input",
        "_peer",
        "_producer",
        "_protocol",
        "_write_buffer_size",
        "_writing_paused",
        "connected",
        "data_received",
        "disconnecting",
        "loop_transport",
        "port",
        "write",
    )

    loop_transport: Any
    write: Any
    data_received: Any

    def __init__(self, port: LoopPort) -> None:
        self.port = port
        self._peer: Any = None
        self._protocol: Any = None
        self._producer: Any = None
        self._write_buffer_size = WRITE_BUFFER_SIZE
        self._writing_paused = False
        self._end_of_input = False
        self._aborted = False
        self.connected = False
        self.disconnecting = False

    @property
    def negotiatedProtocol(self) -> bytes | None:
        """What ALPN agreed on (RFC 7301); only TLS has it."""
        return None

    @property
    def ssl_object(self) -> ssl.SSLObject | None:
        """What knows the certificates and the cipher, until the connection is lost; only TLS has it."""
        return None

    # What the loop calls

    def connection_made(self, loop_transport: Any) -> None:
        """Nothing is read before this returns."""
        self.loop_transport = loop_transport
        self._begin(loop_transport.write)

    def _begin(self, write: Any) -> None:
        """Build the Twisted protocol and give it this transport, which writes with `write`."""
        loop_transport = self.loop_transport
        self.write = write
        self._peer = loop_transport.get_extra_info("peername")
        if self._peer is None:
            # Gone before it was accepted. It must not pass for a unix socket, whose peers have no address
            # either.
            loop_transport.abort()
            return
        self.connected = True
        try:
            protocol = build_protocol(self.port.factory, self._peer)
            if protocol is None:
                self._close_when_sent()
                return
            self.protocol = protocol
            protocol.makeConnection(self)
        except Exception:
            # Whatever a factory raises must not keep the connection open with nobody to read it.
            log.exception("A new connection from %s could not be served", self._peer)
            loop_transport.abort()

    def eof_received(self) -> bool:
        """End of input: a protocol that knows half-closed connections keeps its way out, others close."""
        self._end_of_input = True
        if not _knows_half_close(self._protocol):
            return False
        self._protocol.readConnectionLost()
        return True

    def pause_writing(self) -> None:
        self._writing_paused = True
        if self._producer is not None:
            self._producer.pauseProducing()

    def resume_writing(self) -> None:
        self._writing_paused = False
        if self._producer is not None:
            self._producer.resumeProducing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the producer and the protocol, in Twisted's words, that all is over."""
        if not self.connected:
            return
        self.connected = False
        self.write = discard
        self.data_received = None
        protocol, self._protocol = self._protocol, None
        producer, self._producer = self._producer, None
        try:
            if producer is not None:
                producer.stopProducing()
        finally:
            if protocol is not None:
                protocol.connectionLost(self._reason(exc))

    def _reason(self, exc: Exception | None) -> Failure:
        if self._aborted:
            return Failure(error.ConnectionAborted())
        if exc is None:
            return connectionDone  # one for all, as in Twisted
        if not isinstance(exc, OSError):
            return Failure(exc)  # raised by the protocol; the loop has logged it
        if not isinstance(exc, ConnectionError | TimeoutError):
            # The loop takes every OSError for the socket's and is silent; this may be the protocol's own.
            log.warning("The connection from %s was lost: %s", self._peer, exc, exc_info=exc)
        return Failure(error.ConnectionLost(str(exc)))

    # What the Twisted protocol calls

    @property
    def protocol(self) -> Any:
        """The Twisted protocol that receives the data."""
        return self._protocol

    @protocol.setter
    def protocol(self, protocol: Any) -> None:
        self._protocol = protocol
        self._deliver_to(protocol)

    def _deliver_to(self, protocol: Any) -> None:
        self.data_received = protocol.dataReceived
        # uvloop looks `data_received` up only when it is given its protocol.
        self.loop_transport.set_protocol(self)

    def receiveInto(self, protocol: Any) -> bool:
        """Read into the memory that `protocol.get_buffer` gives and tell `protocol.buffer_updated` of it (see
        asyncio.BufferedProtocol), instead of `dataReceived`, until `receiveData`.

        False where that cannot be, because something comes between the socket and the protocol.
        """
        if type(self) is not LoopTransport or self._protocol is not protocol:
            return False
        if self.connected:
            self.loop_transport.set_protocol(Filling(self, protocol))
        return True

    def receiveData(self) -> None:
        """Call `dataReceived` again."""
        if self.connected:
            self.loop_transport.set_protocol(self)

    @property
    def disconnected(self) -> bool:
        return not self.connected

    def writeSequence(self, data: Iterable[bytes]) -> None:
        if self.write is not discard:
            self._write_all(tuple(data))

    def _write_all(self, pieces: Sequence[bytes]) -> None:
        """Write the pieces to the loop's transport, with as few calls to the kernel as that makes of them."""
        if type(self.loop_transport).__module__ == "uvloop.loop":
            self.loop_transport.writelines(pieces)
        # Not asyncio's `writelines`: in Python 3.12.0 to 3.12.8 and 3.13.0 to 3.13.1 it never pauses the
        # writer (CVE-2024-12254).
        elif sum(map(len, pieces)) <= JOIN_UP_TO:
            self.loop_transport.write(b"".join(pieces))
        else:
            for piece in pieces:
                self.loop_transport.write(piece)

    def setWriteBufferSize(self, size: int) -> None:
        """Count writing as paused above `size` unsent bytes (at least 1), until a quarter of it is left."""
        self._write_buffer_size = size
        if self.connected:
            self.loop_transport.set_write_buffer_limits(size)

    def unsentBytes(self) -> int:
        """How much has been written and has not been taken by the kernel."""
        return int(self.loop_transport.get_write_buffer_size())

    def loseConnection(self) -> None:
        """Close when all is sent, and not before the producer, if there is one, has been unregistered."""
        if not self.disconnecting:
            self.disconnecting = True
            if self._producer is None:
                self._close_when_sent()
            else:
                self.pauseProducing()

    def _close_when_sent(self) -> None:
        self.loop_transport.close()

    def abortConnection(self) -> None:
        """Close at once with a reset, dropping what is unsent."""
        if self.connected and not self._aborted:
            self._aborted = True
            self.disconnecting = True
            self._set_socket_option(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
            self.loop_transport.abort()

    def loseWriteConnection(self) -> None:
        """Send end of file when all is sent; an IHalfCloseableProtocol hears `writeConnectionLost` soon."""
        if not self.connected or self.disconnecting or self.write is discard:
            return
        self.write = discard
        self._end_output()
        if _knows_half_close(self._protocol):
            self.port.loop.call_soon(self._protocol.writeConnectionLost)

    def _end_output(self) -> None:
        try:
            self.loop_transport.write_eof()
        except OSError as problem:
            log.debug("%s had gone before its end of file: %s", self._peer, problem)

    def socketNames(self) -> tuple[Any, Any]:
        """What `getpeername` and `getsockname` say, for protocols that can do without address objects."""
        own = self.port.sockname
        return self._peer, self.loop_transport.get_extra_info("sockname") if own is None else own

    def getPeer(self) -> Address:
        return twisted_address(self._peer)

    def getHost(self) -> Address:
        listening = self.port.getHost()
        if isinstance(listening, UNIXAddress):
            return listening
        sockname = self.loop_transport.get_extra_info("sockname")
        return listening if sockname is None else twisted_address(sockname)

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        if self._producer is not None:
            raise RuntimeError(f"{self._producer!r} is registered; {producer!r} cannot be registered as well")
        if not self.connected:
            producer.stopProducing()
            return
        if not streaming:
            # A pull producer is asked for more whenever all is sent (1: paused by more than one unsent byte).
            self.loop_transport.set_write_buffer_limits(high=1, low=0)
            producer = PulledProducer(producer, self)
        self._producer = producer
        if self._writing_paused:
            producer.pauseProducing()
        elif not streaming:
            producer.resumeProducing()

    def unregisterProducer(self) -> None:
        producer, self._producer = self._producer, None
        if isinstance(producer, PulledProducer):
            producer.pauseProducing()
            self.setWriteBufferSize(self._write_buffer_size)
        if self.connected and self.disconnecting:
            self._close_when_sent()

    def pauseProducing(self) -> None:
        """Stop reading; the peer's kernel will stop the peer."""
        if self.connected:
            self.loop_transport.pause_reading()

    def resumeProducing(self) -> None:
        if self.connected and not self.disconnecting and not self._end_of_input:
            self.loop_transport.resume_reading()

    def stopProducing(self) -> None:
        self.loseConnection()

    def getHandle(self) -> Any:
        """The socket, or None after the end."""
        return self.loop_transport.get_extra_info("socket")

    def _set_socket_option(self, level: int, option: int, value: int | bytes) -> None:
        try:
            self.getHandle().setsockopt(level, option, value)
        except (OSError, ValueError, AttributeError) as problem:
            # The peer has gone, or a unix socket knows no such option: no reason to raise, says Twisted too.
            log.debug("The connection from %s did not take socket option %s: %s", self._peer, option, problem)

    def _socket_option(self, level: int, option: int) -> bool:
        try:
            return bool(self.getHandle().getsockopt(level, option))
        except (OSError, ValueError, AttributeError):
            return False

    def getTcpNoDelay(self) -> bool:
        return self._socket_option(socket.IPPROTO_TCP, socket.TCP_NODELAY)

    def setTcpNoDelay(self, enabled: bool) -> None:
        self._set_socket_option(socket.IPPROTO_TCP, socket.TCP_NODELAY, enabled)

    def getTcpKeepAlive(self) -> bool:
        return self._socket_option(socket.SOL_SOCKET, socket.SO_KEEPALIVE)

    def setTcpKeepAlive(self, enabled: bool) -> None:
        self._set_socket_option(socket.SOL_SOCKET, socket.SO_KEEPALIVE, enabled)


classImplements(
    LoopTransport,
    interfaces.ITCPTransport,
    interfaces.IConsumer,
    interfaces.IPushProducer,
    interfaces.ISystemHandle,
)
