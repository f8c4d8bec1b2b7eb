"""Addresses of sockets as Twisted has them."""

from __future__ import annotations

import socket

from daphne.reactor.addresses import twisted_address


def test_a_link_local_address_names_its_interface() -> None:
    index, name = socket.if_nameindex()[0]
    address = twisted_address(("fe80::1", 80, 0, index))
    assert address.host == f"fe80::1%{name}"
    assert twisted_address(("::1", 80, 0, 0)).host == "::1"
