"""daphne.protocols.http2_life: every deadline of a connection, on a clock that the test turns; its end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from h2.settings import SettingCodes
from hyperframe import frame as frames

from tests.protocols.bench import Bench, Event, Told, answering, body_of, echo
from tests.protocols.http2_client import PREFACE, Client, RawClient, request_fields

Serve = Callable[..., Bench]
START: Event = {"type": "http.response.start", "status": 200, "headers": []}
WINDOW = SettingCodes.INITIAL_WINDOW_SIZE
NO_ERROR, REFUSED, CANCEL, CALM = 0, 7, 8, 11


def part(body: bytes, more: bool = True) -> Event:
    return {"type": "http.response.body", "body": body, "more_body": more}


def fired(caplog: pytest.LogCaptureFixture, limit: str) -> bool:
    return f"Limit --{limit} reached by ('127.0.0.1', 50000)" in caplog.text


async def reads(scope: Any, receive: Any, send: Any) -> None:
    await body_of(receive)
    await answering()(scope, receive, send)


# ---- deadlines ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("begun", [b"", PREFACE[:18], PREFACE])
def test_a_connection_that_does_not_begin(
    serve: Serve, begun: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    bench = serve(answering())
    connection = bench.connect()
    bench.send(connection, begun)
    bench.loop.advance(9.9)
    assert not connection.ended
    bench.loop.advance(0.2)
    assert connection.ended
    assert "Limit --request-head-timeout reached by ('127.0.0.1', 50000)" in caplog.text


def test_an_idle_connection(serve: Serve) -> None:
    bench = serve(answering())
    client = Client(bench)
    bench.loop.advance(59)
    assert client.fetch().status == 200
    bench.loop.advance(59.9)
    client.flush()
    assert client.goaways == []
    bench.loop.advance(0.2)
    client.flush()
    assert client.goaways == [(1, NO_ERROR)]
    assert client.connection.at_end


def test_pings_do_not_make_an_idle_connection_last(serve: Serve) -> None:
    bench = serve(answering())
    client = Client(bench)
    for _ in range(6):
        bench.loop.advance(9.9)
        client.machine.ping(b"12345678")
        client.flush()
    assert len(client.pongs) == 6
    bench.loop.advance(1)
    client.flush()
    assert client.goaways == [(0, NO_ERROR)]


def test_a_keep_alive_timeout_of_0_is_none(serve: Serve) -> None:
    bench = serve(answering(), keep_alive_timeout=0)
    client = Client(bench)
    client.fetch()
    bench.loop.advance(100_000)
    assert client.fetch().status == 200


def test_an_application_may_take_its_time(serve: Serve) -> None:
    told = Told()
    bench = serve(told)
    client = Client(bench)
    stream_id = client.start()
    bench.loop.advance(100_000)
    bench.loop.run(answering()({}, told.receives[0], told.sends[0]))
    client.flush()
    assert client.answers[stream_id].status == 200
    told.finish()


@pytest.mark.parametrize(
    "begun",
    [
        bytes.fromhex("000010010500000001") + b"\x82",  # a part of HEADERS
        bytes.fromhex("000001010100000001") + b"\x82",  # HEADERS that CONTINUATION must follow
        bytes.fromhex("000001010100000001") + b"\x82" + bytes.fromhex("0000ff0900"),
    ],
)
def test_a_field_block_that_does_not_end(
    serve: Serve, begun: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    bench = serve(answering())
    client = RawClient(bench)
    client.send(begun)
    bench.loop.advance(9.9)
    client.take()
    assert client.goaway is None
    bench.loop.advance(0.2)
    client.take()
    assert client.goaway == CALM
    assert fired(caplog, "request-head-timeout")


def test_a_field_block_beside_a_request_under_way(serve: Serve) -> None:
    told = Told()
    bench = serve(told)
    client = RawClient(bench)
    client.send(client.headers(1, request_fields()))
    client.send(bytes.fromhex("000001010100000003") + b"\x82")
    bench.loop.advance(10.1)
    client.take()
    assert client.goaway == CALM
    told.finish()


def test_a_field_block_that_ends_in_time(serve: Serve) -> None:
    bench = serve(answering())
    client = RawClient(bench)
    block = client.encoder.encode(request_fields())
    client.send(client.headers(1, [], "END_STREAM", block=block[:5]))
    bench.loop.advance(9)
    rest = frames.ContinuationFrame(1, block[5:])
    rest.flags.add("END_HEADERS")
    client.send(rest)
    bench.loop.advance(9)
    client.take()
    assert client.goaway is None
    assert client.statuses() == {1: 200}


def test_a_body_that_stops(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    bench = serve(reads)
    client = Client(bench)
    stream_id = client.start("POST", ended=False)
    bench.loop.advance(4.9)
    client.flush()
    assert client.answers[stream_id].status == 0
    bench.loop.advance(0.2)
    client.flush()
    assert client.answers[stream_id].status == 408
    assert fired(caplog, "min-body-rate")
    assert client.fetch().status == 200  # the connection goes on


def test_a_body_at_the_rate(serve: Serve) -> None:
    bench = serve(reads, min_body_rate=240)
    client = Client(bench)
    stream_id = client.start("POST", ended=False)
    for _ in range(60):
        client.send(stream_id, b"x" * 250)
        bench.loop.advance(1)
    client.send(stream_id, b"x", ended=True)
    assert client.answers[stream_id].status == 200


def test_a_large_frame_that_comes_slowly_is_a_body_at_the_rate(serve: Serve) -> None:
    bench = serve(reads, min_body_rate=240)
    client = RawClient(bench)
    client.send(client.headers(1, request_fields("POST"), "END_HEADERS"))
    frame = frames.DataFrame(1, b"x" * 16000, flags=["END_STREAM"]).serialize()
    for at in range(0, len(frame), 300):
        client.send(frame[at : at + 300])
        bench.loop.advance(1)
    assert client.statuses() == {1: 200}


def test_a_body_that_the_application_does_not_want_yet(serve: Serve) -> None:
    told = Told()
    bench = serve(told, http2_stream_window=65535)
    client = Client(bench)
    stream_id = client.start("POST", ended=False)
    client.send(stream_id, b"x" * 65535)
    bench.loop.advance(1000)
    client.flush()
    assert client.answers[stream_id].status == 0
    waiting = bench.loop.create_task(body_of(told.receives[0]))
    client.flush()
    bench.loop.advance(4)
    client.send(stream_id, b"x", ended=True)
    assert len(waiting.result()) == 65536
    told.finish()
    client.flush()


def test_a_rate_of_0_is_none(serve: Serve) -> None:
    bench = serve(reads, min_body_rate=0)
    client = Client(bench)
    stream_id = client.start("POST", ended=False)
    bench.loop.advance(100_000)
    client.send(stream_id, b"x", ended=True)
    assert client.answers[stream_id].status == 200


def test_what_is_left_of_a_body_after_the_answer_must_come_in_time(serve: Serve) -> None:
    bench = serve(answering())
    client = Client(bench)
    stream_id = client.start("POST", "/", [(b"content-length", b"1000")], ended=False)
    assert client.answers[stream_id].ended
    bench.loop.advance(5.1)
    client.flush()
    assert client.answers[stream_id].reset == NO_ERROR


# ---- clients that do not take what they asked for ----------------------------------------------------


def test_a_streams_window_that_stays_shut(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    bench = serve(answering(b"x" * 1000))
    client = Client(bench, {WINDOW: 100}, acknowledge=False)
    stalled = client.start()
    bench.loop.advance(30)
    other = client.start()
    client.machine.increment_flow_control_window(1000, other)
    client.flush()
    assert client.answers[other].ended
    bench.loop.advance(29.9)
    client.flush()
    assert client.answers[stalled].reset is None
    bench.loop.advance(0.2)
    client.flush()
    assert client.answers[stalled].reset == CANCEL
    assert fired(caplog, "http2-stall-timeout")
    assert client.goaways == []


def test_a_window_that_opens_by_drops(serve: Serve) -> None:
    bench = serve(answering(b"x" * 10_000))
    client = Client(bench, {WINDOW: 0}, acknowledge=False)
    stalled = client.start()
    for _ in range(65):
        client.machine.increment_flow_control_window(1, stalled)
        client.flush()
        bench.loop.advance(1)
        if client.answers[stalled].reset is not None:
            break
    client.flush()
    assert client.answers[stalled].reset == CANCEL


def test_a_window_that_opens_at_the_rate(serve: Serve) -> None:
    bench = serve(answering(b"x" * 100_000))
    client = Client(bench, {WINDOW: 0}, acknowledge=False)
    stream_id = client.start()
    for _ in range(100):
        client.machine.increment_flow_control_window(300, stream_id)
        client.flush()
        bench.loop.advance(1)
    assert client.answers[stream_id].reset is None
    client.connection.close()


def test_a_connection_window_that_stays_shut(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    bench = serve(answering(b"x" * 100_000))
    client = Client(bench, {WINDOW: 1 << 20}, acknowledge=False)
    client.start()
    bench.loop.advance(59.9)
    client.flush()
    assert client.goaways == []
    bench.loop.advance(0.2)
    client.flush()
    assert client.goaways == [(1, CALM)]
    assert fired(caplog, "http2-stall-timeout")
    bench.loop.advance(2)
    assert client.connection.ended


def test_a_stall_that_ends_in_time(serve: Serve) -> None:
    bench = serve(answering(b"x" * 100_000))
    client = Client(bench, {WINDOW: 1 << 20}, acknowledge=False)
    stream_id = client.start()
    bench.loop.advance(50)
    client.machine.increment_flow_control_window(1 << 20)
    client.flush()
    assert client.answers[stream_id].ended
    bench.loop.advance(50)
    assert client.fetch().status == 200


def test_a_stall_timeout_of_0_is_none(serve: Serve) -> None:
    bench = serve(answering(b"x" * 100_000), http2_stall_timeout=0)
    client = Client(bench, {WINDOW: 0}, acknowledge=False)
    client.start()
    bench.loop.advance(100_000)
    client.flush()
    assert client.answers[1].reset is None
    client.connection.close()


def test_a_client_that_reads_nothing(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    bench = serve(answering(b"x" * 1_000_000), min_response_rate=1000, rate_grace=5)
    client = Client(bench, {WINDOW: 1 << 30})
    client.machine.increment_flow_control_window(1 << 30)
    client.connection.stop_reading()
    client.start()
    bench.loop.advance(70)
    assert not client.connection.was_reset
    bench.loop.advance(1)
    assert client.connection.was_reset
    assert "Limit --min-response-rate reached by" in caplog.text


# ---- the server stops --------------------------------------------------------------------------------


def drain(bench: Bench) -> None:
    """As the service does at SIGTERM."""
    bench.server.service.site.draining = True
    for connection in list(bench.server.service.site.connections):
        connection.drain()
    bench.loop.settle()


def test_an_idle_connection_that_is_drained(serve: Serve) -> None:
    bench = serve(answering())
    client = RawClient(bench)
    client.send(client.headers(1, request_fields()))
    drain(bench)
    client.take()
    assert [frame.last_stream_id for frame in client.of(frames.GoAwayFrame)] == [(1 << 31) - 1]
    assert not client.connection.ended
    client.send(frames.PingFrame(0, client.of(frames.PingFrame)[0].opaque_data, flags=["ACK"]))
    assert client.of(frames.GoAwayFrame)[-1].last_stream_id == 1
    assert client.goaway == NO_ERROR
    assert client.connection.at_end


def test_requests_under_way_are_served_when_the_server_stops(serve: Serve) -> None:
    told = Told()
    bench = serve(told)
    client = RawClient(bench)
    client.send(client.headers(1, request_fields()))
    drain(bench)
    client.take()
    (goaway,) = client.of(frames.GoAwayFrame)
    assert (goaway.last_stream_id, goaway.error_code) == ((1 << 31) - 1, NO_ERROR)
    client.send(client.headers(3, request_fields()))  # was under way
    assert len(told.scopes) == 2
    (ping,) = client.of(frames.PingFrame)
    client.send(frames.PingFrame(0, ping.opaque_data, flags=["ACK"]))
    assert client.of(frames.GoAwayFrame)[-1].last_stream_id == 3
    client.send(client.headers(5, request_fields()))  # should have known
    assert client.resets == {5: REFUSED}
    for index in range(2):
        bench.loop.run(answering()({}, told.receives[index], told.sends[index]))
        assert not client.connection.ended or index == 1
        told.finish(index)
    bench.loop.settle()
    client.take()
    assert client.statuses() == {1: 200, 3: 200}
    assert client.connection.at_end


def test_a_connection_that_begins_while_the_server_stops(serve: Serve) -> None:
    bench = serve(answering())
    connection = bench.connect()
    drain(bench)
    client = RawClient.__new__(RawClient)
    bench.connect = lambda **options: connection  # type: ignore[method-assign]
    client.__init__(bench)  # type: ignore[misc]
    client.send(client.headers(1, request_fields()))
    assert client.of(frames.GoAwayFrame)[0].last_stream_id == (1 << 31) - 1
    bench.loop.advance(1.1)
    client.take()
    assert client.statuses() == {1: 200}
    assert connection.at_end


@pytest.mark.parametrize("how", ["goaway", "end of file"])
def test_a_client_that_leaves_while_the_server_stops(serve: Serve, how: str) -> None:
    bench = serve(answering())
    client = RawClient(bench)
    drain(bench)
    if how == "goaway":
        client.send(frames.GoAwayFrame(0))
    else:
        client.connection.send_eof()
    bench.loop.settle()
    assert client.connection.at_end


def test_a_client_that_does_not_answer_the_ping(serve: Serve) -> None:
    bench = serve(answering())
    client = RawClient(bench)
    drain(bench)
    bench.loop.advance(0.9)
    assert not client.connection.ended
    bench.loop.advance(0.2)
    assert client.connection.at_end


def test_a_number_of_requests_per_connection(serve: Serve) -> None:
    bench = serve(answering(), max_requests_per_connection=3)
    client = RawClient(bench)
    client.send(client.headers(1, request_fields()), client.headers(3, request_fields()))
    assert client.goaway is None
    client.send(client.headers(5, request_fields()))
    assert client.goaway == NO_ERROR
    bench.loop.advance(1.1)
    client.take()
    assert client.statuses() == {1: 200, 3: 200, 5: 200}
    assert client.of(frames.GoAwayFrame)[-1].last_stream_id == 5
    assert client.connection.at_end


# ---- the client ends ---------------------------------------------------------------------------------


def test_a_client_that_says_goaway_gets_its_answers(serve: Serve) -> None:
    told = Told()
    bench = serve(told)
    client = RawClient(bench)
    client.send(client.headers(1, request_fields()), frames.GoAwayFrame(0, 0, 0))
    assert not client.connection.ended
    bench.loop.run(answering()({}, told.receives[0], told.sends[0]))
    bench.loop.settle()
    client.take()
    assert client.statuses() == {1: 200}
    assert client.connection.at_end
    told.finish()


def test_a_client_that_closes_its_side_gets_its_answers(serve: Serve) -> None:
    told = Told()
    bench = serve(told)
    client = RawClient(bench)
    client.send(client.headers(1, request_fields()))
    client.send(client.headers(3, request_fields("POST"), "END_HEADERS"))
    client.connection.send_eof()
    bench.loop.settle()
    assert bench.loop.run(told.receives[1]()) == {"type": "http.disconnect"}
    bench.loop.run(told.receives[0]())
    left = bench.loop.create_task(told.receives[0]())
    bench.loop.advance(0.9)
    assert not left.done()
    bench.loop.advance(0.2)
    assert left.result() == {"type": "http.disconnect"}
    bench.loop.run(answering()({}, told.receives[0], told.sends[0]))
    bench.loop.settle()
    client.take()
    assert client.statuses() == {1: 200}
    assert client.connection.at_end
    told.finish(0)
    told.finish(1)


def test_a_client_that_closes_ends_an_application_that_sends_nothing_more(serve: Serve) -> None:
    ends: list[str] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        try:
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            ends.append("cancelled")

    bench = serve(application, application_close_timeout=10)
    client = RawClient(bench)
    client.send(client.headers(1, request_fields()))
    client.connection.send_eof()
    bench.loop.advance(10.9)
    assert ends == []
    bench.loop.advance(0.2)
    assert ends == ["cancelled"]


@pytest.mark.parametrize("window", [0, 1 << 20])
def test_an_answer_that_no_window_will_open_for(serve: Serve, window: int) -> None:
    sent: list[BaseException | None] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        try:
            await answering(b"x" * 200_000)(scope, receive, send)
        except OSError as error:
            sent.append(error)

    bench = serve(application)
    client = Client(bench, {WINDOW: window}, acknowledge=False)
    client.start()
    assert sent == []
    client.connection.send_eof()
    bench.loop.settle()
    assert len(sent) == 1
    assert client.connection.at_end


def test_a_broken_rule_is_said_before_the_connection_closes(serve: Serve) -> None:
    bench = serve(echo)
    client = RawClient(bench)
    client.send(client.headers(1, request_fields()), frames.DataFrame(7, b"x"))
    assert client.goaway == 1
    assert client.of(frames.GoAwayFrame)[-1].last_stream_id == 1
    assert client.connection.at_end
    client.send(b"x" * 100_000)  # read and thrown away
    assert not client.connection.was_reset
    bench.loop.advance(2.1)
    assert client.connection.was_reset


def test_nothing_is_left_of_a_thousand_requests(serve: Serve) -> None:
    client = Client(serve(answering()))
    for _ in range(1000):
        client.fetch()
    (connection,) = client.bench.server.service.site.connections
    assert connection.exchanges == {}
    assert len(client.bench.actions) == 1000
