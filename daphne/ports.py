"""Listening ports that accept with the asyncio (or uvloop) loop's own server.

Made by `daphne.reactor`; makes a `daphne.transports.LoopTransport` for each connection.

A port keeps one listening socket from start to end and lets the loop serve a duplicate of it, because the loop closes
what it serves when it stops. So accepting can pause and go on without a moment in which nobody listens.
"""

from __future__ import annotations

import asyncio
import errno
import functools
import os
import socket
from collections.abc import Callable, Coroutine
from typing import Any

from twisted.internet import defer, interfaces
from twisted.internet.abstract import isIPv6Address
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.error import CannotListenError
from zope.interface import implementer

from daphne.transports import LoopTransport, twisted_address


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


@implementer(interfaces.IListeningPort)
class LoopPort:
    """A listening socket. `factory` builds the protocols, `transport` makes the transports; `getHost` is the address."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        listener: socket.socket,
        factory: Any,
        backlog: int,
        transport: Callable[[LoopPort], LoopTransport] = LoopTransport,
        cleanup: Callable[[], None] | None = None,
    ) -> None:
        self.loop = loop
        self.factory = factory
        self._listener = listener
        self._host = twisted_address(listener.getsockname())
        self._backlog = backlog
        self._make_transport = functools.partial(transport, self)
        self._cleanup = cleanup
        self._server: Any = None
        self._listening = False

    def startListening(self) -> None:
        """Start the factory and accept; the socket listens already."""
        self.factory.doStart()
        self._listening = True
        self.resumeAccepting()

    def stopListening(self) -> defer.Deferred[None]:
        """Stop accepting and close the socket; connections live on. The socket is closed when this returns."""
        if self._listening:
            self._listening = False
            self.pauseAccepting()
            self._listener.close()
            if self._cleanup is not None:
                self._cleanup()
            self.factory.doStop()
        return defer.succeed(None)

    def getHost(self) -> IPv4Address | IPv6Address | UNIXAddress:
        """The address that is listened on, with the port that the system chose; also after the port is closed."""
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
            duplicate.setblocking(False)
            self._server = run_now(
                self.loop.create_server(self._make_transport, sock=duplicate, backlog=self._backlog)
            )

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.factory!r} on {self._host}>"


def listening_tcp_socket(port: Any, backlog: int, interface: str) -> socket.socket:
    """Bind and listen. `port` is a number or a Twisted Binding; raises CannotListenError."""
    reuse_port = False
    if not isinstance(port, int):
        interface, port, reuse_port = port._address or "", port._port, port._reusePort
    family = socket.AF_INET6 if isIPv6Address(interface) else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind(_resolved(family, interface, port))
        listener.listen(backlog)
    except OSError as problem:
        listener.close()
        raise CannotListenError(interface, port, problem) from problem
    return listener


def _resolved(family: int, interface: str, port: int) -> Any:
    if family == socket.AF_INET6:
        # The scope of a link-local address (fe80::1%eth0) becomes a number only here.
        return socket.getaddrinfo(interface, port, family, flags=socket.AI_NUMERICHOST)[0][4]
    return (interface, port)


def adopted_socket(descriptor: int) -> socket.socket:
    """A duplicate of an inherited listening stream socket, whatever its family; raises CannotListenError."""
    try:
        listener = socket.socket(fileno=os.dup(descriptor))
    except OSError as problem:
        raise CannotListenError(None, descriptor, problem) from problem
    try:
        if listener.type != socket.SOCK_STREAM:
            raise OSError(errno.EPROTOTYPE, "not a stream socket")
        if not listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            raise OSError(errno.EINVAL, "not a listening socket")
    except OSError as problem:
        listener.close()
        raise CannotListenError(None, descriptor, problem) from problem
    return listener
