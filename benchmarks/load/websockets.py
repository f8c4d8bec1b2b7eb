"""WebSocket echo load: connections that each keep one message under way and compare every byte that comes
back.

Our own client because it must be faster than the servers: a frame is masked once, and an echo is one
comparison and one write. Called by `benchmarks.scenarios`; calls `frames`.
"""

import asyncio
import base64
import os
import time
from collections.abc import Callable

import uvloop

from benchmarks.load import frames
from benchmarks.load.outcome import HOST, Load, Target, percentile

DEADLINE = 20.0
CLOSE_FRAME = frames.masked_frame(frames.CLOSE, (1000).to_bytes(2, "big"), b"\0\0\0\0")


class EchoClient(asyncio.Protocol):
    """One connection: handshake, then `start()` to send, verify and send again until `stop()`.

    `problem` says what went wrong, if anything did. `latencies` gets the seconds of each echo.
    """

    def __init__(self, host: str, opcode: int, payload: bytes, changed: Callable[[], None]) -> None:
        self.key = base64.b64encode(os.urandom(16))
        self.request = frames.handshake(host, "/", self.key)
        self.frame = frames.masked_frame(opcode, payload, os.urandom(4))
        self.expected = frames.plain_frame(opcode, payload)
        self.changed = changed
        self.latencies: list[float] = []
        self.problem: str | None = None
        self.open = self.stopping = self.done = False
        self.pending = bytearray()
        self.sent_at = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.transport = transport
        transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        if data != self.expected and not self.completes(data):
            return
        now = time.perf_counter()
        self.latencies.append(now - self.sent_at)
        self.sent_at = now
        if self.stopping:
            self.finish()
        else:
            self.transport.write(self.frame)

    def completes(self, data: bytes) -> bool:
        """The slow path: handshake, pieces, control frames. True once an echo is whole and right."""
        self.pending += data
        if not self.open:
            self.read_handshake()
            return False
        self.answer_pings()
        if len(self.pending) < len(self.expected):
            return False
        if self.pending != self.expected:
            self.fail(f"an echo differs: it begins {bytes(self.pending[:24])!r}")
            return False
        self.pending.clear()
        return True

    def read_handshake(self) -> None:
        head, end, rest = bytes(self.pending).partition(b"\r\n\r\n")
        if not end:
            return
        self.pending[:] = rest
        self.problem = frames.handshake_problem(head, self.key)
        self.open = self.problem is None
        self.changed()

    def answer_pings(self) -> None:
        while len(self.pending) >= 2 and self.pending[0] == 0x80 | frames.PING:
            end = 2 + self.pending[1]
            if len(self.pending) < end:
                return
            self.transport.write(frames.masked_frame(frames.PONG, bytes(self.pending[2:end]), b"\0\0\0\0"))
            del self.pending[:end]

    def start(self) -> None:
        self.stopping = False
        self.sent_at = time.perf_counter()
        self.transport.write(self.frame)

    def stop(self) -> None:
        self.stopping = True

    def finish(self) -> None:
        self.done = True
        self.transport.write(CLOSE_FRAME)
        self.transport.close()
        self.changed()

    def fail(self, problem: str) -> None:
        self.problem = self.problem or problem
        self.done = True
        self.transport.abort()
        self.changed()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.done:
            self.fail(f"the server closed the connection ({error})")


def payload_for(number: int, size: int, text: bool) -> bytes:
    """A payload of `size` bytes that no other connection sends."""
    if text:
        return (b"%08d" % number + b"abcdefghijklmnopqrstuvwxyz" * (size // 26 + 1))[:size]
    return (number.to_bytes(8, "big") + bytes(range(256)) * (size // 256 + 1))[:size]


async def wait_for(
    clients: list[EchoClient], condition: Callable[[EchoClient], bool], event: asyncio.Event
) -> None:
    async with asyncio.timeout(DEADLINE):
        while not all(client.problem or condition(client) for client in clients):
            event.clear()
            await event.wait()


async def connect_clients(
    target: Target, connections: int, size: int, text: bool
) -> tuple[list[EchoClient], asyncio.Event]:
    event = asyncio.Event()
    opcode = frames.TEXT if text else frames.BINARY
    clients = [
        EchoClient(target.address, opcode, payload_for(number, size, text), event.set)
        for number in range(connections)
    ]
    loop = asyncio.get_running_loop()
    for client in clients:
        await loop.create_connection(lambda client=client: client, HOST, target.port)
    await wait_for(clients, lambda client: client.open, event)
    return clients, event


async def run_echo(target: Target, seconds: float, connections: int, size: int, text: bool) -> Load:
    clients, event = await connect_clients(target, connections, size, text)
    began = time.perf_counter()
    for client in clients:
        if client.open:
            client.start()
    await asyncio.sleep(seconds)
    for client in clients:
        client.stop()
    await wait_for(clients, lambda client: client.done, event)
    latencies = [latency for client in clients for latency in client.latencies]
    return Load(
        units=len(latencies),
        seconds=time.perf_counter() - began,
        p50=percentile(latencies, 0.50),
        p99=percentile(latencies, 0.99),
        problems=[client.problem for client in clients if client.problem],
    )


def echo(target: Target, seconds: float, connections: int, size: int, text: bool) -> Load:
    """Echo messages of `size` bytes over `connections` sockets for `seconds`."""
    return uvloop.run(run_echo(target, seconds, connections, size, text))
