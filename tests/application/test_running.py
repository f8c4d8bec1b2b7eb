"""daphne.application.running: one run of the application for each stream, and an end for each."""

from __future__ import annotations

import asyncio
import contextvars
from typing import Any

import pytest

from daphne.testing.sockets import handshake
from tests.protocols.bench import Bench, Told, answering, request, responses
from tests.streams.conftest import serve as serve


def test_streams_are_kept_while_they_run(serve: Any) -> None:
    told = Told()
    bench: Bench = serve(told)
    runner = bench.server.service.runner
    bench.exchange(request("GET", "/1"))
    bench.exchange(handshake("/2", []))
    assert len(runner.streams) == 2
    for index in range(2):
        told.finish(index)
    bench.loop.settle()
    assert not runner.streams
    assert all(stream.task is None for stream in runner.streams)


def test_an_answer_does_not_end_the_application(serve: Any) -> None:
    """What an application does after its answer is its own affair; the connection goes on."""
    told = Told()
    bench: Bench = serve(told)
    connection = bench.exchange(request())
    bench.loop.run(answering(b"1")({}, told.receives[0], told.sends[0]))
    bench.send(connection, request())
    bench.loop.run(answering(b"2")({}, told.receives[1], told.sends[1]))
    assert [response.body for response in responses(connection)] == [b"1", b"2"]
    told.finish(0, LookupError("late"))
    told.finish(1)
    bench.loop.settle()
    assert not connection.ended


@pytest.mark.parametrize("sent", [request(), handshake("/", [])])
def test_the_application_that_is_cancelled_may_clean_up(serve: Any, sent: bytes) -> None:
    steps: list[str] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        try:
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            steps.append("cancelled")
            await asyncio.sleep(1)
            steps.append("cleaned up")
            raise

    bench: Bench = serve(application, application_close_timeout=10)
    connection = bench.exchange(sent)
    connection.reset()
    bench.loop.advance(9.9)
    assert steps == []
    bench.loop.advance(0.2)
    assert steps == ["cancelled"]
    bench.loop.advance(1)
    assert steps == ["cancelled", "cleaned up"]
    assert not bench.server.service.runner.streams


@pytest.mark.parametrize("answers", [False, True], ids=["idle", "answers"])
def test_a_client_that_closes_ends_an_application_that_sends_nothing_more(serve: Any, answers: bool) -> None:
    """Closing sends the end of input and no more. Who answers may be heard by a client that still reads."""
    ends: list[str] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        try:
            if answers:
                await send({"type": "http.response.start", "status": 200})
                for _ in range(4):
                    await asyncio.sleep(4)
                    await send({"type": "http.response.body", "body": b"x", "more_body": True})
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            ends.append("cancelled")
            raise

    bench: Bench = serve(application, application_close_timeout=10, half_close_timeout=1)
    bench.exchange(request()).send_eof()
    bench.loop.advance(10.9)
    assert ends == []
    bench.loop.advance(0.2)
    assert ends == ([] if answers else ["cancelled"])
    bench.loop.advance(10)  # the last piece came after 16 seconds
    assert ends == ([] if answers else ["cancelled"])
    bench.loop.advance(10)
    assert ends == ["cancelled"]
    bench.loop.settle()
    assert not bench.server.service.runner.streams


def test_a_client_that_sends_no_more_and_reads_slowly_gets_its_answer(serve: Any) -> None:
    body = b"x" * 1_000_000

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": body, "more_body": True})
        await send({"type": "http.response.body"})

    bench: Bench = serve(application, application_close_timeout=10, half_close_timeout=1)
    connection = bench.exchange(request())
    connection.stop_reading()
    connection.send_eof()
    bench.loop.advance(30)
    connection.resume_reading()
    bench.loop.settle()
    (response,) = responses(connection)
    assert response.body == body


def test_the_time_for_the_whole_response_goes_on_when_a_client_sends_no_more(serve: Any) -> None:
    told = Told()
    bench: Bench = serve(told, half_close_timeout=1, http_timeout=5)
    connection = bench.exchange(request())
    connection.send_eof()
    bench.loop.advance(5.1)
    (response,) = responses(connection)
    assert response.status == 503


def test_the_usual_way_to_learn_that_the_client_has_gone_is_not_logged(
    serve: Any, caplog: pytest.LogCaptureFixture
) -> None:
    told = Told()
    bench: Bench = serve(told)
    connection = bench.exchange(request())
    connection.reset()
    bench.loop.settle()
    with pytest.raises(OSError) as caught:
        bench.loop.run(told.sends[0]({"type": "http.response.start", "status": 200}))
    told.finish(0, caught.value)
    bench.loop.settle()
    assert caplog.text == ""


def test_a_client_that_left_is_no_error_of_a_framework(serve: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Starlette raises an exception of its own out of a stream whose client has gone."""

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while (await receive())["type"] != "http.disconnect":
            pass
        try:
            await send({"type": "http.response.body", "body": b"x"})
        except OSError:
            raise LookupError("mine")  # noqa: B904

    caplog.set_level("INFO", "daphne.server")
    bench: Bench = serve(application)
    bench.exchange(request()).reset()
    bench.loop.settle()
    record = caplog.records[-1]
    assert record.levelname == "INFO" and not record.exc_info and "LookupError('mine')" in record.message


def test_an_exception_is_logged_with_its_traceback(serve: Any, caplog: pytest.LogCaptureFixture) -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        raise LookupError("what went wrong")

    serve(application).exchange(request())
    (record,) = [record for record in caplog.records if record.name == "daphne.server"]
    assert record.getMessage() == "Exception inside application: what went wrong"
    assert record.exc_info is not None


def test_an_application_of_asgi_2(serve: Any) -> None:
    class Application:
        def __init__(self, scope: Any) -> None:
            self.scope = scope

        async def __call__(self, receive: Any, send: Any) -> None:
            await answering(self.scope["path"].encode())(self.scope, receive, send)

    (response,) = serve(Application).responses(request("GET", "/two"))
    assert response.body == b"/two"


def test_context_variables_do_not_pass_from_one_request_to_the_next(serve: Any) -> None:
    """A pipelined request begins within the `send()` of the one before it, and asyncio's transports read on
    in the context of whoever made them."""
    variable = contextvars.ContextVar[str]("variable", default="fresh")
    seen: list[str] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        seen.append(variable.get())
        variable.set(scope["path"])
        await asyncio.sleep(0)
        await answering()(scope, receive, send)

    bench: Bench = serve(application)
    assert len(bench.responses(request("GET", "/1") + request("GET", "/2") + request("GET", "/3"))) == 3
    assert seen == ["fresh"] * 3


def test_an_application_that_stays_after_a_refusal_is_cancelled(serve: Any) -> None:
    """Also where it refuses in the very call that starts it (an eager task, from Python 3.12 on)."""
    cancelled: list[bool] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.close"})
        try:
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            cancelled.append(True)

    bench: Bench = serve(application, application_close_timeout=10)
    bench.exchange(handshake("/", []))
    bench.loop.advance(9.9)
    assert not cancelled
    bench.loop.advance(0.2)
    assert cancelled


def test_a_request_that_never_reaches_the_application_leaves_no_deadline(serve: Any) -> None:
    bench: Bench = serve(answering(), http_timeout=100)
    connection = bench.exchange(request("POST", "/", "Transfer-Encoding: chunked") + b"no size\r\n")
    connection.reset()
    bench.loop.settle()
    assert len(bench.server.service.site.schedule) == 0


def test_each_application_has_its_own_time_to_end(serve: Any) -> None:
    """One alarm serves all: those whose clients left later go on, and one that has ended is no matter."""
    cancelled: list[str] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        try:
            await asyncio.sleep(7 if scope["path"] == "/ends" else 1000)
        except asyncio.CancelledError:
            cancelled.append(scope["path"])

    bench: Bench = serve(application, application_close_timeout=10)
    for path in ("/ends", "/1", "/2"):
        bench.exchange(request("GET", path)).reset()
        bench.loop.advance(3)
    bench.loop.advance(3)
    assert cancelled == []
    bench.loop.advance(1)
    assert cancelled == ["/1"]
    bench.loop.advance(3)
    assert cancelled == ["/1", "/2"]
    assert bench.loop.timers() == []


def test_what_cannot_begin_is_a_500_and_its_connection_goes_on(
    serve: Any, caplog: pytest.LogCaptureFixture
) -> None:
    def begin(stream: Any, runner: Any) -> None:
        raise LookupError("a fault of ours")

    bench: Bench = serve(answering(b"in a task"))
    bench.server.service.runner._begin = begin
    connection = bench.exchange(request())
    assert [response.status for response in responses(connection)] == [500]
    assert "a fault of ours" in caplog.text
    bench.server.service.runner._begin = None
    connection.received.clear()
    bench.send(connection, request())
    assert [response.body for response in responses(connection)] == [b"in a task"]
