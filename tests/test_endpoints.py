"""daphne.endpoints: endpoint strings, and what is said about those that cannot be listened on."""

from __future__ import annotations

import socket
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import interfaces
from twisted.internet.endpoints import serverFromString
from zope.interface import implementer

import twisted.plugins
from daphne.endpoints import build_endpoint_description_strings, listen
from daphne.errors import EndpointError
from daphne.reactor.ports import TLSPort
from tests.certificates import Issued, issue, key_bytes
from tests.reactor.conftest import client_context, localhost, served  # noqa: F401
from tests.reactor.served import Echo, Events, ServedReactor, connected


@pytest.mark.parametrize(
    "arguments, strings",
    [
        ({}, []),
        ({"host": "127.0.0.1", "port": 8000}, ["tcp:port=8000:interface=127.0.0.1"]),
        ({"host": "127.0.0.1", "port": "8000"}, ["tcp:port=8000:interface=127.0.0.1"]),
        ({"host": "127.0.0.1", "port": 0}, ["tcp:port=0:interface=127.0.0.1"]),
        ({"host": "200a::1", "port": 8000}, [r"tcp:port=8000:interface=200a\:\:1"]),
        ({"host": "[200a::1]", "port": 8000}, [r"tcp:port=8000:interface=200a\:\:1"]),
        ({"unix_socket": "/tmp/daphne.sock"}, ["unix:/tmp/daphne.sock"]),
        ({"unix_socket": "/tmp/d.sock", "unix_socket_mode": 0o666}, ["unix:/tmp/d.sock"]),
        ({"unix_socket": "/tmp/d.sock", "unix_socket_mode": 0o600}, ["unix:/tmp/d.sock:mode=600"]),
        ({"unix_socket": r"/tmp/a:b=c\d"}, [r"unix:/tmp/a\:b\=c\\d"]),
        ({"unix_socket_mode": 0o600}, []),
        ({"file_descriptor": 0}, ["fd:fileno=0"]),
        ({"file_descriptor": 5}, ["fd:fileno=5"]),
        (
            {"file_descriptor": 3, "unix_socket": "/u", "port": 1, "host": "h"},
            ["tcp:port=1:interface=h", "unix:/u", "fd:fileno=3"],
        ),
    ],
)
def test_builds_endpoint_strings(arguments: dict[str, Any], strings: list[str]) -> None:
    assert build_endpoint_description_strings(**arguments) == strings


@pytest.mark.parametrize(
    "half", [{"host": "127.0.0.1"}, {"port": 8000}, {"port": 0}, {"host": "", "port": 1}]
)
def test_half_an_address_is_an_error(half: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="host and port"):
        build_endpoint_description_strings(**half)


class _Remembers:
    """A reactor that notes what it is asked to listen on."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    def listenUNIX(self, address: Any, factory: Any, **options: Any) -> None:
        self.asked.append((address, options["mode"]))


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1), st.integers(0, 0o777))
def test_any_path_reaches_the_reactor_as_it_was(path: str, mode: int) -> None:
    reactor = _Remembers()
    (string,) = build_endpoint_description_strings(unix_socket=path, unix_socket_mode=mode)
    serverFromString(reactor, string).listen(None)
    assert reactor.asked == [(path, mode)]


def failure(served: ServedReactor, description: str) -> str:
    with pytest.raises(EndpointError) as caught:
        served.call(listen, served.reactor, description, Events(Echo))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    "description, reason",
    [
        ("nothing:80", "Unknown endpoint type: 'nothing'"),
        ("", "Unknown endpoint type: ''"),
        ("tcp", "its parameters are wrong: missing 1 required positional argument: 'port'"),
        ("tcp:http", "invalid literal for int() with base 10: 'http'"),
        ("tcp:80:pace=5", "its parameters are wrong: got an unexpected keyword argument 'pace'"),
        ("tcp:99999", "bind(): port must be 0-65535."),
        ("tcp:80:interface=192.0.2.1", "Cannot assign requested address"),
        ("unix:/nowhere/at/all", "No such file or directory: /nowhere/at"),
        ("unix:/dev/null", "there is a file of that name, which is no socket"),
        ("fd:fileno=99999", "Bad file descriptor"),
        ("fd:fileno=one", "fileno must be a whole number, not 'one'"),
        ("ssl", "port is missing"),
        ("ssl:0:privateKey=/nowhere.pem", "/nowhere.pem cannot be read: No such file or directory"),
        ("ssl:0:key=a.pem", "there is no parameter 'key'"),
        ("haproxy:nothing:1", "Unknown endpoint type: 'nothing'"),
    ],
)
def test_what_cannot_be_listened_on_is_named(
    served: ServedReactor,
    description: str,
    reason: str,
) -> None:
    assert failure(served, description) == f"Cannot listen on {description}: {reason}"


def test_our_endpoints_are_found_wherever_the_package_lies(
    served: ServedReactor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An installation with `pip install -e` has no place where Twisted looks for plugins."""
    of_twisted = Path(twisted.__file__).parent / "plugins"
    monkeypatch.setattr(twisted.plugins, "__path__", [str(of_twisted)])
    assert failure(served, "fd:fileno=99999").endswith(": Bad file descriptor")


def test_a_busy_port_is_named(served: ServedReactor, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        description = f"tcp:{taken.getsockname()[1]}:interface=127.0.0.1"
        assert failure(served, description) == f"Cannot listen on {description}: Address already in use"
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as taken:
        taken.bind(str(path))
        taken.listen()
        assert failure(served, f"unix:{path}").endswith("another process serves this socket")


def test_keys_that_do_not_fit_are_named(served: ServedReactor, tmp_path: Path) -> None:
    good, other = issue(tmp_path, "good"), issue(tmp_path, "other")
    encrypted = tmp_path / "encrypted.key"
    encrypted.write_bytes(key_bytes(good.key, b"secret"))
    text = failure(served, f"ssl:0:privateKey={encrypted}:certKey={good.certificate_path}")
    assert text.endswith("encrypted.key is encrypted; a server needs a key without a passphrase")
    text = failure(served, f"ssl:0:privateKey={other.key_path}:certKey={good.certificate_path}")
    assert "other.key is not the key of" in text


@pytest.mark.parametrize("description", ["tcp:0:interface=127.0.0.1", r"tcp6:0:interface=\:\:1"])
def test_many_connections_may_wait(served: ServedReactor, description: str) -> None:
    port = served.listen(description, Events(Echo))
    host = port.getHost().host
    with open("/proc/net/tcp6" if ":" in host else "/proc/net/tcp") as table:
        listening = f":{port.getHost().port:04X} "
        assert any(listening in line and " 0A " in line for line in table)
    served.call(port.pauseAccepting)
    clients = [connected(port.getHost()) for _ in range(100)]  # with Twisted's 50 these would time out
    for client in clients:
        client.close()


def test_a_backlog_that_is_given_stays(served: ServedReactor) -> None:
    for description in ("tcp:0:127.0.0.1:7", "tcp:0:interface=127.0.0.1:backlog=7"):
        assert served.listen(description, Events(Echo))._backlog == 7
    assert served.listen("tcp:0:interface=127.0.0.1", Events(Echo))._backlog == 1024


@implementer(interfaces.IProtocolNegotiationFactory)
class Negotiates(Events):
    def acceptableProtocols(self) -> list[bytes]:
        return [b"h2", b"http/1.1"]


PROXY = b"PROXY TCP4 203.0.113.7 198.51.100.2 4711 443\r\n"


def greeted(raw: socket.socket, context: ssl.SSLContext | None, first: bytes) -> str | None:
    """Send, expect it echoed after `first`, and give what ALPN agreed on."""
    client = raw if context is None else context.wrap_socket(raw, server_hostname="localhost")
    with client:
        client.sendall(first + b"hello")
        assert client.recv(100) == b"hello"
        return client.selected_alpn_protocol() if isinstance(client, ssl.SSLSocket) else None


@pytest.mark.parametrize("inner", ["tcp:0:interface=127.0.0.1", "ssl:0:privateKey={pem}:interface=127.0.0.1"])
def test_the_proxy_protocol_works_over_everything(
    served: ServedReactor,
    localhost: Issued,
    client_context: ssl.SSLContext,
    inner: str,
) -> None:
    factory = Negotiates(Echo)
    port = served.listen(f"haproxy:{inner.format(pem=localhost.both)}", factory)
    is_tls = inner.startswith("ssl")
    assert isinstance(port, TLSPort) is is_tls
    client_context.set_alpn_protocols(["h2"])
    agreed = greeted(connected(port.getHost()), client_context if is_tls else None, PROXY)
    assert agreed == ("h2" if is_tls else None)
    protocol, _ = factory.next("made")
    assert protocol.transport.getPeer().host == "203.0.113.7"
    assert protocol.transport.getHost().port == 443
    if is_tls:
        assert protocol.transport.negotiatedProtocol == b"h2"
    factory.next("lost")


TWISTED_TLS = """
import sys
from daphne.reactor import install
reactor = install(sys.argv[1])
from daphne.endpoints import listen
from twisted.internet.interfaces import IProtocolNegotiationFactory
from twisted.internet.protocol import Factory, Protocol
from zope.interface import implementer

class Echo(Protocol):
    def dataReceived(self, data):
        self.transport.write(data)

@implementer(IProtocolNegotiationFactory)
class Negotiates(Factory):
    protocol = Echo
    def acceptableProtocols(self):
        return [b"h2", b"http/1.1"]

def give_up(failure):
    failure.printBriefTraceback(sys.stderr)
    reactor.callWhenRunning(reactor.stop)

listening = listen(reactor, sys.argv[2], Negotiates())
listening.addCallbacks(lambda port: print(port.getHost().port, flush=True), give_up)
reactor.run()
"""


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_endpoints_that_do_their_own_tls_negotiate_all_the_same(loop: str, tmp_path: Path) -> None:
    """Twisted's `tls:` does it as txacme and txsni do: a TLSMemoryBIOFactory around ours."""
    if loop == "uvloop":
        pytest.importorskip("uvloop")
    issued = issue(tmp_path, "localhost", ("localhost",))
    description = rf"tls:{tmp_path}:port=0:interface=\:\:1"
    command = [sys.executable, "-c", TWISTED_TLS, loop, description]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None and process.stderr is not None
            line = process.stdout.readline()
            if not line:
                pytest.skip(f"this Twisted has no tls: endpoint: {process.stderr.read()[-200:]}")
            context = ssl.create_default_context(cafile=str(issued.certificate_path))
            context.set_alpn_protocols(["http/1.1", "h2"])
            client = socket.create_connection(("::1", int(line)), timeout=60)
            assert greeted(client, context, b"") == "h2"
        finally:
            process.terminate()
