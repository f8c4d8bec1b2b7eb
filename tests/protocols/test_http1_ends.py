"""daphne.protocols.http1: how exchanges end otherwise than with an answer and the next request."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import pytest

from daphne.protocols.turns import Turns
from daphne.testing.sockets import handshake
from tests.protocols.bench import Bench, Told, answering, body_of, echo, request, responses

Serve = Callable[..., Bench]

CHUNKED = "Transfer-Encoding: chunked"
BIG = b"x" * 200_000


# ---- the end of the client's side ------------------------------------------------------------------


def test_a_client_that_half_closes_gets_its_answer(serve: Serve) -> None:
    told = Told()
    bench = serve(told, half_close_timeout=1)
    connection = bench.exchange(request("POST", "/", body=b"hi"))
    connection.send_eof()
    bench.loop.settle()
    receive = told.receives[0]
    assert bench.loop.run(receive())["body"] == b"hi"
    pending = bench.loop.create_task(receive())
    bench.loop.advance(0.99)
    assert not pending.done()
    bench.loop.advance(0.02)
    assert pending.result() == {"type": "http.disconnect"}
    bench.loop.run(answering()({}, receive, told.sends[0]))
    told.finish()
    assert [response.body for response in responses(connection)] == [b"ok"]
    assert connection.at_end and not connection.was_reset


@pytest.mark.parametrize("told_of_it", [True, False])
def test_an_application_that_ends_with_its_client_is_not_at_fault(
    serve: Serve, told_of_it: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """A client that closes altogether looks at first like one that may still read, which is answered."""
    told = Told()
    bench = serve(told, half_close_timeout=1)
    connection = bench.exchange(request())
    connection.send_eof()
    bench.loop.advance(1.01 if told_of_it else 0.5)
    told.finish()
    bench.loop.settle()
    assert [response.status for response in responses(connection)] == [500]
    assert ("without a complete response" in caplog.text) is not told_of_it


def test_pipelined_requests_before_a_half_close_are_all_answered(serve: Serve) -> None:
    told = Told()
    bench = serve(told)
    connection = bench.exchange(request() + request())
    connection.send_eof()
    bench.loop.settle()
    for index in range(2):
        bench.loop.run(answering()({}, told.receives[index], told.sends[index]))
        told.finish(index)
        bench.loop.settle()
    assert len(responses(connection)) == 2
    assert connection.at_end


@pytest.mark.parametrize(
    "last",
    [request("POST", "/", "Content-Length: 10") + b"abc", handshake("/", [])],
    ids=["body", "websocket"],
)
def test_a_pipelined_request_that_a_half_close_cut_short_is_refused(serve: Serve, last: bytes) -> None:
    told = Told()
    bench = serve(told, min_body_rate=0)
    connection = bench.exchange(request() + last)
    connection.send_eof()
    bench.loop.settle()
    bench.loop.run(answering()({}, told.receives[0], told.sends[0]))
    told.finish()
    bench.loop.settle()
    assert [response.status for response in responses(connection)] == [200, 400]
    assert connection.at_end and not connection.was_reset
    assert len(told.scopes) == 1


@pytest.mark.parametrize("sent", [b"", b"GET / HT", request() + b"GET /"])
def test_a_client_that_closes_between_requests_is_let_go_at_once(serve: Serve, sent: bytes) -> None:
    bench = serve(answering())
    connection = bench.exchange(sent)
    connection.send_eof()
    bench.loop.settle()
    assert connection.at_end
    assert not bench.server.service.site.connections


def test_a_client_that_closes_within_its_body_has_left(serve: Serve) -> None:
    told = Told()
    bench = serve(told)
    connection = bench.exchange(request("POST", "/", "Content-Length: 10") + b"abc")
    connection.send_eof()
    bench.loop.settle()
    assert connection.at_end
    assert bench.loop.run(told.receives[0]()) == {"type": "http.disconnect"}
    with pytest.raises(OSError):
        bench.loop.run(told.sends[0]({"type": "http.response.start", "status": 200}))
    told.finish()


def test_a_client_that_leaves(serve: Serve) -> None:
    told = Told()
    bench = serve(told)
    connection = bench.exchange(request())
    assert bench.loop.run(told.receives[0]())["type"] == "http.request"
    pending = bench.loop.create_task(told.receives[0]())
    connection.reset()
    bench.loop.settle()
    assert pending.result() == {"type": "http.disconnect"}
    with pytest.raises(OSError):
        bench.loop.run(told.sends[0]({"type": "http.response.start", "status": 200}))
    told.finish()
    assert not bench.actions


# ---- refusals -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/1.1\nHost: a\n\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\nX: y", 400),
        (b"GET / HTTP/1.1\rX", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET /" + b"x" * 20000, 414),
        (b"GET /" + b"x" * 20000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 70000, 431),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 70000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 200 + b"\r\n", 431),
        (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
        (b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n", 501),
        (request("POST", "/", CHUNKED, body=b"nonsense\r\n"), 400),
        (request("POST", "/", "Content-Length: 1001"), 413),
        (request("POST", "/", CHUNKED, body=b"3e9\r\n" + b"x" * 1001), 413),
    ],
)
def test_refusals_are_answered_logged_and_final(serve: Serve, sent: bytes, status: int) -> None:
    bench = serve(echo, max_body_size=1000)
    connection = bench.exchange(sent, request("GET", "/smuggled"))
    (response,) = responses(connection)
    assert (response.status, response.header(b"connection")) == (status, b"close")
    assert str(status).encode() in response.body
    assert connection.at_end and not connection.was_reset
    assert [details["status"] for _, _, details in bench.actions] == [status]


@pytest.mark.parametrize(
    ("setting", "most", "sent"),
    [
        (
            "max_request_line",
            100,
            lambda size: b"GET /" + b"x" * (size - 14) + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        ),
        (
            "max_header_size",
            400,
            lambda size: b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"y" * (size - 32) + b"\r\n\r\n",
        ),
        (
            "max_header_count",
            10,
            lambda size: b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * (size - 1) + b"\r\n",
        ),
        ("max_body_size", 50, lambda size: request("POST", "/", body=b"x" * size)),
        (
            "max_body_size",
            50,
            lambda size: request("POST", "/", CHUNKED, body=b"%x\r\n%b\r\n0\r\n\r\n" % (size, b"x" * size)),
        ),
    ],
)
def test_limits_in_both_directions(serve: Serve, setting: str, most: int, sent: Any) -> None:
    statuses = {
        "max_request_line": 414,
        "max_header_size": 431,
        "max_header_count": 431,
        "max_body_size": 413,
    }
    bench = serve(echo, **{setting: most})
    for split in (None, 1):
        for size, status in ((most, 200), (most + 1, statuses[setting])):
            data = sent(size)
            pieces = [data] if split is None else [data[at : at + 1] for at in range(len(data))]
            assert responses(bench.exchange(*pieces))[0].status == status, (size, split)


def test_a_refusal_in_the_middle_of_a_response_cuts_it(serve: Serve) -> None:
    told = Told()
    bench = serve(told)
    connection = bench.exchange(request("POST", "/", CHUNKED))
    bench.loop.run(told.sends[0]({"type": "http.response.start", "status": 200}))
    bench.loop.run(told.sends[0]({"type": "http.response.body", "body": b"part", "more_body": True}))
    bench.send(connection, b"nonsense\r\n")
    assert connection.was_reset
    assert bench.loop.run(told.receives[0]()) == {"type": "http.disconnect"}
    told.finish()


def test_empty_lines_before_a_request_are_skipped_but_not_for_ever(serve: Serve) -> None:
    bench = serve(echo)
    assert bench.responses(b"\r\n\r", b"\n" + request())[0].status == 200
    assert bench.responses(b"\r\n" * 100_000 + request())[0].status == 400


def test_an_answer_that_is_refused_within_the_body_reaches_a_client_that_goes_on_sending(
    serve: Serve,
) -> None:
    bench = serve(echo, max_body_size=1000)
    connection = bench.exchange(request("POST", "/", "Content-Length: 5000"))
    bench.send(connection, b"x" * 5000)
    assert responses(connection)[0].status == 413
    assert not connection.was_reset


def test_an_answer_reaches_a_client_whose_small_chunks_were_waiting_for_their_turn(serve: Serve) -> None:
    """Reading has been paused for others; the client must be read on, or it is cut before it reads."""

    async def early(scope: Any, receive: Any, send: Any) -> None:
        for _ in range(5):
            await asyncio.sleep(0)
        await answering(b"enough")(scope, receive, send)

    bench = serve(early)
    connection = bench.exchange(request("POST", "/", CHUNKED) + b"1\r\nx\r\n" * 5000)
    assert [response.body for response in responses(connection)] == [b"enough"]
    bench.send(connection, b"1\r\nx\r\n" * 5000)
    connection.send_eof()
    bench.loop.advance(3)
    assert connection.at_end and not connection.was_reset


class StandingLoop:
    """What turns are taken from: the test takes them."""

    def __init__(self) -> None:
        self.waiting: list[Callable[[], None]] = []

    def call_soon(self, turn: Callable[[], None]) -> None:
        self.waiting.append(turn)


def test_a_body_that_waits_for_its_turn_is_not_read_on_because_the_application_asks(serve: Serve) -> None:
    told = Told()
    bench = serve(told, read_buffer_size=1024)
    turns = StandingLoop()
    bench.server.service.site.turns = Turns(cast(Any, turns), lambda: 0.0)
    connection = bench.exchange(request("POST", "/", CHUNKED) + b"1\r\nx\r\n" * 2000)
    while turns.waiting:
        turns.waiting.pop()()
        bench.loop.settle()
    assert not connection.server.is_reading()  # the application has not taken what is there
    body = bench.loop.run(told.receives[0]())["body"]
    pending = bench.loop.create_task(told.receives[0]())
    bench.loop.settle()
    assert turns.waiting and not connection.server.is_reading()
    while not pending.done() or turns.waiting:
        turns.waiting.pop()()
        bench.loop.settle()
    assert connection.server.is_reading() and set(body + pending.result()["body"]) == {ord("x")}
    connection.reset()
    bench.loop.settle()
    told.finish()


# ---- applications that fail --------------------------------------------------------------------------


async def raises(scope: Any, receive: Any, send: Any) -> None:
    raise LookupError("secret")


async def returns(scope: Any, receive: Any, send: Any) -> None:
    pass


async def exits(scope: Any, receive: Any, send: Any) -> None:
    raise SystemExit(3)


async def starts_and_raises(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200})
    raise LookupError("secret")


async def is_cancelled(scope: Any, receive: Any, send: Any) -> None:
    raise asyncio.CancelledError


@pytest.mark.parametrize("application", [raises, returns, exits, starts_and_raises, is_cancelled])
def test_an_application_without_an_answer_is_a_500_at_once(serve: Serve, application: Any) -> None:
    bench = serve(application)
    connection = bench.exchange(request(), request())
    found = responses(connection)
    assert [response.status for response in found] == [500, 500]
    assert b"secret" not in connection.received and b"Traceback" not in connection.received
    assert not connection.ended


@pytest.mark.parametrize("version", ["1.1", "1.0"])
@pytest.mark.parametrize("length", [None, 100])
@pytest.mark.parametrize("fails", [True, False])
def test_a_response_that_has_begun_is_cut(
    serve: Serve, version: str, length: int | None, fails: bool
) -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        headers = [] if length is None else [(b"content-length", b"%d" % length)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"part", "more_body": True})
        if fails:
            raise LookupError

    connection = serve(application).exchange(request(version=version), request())
    assert connection.ended
    if version == "1.0" and length is None:
        assert connection.was_reset  # nothing else tells the client that the body is not complete
    else:
        (response,) = responses(connection)
        assert not response.complete


def test_send_after_the_end_is_an_error_of_the_application(serve: Serve) -> None:
    told = Told()
    bench = serve(told)
    bench.exchange(request())
    bench.loop.run(answering()({}, told.receives[0], told.sends[0]))
    with pytest.raises(ValueError, match="after the response is complete"):
        bench.loop.run(told.sends[0]({"type": "http.response.body"}))
    told.finish()


async def body_twice(scope: Any, receive: Any, send: Any) -> None:
    first = await body_of(receive)
    second = await receive()
    assert second["type"] == "http.disconnect", second
    await answering(first)(scope, receive, send)


def test_receive_waits_for_the_end_once_the_body_is_told(serve: Serve) -> None:
    bench = serve(body_twice)
    connection = bench.exchange(request("POST", "/", body=b"x"))
    assert not connection.received
    connection.reset()
    bench.loop.settle()
