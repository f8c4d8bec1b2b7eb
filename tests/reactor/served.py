"""A LoopReactor that runs in a thread, and a Twisted protocol that tells what happens to it.

Called by the tests of the reactor, which are its clients with blocking sockets. Nothing here is a mock: both
ends are real, and the kernel is in between.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import queue
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol

from daphne.endpoints import listen
from daphne.reactor import LoopReactor

DEADLINE = 60.0
"""Seconds after which a test gives up waiting."""

MOST_AT_ONCE = 1 << 18

LOOPS = ("uvloop", "asyncio")


def new_loop(kind: str) -> asyncio.AbstractEventLoop:
    """A loop of the kind, or a skipped test where uvloop is not installed."""
    if kind == "asyncio":
        return asyncio.SelectorEventLoop()
    loop: asyncio.AbstractEventLoop = pytest.importorskip("uvloop").new_event_loop()
    return loop


def until(condition: Callable[[], Any]) -> Any:
    """Wait until the condition gives something true, and give that."""
    end = time.monotonic() + DEADLINE
    while time.monotonic() < end:
        if result := condition():
            return result
        time.sleep(0.002)
    raise AssertionError("the condition did not become true")


def settled(value: Callable[[], Any]) -> Any:
    """Wait until the value has not changed for a while, and give it."""
    for _ in range(int(DEADLINE / 0.2)):
        before = value()
        time.sleep(0.2)
        if value() == before:
            return before
    raise AssertionError("the value kept changing")


class ServedReactor:
    """A reactor in its own thread. `call` runs something there and gives the result."""

    def __init__(self, kind: str) -> None:
        self.reactor = LoopReactor(new_loop(kind))
        self._thread = threading.Thread(target=self.reactor.run, args=(False,), daemon=True)
        self._thread.start()

    def call(self, function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        result: concurrent.futures.Future[Any] = concurrent.futures.Future()

        def run() -> None:
            try:
                value = function(*arguments, **named)
                if isinstance(value, Deferred):
                    value.addCallbacks(result.set_result, lambda failure: result.set_exception(failure.value))
                else:
                    result.set_result(value)
            except BaseException as problem:
                result.set_exception(problem)

        self.reactor.callFromThread(run)
        return result.result(DEADLINE)

    def listen(self, description: str, factory: Any) -> Any:
        return self.call(listen, self.reactor, description, factory)

    def close(self) -> None:
        self.reactor.callFromThread(self.reactor.stop)
        self._thread.join(DEADLINE)
        assert not self._thread.is_alive()
        self.reactor.loop.close()


class Told(Protocol):
    """Tells `factory.events`, a queue, what happens: (what, protocol, argument)."""

    def tell(self, what: str, argument: object = None) -> None:
        self.factory.events.put((what, self, argument))

    def connectionMade(self) -> None:
        self.tell("made")

    def dataReceived(self, data: bytes) -> None:
        self.tell("data", data)

    def connectionLost(self, reason: Any = None) -> None:
        self.tell("lost", reason)


class Echo(Told):
    def dataReceived(self, data: bytes) -> None:
        self.transport.write(data)


class Events(Factory):
    """Builds protocols of one class, and waits for what they tell."""

    noisy = False

    def __init__(self, protocol: Any) -> None:
        self.protocol = protocol
        self.events: queue.Queue[tuple[str, Any, Any]] = queue.Queue()

    def next(self, what: str) -> tuple[Any, Any]:
        """The protocol and the argument of the next thing that is told, which must be `what`."""
        told, protocol, argument = self.events.get(timeout=DEADLINE)
        assert told == what, f"expected {what}, but it was {told}: {argument}"
        return protocol, argument

    def data(self, length: int) -> bytes:
        """That many bytes of what has been received."""
        received = b""
        while len(received) < length:
            received += self.next("data")[1]
        return received


class Served:
    """A listening port of one kind on a reactor, and how to connect to it."""

    def __init__(
        self, served: ServedReactor, kind: str, description: str, client: ssl.SSLContext | None
    ) -> None:
        self.served = served
        self.kind = kind
        self.description = description
        self._client = client
        self.port: Any = None

    @property
    def call(self) -> Callable[..., Any]:
        return self.served.call

    @property
    def is_tls(self) -> bool:
        return self._client is not None

    def serve(self, protocol: Any) -> Events:
        factory = Events(protocol)
        self.port = self.served.listen(self.description, factory)
        return factory

    def connect(self) -> socket.socket:
        client = connected(self.port.getHost())
        if self._client is not None:
            return self._client.wrap_socket(client, server_hostname="localhost", suppress_ragged_eofs=False)
        return client


def connected(host: Any) -> socket.socket:
    """A client of that Twisted address."""
    if hasattr(host, "name"):
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(DEADLINE)
        client.connect(host.name)
        return client
    return socket.create_connection((host.host, host.port), timeout=DEADLINE)


def received(client: socket.socket) -> bytes:
    """Everything until the end of file."""
    parts = []
    while part := client.recv(1 << 20):
        parts.append(part)
    return b"".join(parts)


def exchanged(client: socket.socket, data: bytes) -> bytes:
    """Send while receiving, in one thread as TLS demands, and give as many bytes as were sent."""
    client.setblocking(False)
    unsent, got = memoryview(data), bytearray()
    end = time.monotonic() + DEADLINE
    while len(got) < len(data):
        assert time.monotonic() < end, f"{len(unsent)} bytes are unsent, {len(got)} received"
        select.select([client], [client] if unsent else [], [], 0.1)
        with contextlib.suppress(BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            if unsent:
                unsent = unsent[client.send(unsent[:MOST_AT_ONCE]) :]
        with contextlib.suppress(BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            part = client.recv(MOST_AT_ONCE)
            assert part, "the connection ended early"
            got += part
    client.settimeout(DEADLINE)
    return bytes(got)
