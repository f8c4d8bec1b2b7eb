"""Listening ports that accept with the asyncio (or uvloop) loop's own server.

Made by `daphne.reactor`; makes a transport (`daphne.reactor.transports`, `daphne.reactor.tls_transport`) for
each connection.

A port keeps one listening socket from start to end and lets the loop serve a duplicate of it, because the
loop closes what it serves when it stops. So accepting can pause and go on, and in between connections queue
up.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import socket
import sys
from collections.abc import Callable, Coroutine
from typing import Any

from twisted.internet import defer, interfaces
from zope.interface import implementer

from daphne.errors import EndpointError
from daphne.reactor.addresses import Address, twisted_address
from daphne.reactor.certificates import ServerContext, TLSOptions, make_context
from daphne.reactor.tls_transport import TLSTransport
from daphne.reactor.transports import LoopTransport

log = logging.getLogger(__name__)


SAY_AGAIN_AFTER = 10.0
"""Seconds between two log lines that nothing can be accepted."""


class FailedAccepts:
    """The loop's exception handler: asyncio reports each connection that cannot be accepted for want of file
    descriptors with a stack, a thousand at a time; one line now and then says it. It tries again by itself,
    in a second. Everything else goes to whoever has handled it before.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._before = loop.get_exception_handler()
        self._say_after = 0.0
        self._unsaid = 0

    def __call__(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Take one report of the loop's."""
        if not str(context.get("message")).startswith("socket.accept() out of system resource"):
            if self._before is None:
                loop.default_exception_handler(context)
            else:
                self._before(loop, context)
            return
        self._unsaid += 1
        if loop.time() >= self._say_after:
            self._say_after = loop.time() + SAY_AGAIN_AFTER
            log.error("Cannot accept connections (%s), %d times", context.get("exception"), self._unsaid)
            self._unsaid = 0


def run_now(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine that waits for nothing to its end, and give what it returns.

    `create_server(sock=...)` is one: at most it gives way to the loop once, which a caller may ignore.
    """
    try:
        for _ in range(3):
            coroutine.send(None)
    except StopIteration as end:
        return end.value
    coroutine.close()
    raise RuntimeError("create_server waited for something")


def _is_one_address(listener: socket.socket, sockaddr: Any) -> bool:
    """Whether the connections of a socket all have its own address: not if it listens on every interface,
    nor if the kernel hands it connections to other hosts (IP_TRANSPARENT).
    """
    if sys.platform != "linux" or listener.family != socket.AF_INET or sockaddr[0] == "0.0.0.0":
        return False
    return not listener.getsockopt(socket.IPPROTO_IP, socket.IP_TRANSPARENT)


@implementer(interfaces.IListeningPort)
class LoopPort:
    """A listening socket and the `factory` that builds the protocols of its connections."""

    transport: Callable[[LoopPort], LoopTransport] = LoopTransport

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        listener: socket.socket,
        factory: Any,
        backlog: int,
        cleanup: Callable[[], None] = lambda: None,
    ) -> None:
        """Take over a socket that listens already; `cleanup` is called just before it is closed."""
        self.loop = loop
        self.factory = factory
        self._listener = listener
        sockaddr = listener.getsockname()
        self._host = twisted_address(sockaddr)
        self.sockname = sockaddr if _is_one_address(listener, sockaddr) else None
        """The sockname of every connection, where that is known beforehand."""
        self._backlog = backlog
        self._cleanup = cleanup
        self._server: Any = None
        self._listening = False

    def startListening(self) -> None:
        """Start the factory and accept."""
        if not isinstance(self.loop.get_exception_handler(), FailedAccepts):
            self.loop.set_exception_handler(FailedAccepts(self.loop))
        self.factory.doStart()
        self._listening = True
        self.resumeAccepting()

    def stopListening(self) -> defer.Deferred[None]:
        """Close the socket at once; the connections live on."""
        if self._listening:
            self._listening = False
            self.pauseAccepting()
            self._cleanup()
            self._listener.close()
            self.factory.doStop()
        return defer.succeed(None)

    def getHost(self) -> Address:
        """The address that is listened on, with the port that the system chose; also when it is closed."""
        return self._host

    def pauseAccepting(self) -> None:
        """Leave new connections in the kernel's queue, as many as the backlog holds."""
        if self._server is not None:
            self._server.close()
            self._server = None

    def resumeAccepting(self) -> None:
        """Accept again, first what has queued up."""
        if self._listening and self._server is None:
            duplicate = self._listener.dup()
            transport: Any = functools.partial(type(self).transport, self)
            server: Any = self.loop.create_server(transport, sock=duplicate, backlog=self._backlog)
            self._server = run_now(server)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.factory!r} on {self._host}>"


class TLSPort(LoopPort):
    """A port whose connections speak TLS; each uses the certificates that are loaded when it begins."""

    transport = TLSTransport

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        listener: socket.socket,
        factory: Any,
        backlog: int,
        tls: TLSOptions,
        context: ServerContext,
    ) -> None:
        super().__init__(loop, listener, factory, backlog)
        self.tls = tls
        self.context = context
        self._say_after = 0.0
        self._unsaid = 0

    def handshakeTooSlow(self, peer: Any) -> None:
        """Say that `peer` did not finish its handshake in time, once a second at most."""
        self._unsaid += 1
        if self.loop.time() >= self._say_after:
            self._say_after = self.loop.time() + 1.0
            log.info("Limit handshakeTimeout reached by %s (%d since the last such line)", peer, self._unsaid)
            self._unsaid = 0

    def reloadCertificates(self) -> bool:
        """Read certificates and keys anew, for the connections to come.

        False and a log line if they are bad; then what has been loaded before stays in use.
        """
        try:
            self.context = make_context(self.tls, self.factory)
        except EndpointError as problem:
            host: Any = self._host
            log.error("The certificates of %s:%s stay as they were: %s", host.host, host.port, problem)
            return False
        return True
