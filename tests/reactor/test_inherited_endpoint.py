"""daphne.reactor.inherited_endpoint: sockets handed down by a process manager, in processes of their own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.error import CannotListenError

from daphne.errors import EndpointError
from daphne.reactor.inherited_endpoint import InheritedSocketEndpoint
from tests.reactor.served import LOOPS, Echo, Events, ServedReactor, connected, received

SERVER = """
import sys
from daphne.reactor import install
reactor = install(sys.argv[1])
from daphne.endpoints import listen
from twisted.internet.protocol import Factory, Protocol

class Greets(Protocol):
    def connectionMade(self):
        host, peer = self.transport.getHost(), self.transport.getPeer()
        self.transport.write(f"{type(host).__name__} {type(peer).__name__}".encode())
        self.transport.loseConnection()

def explain(failure):
    print(failure.value)
    reactor.callWhenRunning(reactor.stop)

listen(reactor, sys.argv[2], Factory.forProtocol(Greets)).addErrback(explain)
reactor.callWhenRunning(print, "ready", flush=True)
reactor.run()
"""

AS_SYSTEMD = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()), LISTEN_FDNAMES="web")
os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""

ADDRESSES = {
    socket.AF_INET: "IPv4Address IPv4Address",
    socket.AF_INET6: "IPv6Address IPv6Address",
    socket.AF_UNIX: "UNIXAddress UNIXAddress",
}


@pytest.fixture(params=list(ADDRESSES), ids=lambda family: family.name)
def inherited(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    with socket.socket(request.param) as listener:
        names = {socket.AF_UNIX: str(tmp_path / "socket"), socket.AF_INET6: ("::1", 0)}
        listener.bind(names.get(request.param, ("127.0.0.1", 0)))
        listener.listen()
        yield listener


def greeting(listener: socket.socket) -> str:
    with socket.socket(listener.family) as client:
        client.settimeout(60)
        client.connect(listener.getsockname())
        return received(client).decode()


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("manager", ["circus", "inetd", "systemd", "systemd by name"])
def test_serves_what_a_process_manager_hands_down(inherited: socket.socket, loop: str, manager: str) -> None:
    if loop == "uvloop":
        pytest.importorskip("uvloop")
    descriptor = inherited.fileno()
    command = [sys.executable, "-c", SERVER, loop]
    options: dict[str, Any] = {"pass_fds": (descriptor,)}
    if manager == "circus":
        command.append(f"fd:fileno={descriptor}")
    elif manager == "inetd":
        command.append("fd:fileno=0")
        options = {"stdin": inherited}
    else:
        family = inherited.family.name.removeprefix("AF_")
        which = "index=0" if manager == "systemd" else "name=web"
        command = [sys.executable, "-c", AS_SYSTEMD, str(descriptor), *command[1:]]
        command.append(f"systemd:domain={family}:{which}")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **options) as process:
        try:
            assert process.stdout.readline() == "ready\n"
            assert [greeting(inherited) for _ in range(3)] == [ADDRESSES[inherited.family]] * 3
        finally:
            process.terminate()
    assert process.returncode == 0
    # It belongs to the manager: it still listens, and its path is still there.
    with socket.socket(inherited.family) as client:
        client.connect(inherited.getsockname())


def test_systemd_that_has_handed_down_nothing_is_named() -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LISTEN_")}
    done = subprocess.run(
        [sys.executable, "-c", SERVER, "asyncio", "systemd:domain=INET:index=0"],
        capture_output=True,
        text=True,
        timeout=60,
        env=environment,
    )
    assert "Cannot listen on systemd:domain=INET:index=0: systemd has handed down no such" in done.stdout


def test_the_descriptor_is_let_go(served: ServedReactor, inherited: socket.socket) -> None:
    host, descriptor = inherited.getsockname(), inherited.detach()
    endpoint = InheritedSocketEndpoint(served.reactor, str(descriptor))
    factory = Events(Echo)
    port = served.call(endpoint.listen, factory)
    with pytest.raises(OSError):
        os.fstat(descriptor)
    with connected(port.getHost()) as client:
        client.sendall(b"x")
        assert client.recv(1) == b"x"
    served.call(port.stopListening)
    with socket.socket(inherited.family) as client, pytest.raises(OSError):
        client.connect(host)
    with pytest.raises(CannotListenError):
        served.call(endpoint.listen, factory)


def test_what_is_no_descriptor_is_named(served: ServedReactor) -> None:
    with pytest.raises(EndpointError, match="fileno must be a whole number, not 'x'"):
        InheritedSocketEndpoint(served.reactor, "x")
    with pytest.raises(CannotListenError):
        served.call(InheritedSocketEndpoint(served.reactor, 99_999).listen, Events(Echo))
