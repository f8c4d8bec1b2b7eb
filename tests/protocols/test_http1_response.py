"""daphne.protocols.http1_response: how answers look on the wire, and how their sender waits for the
reader."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.protocols.bench import Bench, Event, Told, answering, request, responses, sending

Serve = Callable[..., Bench]


def start(status: int = 200, headers: list[tuple[bytes, bytes]] | None = None, **more: Any) -> Event:
    return {"type": "http.response.start", "status": status, "headers": headers or [], **more}


def part(body: bytes = b"", more: bool = False) -> Event:
    return {"type": "http.response.body", "body": body, "more_body": more}


def test_a_small_answer_is_one_write(serve: Serve) -> None:
    bench = serve(answering(b"hello", headers=[(b"X-One", b"1")]), date_header=False, server_name="")
    connection = bench.exchange(request())
    assert connection.received == b"HTTP/1.1 200 OK\r\nx-one: 1\r\ncontent-length: 5\r\n\r\nhello"


def test_date_and_server_are_added_but_not_twice(serve: Serve) -> None:
    own = [(b"Date", b"Thu, 01 Jan 1970 00:00:00 GMT"), (b"Server", b"mine")]
    (response,) = serve(answering(headers=own)).responses(request())
    assert response.header(b"date") == own[0][1]
    assert response.header(b"server") == b"mine"
    (response,) = serve(answering(headers=own[:1]), server_name="x/1").responses(request())
    assert (response.header(b"date"), response.header(b"server")) == (own[0][1], b"x/1")
    (response,) = serve(answering(), server_name="", date_header=False).responses(request())
    assert (response.header(b"date"), response.header(b"server")) == (None, None)


@pytest.mark.parametrize("size", [0, 1, 16384, 16385, 1_000_000])
@pytest.mark.parametrize("declared", [True, False])
def test_a_body_in_one_event(serve: Serve, size: int, declared: bool) -> None:
    headers = [(b"content-length", b"%d" % size)] if declared else []
    (response,) = serve(answering(b"x" * size, headers=headers)).responses(request())
    assert (response.body, response.header(b"content-length")) == (b"x" * size, b"%d" % size)


@pytest.mark.parametrize("size", [0, 1, 16385, 100_000])
@pytest.mark.parametrize("version", ["1.1", "1.0"])
def test_a_streamed_body(serve: Serve, size: int, version: str) -> None:
    bench = serve(sending(start(), part(b"a", True), part(b"", True), part(b"x" * size, True), part()))
    connection = bench.exchange(request(version=version))
    (response,) = responses(connection)
    assert response.body == b"a" + b"x" * size
    assert (response.header(b"transfer-encoding") == b"chunked") == (version == "1.1")
    assert connection.at_end == (version == "1.0")


def test_a_body_that_ends_with_its_last_bytes(serve: Serve) -> None:
    (response,) = serve(sending(start(), part(b"a", True), part(b"b"))).responses(request())
    assert response.body == b"ab"


def test_a_single_event_is_chunked_where_the_length_is_not_to_be_added(serve: Serve) -> None:
    bench = serve(answering(b"ok"), auto_content_length=False)
    (response,) = bench.responses(request())
    assert (response.header(b"transfer-encoding"), response.body) == (b"chunked", b"ok")
    connection = bench.exchange(request("GET", "/", "Connection: keep-alive", version="1.0"))
    assert responses(connection)[0].body == b"ok"
    assert connection.at_end


@pytest.mark.parametrize("status", [204, 304])
@pytest.mark.parametrize("body", [b"", b"forbidden"])
def test_statuses_without_a_body(serve: Serve, status: int, body: bytes) -> None:
    bench = serve(answering(body, status))
    connection = bench.exchange(request(), request())
    for response in responses(connection):
        assert (response.status, response.body) == (status, b"")
        assert response.header(b"transfer-encoding") is None
        assert response.header(b"content-length") is None
    assert connection.received.endswith(b"\r\n\r\n")


def test_no_content_has_no_length_but_not_modified_may_have_one(serve: Serve) -> None:
    """RFC 9110 section 8.6."""
    length = [(b"content-length", b"10")]
    assert serve(answering(b"", 204, length)).responses(request())[0].header(b"content-length") is None
    assert serve(answering(b"", 304, length)).responses(request())[0].header(b"content-length") == b"10"


@pytest.mark.parametrize(
    "events",
    [
        (start(), part(b"hello")),
        (start(200, [(b"content-length", b"5")]), part(b"hello")),
        (start(200, [(b"content-length", b"5")]), part()),
        (start(), part(b"hel", True), part(b"lo")),
        (start(trailers=True), part(b"hello"), {"type": "http.response.trailers", "headers": [(b"t", b"1")]}),
    ],
)
def test_head_has_no_body_and_the_connection_stays(serve: Serve, events: tuple[Event, ...]) -> None:
    connection = serve(sending(*events)).exchange(request("HEAD"), request("HEAD"))
    assert [response.status for response in responses(connection, "HEAD")] == [200, 200]
    assert connection.received.endswith(b"\r\n\r\n")
    assert not connection.ended


@pytest.mark.parametrize(
    "body", [[part(b"12345", True), part(b"6789")], [part(b"1234567")], [part(b"x" * 7, True)]]
)
@pytest.mark.parametrize("stays", [True, False])
def test_never_a_byte_more_than_content_length(serve: Serve, body: list[Event], stays: bool) -> None:
    caught: list[Exception] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await send(start(200, [(b"content-length", b"6")]))
        try:
            for event in body:
                await send(event)
        except ValueError as error:
            caught.append(error)

    bench = serve(application)
    connection = bench.exchange(request("GET", "/", "X: y" if stays else "Connection: close"), request())
    assert caught
    data = bytes(connection.received)
    if data.startswith(b"HTTP/1.1 200"):
        assert data.partition(b"\r\n\r\n")[2] == b"12345"
        assert connection.ended
    else:
        assert responses(connection)[0].status == 500


@pytest.mark.parametrize(
    "events", [[part(b"12345")], [part(b"123", True), part(b"45")], [part(b"", True), part()]]
)
def test_less_than_content_length_is_no_complete_response(serve: Serve, events: list[Event]) -> None:
    connection = serve(sending(start(200, [(b"content-length", b"6")]), *events)).exchange(request())
    (response,) = responses(connection)
    assert response.status == 500 or not response.complete
    if response.status == 200:
        assert connection.ended


@pytest.mark.parametrize(
    "head",
    [
        start(99),
        start(101),
        start(103),
        start(1000),
        start(200.0),  # type: ignore[arg-type]
        start("200"),  # type: ignore[arg-type]
        start(True),
        {"type": "http.response.start"},
        start(200, [(b"na me", b"x")]),
        start(200, [(b"", b"x")]),
        start(200, [(b"name:", b"x")]),
        start(200, [(b"n\xc3", b"x")]),
        start(200, [(b"x", b"a\r\nSet-Cookie: b")]),
        start(200, [(b"x", b"a\nb")]),
        start(200, [(b"x", b"a\rb")]),
        start(200, [(b"x", b"a\x00b")]),
        start(200, [(b"x", b"a\x01b")]),
        start(200, [("x", b"y")]),  # type: ignore[list-item]
        start(200, [(b"x", "y")]),  # type: ignore[list-item]
        start(200, [(b"x",)]),  # type: ignore[list-item]
        start(200, [b"xy", 1]),  # type: ignore[list-item]
        start(200, [(b"content-length", b"-1")]),
        start(200, [(b"content-length", b"ten")]),
        start(200, [(b"content-length", b"1"), (b"content-length", b"2")]),
        start(200, [(b"content-length", b"9" * 5000)]),
    ],
)
def test_a_head_that_is_not_allowed_is_the_applications_error_and_a_500(serve: Serve, head: Event) -> None:
    caught: list[Exception] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        try:
            await send(head)
        except ValueError as error:
            caught.append(error)
            raise

    (response,) = serve(application).responses(request())
    assert response.status == 500
    assert caught


@pytest.mark.parametrize("status", [200, 299, 418, 599, 600, 999])
def test_any_final_status_goes_out(serve: Serve, status: int) -> None:
    assert serve(answering(status=status)).responses(request())[0].status == status


def test_fields_of_the_connection_belong_to_the_server(serve: Serve) -> None:
    names = [b"Transfer-Encoding", b"Keep-Alive", b"Upgrade", b"Proxy-Connection", b"transfer-encoding"]
    bench = serve(answering(headers=[(name, b"chunked") for name in names]))
    (response,) = bench.responses(request())
    assert [name for name, _ in response.headers] == [b"date", b"server", b"content-length"]
    assert response.body == b"ok"


def test_fields_keep_their_order_and_their_duplicates(serve: Serve) -> None:
    fields = [(b"set-cookie", b"a=1"), (b"x", b"1"), (b"set-cookie", b"b=2"), (b"x", b"\xc3\xa9")]
    (response,) = serve(answering(headers=fields), date_header=False, server_name="").responses(request())
    assert response.headers[:-1] == fields


@pytest.mark.parametrize("body", ["text", None, 5, [b"x"]])
def test_a_body_that_is_not_bytes(serve: Serve, body: Any) -> None:
    bench = serve(sending(start(), {"type": "http.response.body", "body": body}))
    assert bench.responses(request())[0].status == 500


@pytest.mark.parametrize("body", [bytearray(b"ok"), memoryview(b"ok")])
def test_a_body_that_is_like_bytes(serve: Serve, body: Any) -> None:
    assert serve(answering(body)).responses(request())[0].body == b"ok"


# ---- trailers and early hints -------------------------------------------------------------------------


def test_trailers(serve: Serve) -> None:
    trailers = [
        {"type": "http.response.trailers", "headers": [(b"X-One", b"1")], "more_trailers": True},
        {"type": "http.response.trailers", "headers": [(b"x-two", b"2")]},
    ]
    bench = serve(sending(start(trailers=True), part(b"a", True), part(b"b"), *trailers))
    connection = bench.exchange(request("GET", "/", "TE: trailers"), request())
    for response in responses(connection):
        assert (response.body, response.trailers) == (b"ab", [(b"x-one", b"1"), (b"x-two", b"2")])


def test_trailers_cannot_frame_a_message(serve: Serve) -> None:
    """RFC 9110 section 6.5.1."""
    fields = [
        (b"content-length", b"9"),
        (b"Transfer-Encoding", b"chunked"),
        (b"x", b"1"),
        (b"Connection", b"close"),
    ]
    trailers = {"type": "http.response.trailers", "headers": fields}
    (response,) = serve(sending(start(trailers=True), part(b"a"), trailers)).responses(request())
    assert response.trailers == [(b"x", b"1")]


@pytest.mark.parametrize("version", ["1.0", "1.1"])
@pytest.mark.parametrize("length", [True, False])
def test_trailers_are_left_out_where_the_framing_has_none(serve: Serve, version: str, length: bool) -> None:
    head = start(200, [(b"content-length", b"1")] if length else [], trailers=True)
    bench = serve(sending(head, part(b"a"), {"type": "http.response.trailers", "headers": [(b"t", b"1")]}))
    (response,) = bench.responses(request(version=version))
    assert response.body == b"a"
    assert response.trailers == ([(b"t", b"1")] if version == "1.1" and not length else [])


@pytest.mark.parametrize("field", [(b"a b", b"1"), (b"a", b"1\r\nb: 2")])
def test_malformed_trailers_cut_the_response(serve: Serve, field: tuple[bytes, bytes]) -> None:
    bench = serve(
        sending(start(trailers=True), part(b"a"), {"type": "http.response.trailers", "headers": [field]})
    )
    connection = bench.exchange(request())
    assert not responses(connection)[0].complete
    assert connection.ended


def test_a_response_whose_trailers_never_come_is_cut(serve: Serve) -> None:
    connection = serve(sending(start(trailers=True), part(b"a"))).exchange(request())
    assert not responses(connection)[0].complete


def test_early_hints(serve: Serve) -> None:
    hint = {"type": "http.response.early_hint", "links": [b"</a.css>; rel=preload", b"</b.js>; rel=preload"]}
    bench = serve(sending(hint, start(), part(b"ok")))
    (response,) = bench.responses(request())
    assert [(early.status, early.headers) for early in response.interim] == [
        (103, [(b"link", b"</a.css>; rel=preload"), (b"link", b"</b.js>; rel=preload")])
    ]
    assert response.body == b"ok"
    assert bench.responses(request(version="1.0"))[0].interim == []


@pytest.mark.parametrize("links", [["</a.css>"], [b"a\r\nb"]])
def test_malformed_early_hints_are_the_applications_error(serve: Serve, links: list[Any]) -> None:
    hint = {"type": "http.response.early_hint", "links": links}
    assert serve(sending(hint, start(), part())).responses(request())[0].status == 500


# ---- large parts in one turn ---------------------------------------------------------------------------

LARGE_PART = 30_000


@given(
    parts=st.lists(
        st.tuples(st.sampled_from([0, 1, 16384, 16385, 70_000, 300_000]), st.booleans()), max_size=9
    ),
    ending=st.sampled_from(["last part", "empty part", "trailers", "failure"]),
    declared=st.booleans(),
)
def test_parts_go_out_whole_and_in_order(parts: list[tuple[int, bool]], ending: str, declared: bool) -> None:
    """Of any sizes, with or without a turn of the loop in between, and whatever comes after them."""
    bodies = [bytes([65 + number]) * size for number, (size, _) in enumerate(parts)]
    last = b"z" * 20_000 if ending == "last part" else b""
    whole = b"".join(bodies) + last

    async def application(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"content-length", b"%d" % len(whole))] if declared else []
        await send(start(headers=headers, trailers=ending == "trailers"))
        for body, (_, in_turn) in zip(bodies, parts, strict=True):
            await send(part(body, True))
            if not in_turn:
                await asyncio.sleep(0)
        if ending == "failure":
            raise OSError("as applications do")
        await send(part(last))
        if ending == "trailers":
            await send({"type": "http.response.trailers", "headers": [(b"t", b"1")]})

    with closing(Bench(application)) as bench:
        connection = bench.exchange(request(), request())
        if ending == "failure" and parts:
            (response,) = responses(connection)
            assert (response.body, response.complete) == (whole, declared)
        elif ending == "failure":
            assert responses(connection)[0].status == 500
        else:
            for response in responses(connection):
                assert (response.body, response.complete) == (whole, True)
                assert response.trailers == ([(b"t", b"1")] if ending == "trailers" and not declared else [])


def test_large_parts_of_one_turn_are_written_together(serve: Serve) -> None:
    """The first at once, the others when there are four buffers of them or when the turn is over."""
    arrived: list[int] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await send(start(headers=[(b"content-length", b"%d" % (12 * LARGE_PART))]))
        began = len(connection.received)
        for number in range(12):
            await send(part(bytes(LARGE_PART), number < 11))
            arrived.append((len(connection.received) - began) // LARGE_PART)
            if number == 1:
                await asyncio.sleep(0)
                arrived.append((len(connection.received) - began) // LARGE_PART)

    bench = serve(application, write_buffer_size=50_000)
    connection = bench.connect()
    bench.send(connection, request())
    assert arrived == [1, 1, 2, 3, 3, 3, 3, 3, 3, 3, 10, 10, 12]


# ---- back-pressure -----------------------------------------------------------------------------------


def test_send_waits_while_the_client_does_not_read(serve: Serve) -> None:
    told = Told()
    bench = serve(told)
    connection = bench.exchange(request())
    connection.stop_reading()
    send = told.sends[0]
    bench.loop.run(send(start()))
    bench.loop.run(send(part(b"x" * 60_000, True)))
    pending = bench.loop.create_task(send(part(b"x" * 60_000, True)))
    bench.loop.settle()
    assert not pending.done()
    connection.take(100_000)
    bench.loop.settle()
    assert not pending.done()
    connection.take(10_000)
    bench.loop.settle()
    assert pending.done()
    connection.resume_reading()
    bench.loop.run(send(part()))
    told.finish()
    assert len(responses(connection)[0].body) == 120_000


def test_write_buffer_size_is_the_mark(serve: Serve) -> None:
    told = Told()
    bench = serve(told, write_buffer_size=200_000)
    connection = bench.exchange(request())
    connection.stop_reading()
    bench.loop.run(told.sends[0](start()))
    bench.loop.run(told.sends[0](part(b"x" * 190_000, True)))
    pending = bench.loop.create_task(told.sends[0](part(b"x" * 20_000, True)))
    bench.loop.settle()
    assert not pending.done()
    connection.reset()
    bench.loop.settle()
    assert isinstance(pending.exception(), OSError)
    told.finish()


def test_a_sender_that_waits_hears_that_the_client_has_left(serve: Serve) -> None:
    told = Told()
    bench = serve(told)
    connection = bench.exchange(request())
    connection.stop_reading()
    bench.loop.run(told.sends[0](start()))
    pending = bench.loop.create_task(told.sends[0](part(b"x" * 100_000, True)))
    bench.loop.settle()
    connection.reset()
    bench.loop.settle()
    assert isinstance(pending.exception(), OSError)
    told.finish(0, OSError("as applications do"))


def test_pipelined_requests_wait_behind_a_client_that_does_not_read(serve: Serve) -> None:
    bench = serve(answering(b"x" * 50_000))
    connection = bench.connect()
    connection.stop_reading()
    bench.send(connection, request() * 100)
    held = connection.server.get_write_buffer_size()
    assert held < 300_000, "answers pile up in memory"
    connection.resume_reading()
    bench.loop.settle()
    assert len(responses(connection)) == 100
