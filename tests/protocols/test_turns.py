"""Turns: whoever has more to do than others should wait for gets it done bit by bit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import hpack
import pytest
from hyperframe import frame as frames

from daphne.protocols.http1_body import PIECES_IN_A_ROW
from daphne.protocols.http2_reader import FRAMES_IN_A_ROW
from daphne.protocols.turns import LARGEST, QUIET, Turns
from daphne.testing import ClockLoop
from daphne.testing.frames import TEXT, client_frame
from tests.protocols.bench import Bench, request
from tests.protocols.http2_client import PREFACE, request_fields
from tests.protocols.open_socket import opening

Serve = Callable[..., Bench]

# ---- the order ---------------------------------------------------------------------------------------


class Table:
    """Turns on a clock that only what has its turn, or the test, moves."""

    def __init__(self) -> None:
        self.loop = ClockLoop()
        self.now = 0.0
        self.turns = Turns(self.loop, lambda: self.now)
        self.went: list[str] = []

    def wait(self, name: str, times: int = 1, takes: float = QUIET) -> None:
        """Wait `times` times in a row, on each turn for the next; `name` begins with the peer."""

        def go_on() -> None:
            self.went.append(name)
            self.now += takes
            if times > 1:
                self.wait(name, times - 1, takes)

        self.turns.wait(name[0], go_on)


@pytest.fixture
def table() -> Iterator[Table]:
    table = Table()
    yield table
    table.loop.settle()
    table.loop.close()


def test_one_turn_at_a_time(table: Table) -> None:
    for name in ("a1", "b1", "c1"):
        table.wait(name)
    for number in range(1, 4):
        table.loop._turn()
        assert len(table.went) == number
    assert table.went == ["a1", "b1", "c1"]


def test_peers_take_turns_and_then_the_connections_of_each(table: Table) -> None:
    for name in ("a1", "a2", "a3", "b1"):
        table.wait(name, 3)
    table.loop.settle()
    assert table.went[:6] == ["a1", "b1", "a2", "b1", "a3", "b1"]
    assert sorted(table.went) == sorted(["a1", "a2", "a3", "b1"] * 3)


def test_others_come_first_while_they_have_something_to_do(table: Table) -> None:
    table.wait("a1", 100, takes=0.0001)
    waited = []
    for _ in range(100):
        before = len(table.went)
        table.now += 0.0004  # what others have taken
        table.loop._turn()
        waited.append(len(table.went) - before)
    assert 20 <= sum(waited) <= 25  # for sixteen times as long as a turn takes, and no longer
    assert max(waited) == 1
    table.loop._turn()  # nobody else
    table.loop._turn()
    assert len(table.went) == sum(waited) + 2


def test_where_every_turn_of_the_loop_takes_long_one_waits_for_a_few_of_them(table: Table) -> None:
    """As on a slow machine: that others had something to do cannot be told from that."""
    table.wait("a1", 100, takes=0.1)
    for _ in range(170):
        table.now += 2 * QUIET
        table.loop._turn()
    assert len(table.went) == 11


def test_a_busy_loop_leaves_some_time_to_those_who_wait(table: Table) -> None:
    """However long its turns are: several go on in one then."""
    table.wait("a1", 1000, takes=0.0001)
    for _ in range(10):
        table.now += 0.01
        table.loop._turn()
    assert len(table.went) >= 40


def test_turns_of_which_much_comes_are_shorter_and_then_longer_again(table: Table) -> None:
    table.wait("a1", 100, takes=0.001)
    for _ in range(5):
        table.loop._turn()
    assert table.turns.size == 1
    table.loop.settle()
    table.wait("a1", 100, takes=0.00001)
    table.loop.settle()
    assert table.turns.size == LARGEST


def test_one_that_raises_does_not_stop_the_others(table: Table) -> None:
    told: list[Any] = []
    table.loop.set_exception_handler(lambda loop, context: told.append(context["exception"]))

    def fail() -> None:
        raise ZeroDivisionError

    table.turns.wait("a", fail)
    table.wait("b1")
    table.loop.settle()
    assert table.went == ["b1"]
    assert [type(problem) for problem in told] == [ZeroDivisionError]


# ---- the protocols -----------------------------------------------------------------------------------

FLOODERS = 20
MANY = 500
CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
FLOODS: dict[str, tuple[bytes, bytes]] = {
    "requests": (b"", request()),
    "messages": (opening(), client_frame(TEXT, b"a")),
    "chunks": (CHUNKED, b"1\r\nx\r\n"),
    "frames": (
        PREFACE
        + frames.SettingsFrame().serialize()
        + frames.HeadersFrame(
            1, hpack.Encoder().encode(request_fields("POST")), flags=["END_HEADERS"]
        ).serialize(),
        frames.DataFrame(1, b"x").serialize(),
    ),
}
"""What opens a connection, and what is sent on it MANY times: one more is counted for each."""
MOST = {"requests": 2, "messages": LARGEST, "chunks": PIECES_IN_A_ROW, "frames": FRAMES_IN_A_ROW}
"""How many of them are taken in a turn."""


def counting(taken: list[int]) -> Any:
    """An application that counts requests, their bytes and messages, and answers requests for `/`."""

    async def application(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.accept"})
        elif scope["path"] == "/other":
            await send({"type": "http.response.start", "status": 204})
            await send({"type": "http.response.body"})
            return
        taken[0] += scope["type"] == "http" and scope["method"] == "GET"
        while (event := await receive())["type"] in (
            "websocket.connect",
            "websocket.receive",
            "http.request",
        ):
            taken[0] += event["type"] == "websocket.receive"
            taken[0] += len(event.get("body", b""))
            if not event.get("more_body", True):
                break
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 204})
            await send({"type": "http.response.body"})

    return application


@pytest.mark.parametrize("flood", FLOODS)
def test_many_that_send_without_a_break_cost_others_as_much_as_one(serve: Serve, flood: str) -> None:
    """Not on a clock: what counts is how much of a flood is taken while somebody else waits."""
    taken = [0]
    bench = serve(counting(taken), websocket_max_queue=10_000_000)
    start, unit = FLOODS[flood]
    flooders = [bench.exchange(start) for _ in range(FLOODERS)]
    for connection in flooders:
        connection.send(unit * MANY)
    for _ in range(10):
        bench.loop._turn()
    assert (
        MOST[flood] <= taken[0] <= (FLOODERS + 10) * MOST[flood]
    )  # each has begun, one after the other goes on
    other = bench.server.connect()
    before = taken[0]
    other.send(request("GET", "/other"))
    turns = 0
    while not other.received:
        bench.loop._turn()
        turns += 1
        assert turns < 20
    assert other.received.startswith(b"HTTP/1.1 204 ")
    assert taken[0] - before <= turns * MOST[flood]
    bench.loop.settle()
    assert taken[0] == FLOODERS * MANY  # and nothing is lost
    for connection in flooders:
        connection.reset()
    bench.loop.settle()
