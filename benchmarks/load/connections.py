"""Connections themselves as load: many that stay idle, and many that are opened and closed.

Called by `benchmarks.scenarios`; calls `single`, `frames` and `websockets`.
"""

import asyncio
import base64
import contextlib
import os
import socket
import time
from collections.abc import Callable, Iterator

import uvloop

from benchmarks.load import frames, single
from benchmarks.load.outcome import HOST, Load, Target, percentile

ECHOED = b"opened, echoed, closed"


@contextlib.contextmanager
def idle_http(target: Target, count: int) -> Iterator[list[str]]:
    """Hold `count` keep-alive connections with one answer each; the problems are complete at the end."""
    request = single.request_head(target, "/")

    def open_one(connection: socket.socket) -> str | None:
        answer = single.exchange(connection, request)
        return None if answer.status == 200 else f"a first request was answered {answer.status}"

    with held(target, count, open_one) as problems:
        yield problems


@contextlib.contextmanager
def idle_websockets(target: Target, count: int) -> Iterator[list[str]]:
    """Hold `count` accepted WebSockets on each of which one message was echoed."""
    key = base64.b64encode(os.urandom(16))
    request = frames.handshake(target.address, "/", key)

    def open_one(connection: socket.socket) -> str | None:
        connection.sendall(request)
        data = b""
        while b"\r\n\r\n" not in data:
            piece = connection.recv(65536)
            if not piece:
                return "the connection was closed within the handshake"
            data += piece
        problem = frames.handshake_problem(data.partition(b"\r\n\r\n")[0], key)
        return problem or echo_once(connection)

    with held(target, count, open_one) as problems:
        yield problems


def echo_once(connection: socket.socket) -> str | None:
    expected = frames.plain_frame(frames.TEXT, ECHOED)
    connection.sendall(frames.masked_frame(frames.TEXT, ECHOED, os.urandom(4)))
    data = b""
    while len(data) < len(expected):
        piece = connection.recv(65536)
        if not piece:
            return "the connection was closed before the echo"
        data += piece
    return None if data == expected else f"the echo was {data!r}"


@contextlib.contextmanager
def held(target: Target, count: int, open_one: Callable[[socket.socket], str | None]) -> Iterator[list[str]]:
    problems: list[str] = []
    with contextlib.ExitStack() as stack:
        opened = []
        for _ in range(count):
            connection = stack.enter_context(single.connect(target))
            opened.append(connection)
            problem = open_one(connection)
            if problem:
                problems.append(problem)
                break
        yield problems
        gone = sum(is_closed(connection) for connection in opened)
        if gone:
            problems.append(f"{gone} of {count} idle connections were closed by the server")


def is_closed(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        return connection.recv(1, socket.MSG_PEEK) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


class Churn:
    """Open `per_second` connections a second, one exchange on each, and close it from the client's side."""

    def __init__(self, *, websocket: bool, per_second: int = 1000, ticks: int = 100) -> None:
        self.websocket = websocket
        self.each_tick = per_second // ticks
        self.tick = 1.0 / ticks

    def __call__(self, target: Target, seconds: float) -> Load:
        return uvloop.run(self.run(target, seconds))

    async def run(self, target: Target, seconds: float) -> Load:
        visit = visit_websocket if self.websocket else visit_http
        began = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            tasks = []
            for number in range(round(seconds / self.tick)):
                tasks += [group.create_task(visit(target)) for _ in range(self.each_tick)]
                await asyncio.sleep(max(0.0, began + (number + 1) * self.tick - time.perf_counter()))
        elapsed = time.perf_counter() - began
        results = [task.result() for task in tasks]
        latencies = [result for result in results if isinstance(result, float)]
        problems = sorted({result for result in results if isinstance(result, str)})
        return Load(
            len(latencies), elapsed, percentile(latencies, 0.50), percentile(latencies, 0.99), problems
        )


async def visit_http(target: Target) -> float | str:
    """Seconds from the connection attempt to the whole answer, or the problem."""
    began = time.perf_counter()
    try:
        reader, writer = await asyncio.open_connection(HOST, target.port)
        writer.write(single.request_head(target, "/"))
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(13)
        elapsed = time.perf_counter() - began
        writer.close()
        await writer.wait_closed()
    except (OSError, asyncio.IncompleteReadError) as error:
        return f"a connection failed: {type(error).__name__}"
    return elapsed if head.startswith(b"HTTP/1.1 200") else f"answered {head[:30]!r}"


async def visit_websocket(target: Target) -> float | str:
    """Handshake, one echo, closing handshake: seconds for all of it, or the problem."""
    key = base64.b64encode(os.urandom(16))
    echoed = frames.plain_frame(frames.TEXT, ECHOED)
    closed = frames.plain_frame(frames.CLOSE, (1000).to_bytes(2, "big"))
    began = time.perf_counter()
    try:
        reader, writer = await asyncio.open_connection(HOST, target.port)
        writer.write(frames.handshake(target.address, "/", key))
        head = await reader.readuntil(b"\r\n\r\n")
        problem = frames.handshake_problem(head[:-4], key)
        writer.write(frames.masked_frame(frames.TEXT, ECHOED, key[:4]))
        if not problem and await reader.readexactly(len(echoed)) != echoed:
            problem = "an echo differs"
        writer.write(frames.masked_frame(frames.CLOSE, (1000).to_bytes(2, "big"), key[4:8]))
        if not problem and not (await reader.read()).startswith(closed[:1]):
            problem = "no close frame came back"
        writer.close()
        await writer.wait_closed()
    except (OSError, asyncio.IncompleteReadError) as error:
        return f"a connection failed: {type(error).__name__}"
    return problem or time.perf_counter() - began
