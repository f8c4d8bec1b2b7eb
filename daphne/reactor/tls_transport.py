"""A connection over the loop's own TLS.

Made by `daphne.reactor.ports.TLSPort`; calls the loop's `start_tls`, then the Twisted protocol.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, cast

from twisted.internet import interfaces
from zope.interface import classImplements

from daphne.reactor.transports import LoopTransport, discard

if TYPE_CHECKING:
    from daphne.reactor.ports import TLSPort

log = logging.getLogger(__name__)

SHUTDOWN_TIMEOUT = 10.0
"""Seconds for the peer to answer our close_notify, from when all data has been handed to the kernel."""


def start_now(
    coroutine: Coroutine[Any, Any, Any], done: Callable[[Any], None], failed: Callable[[Exception], None]
) -> None:
    """Take a coroutine's first step before returning; give `done` its result, or `failed` what it raised.

    A task would take the first step only in the next turn of the loop, and by then bytes may have been read.
    """

    def step(awaited: object = None) -> None:
        try:
            future = coroutine.send(None)
        except StopIteration as end:
            done(end.value)
        except Exception as problem:
            failed(problem)
        else:
            future.add_done_callback(step)

    step()


class TLSTransport(LoopTransport):
    """A LoopTransport over TLS: the Twisted protocol is built when the handshake is done.

    TLS in the loop cannot be half closed: `loseWriteConnection` is `loseConnection`, and a peer that ends its
    side ends the connection once what is written has been sent.
    """

    __slots__ = ("_alpn", "_early", "_socket_transport")

    def connection_made(self, loop_transport: Any) -> None:
        """Shake hands first."""
        port = cast("TLSPort", self.port)
        self._socket_transport: Any = loop_transport
        self._alpn: str | None = None
        # asyncio delivers what came with the end of the handshake before `start_tls` has returned.
        self._early: list[bytes] = []
        self.data_received = self._early.append
        handshake: Any = port.loop.start_tls(
            loop_transport,
            cast(Any, self),
            port.context,
            server_side=True,
            ssl_handshake_timeout=port.tls.handshake_timeout,
            ssl_shutdown_timeout=SHUTDOWN_TIMEOUT,
        )
        start_now(handshake, self._secured, self._insecure)

    def _secured(self, tls_transport: Any) -> None:
        early, self._early = self._early, []
        if self._socket_transport.is_closing():
            self._socket_transport.abort()
            return
        self._alpn = tls_transport.get_extra_info("ssl_object").selected_alpn_protocol()
        super().connection_made(tls_transport)
        if early and self._protocol is not None:
            try:
                self.data_received(b"".join(early))
            except Exception:
                # As the loop does when the protocol raises.
                log.exception("%r raised on the first data", self._protocol)
                tls_transport.abort()

    def _insecure(self, problem: Exception) -> None:
        """A handshake fails in many ways, all of them the peer's; one that takes too long holds a place."""
        if isinstance(problem, ConnectionAbortedError) and "longer than" in str(problem):
            cast("TLSPort", self.port).handshakeTooSlow(self._socket_transport.get_extra_info("peername"))
        else:
            log.debug("A TLS handshake failed: %s", problem)
        self._early.clear()
        self._socket_transport.abort()

    def eof_received(self) -> bool:
        """The peer's close_notify; the loop sends what is buffered and closes."""
        self._end_of_input = True
        self.disconnecting = True
        self.write = discard
        return False

    def resume_writing(self) -> None:
        super().resume_writing()
        if self.disconnecting and self._producer is None:
            self._close_when_sent()

    def unsentBytes(self) -> int:
        # Most of it waits below the TLS layer, which counts only what it has not encrypted or handed down.
        return super().unsentBytes() + int(self._socket_transport.get_write_buffer_size())

    def _close_when_sent(self) -> None:
        """Close, but not while bytes wait for the socket, which would have only the shutdown timeout then.

        Limits of 0 make the TLS layer pause us now, and resume us when the socket's buffer has become empty.
        """
        if self._socket_transport.get_write_buffer_size() and self.connected:
            self.loop_transport.pause_reading()
            self._socket_transport.set_write_buffer_limits(0)
            self.loop_transport.set_write_buffer_limits(0)
            if self._writing_paused:
                return
        self.loop_transport.close()

    def _end_output(self) -> None:
        self.loseConnection()

    @property
    def negotiatedProtocol(self) -> bytes | None:
        return None if self._alpn is None else self._alpn.encode("ascii")

    def getPeerCertificate(self) -> Any:
        """The client's certificate as an OpenSSL.crypto.X509, or None (Twisted's ISSLTransport)."""
        from OpenSSL import crypto  # slow to import, and hardly anybody asks

        certificate = self.loop_transport.get_extra_info("ssl_object").getpeercert(binary_form=True)
        return certificate and crypto.load_certificate(crypto.FILETYPE_ASN1, certificate)


classImplements(TLSTransport, interfaces.INegotiated, interfaces.ISSLTransport)
