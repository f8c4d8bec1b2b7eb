"""The Python part of an exchange alone: the server's own code over a transport that only counts, no sockets.

`python -m benchmarks path` prints it. It needs no peers and no second core; the least of many short slices
hardly depends on what else the machine does: the figure to watch while working on the code. It makes a `Site`
and a `Runner` as the service does.
"""

import asyncio
import time
from typing import Any

import uvloop
from twisted.internet.address import IPv4Address

from benchmarks.load import frames
from benchmarks.load.wrk import BODY_BYTE
from benchmarks.scenarios import BROWSER_HEADERS
from benchmarks.served import plain
from daphne.application.running import Runner
from daphne.protocols.site import Site
from daphne.settings import Settings

CONNECTIONS = 32
DEADLINE = 10.0
KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
BROWSER_LINES = "".join(f"{name}: {value}\r\n" for name, value in BROWSER_HEADERS.items()).encode()


def request(line: bytes, fields: bytes = b"", body: bytes = b"") -> bytes:
    return line + b" HTTP/1.1\r\nHost: 127.0.0.1:8000\r\n" + fields + b"\r\n" + body


UPGRADE = frames.handshake("127.0.0.1:8000", "/", KEY)
EXCHANGES: dict[str, tuple[bytes, bytes]] = {
    # name: (what is sent once at first, what is sent again and again)
    "get": (b"", request(b"GET /")),
    "browser": (b"", request(b"GET /", BROWSER_LINES)),
    "post": (b"", request(b"POST /echo", b"Content-Length: 16384\r\n", BODY_BYTE * 16384)),
    "ws-text": (UPGRADE, frames.masked_frame(frames.TEXT, b"a" * 100, KEY[:4])),
    "ws-binary": (UPGRADE, frames.masked_frame(frames.BINARY, b"a" * 16384, KEY[:4])),
}


class CountingTransport:
    """Takes writes and counts them; a write is an answer."""

    def __init__(self) -> None:
        self.writes = 0

    def write(self, data: bytes) -> None:
        self.writes += 1

    def getPeer(self) -> IPv4Address:
        return IPv4Address("TCP", "127.0.0.1", 50000)

    def getHost(self) -> IPv4Address:
        return IPv4Address("TCP", "127.0.0.1", 8000)

    def nothing(self, *arguments: Any) -> None:
        pass

    registerProducer = unregisterProducer = pauseProducing = resumeProducing = nothing
    loseConnection = abortConnection = loseWriteConnection = nothing


def connect(site: Site) -> tuple[Any, CountingTransport]:
    protocol, transport = site.buildProtocol(None), CountingTransport()
    assert protocol is not None
    transport.protocol = protocol  # type: ignore[attr-defined]  # the protocol may put its successor here
    protocol.makeConnection(transport)
    return protocol, transport


async def seconds_of(site: Site, first: bytes, again: bytes, slices: int) -> float:
    """The least seconds of one exchange over `slices` slices of `CONNECTIONS` exchanges."""
    connected = [connect(site) for _ in range(CONNECTIONS)]
    if first:
        await exchange(connected, first)
        await asyncio.sleep(0)  # the application gets from accepting to awaiting a message
    least = min([await exchange(connected, again) for _ in range(slices)])
    for _, transport in connected:
        transport.protocol.connectionLost()  # type: ignore[attr-defined]
    return least / CONNECTIONS


async def exchange(connected: list[tuple[Any, CountingTransport]], data: bytes) -> float:
    """Deliver `data` to every connection and wait until each has answered; the seconds that it took."""
    expected = [transport.writes + 1 for _, transport in connected]
    receivers = [transport.protocol.dataReceived for _, transport in connected]  # type: ignore[attr-defined]
    began = time.perf_counter()
    for receive in receivers:
        receive(data)
    while any(transport.writes < count for (_, transport), count in zip(connected, expected, strict=True)):
        await asyncio.sleep(0)
    return time.perf_counter() - began


async def measure_all(slices: int) -> dict[str, float]:
    loop, settings = asyncio.get_running_loop(), Settings()
    runner = Runner(plain.application, loop, settings.application_close_timeout)
    site = Site(settings, loop, start=runner.start, left=runner.client_left)
    measured = {name: await seconds_of(site, *exchange, slices) for name, exchange in EXCHANGES.items()}
    async with asyncio.timeout(DEADLINE):
        while runner.streams:  # the applications of the sockets, whose clients have gone
            await asyncio.sleep(0)
    return measured


def report(slices: int = 500) -> str:
    """Microseconds of each exchange, one a line."""
    measured = uvloop.run(measure_all(slices))
    return "\n".join(f"{name:<12} {seconds * 1e6:6.2f} µs" for name, seconds in measured.items())
