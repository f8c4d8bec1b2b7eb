"""Clients that send any bytes over a real socket, and what the server under them holds.

Called by the tests of this folder; calls `tests.servers` for processes and `daphne.testing` to read answers.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import struct
import time
from collections.abc import Callable
from pathlib import Path

from daphne.testing import Response, read_response
from daphne.testing.frames import Frame, read_frame
from tests.servers import DEADLINE, Address, Process

PLAIN = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
LAST = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
HANDSHAKE = (
    b"GET %b HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n%b\r\n"
)
MODES = {
    "application": ("tests.hostile.target:application",),
    "channel-layer": ("--worker", "tests.hostile.target:application", "tests.hostile.target:channel_layer"),
}
"""The two ways in which a server reaches its application, as command lines."""


class Peer:
    """One connection of a client that keeps no rules; everything it does has a deadline."""

    def __init__(self, address: Address) -> None:
        self.socket = address.connect()
        self.received = b""
        self.ended = False

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *error: object) -> None:
        self.socket.close()

    def send(self, *pieces: bytes) -> None:
        """Send what the server takes; one that has closed already is no error here."""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for piece in pieces:
                self.socket.sendall(piece)

    def read(self, enough: int = 1) -> bytes:
        """Everything received, once there are `enough` bytes or the server has ended it."""
        while not self.ended and len(self.received) < enough:
            try:
                piece = self.socket.recv(65536)
            except ConnectionResetError:
                piece = b""
            self.received += piece
            self.ended = not piece
        return self.received

    def read_to_end(self) -> bytes:
        """Everything received, once the server has ended it."""
        return self.read(1 << 62)

    def answer(self, method: str = "GET") -> Response:
        """The next whole response. AssertionError if the connection ends before that."""
        while (found := read_response(self.received, method, self.ended)) is None:
            assert not self.ended, f"ended with {self.received!r}"
            self.read(len(self.received) + 1)
        response, self.received = found
        return response

    def frame(self) -> Frame:
        """The next WebSocket frame. AssertionError if the connection ends before that."""
        while (found := read_frame(self.received)) is None:
            assert not self.ended, f"ended with {self.received!r}"
            self.read(len(self.received) + 1)
        frame, self.received = found
        return frame

    def upgrade(self, path: bytes = b"/", lines: bytes = b"") -> Peer:
        """Open a WebSocket on this connection."""
        self.send(HANDSHAKE % (path, lines))
        assert self.answer().status == 101
        return self

    def reset(self) -> None:
        """Cut the connection by RST."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


def statuses(address: Address, *pieces: bytes) -> list[int]:
    """The statuses of all responses to what is sent on one connection, which the server must end."""
    with Peer(address) as peer:
        peer.send(*pieces)
        peer.read_to_end()
        found = []
        while peer.received:
            found.append(peer.answer().status)
        return found


def counts(address: Address) -> dict[str, int]:
    """What the server holds, as its own application counts it."""
    with Peer(address) as peer:
        peer.send(b"GET /counts HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        answer = peer.answer()
        assert answer.status == 200
        return dict(json.loads(answer.body))


def counts_once(
    address: Address, condition: Callable[[dict[str, int]], bool], within: float = DEADLINE
) -> dict[str, int]:
    """The server's counts, once they are so. AssertionError after `within` seconds."""
    deadline = time.monotonic() + within
    while not condition(now := counts(address)):
        assert time.monotonic() < deadline, now
        time.sleep(0.05)
    return now


_KNOWN = re.compile(r"(?s)Exception inside application: secret.*?(?:Broken|RuntimeError): secret")
"""The stack of an exception that a test has asked for."""


class Watched:
    """A server before, during and after what is done to it."""

    def __init__(self, server: Process, others: int = 0) -> None:
        """`others`: connections that are there all the time."""
        self.server = server
        self.address = server.address
        for _ in range(3):  # what is made once is made before anything is counted
            assert statuses(self.address, LAST) == [200]
        self.before = counts_once(self.address, lambda now: now["admitted"] == 1 + others)
        self.memory_before = self.memory()
        self.longest_turn()
        self._said = len(server.output)

    def longest_turn(self) -> float:
        """See target.longest_turn."""
        with Peer(self.address) as peer:
            peer.send(b"GET /turn HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            return float(peer.answer().body)

    def memory(self) -> int:
        """Bytes of memory that the server's process has."""
        pages = Path(f"/proc/{self.server.popen.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    def serves_others(self) -> None:
        """Other clients get their answers, within the deadline that every connection here has."""
        for _ in range(3):
            assert statuses(self.address, LAST) == [200]

    def said(self) -> str:
        """What the server has logged since."""
        return self.server.output[self._said :]

    def waits_for(self, text: str, within: float = DEADLINE) -> None:
        """Return once the server has logged `text`, now or before: the line of a limit comes once a second at
        most. AssertionError after `within` seconds."""
        self.server.wait_until(lambda: text in self.server.output, repr(text), within)

    def grew_by_less_than(self, most: int) -> None:
        """The server's memory has not grown by `most` bytes."""
        grown = self.memory() - self.memory_before
        assert grown < most, f"memory has grown by {grown} bytes"

    def is_as_before(self, within: float = DEADLINE) -> None:
        """Every count comes back to what it was. AssertionError after `within` seconds."""
        counts_once(self.address, lambda now: all(now[key] <= self.before[key] for key in now), within)
        said = _KNOWN.sub("", self.said())
        assert "Traceback" not in said, said
