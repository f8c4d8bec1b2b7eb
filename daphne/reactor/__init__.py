"""The Twisted reactor that serves on the loop's own transports.

Called by `daphne.service` and by `daphne.testing`; calls `daphne.reactor.listeners` for the sockets and
`daphne.reactor.ports` to accept.

Twisted's own socket code on an asyncio reactor costs more than the rest of a server, so `LoopReactor`
replaces the methods that listen. All else (timers, threads, outgoing connections, processes) remains
Twisted's.
"""

from __future__ import annotations

import asyncio
import importlib
import socket
import sys
from typing import Any, TypeVar

from twisted.internet.asyncioreactor import AsyncioSelectorReactor
from twisted.internet.main import installReactor

from daphne.errors import ConfigurationError
from daphne.reactor.certificate_options import tls_options
from daphne.reactor.certificates import TLSOptions, make_context
from daphne.reactor.listeners import adopted_listener, tcp_listener, unix_listener
from daphne.reactor.ports import LoopPort, TLSPort

TWISTED_BACKLOG = 50
"""What Twisted's methods take for connections that may wait to be accepted."""

Port = TypeVar("Port", bound=LoopPort)

_OF_TWISTED = tuple(f"twisted.internet.{kind}reactor" for kind in ("epoll", "poll", "kq", "select"))
"""Where the reactors are that `from twisted.internet import reactor` installs where nobody has chosen one."""


class LoopReactor(AsyncioSelectorReactor):
    """An asyncio reactor whose listening ports accept with the loop.

    The `listen...` methods bind before they return and raise CannotListenError, as Twisted's do.
    """

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The asyncio loop that this reactor runs."""
        return self._asyncioEventloop

    def installWaker(self) -> None:
        """Make no pipe to be woken by, which nobody would close: threads wake the loop in its own way."""

    def listenTCP(
        self, port: Any, factory: Any, backlog: int = TWISTED_BACKLOG, interface: str = ""
    ) -> LoopPort:
        """Listen on a TCP port; `interface` is an IPv4 or IPv6 address, empty for all of IPv4."""
        return self._serving(LoopPort(self.loop, tcp_listener(port, backlog, interface), factory, backlog))

    def listenUNIX(
        self,
        address: str | bytes,
        factory: Any,
        backlog: int = TWISTED_BACKLOG,
        mode: int = 0o666,
        wantPID: Any = 0,
    ) -> LoopPort:
        """Listen on a unix socket. Twisted's lock file (`wantPID`) is not needed, and not made."""
        listener, cleanup = unix_listener(address, backlog, mode)
        return self._serving(LoopPort(self.loop, listener, factory, backlog, cleanup))

    def adoptStreamPort(self, fileDescriptor: int, addressFamily: int, factory: Any) -> LoopPort:
        """Serve a duplicate of an inherited socket, which knows its family better than the argument."""
        return self._serving(LoopPort(self.loop, adopted_listener(fileDescriptor), factory, socket.SOMAXCONN))

    def listenTLS(
        self,
        port: Any,
        factory: Any,
        options: TLSOptions,
        backlog: int = TWISTED_BACKLOG,
        interface: str = "",
    ) -> TLSPort:
        """Listen with the loop's own TLS; raises EndpointError for certificates that cannot be used."""
        context = make_context(options, factory)
        listener = tcp_listener(port, backlog, interface)
        return self._serving(TLSPort(self.loop, listener, factory, backlog, options, context))

    def listenSSL(
        self,
        port: Any,
        factory: Any,
        contextFactory: Any,
        backlog: int = TWISTED_BACKLOG,
        interface: str = "",
    ) -> LoopPort:
        """Listen with TLS: the loop's where that can do what is asked, else pyOpenSSL's by Twisted."""
        options = tls_options(contextFactory)
        if options is not None:
            return self.listenTLS(port, factory, options, backlog, interface)
        from twisted.protocols.tls import TLSMemoryBIOFactory

        clock: Any = self  # without it, Twisted asks for the installed reactor
        factory = TLSMemoryBIOFactory(contextFactory, False, factory, clock=clock)
        return self.listenTCP(port, factory, backlog, interface)

    def _serving(self, port: Port) -> Port:
        port.startListening()
        self.addSystemEventTrigger("during", "shutdown", port.stopListening)
        return port


def install(uvloop: str = "auto") -> LoopReactor:
    """Make a LoopReactor Twisted's one reactor, or give the one that is installed already.

    `uvloop` is "auto" (run on uvloop where it is installed), "on" or "off". An AsyncioSelectorReactor that
    somebody has installed becomes a LoopReactor, on the loop that it has, and so does one that Twisted takes
    by itself, as long as nobody has used it. Raises ConfigurationError when uvloop is demanded and missing,
    or when another kind of reactor is installed.
    """
    installed = sys.modules.get("twisted.internet.reactor")
    if installed is not None:
        return _converted(installed, uvloop)
    reactor = LoopReactor(_new_loop(uvloop))
    installReactor(reactor)
    return reactor


def be_the_default() -> None:
    """Have `from twisted.internet import reactor` install ours, where nobody has installed another one.

    Nothing is installed by this. It is for applications, and for programs around a server, that import the
    reactor before the server runs.
    """
    from twisted.internet import default

    default.install = install


def _converted(reactor: Any, uvloop: str) -> LoopReactor:
    if type(reactor) is AsyncioSelectorReactor:
        # It gains methods and no state, so whoever holds it already goes on with the same object.
        reactor.__class__ = LoopReactor
    elif _is_only_imported(reactor):
        # Whoever imported it may have kept it, so this one, too, becomes ours rather than being replaced.
        vars(reactor).clear()
        reactor.__class__ = LoopReactor
        reactor.__init__(_new_loop(uvloop))
    if not isinstance(reactor, LoopReactor):
        raise ConfigurationError(
            f"Twisted's {type(reactor).__name__} is installed already, but the server needs one on asyncio: "
            "something imports twisted.internet.reactor too early"
        )
    if uvloop == "on" and not type(reactor.loop).__module__.startswith("uvloop"):
        raise ConfigurationError("uvloop is asked for, but a reactor on another loop is installed already")
    return reactor


def _is_only_imported(reactor: Any) -> bool:
    """Whether this is a reactor that Twisted takes by itself, and nobody has asked anything of it."""
    if type(reactor).__module__ not in _OF_TWISTED or reactor.running:
        return False
    startup = reactor._eventTriggers["startup"]  # there is no public way to ask for `callWhenRunning`
    asked = reactor.getDelayedCalls(), reactor.threadCallQueue, startup.before, startup.after
    return not any(asked)


def _new_loop(uvloop: str) -> asyncio.AbstractEventLoop:
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        loop = _uvloop_loop(required=uvloop == "on") if uvloop != "off" else asyncio.SelectorEventLoop()
        asyncio.set_event_loop(loop)
    return loop


def _uvloop_loop(required: bool) -> asyncio.AbstractEventLoop:
    try:
        module = importlib.import_module("uvloop")
    except ImportError as problem:
        if required:
            raise ConfigurationError("uvloop is asked for, but it is not installed") from problem
        return asyncio.SelectorEventLoop()
    loop: asyncio.AbstractEventLoop = module.new_event_loop()
    return loop
