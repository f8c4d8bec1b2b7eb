"""The Twisted reactor that serves on the loop's own transports.

Called by `daphne.service` and by `daphne.testing`; calls `daphne.ports` and `daphne.tls`.

Twisted's own socket code on an asyncio reactor costs more than the rest of a server, so `LoopReactor` replaces the
methods that listen. Everything else (timers, threads, outgoing connections, processes) remains Twisted's.
"""

from __future__ import annotations

import asyncio
import importlib
import sys
from typing import Any

from twisted.internet.asyncioreactor import AsyncioSelectorReactor
from twisted.internet.main import installReactor

from daphne.errors import ConfigurationError
from daphne.ports import LoopPort, adopted_socket, listening_tcp_socket

BACKLOG = 50
"""Twisted's default for the queue of connections that wait to be accepted."""


class LoopReactor(AsyncioSelectorReactor):
    """An asyncio reactor whose `listenTCP` and `adoptStreamPort` accept with the loop.

    They bind before they return and raise CannotListenError, as Twisted's do.
    """

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The asyncio loop that this reactor runs."""
        return self._asyncioEventloop

    def listenTCP(self, port: Any, factory: Any, backlog: int = BACKLOG, interface: str = "") -> LoopPort:
        """Listen on a TCP port; `interface` is an IPv4 or IPv6 address, empty for all of IPv4."""
        return self._start(
            LoopPort(self.loop, listening_tcp_socket(port, backlog, interface), factory, backlog)
        )

    def adoptStreamPort(self, fileDescriptor: int, addressFamily: int, factory: Any) -> LoopPort:
        """Serve an inherited listening socket; the socket knows its family better than `addressFamily` does."""
        return self._start(LoopPort(self.loop, adopted_socket(fileDescriptor), factory, BACKLOG))

    def _start(self, port: LoopPort) -> LoopPort:
        port.startListening()
        self.addSystemEventTrigger("during", "shutdown", port.stopListening)
        return port


def install(uvloop: str = "auto") -> LoopReactor:
    """Make the LoopReactor Twisted's one reactor, or give the one that is installed already.

    `uvloop` is "auto" (run on uvloop where it is installed), "on" or "off". An AsyncioSelectorReactor that somebody
    has installed becomes a LoopReactor, on the loop that it has. Raises ConfigurationError when uvloop is demanded and
    missing, or when another kind of reactor is installed.
    """
    installed = sys.modules.get("twisted.internet.reactor")
    if installed is not None:
        return _converted(installed, uvloop)
    reactor = LoopReactor(_new_loop(uvloop))
    installReactor(reactor)
    return reactor


def _converted(reactor: Any, uvloop: str) -> LoopReactor:
    if type(reactor) is AsyncioSelectorReactor:
        # It gains methods and no state, so that whoever holds it already goes on with the same object.
        reactor.__class__ = LoopReactor
    if not isinstance(reactor, LoopReactor):
        raise ConfigurationError(
            f"Twisted's {type(reactor).__name__} is installed already, and the server needs one on asyncio: "
            "something imports twisted.internet.reactor too early"
        )
    if uvloop == "on" and not type(reactor.loop).__module__.startswith("uvloop"):
        raise ConfigurationError("uvloop is asked for, but a reactor on another loop is installed already")
    return reactor


def _new_loop(uvloop: str) -> asyncio.AbstractEventLoop:
    if uvloop != "off":
        try:
            loop: asyncio.AbstractEventLoop = importlib.import_module("uvloop").new_event_loop()
        except ImportError as problem:
            if uvloop == "on":
                raise ConfigurationError("uvloop is asked for, but is not installed") from problem
        else:
            asyncio.set_event_loop(loop)
            return loop
    loop = asyncio.SelectorEventLoop()
    asyncio.set_event_loop(loop)
    return loop
