"""A server is replaced by another on the same socket: no client is refused, no answer is cut short."""

from __future__ import annotations

import contextlib
import http.client
import re
import signal
import socket
import threading
import time
from pathlib import Path

import pytest

from tests.servers import DEADLINE, TARGETS, Address, Process, daphne, listening, serving

ROUNDS = 2


@pytest.mark.parametrize("target", TARGETS)
def test_nobody_notices_a_restart(target: str, tmp_path: Path) -> None:
    with listening(socket.AF_INET, tmp_path) as (listener, address):
        server = start(TARGETS[target], listener.fileno(), tmp_path / "0.log")
        try:
            with Asking(address) as asking:
                for number in range(1, ROUNDS + 1):
                    asking.wait_for_more(10)
                    stream = Streaming(address)
                    old, server = (
                        server,
                        start(TARGETS[target], listener.fileno(), tmp_path / f"{number}.log"),
                    )
                    assert old.stop() == 0
                    assert stream.ticks() == 15
            assert asking.failures == []
        finally:
            server.stop()


REQUEST = b"GET /scope HTTP/1.1\r\nHost: x\r\n\r\n"
HANDSHAKE = (
    b"GET /chat HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
GOING_AWAY = b"\x88\x02" + (1001).to_bytes(2, "big")
GOING_AWAY_TOO = b"\x88\x82\0\0\0\0" + GOING_AWAY[2:]


@pytest.mark.parametrize(
    ("before", "after", "answer"),
    [
        (b"", REQUEST, b"HTTP/1.1 200 OK"),
        (REQUEST[:20], REQUEST[20:], b"HTTP/1.1 200 OK"),
        (b"", HANDSHAKE, b"HTTP/1.1 101 Switching Protocols"),
        (REQUEST, b"", b"HTTP/1.1 200 OK"),
        (b"", b"", b""),
    ],
    ids=["request", "half a request", "handshake", "used and idle", "silent"],
)
def test_what_is_on_its_way_when_the_server_stops(
    before: bytes, after: bytes, answer: bytes, tmp_path: Path
) -> None:
    graceful = "--graceful-timeout", "1000"
    with (
        serving(*graceful, *TARGETS["application"], folder=tmp_path) as server,
        server.address.connect() as connection,
    ):
        connection.sendall(before)
        received = connection.recv(65536) if before.endswith(b"\r\n\r\n") else b""
        stopped = time.monotonic()
        server.popen.send_signal(signal.SIGTERM)
        while server.address.accepts():
            assert time.monotonic() < stopped + DEADLINE
        connection.sendall(after)
        while piece := connection.recv(65536):
            received += piece
            if received.endswith(GOING_AWAY):
                connection.sendall(GOING_AWAY_TOO)
        assert received.partition(b"\r\n")[0] == answer
        assert received.endswith(GOING_AWAY) == (after == HANDSHAKE)
        assert server.popen.wait(DEADLINE) == 0  # long before --graceful-timeout


def start(target: tuple[str, ...], descriptor: int, log: Path) -> Process:
    server = Process(daphne("--fd", str(descriptor), *target), log, [descriptor])
    server.wait_for(re.compile("Listening on"))
    return server


class Asking:
    """Clients that ask again and again, each time on a new connection, for the length of the block."""

    def __init__(self, address: Address, clients: int = 4) -> None:
        self.host, self.port = address.host, address.port
        self.answers = 0
        self.failures: list[str] = []
        self._more = threading.Condition()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask, daemon=True) for _ in range(clients)]

    def __enter__(self) -> Asking:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(DEADLINE)

    def wait_for_more(self, number: int) -> None:
        """Return once so many more answers have come."""
        with self._more:
            goal = self.answers + number
            assert self._more.wait_for(lambda: self.answers >= goal or self.failures, DEADLINE)

    def _ask(self) -> None:
        while not self._stop.wait(0.01):  # so that the servers get the processor, too
            try:
                failure = self._ask_once()
            except (OSError, http.client.HTTPException) as error:
                failure = repr(error)
            with self._more:
                self.answers += 1
                if failure:
                    self.failures.append(failure)
                self._more.notify_all()

    def _ask_once(self) -> str:
        with contextlib.closing(http.client.HTTPConnection(self.host, self.port, timeout=DEADLINE)) as client:
            client.request("GET", "/scope")
            answer = client.getresponse()
            answer.read()
            return "" if answer.status == 200 else f"status {answer.status}"


class Streaming:
    """A streamed answer that is under way."""

    def __init__(self, address: Address) -> None:
        self._connection = address.connect()
        request = "GET /ticks?count=15&interval=0.1 HTTP/1.1", "Host: x", "Connection: close", "", ""
        self._connection.sendall("\r\n".join(request).encode())
        self._received = self._connection.recv(65536)

    def ticks(self) -> int:
        """Read to the end; how many ticks came."""
        with self._connection:
            while piece := self._connection.recv(65536):
                self._received += piece
        return len(re.findall(rb'\{"tick"', self._received))
