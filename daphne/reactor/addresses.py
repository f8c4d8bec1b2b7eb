"""The addresses of sockets as Twisted has them.

Called by `daphne.reactor.ports` and `daphne.reactor.transports`; calls the factory.
"""

from __future__ import annotations

import socket
from typing import Any, TypeAlias

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress

Address: TypeAlias = IPv4Address | IPv6Address | UNIXAddress


def twisted_address(sockaddr: Any) -> Address:
    """The Twisted address for what `getpeername` or `getsockname` give: a tuple, or a unix socket's path."""
    if not isinstance(sockaddr, tuple):
        return UNIXAddress(sockaddr or None)
    if len(sockaddr) == 2:
        return IPv4Address("TCP", *sockaddr)
    if sockaddr[3]:
        # A link-local address means nothing without its interface: fe80::1%eth0.
        host = socket.getnameinfo(sockaddr, socket.NI_NUMERICHOST | socket.NI_NUMERICSERV)[0]
        return IPv6Address("TCP", host, *sockaddr[1:])
    return IPv6Address("TCP", *sockaddr)


def build_protocol(factory: Any, sockaddr: Any) -> Any:
    """The factory's protocol for a peer; None if it wants none.

    A factory that needs no more than the peer's IP address (None for a unix socket) says so by having
    `connectionFrom`: then there is no address object to be made.
    """
    build = getattr(factory, "connectionFrom", None)
    if build is None:
        return factory.buildProtocol(twisted_address(sockaddr))
    if not isinstance(sockaddr, tuple):
        return build(None)
    scoped = len(sockaddr) > 2 and sockaddr[3]
    return build(getattr(twisted_address(sockaddr), "host", None) if scoped else sockaddr[0])
