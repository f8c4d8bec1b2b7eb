"""200 MB either way, to a peer or an application that does not read, move the process by less than 5 MB."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from daphne.testing.frames import BINARY, client_frame
from daphne.testing.sockets import handshake
from tests.protocols.bench import request
from tests.servers import Process, serving

DEADLINE = 60.0
LITTLE = 5_000_000
MUCH = 200_000_000
MODES = {
    "application": ("tests.protocols.unread:application",),
    "channel-layer": ("--worker", "tests.protocols.unread:application", "daphne.demo:channel_layer"),
}


@pytest.fixture(scope="module", params=MODES)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """A server in each mode."""
    with serving(
        *MODES[request.param], "--graceful-timeout", "1", folder=tmp_path_factory.mktemp("server")
    ) as process:
        yield process


def resident(process: Process) -> int:
    """Bytes that the process holds in memory."""
    pages = Path(f"/proc/{process.popen.pid}/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def settled(process: Process) -> int:
    """What it holds when that has not changed for a while."""
    end, last, since = time.monotonic() + DEADLINE, resident(process), time.monotonic()
    while time.monotonic() < end:
        time.sleep(0.05)
        now = resident(process)
        if abs(now - last) > 100_000:
            last, since = now, time.monotonic()
        elif time.monotonic() - since > 0.3:
            return now
    raise AssertionError("the memory use kept changing")


def opened(process: Process, data: bytes) -> socket.socket:
    client = process.address.connect()
    client.sendall(data)
    return client


def flood(client: socket.socket, piece: bytes) -> int:
    """Send as long as the server takes anything; how much it took."""
    client.settimeout(0.5)
    sent = 0
    view = memoryview(piece)
    while sent < MUCH:
        try:
            sent += client.send(view[sent % len(piece) :])
        except TimeoutError:
            return sent
    return sent


@pytest.mark.parametrize("talk", [request("GET", "/talk"), handshake("/talk", [])], ids=["http", "websocket"])
def test_a_client_that_does_not_read(server: Process, talk: bytes) -> None:
    before = warm(server)
    with opened(server, talk) as client:
        assert client.recv(12) in (b"HTTP/1.1 200", b"HTTP/1.1 101")
        assert settled(server) - before < LITTLE
    settled(server)


def uploads() -> dict[str, tuple[bytes, Callable[[], bytes]]]:
    head = request("POST", "/deaf", f"Content-Length: {MUCH}")
    chunked = request("POST", "/deaf", "Transfer-Encoding: chunked")
    return {
        "http": (head, lambda: b"x" * 1_000_000),
        "chunked": (chunked, lambda: b"f4240\r\n" + b"x" * 1_000_000 + b"\r\n"),
        "websocket": (
            handshake("/deaf", []),
            lambda: client_frame(BINARY, b"x" * 100_000, mask=b"\0\0\0\0") * 10,
        ),
        "pipelined": (request("GET", "/deaf"), lambda: request("GET", "/deaf", "X: " + "y" * 10_000) * 100),
    }


@pytest.mark.parametrize("kind", ["http", "chunked", "websocket", "pipelined"])
def test_an_application_that_does_not_read(server: Process, kind: str) -> None:
    head, piece = uploads()[kind]
    before = warm(server)
    with opened(server, head) as client:
        taken = flood(client, piece())
        assert taken < MUCH, "all of it was taken"
        assert settled(server) - before < LITTLE
    settled(server)


def test_messages_that_are_announced_and_do_not_come(server: Process) -> None:
    """A large message is received where it stays, but only what has come of it takes memory."""
    before = warm(server)
    begun = handshake("/deaf", []) + client_frame(BINARY, bytes(1 << 20))[:20_000]
    clients = [opened(server, begun) for _ in range(200)]
    assert settled(server) - before < 100_000 * len(clients) < 200 << 20
    for client in clients:
        client.close()
    settled(server)


def warm(server: Process) -> int:
    """What the server holds once it has done everything of the kind before, in small."""
    for _ in range(10):
        with opened(server, request("POST", "/", "Connection: close", body=b"x" * 200_000)) as client:
            while client.recv(65536):
                pass
    return settled(server)
