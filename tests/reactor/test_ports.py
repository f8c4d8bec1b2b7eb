"""daphne.reactor.ports: listening, pausing, stopping."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator

import pytest
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort
from zope.interface.verify import verifyObject

from daphne.reactor.ports import run_now
from tests.reactor.served import Echo, Events, Served, ServedReactor, Told, connected, received


def test_is_what_twisted_calls_a_port(each: Served) -> None:
    factory = each.serve(Echo)
    assert verifyObject(IListeningPort, each.port)
    assert each.port.factory is factory
    assert repr(each.port.getHost()) in repr(each.port)
    assert factory.numPorts == 1


def test_a_stopped_port_refuses_and_lets_its_connections_live(each: Served) -> None:
    factory = each.serve(Echo)
    client = each.connect()
    factory.next("made")
    host = each.port.getHost()
    each.call(each.port.stopListening)
    each.call(each.port.stopListening)
    each.call(each.port.resumeAccepting)
    assert factory.numPorts == 0
    assert each.port.getHost() == host
    with pytest.raises(OSError):
        each.connect()
    client.sendall(b"still here")
    assert client.recv(100) == b"still here"
    client.close()


def test_the_address_is_free_as_soon_as_the_port_is_stopped(plain: Served) -> None:
    plain.serve(Echo)
    host = plain.port.getHost()
    description = plain.description
    if plain.kind == "tcp":
        description = f"tcp:{host.port}:interface=127.0.0.1"
    plain.call(plain.port.stopListening)
    again = Events(Echo)
    port = plain.served.listen(description, again)
    assert port.getHost() == host
    with connected(host) as client:
        again.next("made")
        client.sendall(b"x")
        assert client.recv(1) == b"x"


def test_connections_queue_up_while_accepting_is_paused(plain: Served) -> None:
    factory = plain.serve(Echo)
    for _ in range(3):
        plain.call(plain.port.pauseAccepting)
        plain.call(plain.port.pauseAccepting)
        client = plain.connect()
        client.sendall(b"early")
        client.settimeout(0.1)
        with pytest.raises(TimeoutError):
            client.recv(100)
        assert factory.events.empty()
        plain.call(plain.port.resumeAccepting)
        plain.call(plain.port.resumeAccepting)
        client.settimeout(60)
        assert client.recv(100) == b"early"
        client.close()
        factory.next("made")
        factory.next("lost")


def test_the_reactor_takes_its_ports_along_when_it_stops(plain: Served) -> None:
    plain.serve(Told)
    host = plain.port.getHost()
    plain.call(lambda: plain.served.reactor.fireSystemEvent("shutdown"))
    with pytest.raises(OSError):
        connected(host)


def test_a_busy_tcp_port_cannot_be_listened_on(served: ServedReactor) -> None:
    factory = Events(Told)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(CannotListenError) as caught:
            served.call(served.reactor.listenTCP, taken.getsockname()[1], factory, interface="127.0.0.1")
    assert "in use" in str(caught.value.socketError)
    assert factory.numPorts == 0


def test_listens_on_ipv6(served: ServedReactor) -> None:
    factory = Events(Told)
    port = served.call(served.reactor.listenTCP, 0, factory, interface="::1")
    assert (port.getHost().host, port.getHost().type) == ("::1", "TCP")
    client = socket.create_connection(("::1", port.getHost().port))
    protocol, _ = factory.next("made")
    peer = served.call(protocol.transport.getPeer)
    assert (peer.host, peer.port) == client.getsockname()[:2]
    client.close()


def test_its_connections_name_their_own_end(served: ServedReactor) -> None:
    """Known beforehand where it listens on one address, asked for where on all."""
    for description, known in (("tcp:0:interface=127.0.0.1", True), ("tcp:0", False)):
        factory = Events(Told)
        port = served.listen(description, factory)
        own = ("127.0.0.1", port.getHost().port)
        assert port.sockname == (own if known else None)
        with socket.create_connection(own) as client:
            transport = factory.next("made")[0].transport
            assert served.call(transport.socketNames) == (client.getsockname(), own)


def test_listens_with_a_twisted_binding(served: ServedReactor) -> None:
    """Two servers share a port that way (SO_REUSEPORT)."""
    tcp = pytest.importorskip("twisted.internet.tcp")
    if not hasattr(tcp, "makeBinding"):
        pytest.skip("this Twisted has no bindings")
    factory = Events(Told)
    first = served.call(served.reactor.listenTCP, tcp.makeBinding("127.0.0.1", 0, True, True), factory)
    number = first.getHost().port
    second = served.call(served.reactor.listenTCP, tcp.makeBinding("127.0.0.1", number, True, True), factory)
    assert first.getHost() == second.getHost()


def test_a_protocol_may_close_at_once(each: Served) -> None:
    class Greets(Told):
        def connectionMade(self) -> None:
            self.transport.write(b"no more")
            self.transport.loseConnection()

    factory = each.serve(Greets)
    with each.connect() as client:
        assert received(client) == b"no more"
    factory.next("lost")


class _Forever:
    def __await__(self) -> Iterator[None]:
        while True:
            yield


def test_run_now_refuses_what_has_to_wait() -> None:
    async def waits() -> None:
        await _Forever()

    async def gives_way() -> int:
        await asyncio.sleep(0)
        return 7

    assert run_now(gives_way()) == 7
    with pytest.raises(RuntimeError, match="waited"):
        run_now(waits())
