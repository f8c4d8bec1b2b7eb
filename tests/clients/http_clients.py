"""HTTP clients that this project did not write, each behind the same few verbs.

Called by `test_http_clients`; calls httpx, aiohttp and curl. A client is opened for an address, which may be
a host and port or a unix socket, and keeps its connection open from one call to the next where it can.
"""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import aiohttp
import httpx

from tests.programs import require_program
from tests.servers import DEADLINE, Address


@dataclass
class Reply:
    """An answer: status, headers by lower-case name, and the body."""

    status: int
    headers: dict[str, str]
    body: bytes


Arrivals = list[tuple[float, bytes]]
"""Lines of a streamed response, each with the time at which it arrived."""


class Client(Protocol):
    """What the scenarios ask of every client."""

    version: str
    """The HTTP version that it speaks, as `scope["http_version"]` says it."""

    def request(self, method: str, path: str, body: bytes | Iterable[bytes] | None = None) -> Reply:
        """One exchange. A body in pieces is sent chunked, a body in bytes with its length."""

    def lines(self, path: str, most: int) -> Arrivals:
        """The first `most` lines of a streamed response; then the client hangs up."""


class Httpx:
    """httpx, synchronous; with HTTP/2 by prior knowledge where there is no TLS to agree on it."""

    def __init__(self, address: Address, version: str) -> None:
        self.version = version
        is_2 = version == "2"
        transport = httpx.HTTPTransport(uds=address.path, http1=not is_2, http2=is_2, verify=False)
        self.client = httpx.Client(base_url=address.url(""), transport=transport, timeout=DEADLINE)

    def request(self, method: str, path: str, body: bytes | Iterable[bytes] | None = None) -> Reply:
        reply = self.client.request(method, path, content=body)
        return Reply(reply.status_code, dict(reply.headers), reply.content)

    def lines(self, path: str, most: int) -> Arrivals:
        arrivals: Arrivals = []
        with self.client.stream("GET", path) as reply:
            for line in reply.iter_lines():
                arrivals.append((time.monotonic(), line.encode()))
                if len(arrivals) == most:
                    break
        return arrivals

    def close(self) -> None:
        self.client.close()


class Aiohttp:
    """aiohttp, on an event loop of its own."""

    def __init__(self, address: Address, version: str) -> None:
        self.version = version
        self.address = address
        self.runner = asyncio.Runner()
        self.session = self.runner.run(self._open())

    async def _open(self) -> aiohttp.ClientSession:
        path = self.address.path
        connector = aiohttp.UnixConnector(path) if path else aiohttp.TCPConnector(ssl=False)
        return aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(DEADLINE))

    def request(self, method: str, path: str, body: bytes | Iterable[bytes] | None = None) -> Reply:
        return self.runner.run(self._request(method, path, body))

    async def _request(self, method: str, path: str, body: bytes | Iterable[bytes] | None) -> Reply:
        async def pieces() -> object:
            for piece in body or ():
                yield piece

        data = body if body is None or isinstance(body, bytes) else pieces()
        async with self.session.request(method, self.address.url(path), data=data) as reply:
            headers = {name.lower(): value for name, value in reply.headers.items()}
            return Reply(reply.status, headers, await reply.read())

    def lines(self, path: str, most: int) -> Arrivals:
        return self.runner.run(self._lines(path, most))

    async def _lines(self, path: str, most: int) -> Arrivals:
        arrivals: Arrivals = []
        async with self.session.get(self.address.url(path)) as reply:
            async for line in reply.content:
                arrivals.append((time.monotonic(), line.rstrip()))
                if len(arrivals) == most:
                    reply.close()
                    break
        return arrivals

    def close(self) -> None:
        self.runner.run(self.session.close())
        self.runner.close()


class Curl:
    """curl, one process for each call."""

    def __init__(self, address: Address, version: str) -> None:
        self.version = version
        self.address = address
        how = "--http1.1" if version == "1.1" else "--http2" if address.secure else "--http2-prior-knowledge"
        self.command = [require_program("curl"), "-sSk", how, "--no-buffer", "--max-time", str(DEADLINE)]
        if address.path:
            self.command += ["--unix-socket", address.path]

    def request(self, method: str, path: str, body: bytes | Iterable[bytes] | None = None) -> Reply:
        options = ["-i"] + (["-I"] if method == "HEAD" else ["-X", method])
        if isinstance(body, bytes):
            options += ["--data-binary", "@-", "-H", "Content-Type: application/octet-stream"]
        elif body is not None:
            options += ["--upload-file", "-"]
            body = b"".join(body)
        command = [*self.command, *options, self.address.url(path)]
        done = subprocess.run(command, input=body or b"", capture_output=True, check=True)
        return self._parse(done.stdout)

    def _parse(self, text: bytes) -> Reply:
        head, _, body = text.partition(b"\r\n\r\n")
        while head.split()[1] == b"100":
            head, _, body = body.partition(b"\r\n\r\n")
        status, *lines = head.decode("latin-1").split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines)
        return Reply(int(status.split()[1]), {name.lower(): text for name, text in headers.items()}, body)

    def lines(self, path: str, most: int) -> Arrivals:
        arrivals: Arrivals = []
        with subprocess.Popen([*self.command, self.address.url(path)], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            for line in process.stdout:
                arrivals.append((time.monotonic(), line.rstrip()))
                if len(arrivals) == most:
                    break
            process.terminate()
        return arrivals

    def close(self) -> None:
        pass


CLIENTS = {
    "httpx": (Httpx, "1.1"),
    "aiohttp": (Aiohttp, "1.1"),
    "curl": (Curl, "1.1"),
    "httpx-2": (Httpx, "2"),
    "curl-2": (Curl, "2"),
}


@contextmanager
def open_client(name: str, address: Address) -> Iterator[Client]:
    """The client of that name, for the length of the block."""
    kind, version = CLIENTS[name]
    client = kind(address, version)
    try:
        yield client
    finally:
        client.close()
