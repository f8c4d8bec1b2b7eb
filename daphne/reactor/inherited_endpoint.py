"""The endpoint `fd:fileno=N`: a listening socket that a process manager has handed down.

Made by the Twisted plugin in `twisted/plugins/fd_endpoint.py`; calls the reactor's `adoptStreamPort`.
"""

from __future__ import annotations

import os
from typing import Any

from twisted.internet import defer, interfaces
from zope.interface import implementer

from daphne.errors import EndpointError
from daphne.reactor.listeners import adopted_listener

LAST_STANDARD_STREAM = 2


@implementer(interfaces.IStreamServerEndpoint)
class InheritedSocketEndpoint:
    """Serves a listening stream socket, IPv4, IPv6 or unix, by its descriptor. It can be used once."""

    def __init__(self, reactor: Any, fileno: str | int) -> None:
        try:
            self._descriptor = int(fileno)
        except ValueError as problem:
            raise EndpointError(f"fileno must be a whole number, not {fileno!r}") from problem
        self._reactor = reactor

    def listen(self, protocolFactory: Any) -> defer.Deferred[Any]:
        """Give the port; fails with CannotListenError unless it is a listening stream socket."""
        return defer.execute(self._adopt, protocolFactory)

    def _adopt(self, factory: Any) -> Any:
        with adopted_listener(self._descriptor) as listener:
            listener.setblocking(False)
            port = self._reactor.adoptStreamPort(listener.fileno(), listener.family, factory)
        self._let_go()
        return port

    def _let_go(self) -> None:
        """The port has a duplicate; with this one open too, the socket would outlive the port."""
        if self._descriptor > LAST_STANDARD_STREAM:
            os.close(self._descriptor)
            return
        # A standard stream must stay open: the next file opened would take its place and get what is printed.
        nothing = os.open(os.devnull, os.O_RDWR)
        os.dup2(nothing, self._descriptor)
        os.close(nothing)
