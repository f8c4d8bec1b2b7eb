"""daphne.protocols.http1: every deadline of a connection, to the tenth of a second, on a clock that the test
turns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from daphne.testing import MemoryConnection
from tests.protocols.bench import Bench, Event, Told, answering, echo, request, responses

Serve = Callable[..., Bench]
CHUNKED = "Transfer-Encoding: chunked"
STREAM = {"type": "http.response.body", "body": b"x" * 100_000, "more_body": True}


def fired(caplog: pytest.LogCaptureFixture, limit: str) -> bool:
    return any(f"--{limit}" in record.getMessage() for record in caplog.records)


def ends_after(bench: Bench, connection: MemoryConnection, seconds: float) -> None:
    """The connection is there until `seconds` have passed, and gone just after."""
    bench.loop.advance(seconds - 0.05)
    assert not connection.ended
    bench.loop.advance(0.1)
    assert connection.ended


@pytest.mark.parametrize("seconds", [10, 3])
def test_a_client_that_says_nothing(serve: Serve, seconds: float, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    bench = serve(echo, request_head_timeout=seconds)
    connections = [bench.connect() for _ in range(100)]
    ends_after(bench, connections[0], seconds)
    assert not any(connection.received for connection in connections)
    assert caplog.text.count("Limit --request-head-timeout reached by ('127.0.0.1', 50000)") == 1


@pytest.mark.parametrize("first", [b"G", request()[:-1], b"\r\nGET"])
def test_a_head_that_does_not_come(serve: Serve, first: bytes, caplog: pytest.LogCaptureFixture) -> None:
    bench = serve(echo)
    connection = bench.exchange(first)
    ends_after(bench, connection, 10)
    assert [response.status for response in responses(connection)] == [408]
    assert fired(caplog, "request-head-timeout")


def test_a_head_that_comes_in_drops_does_not_win_time(serve: Serve) -> None:
    bench = serve(echo)
    connection = bench.connect()
    bench.loop.advance(3)
    for _ in range(8):
        bench.send(connection, b"G")
        bench.loop.advance(1)
    # The time for a head runs from its first byte.
    ends_after(bench, connection, 2)
    assert [response.status for response in responses(connection)] == [408]


def test_a_head_timeout_of_0_is_none(serve: Serve) -> None:
    bench = serve(answering(), request_head_timeout=0)
    connection = bench.connect()
    bench.loop.advance(1000)
    bench.send(connection, b"GET / HT")
    bench.loop.advance(1000)
    bench.send(connection, b"TP/1.1\r\nHost: a\r\n\r\n")
    assert len(responses(connection)) == 1


@pytest.mark.parametrize("seconds", [60, 5])
def test_an_idle_connection(serve: Serve, seconds: float, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    bench = serve(answering(), keep_alive_timeout=seconds)
    connection = bench.exchange(request())
    bench.loop.advance(seconds - 0.1)
    bench.send(connection, request())
    ends_after(bench, connection, seconds)
    assert len(responses(connection)) == 2
    assert not connection.was_reset
    assert not fired(caplog, "")  # it is no news: a line for those who debug


def test_a_keep_alive_timeout_of_0_is_none(serve: Serve) -> None:
    bench = serve(answering(), keep_alive_timeout=0)
    connection = bench.exchange(request())
    bench.loop.advance(100_000)
    bench.send(connection, request())
    assert len(responses(connection)) == 2


def test_a_second_head_that_does_not_come(serve: Serve) -> None:
    bench = serve(answering())
    connection = bench.exchange(request())
    bench.loop.advance(55)
    bench.send(connection, b"GET")
    ends_after(bench, connection, 10)
    assert [response.status for response in responses(connection)] == [200, 408]


def test_an_application_may_take_its_time(serve: Serve) -> None:
    told = Told()
    bench = serve(told)
    connection = bench.exchange(request("POST", "/", body=b"x"))
    bench.loop.advance(100_000)
    bench.loop.run(answering()({}, told.receives[0], told.sends[0]))
    told.finish()
    assert responses(connection)[0].status == 200


# ---- request bodies ----------------------------------------------------------------------------------


async def reads(scope: Any, receive: Any, send: Any) -> None:
    while (await receive()).get("more_body"):
        pass
    await answering()(scope, receive, send)


@pytest.mark.parametrize("line", ["Content-Length: 1000", CHUNKED])
def test_a_body_that_stops(serve: Serve, line: str, caplog: pytest.LogCaptureFixture) -> None:
    bench = serve(reads, min_body_rate=240, rate_grace=5)
    connection = bench.exchange(request("POST", "/", line))
    ends_after(bench, connection, 5)
    assert [response.status for response in responses(connection)] == [408]
    assert fired(caplog, "min-body-rate")


@pytest.mark.parametrize(("rate", "arrives"), [(250, True), (230, False)])
def test_a_body_must_come_at_the_minimum_rate(serve: Serve, rate: int, arrives: bool) -> None:
    bench = serve(reads, min_body_rate=240, rate_grace=5)
    connection = bench.exchange(request("POST", "/", f"Content-Length: {rate * 600}"))
    for _ in range(600):
        bench.loop.advance(1)
        bench.send(connection, b"x" * rate)
    assert responses(connection)[0].status == (200 if arrives else 408)


def test_what_came_fast_earns_time_up_to_a_minute(serve: Serve) -> None:
    bench = serve(reads, min_body_rate=240, rate_grace=5)
    connection = bench.exchange(request("POST", "/", "Content-Length: 30002"), b"x", b"x" * 30_000)
    ends_after(bench, connection, 60)
    assert responses(connection)[0].status == 408


def test_a_minimum_rate_of_0_is_none(serve: Serve) -> None:
    bench = serve(reads, min_body_rate=0)
    connection = bench.exchange(request("POST", "/", "Content-Length: 2") + b"x")
    bench.loop.advance(100_000)
    bench.send(connection, b"y")
    assert responses(connection)[0].status == 200


def test_the_rate_counts_only_while_we_read(serve: Serve) -> None:
    told = Told()
    bench = serve(told)
    connection = bench.exchange(request("POST", "/", "Content-Length: 200000") + b"x" * 100_000)
    bench.loop.advance(10_000)
    bench.send(connection, b"x" * 100_000)
    size, more = 0, True
    while more:
        event = bench.loop.run(told.receives[0]())
        size, more = size + len(event["body"]), event["more_body"]
    assert size == 200_000
    bench.loop.run(answering()({}, told.receives[0], told.sends[0]))
    told.finish()
    assert len(responses(connection)) == 1


def test_nothing_is_due_before_continue_is_said(serve: Serve) -> None:
    told = Told()
    bench = serve(told)
    connection = bench.exchange(request("POST", "/", "Content-Length: 2", "Expect: 100-continue"))
    bench.loop.advance(1000)
    assert not connection.ended
    pending = bench.loop.create_task(told.receives[0]())
    ends_after(bench, connection, 5)
    assert pending.result() == {"type": "http.disconnect"}
    told.finish()


@pytest.mark.parametrize("min_body_rate", [240, 0])
def test_the_rest_of_a_body_that_nobody_reads_must_come_too(serve: Serve, min_body_rate: int) -> None:
    bench = serve(answering(), min_body_rate=min_body_rate)
    connection = bench.exchange(request("POST", "/", "Content-Length: 1000"))
    bench.loop.advance(61)
    assert connection.ended
    assert [response.status for response in responses(connection)] == [200]


# ---- responses ----------------------------------------------------------------------------------------


def streaming(bench: Bench, told: Told, *more: Event) -> tuple[MemoryConnection, Any]:
    """A client that has stopped reading in the middle of a response, and the send() that waits for it."""
    connection = bench.exchange(request())
    connection.stop_reading()
    bench.loop.run(told.sends[0]({"type": "http.response.start", "status": 200}))
    pending = bench.loop.create_task(told.sends[0](STREAM))
    bench.loop.settle()
    assert not pending.done()
    return connection, pending


def test_a_client_that_does_not_read(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    told = Told()
    bench = serve(told, min_response_rate=1000, rate_grace=5, application_close_timeout=10)
    connection, pending = streaming(bench, told)
    # What the transport may hold, at the minimum rate, and the grace on top.
    ends_after(bench, connection, 5 + 65.536)
    assert connection.was_reset
    assert isinstance(pending.exception(), OSError)
    assert fired(caplog, "min-response-rate")
    bench.loop.advance(9.9)
    assert not told.cancelled
    bench.loop.advance(0.2)
    assert told.cancelled == 1


def test_a_client_that_reads_slowly_but_at_the_minimum_rate_is_served(serve: Serve) -> None:
    """However much was written at once."""
    told = Told()
    bench = serve(told, min_response_rate=1000, rate_grace=5)
    connection = bench.exchange(request())
    connection.stop_reading()
    bench.loop.run(told.sends[0]({"type": "http.response.start", "status": 200}))
    pending = bench.loop.create_task(
        told.sends[0]({"type": "http.response.body", "body": b"x" * 2_000_000, "more_body": False})
    )
    for _ in range(1000):
        bench.loop.advance(1)
        connection.take(2000)
    bench.loop.settle()
    assert not connection.was_reset
    connection.resume_reading()
    bench.loop.settle()
    assert pending.done()
    told.finish()
    assert len(responses(connection)[0].body) == 2_000_000


def test_a_minimum_response_rate_of_0_is_none(serve: Serve) -> None:
    told = Told()
    bench = serve(told, min_response_rate=0)
    connection, pending = streaming(bench, told)
    bench.loop.advance(1_000_000)
    assert not pending.done()
    connection.resume_reading()
    bench.loop.settle()
    bench.loop.run(told.sends[0]({"type": "http.response.body"}))
    told.finish()
    assert len(responses(connection)) == 1


def test_the_last_bytes_of_a_connection_are_not_waited_for_for_ever(serve: Serve) -> None:
    bench = serve(answering(b"x" * 1000))
    connection = bench.connect()
    connection.stop_reading()
    bench.send(connection, request("GET", "/", "Connection: close"))
    ends_after(bench, connection, 60)
    assert connection.was_reset


@pytest.mark.parametrize("line", ["Connection: close", "X: y"])
@pytest.mark.parametrize("size", [60_000, 600_000])
def test_a_client_that_takes_drops_does_not_win_time(serve: Serve, line: str, size: int) -> None:
    """Whether it is the application that waits for it, or nobody any more."""
    bench = serve(answering(b"x" * size), min_response_rate=1000, rate_grace=5, keep_alive_timeout=60)
    connection = bench.connect()
    connection.stop_reading()
    bench.send(connection, request("GET", "/", line))
    for _ in range(14):
        bench.loop.advance(10)
        connection.take(10)
    assert connection.was_reset


@pytest.mark.parametrize("line", ["Connection: close", "X: y"])
def test_a_client_that_takes_the_last_answer_at_the_rate_gets_it_all(serve: Serve, line: str) -> None:
    bench = serve(answering(b"x" * 600_000), min_response_rate=1000, rate_grace=5, keep_alive_timeout=60)
    connection = bench.connect()
    connection.stop_reading()
    bench.send(connection, request("GET", "/", line))
    for _ in range(62):
        bench.loop.advance(10)
        connection.take(10_500)
    assert not connection.was_reset
    assert len(responses(connection)[0].body) == 600_000


def test_a_client_that_goes_on_sending_after_a_refusal_is_cut_off_in_the_end(serve: Serve) -> None:
    bench = serve(echo, max_body_size=10)
    connection = bench.exchange(request("POST", "/", "Content-Length: 100000"))
    assert responses(connection)[0].status == 413
    for _ in range(19):
        bench.loop.advance(0.1)
        bench.send(connection, b"x")
    assert not connection.was_reset
    bench.loop.advance(0.2)
    assert connection.was_reset


# ---- the whole response, and applications that outlive their client ------------------------------------


def test_http_timeout_answers_503(serve: Serve) -> None:
    told = Told()
    bench = serve(told, http_timeout=20, application_close_timeout=10)
    connection = bench.exchange(request())
    bench.loop.advance(19.9)
    assert not connection.received
    bench.loop.advance(0.2)
    assert responses(connection)[0].status == 503
    assert b"Application failed to respond within time limit." in connection.received
    assert bench.loop.run(told.receives[0]())["type"] == "http.request"
    assert bench.loop.run(told.receives[0]())["type"] == "http.disconnect"
    with pytest.raises(OSError):
        bench.loop.run(told.sends[0]({"type": "http.response.start", "status": 200}))
    bench.loop.advance(10)
    assert told.cancelled == 1


def test_http_timeout_cuts_a_response_that_has_begun(serve: Serve) -> None:
    told = Told()
    bench = serve(told, http_timeout=20)
    connection = bench.exchange(request())
    bench.loop.run(told.sends[0]({"type": "http.response.start", "status": 200}))
    bench.loop.run(told.sends[0]({"type": "http.response.body", "body": b"part", "more_body": True}))
    ends_after(bench, connection, 20)
    assert not responses(connection)[0].complete
    told.finish()


def test_http_timeout_is_over_with_the_response(serve: Serve) -> None:
    told = Told()
    bench = serve(told, http_timeout=20)
    connection = bench.exchange(request())
    bench.loop.run(answering()({}, told.receives[0], told.sends[0]))
    bench.loop.advance(30)
    assert len(responses(connection)) == 1
    assert not connection.ended
    told.finish()


@pytest.mark.parametrize("seconds", [10, 3])
def test_an_application_that_outlives_its_client_is_cancelled(
    serve: Serve, seconds: float, caplog: pytest.LogCaptureFixture
) -> None:
    told = Told()
    bench = serve(told, application_close_timeout=seconds)
    connection = bench.exchange(request())
    connection.reset()
    bench.loop.advance(seconds - 0.1)
    assert not told.cancelled
    bench.loop.advance(0.2)
    assert told.cancelled == 1
    assert "took too long to shut down and was killed" in caplog.text
