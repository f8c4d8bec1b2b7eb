"""daphne.protocols.http1: a connection that speaks HTTP/1.1 or 1.0, as its client sees it."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from daphne.protocols.turns import Turns
from daphne.testing.sockets import handshake
from tests.protocols.bench import Bench, Told, answering, echo, request, responses, sending

Serve = Callable[..., Bench]

CHUNKED = "Transfer-Encoding: chunked"
BIG = b"x" * 200_000


def test_a_request_and_its_answer(serve: Serve) -> None:
    bench = serve(echo)
    connection = bench.exchange(request("POST", "/p%20q?a=1", body=b"hello"))
    (response,) = responses(connection)
    assert (response.status, response.body) == (200, b"POST /p q hello")
    names = [name for name, _ in response.headers]
    assert names == [b"date", b"server", b"content-length"]
    assert not connection.ended
    connection.close()
    bench.loop.settle()
    assert not bench.server.service.site.connections


@pytest.mark.parametrize(
    ("version", "line", "stays"),
    [
        ("1.1", "X: y", True),
        ("1.1", "Connection: keep-alive", True),
        ("1.1", "Connection: close", False),
        ("1.1", "Connection: x, CLOSE", False),
        ("1.0", "X: y", False),
        ("1.0", "Connection: keep-alive", True),
        ("1.0", "Connection: Keep-Alive, x", True),
        ("1.0", "Connection: close", False),
    ],
)
def test_whether_the_connection_stays(serve: Serve, version: str, line: str, stays: bool) -> None:
    bench = serve(answering())
    connection = bench.exchange(request("GET", "/", line, version=version))
    (response,) = responses(connection)
    assert response.version == version
    option = response.header(b"connection")
    assert option == (None if stays and version == "1.1" else b"keep-alive" if stays else b"close")
    assert connection.at_end != stays
    if stays:
        bench.send(connection, request("GET", "/", line, version=version))
        assert len(responses(connection)) == 2
    assert not connection.was_reset


def test_an_application_may_close_the_connection(serve: Serve) -> None:
    bench = serve(answering(headers=[(b"Connection", b"close")]))
    connection = bench.exchange(request())
    assert responses(connection)[0].header(b"connection") == b"close"
    assert connection.at_end


def test_pipelined_requests_are_answered_in_order_one_at_a_time(serve: Serve) -> None:
    told = Told()
    bench = serve(told)
    connection = bench.exchange(b"".join(request("GET", f"/{number}") for number in range(3)))
    for number in range(3):
        assert [scope["path"] for scope in told.scopes] == [f"/{earlier}" for earlier in range(number + 1)]
        bench.loop.run(answering(b"%d" % number)({}, told.receives[number], told.sends[number]))
        told.finish(number)
        bench.loop.settle()
    assert [response.body for response in responses(connection)] == [b"0", b"1", b"2"]


def test_requests_with_bodies_in_one_piece(serve: Serve) -> None:
    bench = serve(echo)
    chunked = request("PUT", "/b", CHUNKED, body=b"3;x=y\r\nabc\r\n0\r\nTrailer: t\r\n\r\n")
    data = (
        request("POST", "/a", body=b"12345")
        + chunked
        + request("GET", "/c")
        + b"\r\n\r\n"
        + request("GET", "/d")
    )
    bodies = [response.body for response in bench.responses(data)]
    assert bodies == [b"POST /a 12345", b"PUT /b abc", b"GET /c ", b"GET /d "]


SCRIPT = (
    request("POST", "/a", body=b"0123456789")
    + b"\r\n"
    + request("POST", "/b", CHUNKED, body=b"4\r\nWiki\r\n5;a=b\r\npedia\r\n0\r\nX: y\r\n\r\n")
    + request("HEAD", "/c")
    + request("GET", "/d", "Connection: close")
    + b"GET /never HTTP/1.1\r\n\r\n"
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sets(st.integers(1, len(SCRIPT) - 1), max_size=12))
def test_any_split_of_the_same_bytes_gives_the_same_answers(serve: Serve, cuts: set[int]) -> None:
    bench = serve(echo, date_header=False)
    edges = [0, *sorted(cuts), len(SCRIPT)]
    connection = bench.exchange(*[SCRIPT[a:b] for a, b in zip(edges, edges[1:], strict=False)])
    answers = [
        (response.status, response.body) for response in responses(connection, "POST", "POST", "HEAD", "GET")
    ]
    assert answers == [
        (200, b"POST /a 0123456789"),
        (200, b"POST /b Wikipedia"),
        (200, b""),
        (200, b"GET /d "),
    ]
    assert connection.at_end


def test_byte_by_byte(serve: Serve) -> None:
    bench = serve(echo)
    connection = bench.exchange(*[SCRIPT[at : at + 1] for at in range(len(SCRIPT))])
    assert [response.status for response in responses(connection, "POST", "POST", "HEAD", "GET")] == [200] * 4


def test_a_long_head_byte_by_byte_is_read_in_linear_time(serve: Serve) -> None:
    bench = serve(echo)
    connection = bench.connect()
    (protocol,) = bench.server.service.site.connections
    head = request("GET", "/", *[f"X: {'y' * 8000}"] * 7)
    began = time.process_time()
    for at in range(len(head)):
        protocol.dataReceived(head[at : at + 1])
    assert time.process_time() - began < 2  # 0.1 s here; each byte once looked at all before it: 4 s
    bench.loop.settle()
    assert responses(connection)[0].status == 200


def test_the_application_starts_at_the_head_and_gets_the_body_as_it_comes(serve: Serve) -> None:
    told = Told()
    bench = serve(told)
    connection = bench.exchange(request("POST", "/", "Content-Length: 6"))
    assert told.scopes[0]["method"] == "POST"
    bench.send(connection, b"abc")
    receive = told.receives[0]
    assert bench.loop.run(receive()) == {"type": "http.request", "body": b"abc", "more_body": True}
    pending = bench.loop.create_task(receive())
    bench.loop.settle()
    assert not pending.done()
    bench.send(connection, b"def")
    assert pending.result() == {"type": "http.request", "body": b"def", "more_body": False}
    bench.loop.run(answering()({}, receive, told.sends[0]))
    assert bench.loop.run(receive()) == {"type": "http.disconnect"}
    told.finish()


@pytest.mark.parametrize(("size", "sizes"), [(10, [4, 4, 2]), (8, [4, 4, 0]), (3, [3]), (0, [0])])
def test_body_events_of_a_given_size(serve: Serve, size: int, sizes: list[int]) -> None:
    seen: list[tuple[int, bool]] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        while not seen or seen[-1][1]:
            event = await receive()
            seen.append((len(event["body"]), event["more_body"]))
        await answering()(scope, receive, send)

    bench = serve(application, request_buffer_size=4)
    bench.exchange(request("POST", "/", body=b"x" * size))
    assert seen == [(part, index < len(sizes) - 1) for index, part in enumerate(sizes)]


# ---- Expect ---------------------------------------------------------------------------------------


def test_continue_is_said_when_the_application_asks_for_the_body(serve: Serve) -> None:
    told = Told()
    bench = serve(told)
    connection = bench.exchange(request("POST", "/", "Content-Length: 2", "Expect: 100-continue"))
    assert not connection.received
    pending = bench.loop.create_task(told.receives[0]())
    bench.loop.settle()
    assert connection.received == b"HTTP/1.1 100 Continue\r\n\r\n"
    bench.send(connection, b"hi")
    assert pending.result()["body"] == b"hi"
    bench.loop.run(answering()({}, told.receives[0], told.sends[0]))
    told.finish()
    (response,) = responses(connection)
    assert [hint.status for hint in response.interim] == [100]
    assert response.status == 200
    assert not connection.ended


def test_no_continue_where_the_body_is_there_already(serve: Serve) -> None:
    (response,) = serve(echo).responses(request("POST", "/", "Expect: 100-continue", body=b"hi"))
    assert (response.interim, response.body) == ([], b"POST / hi")


def test_no_continue_in_http_1_0(serve: Serve) -> None:
    told = Told()
    bench = serve(told)
    connection = bench.exchange(
        request("POST", "/", "Content-Length: 2", "Expect: 100-continue", version="1.0")
    )
    bench.loop.create_task(told.receives[0]())
    bench.loop.settle()
    assert not connection.received
    connection.reset()
    told.finish()


@pytest.mark.parametrize("more", [False, True])
def test_an_answer_without_the_awaited_continue_closes_the_connection(serve: Serve, more: bool) -> None:
    """The client may now send the body or leave it: whatever comes next could be read in two ways."""
    start = {"type": "http.response.start", "status": 403}
    parts = [{"type": "http.response.body", "body": b"no", "more_body": more}]
    bench = serve(sending(start, *parts, *([{"type": "http.response.body"}] if more else [])))
    connection = bench.exchange(request("POST", "/", "Content-Length: 30", "Expect: 100-continue"))
    (response,) = responses(connection)
    assert (response.status, response.header(b"connection"), response.interim) == (403, b"close", [])
    bench.send(connection, request("GET", "/admin"))
    assert connection.at_end
    assert len(responses(connection)) == 1


def test_other_expectations_are_refused(serve: Serve) -> None:
    connection = serve(echo).exchange(request("POST", "/", "Expect: a-pony", body=b"hi"))
    assert [response.status for response in responses(connection)] == [417]


# ---- bodies that nobody reads --------------------------------------------------------------------------


def test_a_small_unread_body_is_skipped(serve: Serve) -> None:
    bench = serve(answering())
    connection = bench.exchange(request("POST", "/", "Content-Length: 10"))
    assert len(responses(connection)) == 1
    bench.send(connection, b"0123456789" + request())
    assert len(responses(connection)) == 2


@pytest.mark.parametrize("line", ["Content-Length: 100000", CHUNKED])
def test_a_long_unread_body_ends_the_connection(serve: Serve, line: str) -> None:
    bench = serve(answering())
    connection = bench.exchange(request("POST", "/", line))
    (response,) = responses(connection)
    assert response.header(b"connection") == b"close"
    assert connection.at_end and not connection.was_reset
    # What the client still sends is taken for a while, so that no reset overtakes the answer.
    bench.send(connection, b"x" * 50_000, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert not connection.was_reset
    connection.close()
    bench.loop.settle()
    assert not bench.server.service.site.connections


def test_reading_pauses_while_the_application_does_not_take_the_body(serve: Serve) -> None:
    told = Told()
    bench = serve(told, read_buffer_size=65536)
    connection = bench.exchange(request("POST", "/", "Content-Length: 2000000"))
    for _ in range(10):
        bench.send(connection, BIG)
    assert not connection.server.is_reading()
    taken = 0
    while taken < 2_000_000:
        taken += len(bench.loop.run(told.receives[0]())["body"])
    assert connection.server.is_reading()
    bench.loop.run(answering()({}, told.receives[0], told.sends[0]))
    told.finish()
    assert len(responses(connection)) == 1


def test_reading_pauses_while_pipelined_requests_pile_up(serve: Serve) -> None:
    told = Told()
    bench = serve(told)
    connection = bench.exchange(request(), *[request("GET", "/" + "x" * 5000)] * 50)
    assert not connection.server.is_reading()
    for index in range(51):
        bench.loop.run(answering()({}, told.receives[index], told.sends[index]))
        told.finish(index)
        bench.loop.settle()
    assert len(responses(connection)) == 51


# ---- early frames, and a server that stops -----------------------------------------------------------


def test_frames_before_a_refused_handshake_do_not_pass_for_a_request(serve: Serve) -> None:
    """Also where the application refuses in the very call that starts it (an eager task, Python 3.12)."""
    paths: list[str] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        paths.append(scope["path"])
        await send({"type": "websocket.close"})

    connection = serve(application).exchange(handshake("/socket", []) + request("GET", "/smuggled"))
    assert [response.status for response in responses(connection)] == [403]
    assert connection.at_end
    assert paths == ["/socket"]


def test_a_server_that_stops_does_not_keep_a_connection_whose_body_is_read_past(serve: Serve) -> None:
    bench = serve(answering())
    connection = bench.exchange(request("POST", "/", "Content-Length: 5"))
    stopped = bench.loop.create_task(bench.server.stop())
    bench.loop.settle()
    assert not connection.ended
    bench.send(connection, b"12345")
    assert connection.at_end and stopped.done()


def test_a_server_that_stops_leaves_connections_alone_that_are_closing_or_not_its_own(serve: Serve) -> None:
    """The stop tells WebSockets one after the other: one may have been accepted, or its client
    may have left, since it was looked up."""
    told = Told()
    bench = serve(told)
    connection = bench.exchange(handshake("/", []))
    (protocol,) = bench.server.service.site.connections
    bench.loop.run(told.sends[0]({"type": "websocket.accept"}))
    protocol.drain()
    bench.loop.settle()
    assert not connection.ended
    connection.reset()
    bench.loop.settle()
    told.finish()
    connection = bench.exchange(handshake("/", []))
    (protocol,) = bench.server.service.site.connections
    connection.reset()
    bench.loop.settle()
    told.finish()
    protocol.drain()
    bench.loop.settle()
    assert len(bench.server.service.site.schedule) == 0


@pytest.mark.parametrize("ending", ["stays", "half-closes", "resets"])
def test_a_flood_of_pipelined_requests_leaves_turns_to_others(serve: Serve, ending: str) -> None:
    """Also where each is answered in the very call that starts it (an eager task, from Python 3.12 on)."""
    served_by_turn: list[int] = []
    served = 0

    async def application(scope: Any, receive: Any, send: Any) -> None:
        nonlocal served
        served += 1
        await answering()(scope, receive, send)

    bench = serve(application)
    connection = bench.connect()

    def turn() -> None:
        served_by_turn.append(served)
        if len(served_by_turn) < 3000:
            bench.loop.call_soon(turn)

    bench.loop.call_soon(turn)
    connection.send(request() * 1000 + b"GET /")
    if ending == "half-closes":
        connection.send_eof()
    elif ending == "resets":
        connection.reset()
    bench.loop.settle()
    assert all(after - before <= 64 for before, after in itertools.pairwise(served_by_turn))
    assert ending == "resets" or len(responses(connection)) == served == 1000
    assert connection.at_end is (ending == "half-closes")


@pytest.mark.parametrize("application", [echo, answering()], ids=["read", "unread"])
def test_a_flood_of_small_chunks_leaves_turns_to_others(serve: Serve, application: Any) -> None:
    """And neither they nor what follows them are lost, whether the application reads them or not."""
    bench = serve(application)
    connection = bench.connect()
    flood = b"1\r\nx\r\n" * 40_000 + b"0\r\n\r\n"
    connection.send(request("POST", "/", "Transfer-Encoding: chunked") + flood + request())
    turns = 0
    while len(responses(connection)) < (2 if application is echo else 1):
        bench.loop._turn()
        turns += 1
        assert turns < 1000
    bench.loop.settle()
    found = responses(connection)
    if application is echo:
        assert turns > 20
        assert found[0].body == b"POST / " + b"x" * 40_000
        assert len(found) == 2
    assert not connection.was_reset


def test_what_comes_while_a_body_waits_for_its_turn_is_kept(serve: Serve) -> None:
    """Twisted's TLS hands on what it has decrypted although reading is paused."""
    bench = serve(echo)
    connection = bench.connect()
    site, looks = bench.server.service.site, itertools.count()
    site.turns = Turns(bench.loop, lambda: next(looks) / 1000)  # others have something to do all the time
    protocol = next(iter(site.connections))
    protocol.dataReceived(request("POST", "/", "Transfer-Encoding: chunked") + b"1\r\nx\r\n" * 20_000)
    for _ in range(10):
        bench.loop._turn()
    protocol.dataReceived(b"1\r\nx\r\n" * 20_000 + b"0\r\n\r\n")
    bench.loop.settle()
    (response,) = responses(connection)
    assert response.body == b"POST / " + b"x" * 40_000
