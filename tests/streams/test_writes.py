"""daphne.streams.writes: large answers that all begin at once leave others their turn of the loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from daphne.errors import ClientDisconnected
from daphne.streams.writes import LARGE, Writes
from daphne.testing import ClockLoop
from tests.protocols.bench import Bench, Driven, Event, request, responses
from tests.protocols.http2_client import Client
from tests.protocols.open_socket import Open, opening

Serve = Callable[..., Bench]

PIECE = bytes(1 << 19)
AT_ONCE = 3 << 20
START: Event = {"type": "http.response.start", "status": 200}


@pytest.fixture
def loop() -> Iterator[ClockLoop]:
    loop = ClockLoop()
    yield loop
    loop.settle()
    loop.close()


# ---- the line ------------------------------------------------------------------------------------------


def test_who_writes_alone_waits_once_in_a_while(loop: ClockLoop) -> None:
    writes = Writes(loop)
    waited = 0

    async def write() -> None:
        nonlocal waited
        for _ in range(64):
            if not writes.take(len(PIECE), False):
                waited += 1
                await writes.turn()
                assert writes.take(len(PIECE), True)

    loop.run(write())
    assert waited == 64 * len(PIECE) // (AT_ONCE + len(PIECE)) == 9


def test_many_go_on_in_the_order_in_which_they_came(loop: ClockLoop) -> None:
    writes = Writes(loop)
    went: list[int] = []

    async def wait(number: int) -> None:
        await writes.turn()
        went.append(number)

    tasks = [loop.create_task(wait(number)) for number in range(10)]
    loop._turn()
    tasks[1].cancel()
    seen = []
    while not all(task.done() for task in tasks):
        loop._turn()
        seen.append(len(went))
    assert went == [0, *range(2, 10)]
    assert max(after - before for before, after in zip(seen, seen[1:], strict=False)) <= 4


# ---- answers -------------------------------------------------------------------------------------------


async def stream(scope: Any, receive: Any, send: Any) -> None:
    """Sixteen large pieces, over HTTP or a WebSocket; one small one where the path is `/small`."""
    if scope["type"] == "websocket":
        await send({"type": "websocket.accept"})
        for _ in range(16):
            await send({"type": "websocket.send", "bytes": PIECE})
        return
    await send(START)
    if scope["path"] == "/small":
        await send({"type": "http.response.body", "body": bytes(LARGE)})
        return
    for _ in range(16):
        await send({"type": "http.response.body", "body": PIECE, "more_body": True})
    await send({"type": "http.response.body"})


@pytest.mark.parametrize("opening", [request(), request(version="1.0"), opening()])
def test_a_turn_of_the_loop_writes_so_much(serve: Serve, opening: bytes) -> None:
    bench = serve(stream)
    connections = [bench.connect() for _ in range(20)]
    for connection in connections:
        connection.send(opening)
    before, most, turns = 0, 0, 0
    while before < 20 * 16 * len(PIECE):
        bench.loop._turn()
        now = sum(len(connection.received) for connection in connections)
        most, before, turns = max(most, now - before), now, turns + 1
        assert turns < 1000
    assert most < AT_ONCE + 5 * len(PIECE)
    for connection in connections:
        connection.reset()
    bench.loop.settle()


def test_a_small_answer_does_not_wait(serve: Serve) -> None:
    bench = serve(stream)
    small, *connections = [bench.connect() for _ in range(21)]
    for connection in connections:
        connection.send(request())
    for _ in range(5):
        bench.loop._turn()
    assert sum(len(connection.received) for connection in connections) < 20 * 16 * len(PIECE)
    small.send(request("GET", "/small"))
    for _ in range(3):
        bench.loop._turn()
    assert small.received.endswith(bytes(LARGE))
    bench.loop.settle()


def in_line(driven: Driven, *events: Event) -> list[asyncio.Task[None]]:
    """Begin to send events, the first when much has just been written."""
    driven.bench.server.service.site.writes.take(AT_ONCE + 1, False)
    return [driven.loop.create_task(driven.told.sends[0](event)) for event in events]


def test_what_is_sent_meanwhile_stays_behind(serve: Serve) -> None:
    driven = Driven(serve, request())
    bodies = [b"a" * 20_000, b"b", b"c" * 20_000, b"d"]
    driven.send(START)
    tasks = in_line(
        driven, *[{"type": "http.response.body", "body": body, "more_body": True} for body in bodies]
    )
    driven.loop.settle()
    for task in tasks:
        task.result()
    driven.send({"type": "http.response.body"})
    [response] = responses(driven.connection)
    assert response.body == b"".join(bodies)
    driven.finish()


def test_messages_that_are_sent_meanwhile_stay_behind(serve: Serve) -> None:
    socket = Open(serve)
    bodies = [b"a" * 20_000, b"b", b"c" * 20_000, b"d"]
    tasks = in_line(
        socket, *[{"type": "websocket.send", "bytes": body} for body in bodies], {"type": "websocket.close"}
    )
    socket.loop.settle()
    for task in tasks:
        task.result()
    assert [frame.payload for frame in socket.read()][:-1] == bodies
    socket.connection.reset()
    socket.finish()


def test_a_client_that_goes_while_its_answer_is_in_line(serve: Serve) -> None:
    for driven in (Driven(serve, request()), Open(serve)):
        websocket = isinstance(driven, Open)
        if not websocket:
            driven.send(START)
        kind, name = ("websocket.send", "bytes") if websocket else ("http.response.body", "body")
        [task] = in_line(driven, {"type": kind, name: PIECE})
        driven.loop._turn()
        driven.connection.reset()
        driven.loop.settle()
        assert isinstance(task.exception(), ClientDisconnected)
        driven.finish()


def test_one_that_is_cancelled_in_line(serve: Serve) -> None:
    driven = Driven(serve, request())
    driven.send(START)
    first, second = in_line(
        driven, *[{"type": "http.response.body", "body": PIECE, "more_body": True} for _ in range(2)]
    )
    driven.loop._turn()
    first.cancel()
    driven.loop.settle()
    assert first.cancelled() and second.result() is None
    driven.send({"type": "http.response.body"})
    assert driven.connection.received.count(b"80000\r\n") == 1
    driven.finish()


def test_over_http2_too(serve: Serve) -> None:
    bench = serve(stream)
    client = Client(bench)
    answer = client.fetch()
    assert answer.body == PIECE * 16
