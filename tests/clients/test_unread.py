"""Two hundred megabytes that nobody reads: they wait where they come from, and the server does not grow.

Each exchange goes through the server's own process, over both ways to the application, and ends well once the
slow side reads on.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import httpx
import psutil
import pytest
import websockets.sync.client

from tests.clients.flood import PIECE
from tests.servers import DEADLINE, Address, Process, serving

MEGABYTE = 1024 * 1024
GROWTH = 5 * MEGABYTE
PIECES = 200 * MEGABYTE // len(PIECE)
SIZE = PIECES * len(PIECE)

FLOOD = "tests.clients.flood:application"
TARGETS = {"application": (FLOOD,), "channel-layer": ("--worker", FLOOD, "daphne.demo:channel_layer")}


def ask(address: Address, path: str) -> str:
    """What the server answers."""
    return httpx.get(address.url(path), timeout=DEADLINE, verify=False).text


@pytest.fixture(scope="module", params=TARGETS)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """A server that has been through some of it already, so that what it keeps for good is there."""
    folder = tmp_path_factory.mktemp("server")
    with serving("--access-log", "/dev/null", *TARGETS[request.param], folder=folder) as server:
        ask(server.address, "/go/1")
        for way in (download, upload, websocket_download, websocket_upload):
            way(server.address, 160, lambda: None)
        yield server


Way = Callable[[Address, int, Callable[[], None]], int]
"""One exchange of so many pieces; the callable runs while a side does not read. Gives the bytes that came."""


def download(address: Address, pieces: int, while_unread: Callable[[], None]) -> int:
    with address.connect() as connection:
        connection.sendall(f"GET /down/{pieces} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        while_unread()
        received, head = 0, connection.recv(65536).partition(b"\r\n\r\n")[2]
        while piece := connection.recv(1 << 20):
            received += len(piece)
        return received + len(head)


def upload(address: Address, pieces: int, while_unread: Callable[[], None]) -> int:
    with address.connect() as connection:
        size = pieces * len(PIECE)
        connection.sendall(f"POST /up HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n\r\n".encode())
        with in_background(lambda: [connection.sendall(PIECE) for _ in range(pieces)]):
            while_unread()
        return int(connection.recv(65536).partition(b"\r\n\r\n")[2].split(b"\r\n")[-1] or connection.recv(99))


def websocket_download(address: Address, pieces: int, while_unread: Callable[[], None]) -> int:
    with websockets.sync.client.connect(address.url(f"/down/{pieces}", "ws"), compression=None) as client:
        while_unread()
        return sum(len(message) for message in client)


def websocket_upload(address: Address, pieces: int, while_unread: Callable[[], None]) -> int:
    with websockets.sync.client.connect(address.url("/up", "ws"), compression=None) as client:
        with in_background(lambda: [client.send(PIECE) for _ in range(pieces)]):
            while_unread()
        client.send("done")
        return int(client.recv(DEADLINE))


class in_background:
    """Runs a function in a thread that ends with the block."""

    def __init__(self, function: Callable[[], object]) -> None:
        self.thread = threading.Thread(target=function, daemon=True)

    def __enter__(self) -> None:
        self.thread.start()

    def __exit__(self, *error: object) -> None:
        self.thread.join(DEADLINE)
        assert not self.thread.is_alive()


@pytest.mark.parametrize("way", [download, upload, websocket_download, websocket_upload])
def test_what_is_not_read_waits_outside(server: Process, way: Way) -> None:
    process = psutil.Process(server.popen.pid)
    ask(server.address, "/go/0")
    before, growth, sent = process.memory_info().rss, 0, 0

    def watch() -> None:
        nonlocal growth, sent
        until, last = time.monotonic() + DEADLINE, -1
        while sent != last:
            assert time.monotonic() < until
            last, sent = sent, int(ask(server.address, "/moved"))
            for _ in range(10):
                growth = max(growth, process.memory_info().rss - before)
                time.sleep(0.05)
        ask(server.address, "/go/1")

    assert way(server.address, PIECES, watch) == SIZE
    assert sent < SIZE / 2  # it did wait, and not the client for us
    assert growth < GROWTH, f"grew by {growth / MEGABYTE:.1f} MB"
