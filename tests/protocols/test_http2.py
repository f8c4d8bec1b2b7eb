"""daphne.protocols.http2: requests and answers, seen by h2's own client machine, which raises for whatever
RFC 9113 forbids.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import h2.settings
import pytest

from daphne.errors import ClientDisconnected
from tests.protocols.bench import Bench, Event, Told, answering, body_of, echo, request, sending
from tests.protocols.http2_client import Client

Serve = Callable[..., Bench]
START: Event = {"type": "http.response.start", "status": 200, "headers": []}


def body_event(body: bytes, more: bool = False) -> Event:
    return {"type": "http.response.body", "body": body, "more_body": more}


# ---- requests and answers ----------------------------------------------------------------------------


def test_a_request_and_its_answer(serve: Serve) -> None:
    client = Client(serve(answering(b"hello", headers=[(b"X-Test", b"1")])))
    answer = client.fetch(path="/a?b=c")
    assert (answer.status, answer.body, answer.ended) == (200, b"hello", True)
    names = [name for name, _ in answer.headers]
    assert names == [b"date", b"server", b"x-test", b"content-length"]
    assert dict(answer.headers)[b"content-length"] == b"5"


def test_the_scope(serve: Serve) -> None:
    told = Told()
    client = Client(serve(told))
    client.start("PUT", "/p%20q?x=%31", [(b"accept", b"*/*"), (b"cookie", b"a=1"), (b"cookie", b"b=2")])
    scope = told.scopes[0]
    assert scope["type"] == "http"
    assert scope["http_version"] == "2"
    assert (scope["method"], scope["path"], scope["raw_path"]) == ("PUT", "/p q", b"/p%20q")
    assert scope["query_string"] == b"x=%31"
    assert scope["scheme"] == "http"
    assert scope["headers"] == [(b"host", b"example.org"), (b"accept", b"*/*"), (b"cookie", b"a=1; b=2")]
    assert (scope["client"], scope["server"]) == (("127.0.0.1", 50000), ("127.0.0.1", 8000))
    told.finish()


@pytest.mark.parametrize("size", [0, 1, 4096, 4097, 16384, 16385, 65536, 300_000, 3_000_000])
def test_bodies_of_every_size_both_ways(serve: Serve, size: int) -> None:
    body = bytes(range(256)) * (size // 256 + 1)
    answer = Client(serve(echo)).fetch("POST", "/", body=body[:size])
    assert answer.status == 200
    assert answer.body == b"POST / " + body[:size]
    assert answer.ended


def test_a_streamed_answer_goes_out_event_by_event(serve: Serve) -> None:
    told = Told()
    bench = serve(told)
    client = Client(bench)
    stream_id = client.start()
    send = told.sends[0]
    for event, so_far in (
        (START, b""),
        (body_event(b"one", True), b"one"),
        (body_event(b"two", True), b"onetwo"),
    ):
        bench.loop.run(send(event))
        client.flush()
        assert client.answers[stream_id].body == so_far
        assert not client.answers[stream_id].ended
    bench.loop.run(send(body_event(b"")))
    client.flush()
    assert client.answers[stream_id].ended
    assert b"content-length" not in dict(client.answers[stream_id].headers)
    told.finish()


def test_trailers(serve: Serve) -> None:
    events = (
        {**START, "trailers": True},
        body_event(b"body"),
        {"type": "http.response.trailers", "headers": [(b"X-Sum", b"7")]},
    )
    answer = Client(serve(sending(*events))).fetch()
    assert (answer.body, answer.trailers, answer.ended) == (b"body", [(b"x-sum", b"7")], True)


def test_trailers_wait_for_the_body_that_waits_for_the_window(serve: Serve) -> None:
    events = (
        {**START, "trailers": True},
        body_event(b"x" * 60_000),
        {"type": "http.response.trailers", "headers": [(b"x-sum", b"7")]},
    )
    client = Client(
        serve(sending(*events)), {h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 100}, acknowledge=False
    )
    stream_id = client.start()
    answer = client.answers[stream_id]
    assert (len(answer.body), answer.trailers, answer.ended) == (100, [], False)
    client.machine.increment_flow_control_window(60_000, stream_id)
    client.flush()
    assert (len(answer.body), answer.trailers, answer.ended) == (60_000, [(b"x-sum", b"7")], True)


def test_early_hints_come_before_the_answer(serve: Serve) -> None:
    hint = {"type": "http.response.early_hint", "links": [b"</a.css>; rel=preload"]}
    answer = Client(serve(sending(hint, hint, START, body_event(b"x")))).fetch()
    assert answer.interim == [(103, [(b"link", b"</a.css>; rel=preload")])] * 2
    assert (answer.status, answer.body) == (200, b"x")


@pytest.mark.parametrize("events", [(body_event(b"body"),), (body_event(b"bo", True), body_event(b"dy"))])
def test_head_has_no_body(serve: Serve, events: tuple[Event, ...]) -> None:
    start = {**START, "headers": [(b"content-length", b"4")]}
    answer = Client(serve(sending(start, *events))).fetch("HEAD")
    assert (answer.status, answer.body, answer.ended) == (200, b"", True)
    assert dict(answer.headers)[b"content-length"] == b"4"


@pytest.mark.parametrize("status", [204, 304])
def test_statuses_without_a_body(serve: Serve, status: int) -> None:
    answer = Client(serve(sending({**START, "status": status}, body_event(b"ignored")))).fetch()
    assert (answer.status, answer.body, answer.ended) == (status, b"", True)
    assert b"content-length" not in dict(answer.headers)


@pytest.mark.parametrize("status", [200, 201, 206, 302, 400, 404, 418, 500, 599])
def test_statuses_in_and_out_of_the_static_table(serve: Serve, status: int) -> None:
    assert Client(serve(answering(status=status))).fetch().status == status


def test_an_own_date_and_server_stand_alone(serve: Serve) -> None:
    own = [(b"Server", b"mine"), (b"date", b"Sun, 22 Nov 2026 13:00:00 GMT")]
    answer = Client(serve(answering(headers=own))).fetch()
    assert [field for field in answer.headers if field[0] in (b"server", b"date")] == [
        (name.lower(), value) for name, value in own
    ]


def test_fields_of_an_http1_connection_do_not_go_out(serve: Serve) -> None:
    fields = [
        (b"Connection", b"close"),
        (b"Keep-Alive", b"5"),
        (b"Transfer-Encoding", b"chunked"),
        (b"x", b"y"),
    ]
    answer = Client(serve(answering(headers=fields))).fetch()
    assert {name for name, _ in answer.headers} == {b"date", b"server", b"x", b"content-length"}


def test_a_head_larger_than_a_frame_goes_out_in_continuations(serve: Serve) -> None:
    large = [(b"x-%d" % index, b"v" * 9000) for index in range(5)]
    client = Client(serve(answering(headers=large)))
    client.machine.decoder.max_header_list_size = 1 << 20
    answer = client.fetch()
    assert [field for field in answer.headers if field[0].startswith(b"x-")] == large


def test_100_continue_is_said_when_the_application_reads(serve: Serve) -> None:
    told = Told()
    bench = serve(told)
    client = Client(bench)
    stream_id = client.start("POST", "/", [(b"expect", b"100-continue")], ended=False)
    assert client.answers[stream_id].interim == []
    body = bench.loop.create_task(body_of(told.receives[0]))
    client.flush()
    assert client.answers[stream_id].interim == [(100, [])]
    client.send(stream_id, b"x", ended=True)
    assert body.result() == b"x"
    told.finish()
    client.flush()
    assert client.answers[stream_id].status == 500


def test_pathsend(serve: Serve, tmp_path: Any) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"0123456789" * 100_000)
    bench = serve(sending(START, {"type": "http.response.pathsend", "path": str(path)}))
    client = Client(bench)
    stream_id = client.start()
    for _ in range(1000):
        if client.answers[stream_id].ended:
            break
        bench.loop.run(_soon(bench))
        client.flush()
    assert client.answers[stream_id].body == b"0123456789" * 100_000
    assert dict(client.answers[stream_id].headers)[b"content-length"] == b"1000000"


async def _soon(bench: Bench) -> None:
    """Give the threads that read the file a moment."""
    import time

    time.sleep(0.005)


def test_trailers_of_a_request_end_its_body_and_go_no_further(serve: Serve) -> None:
    told = Told()
    bench = serve(told)
    client = Client(bench)
    stream_id = client.start("POST", ended=False)
    body = bench.loop.create_task(body_of(told.receives[0]))
    client.send(stream_id, b"body")
    client.machine.send_headers(stream_id, [(b"x-sum", b"7")], end_stream=True)
    client.flush()
    assert body.result() == b"body"
    assert told.scopes[0]["headers"] == [(b"host", b"example.org")]
    told.finish()
    client.flush()


def test_many_requests_at_once_are_answered_in_their_own_time(serve: Serve) -> None:
    told = Told()
    bench = serve(told)
    client = Client(bench)
    streams = [client.start(path=f"/{index}") for index in range(100)]
    for index in reversed(range(100)):
        bench.loop.run(told.sends[index](START))
        bench.loop.run(told.sends[index](body_event(b"%d" % index)))
        client.flush()
        assert client.answers[streams[index]].body == b"%d" % index
        told.finish(index)
    assert all(client.answers[stream].ended for stream in streams)


def test_one_write_for_the_answers_of_one_turn(serve: Serve) -> None:
    bench = serve(answering())
    client = Client(bench)
    writes: list[int] = []
    transport = client.connection.server
    write = transport.write
    transport.write = lambda data: (writes.append(len(data)), write(data))[1]  # type: ignore[method-assign]
    for _ in range(16):
        client.machine.send_headers(
            client.machine.get_next_available_stream_id(),
            [(b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"a"), (b":path", b"/")],
            end_stream=True,
        )
    # LoopTransport has the method bound already.
    (connection,) = bench.server.service.site.connections
    connection.transport.write = transport.write
    client.flush()
    assert sum(answer.ended for answer in client.answers.values()) == 16
    assert len(writes) == 1


# ---- errors ------------------------------------------------------------------------------------------


def test_an_application_that_raises(serve: Serve) -> None:
    async def raises(scope: Any, receive: Any, send: Any) -> None:
        raise ValueError("secret")

    answer = Client(serve(raises)).fetch()
    assert (answer.status, answer.ended) == (500, True)
    assert b"secret" not in answer.body


def test_an_application_that_raises_within_its_answer(serve: Serve) -> None:
    async def raises(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await send(body_event(b"part", True))
        raise ValueError

    client = Client(serve(raises))
    answer = client.fetch()
    assert (answer.body, answer.ended, answer.reset) == (b"part", False, 2)
    assert client.fetch().reset == 2  # the connection goes on


def test_a_reset_is_a_disconnect(serve: Serve) -> None:
    told = Told()
    bench = serve(told)
    client = Client(bench)
    stream_id = client.start("POST", ended=False)
    waiting = bench.loop.create_task(told.receives[0]())
    bench.loop.settle()
    client.machine.reset_stream(stream_id, 8)
    client.flush()
    assert waiting.result() == {"type": "http.disconnect"}
    with pytest.raises(ClientDisconnected):
        bench.loop.run(told.sends[0](START))
    told.finish()
    assert client.fetch().status == 0  # the next request is under way on the same connection
    told.finish()
    client.flush()


def test_an_application_that_does_not_heed_a_reset_is_cancelled(serve: Serve) -> None:
    told = Told()
    bench = serve(told, application_close_timeout=3)
    client = Client(bench)
    client.machine.reset_stream(client.start(), 8)
    client.flush()
    bench.loop.advance(2.9)
    assert told.cancelled == 0
    bench.loop.advance(0.2)
    assert told.cancelled == 1


def test_a_connection_that_is_lost_is_a_disconnect_for_all(serve: Serve) -> None:
    told = Told()
    bench = serve(told)
    client = Client(bench)
    client.start()
    client.start("POST", ended=False)
    waiting = [bench.loop.create_task(receive()) for receive in told.receives]
    bench.loop.settle()
    client.connection.reset()
    bench.loop.settle()
    assert waiting[0].result()["type"] == "http.request"
    assert waiting[1].result() == {"type": "http.disconnect"}
    assert bench.loop.run(told.receives[0]()) == {"type": "http.disconnect"}
    told.finish(0)
    told.finish(1)


def test_an_answer_before_the_body_asks_for_no_more_of_it(serve: Serve) -> None:
    client = Client(serve(answering(b"no")))
    stream_id = client.start("POST", ended=False)
    answer = client.answers[stream_id]
    assert (answer.body, answer.ended, answer.reset) == (b"no", True, 0)


def test_what_is_left_of_a_small_body_is_read_past(serve: Serve) -> None:
    client = Client(serve(answering(b"no")))
    stream_id = client.start("POST", "/", [(b"content-length", b"1000")], ended=False)
    assert client.answers[stream_id].reset is None
    client.send(stream_id, b"x" * 1000, ended=True)
    assert client.answers[stream_id].reset is None
    assert client.fetch().status == 200


def test_body_too_large_by_its_length(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    client = Client(serve(echo, max_body_size=1000))
    assert client.fetch("POST", body=b"x" * 1000).status == 200
    stream_id = client.start("POST", "/", [(b"content-length", b"1001")], ended=False)
    assert client.answers[stream_id].status == 413
    assert "--max-body-size reached by ('127.0.0.1', 50000)" in caplog.text


def test_body_too_large_as_it_comes(serve: Serve) -> None:
    client = Client(serve(echo, max_body_size=1000))
    stream_id = client.start("POST", ended=False)
    client.send(stream_id, b"x" * 1000)
    assert client.answers[stream_id].status == 0
    client.machine.send_data(stream_id, b"x")
    client.flush()
    assert client.answers[stream_id].status == 413


# ---- the access log ----------------------------------------------------------------------------------


def test_the_access_log(serve: Serve) -> None:
    bench = serve(answering(b"12345", status=201))
    Client(bench).fetch("PUT", "/log?x=1", [(b"user-agent", b"me")])
    ((protocol, action, details),) = bench.actions
    assert (protocol, action) == ("http", "complete")
    assert details["path"] == "/log?x=1"
    assert (details["method"], details["status"], details["size"]) == ("PUT", 201, 5)
    assert (details["client"], details["http_version"]) == ("127.0.0.1:50000", "2")


def test_an_answer_is_logged_when_it_is_complete(serve: Serve) -> None:
    bench = serve(answering(b"x" * 100))
    client = Client(bench, {h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 10}, acknowledge=False)
    stream_id = client.start()
    assert bench.actions == []
    client.machine.increment_flow_control_window(90, stream_id)
    client.flush()
    assert len(bench.actions) == 1


# ---- HTTP/1.1 beside it ------------------------------------------------------------------------------


def test_without_http2_the_preface_is_a_bad_request(serve: Serve) -> None:
    bench = serve(answering(), http2=False)
    received = bench.send(bench.connect(), b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    assert received.startswith((b"HTTP/1.1 505 ", b"HTTP/1.1 400 "))


def test_the_h2c_upgrade_is_passed_over(serve: Serve) -> None:
    lines = ("Upgrade: h2c", "Connection: Upgrade, HTTP2-Settings", "HTTP2-Settings: AAMAAABkAAQAAP__")
    (response,) = serve(answering(b"one")).responses(request("GET", "/", *lines))
    assert (response.status, response.body) == (200, b"one")


@pytest.mark.parametrize("at", range(1, 60, 7))
def test_the_preface_however_it_is_split(serve: Serve, at: int) -> None:
    bench = serve(answering())
    client = Client.__new__(Client)
    original = bench.connect
    connection = original()
    send = connection.send

    def in_two(data: bytes) -> None:
        send(data[:at])
        bench.loop.settle()
        send(data[at:])

    connection.send = in_two  # type: ignore[method-assign]
    bench.connect = lambda **options: connection  # type: ignore[method-assign]
    client.__init__(bench)  # type: ignore[misc]
    assert client.fetch().status == 200
