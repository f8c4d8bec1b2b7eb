"""daphne.protocols.websocket and negotiation: a WebSocket from its handshake to its close, as its client sees
it."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

import pytest

from daphne.testing import MemoryConnection
from daphne.testing.frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    Frame,
    client_frame,
    close_frame,
)
from daphne.testing.sockets import handshake
from tests.protocols.bench import Bench, Event, Told, request, responses, sending
from tests.protocols.test_websocket_frames import sent_frames

Serve = Callable[..., Bench]
ACCEPT: Event = {"type": "websocket.accept"}
MEGABYTE = b"x" * 1_000_000


def opening(*fields: tuple[bytes, bytes], target: str = "/") -> bytes:
    return handshake(target, list(fields))


def answer(connection: MemoryConnection) -> Any:
    """The answer to the handshake."""
    return responses_and_rest(connection)[0]


def responses_and_rest(connection: MemoryConnection) -> tuple[Any, bytes]:
    head, _, rest = bytes(connection.received).partition(b"\r\n\r\n")
    copy = MemoryConnection.__new__(MemoryConnection)
    copy.received, copy.at_end, copy.was_reset = bytearray(head + b"\r\n\r\n"), False, False
    return responses(copy)[0], rest


class Open:
    """A server with an application that the test drives, and one client with an open WebSocket."""

    def __init__(
        self, serve: Serve, *fields: tuple[bytes, bytes], accept: Event = ACCEPT, **settings: Any
    ) -> None:
        self.told = Told()
        self.bench = serve(self.told, **settings)
        self.loop = self.bench.loop
        self.connection = self.bench.exchange(opening(*fields))
        assert self.receive() == {"type": "websocket.connect"}
        self.send(accept)
        self.head = answer(self.connection)
        assert self.head.status == 101

    def receive(self) -> Event:
        return self.loop.run(self.told.receives[0]())  # type: ignore[no-any-return]

    def send(self, event: Event) -> None:
        self.loop.run(self.told.sends[0](event))

    def write(self, *pieces: bytes) -> None:
        self.bench.send(self.connection, *pieces)

    def read(self) -> list[Frame]:
        """The frames that have arrived since the last look."""
        self.loop.settle()
        frames = sent_frames(bytes(self.connection.received))
        del self.connection.received[self.connection.received.index(b"\r\n\r\n") + 4 :]
        return frames

    def finish(self) -> None:
        self.told.finish()
        self.loop.settle()

    @property
    def actions(self) -> list[str]:
        return [action for _, action, _ in self.bench.actions]


# ---- the handshake -------------------------------------------------------------------------------------


def test_the_answer_to_a_handshake(serve: Serve) -> None:
    socket = Open(serve)
    head = socket.head
    assert head.header(b"sec-websocket-accept") == b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="  # RFC 6455 section 1.3
    assert head.header(b"upgrade").lower() == b"websocket"
    assert head.header(b"connection").lower() == b"upgrade"
    assert head.header(b"server") == b"daphne"
    assert head.header(b"sec-websocket-protocol") is None
    assert head.header(b"sec-websocket-extensions") is None
    socket.connection.reset()
    socket.finish()
    assert socket.actions == ["connecting", "connected", "disconnected"]


@pytest.mark.parametrize(
    ("offered", "own", "chosen", "expected"),
    [
        ([b"a, b", b"c"], (), "c", b"c"),
        ([b"a, b"], (), None, None),
        ([b"a, b"], ("b", "a"), None, b"a"),
        ([b"a, b"], ("x",), None, None),
        ([b"a, b"], ("a",), "b", b"b"),
        ([], ("a",), None, None),
    ],
)
def test_the_subprotocol(
    serve: Serve, offered: list[bytes], own: tuple[str, ...], chosen: str | None, expected: bytes | None
) -> None:
    fields = [(b"Sec-WebSocket-Protocol", value) for value in offered]
    socket = Open(serve, *fields, accept={**ACCEPT, "subprotocol": chosen}, ws_protocols=own)
    assert socket.told.scopes[0]["subprotocols"] == [
        x.strip() for value in offered for x in value.decode().split(",")
    ]
    assert socket.head.header(b"sec-websocket-protocol") == expected
    socket.connection.reset()
    socket.finish()


def test_headers_of_the_accept(serve: Serve) -> None:
    headers = [
        (b"Set-Cookie", b"a=1"),
        (b"set-cookie", b"b=2"),
        (b"Server", b"mine"),
        (b"Transfer-Encoding", b"chunked"),
        (b"Connection", b"close"),
        (b"Upgrade", b"h2c"),
        (b"Content-Length", b"no number"),
    ]
    socket = Open(serve, accept={**ACCEPT, "headers": headers})
    head = socket.head
    assert [value for name, value in head.headers if name == b"set-cookie"] == [b"a=1", b"b=2"]
    assert head.header(b"server") == b"mine"
    assert head.header(b"transfer-encoding") is None and head.header(b"content-length") is None
    assert head.header(b"connection").lower() == b"upgrade"
    socket.connection.reset()
    socket.finish()


@pytest.mark.parametrize(
    "accept",
    [
        {**ACCEPT, "subprotocol": "not-offered"},
        {**ACCEPT, "headers": [(b"x", b"a\r\nb: c")]},
        {**ACCEPT, "headers": [("x", "y")]},
        {**ACCEPT, "headers": [(b"sec-websocket-protocol", b"x")]},
        {**ACCEPT, "headers": [(b"Sec-WebSocket-Accept", b"x")]},
        {"type": "websocket.send", "text": "too early"},
        {"type": "websocket.http.response.body", "body": b""},
        {"type": "http.response.start", "status": 200},
    ],
)
def test_an_accept_that_is_not_allowed_is_a_500(serve: Serve, accept: Event) -> None:
    bench = serve(sending(accept))
    connection = bench.exchange(opening(), request())
    assert responses(connection)[0].status == 500
    assert [action for _, action, _ in bench.actions][:3] == ["connecting", "rejected", "disconnected"]


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (opening((b"sec-websocket-version", b"8")), 426),
        (opening((b"sec-websocket-version", b"7")), 426),
        (opening((b"sec-websocket-version", b"13, 8")), 426),
        (opening((b"sec-websocket-version", b"")), 426),
        (opening().replace(b"sec-websocket-version", b"x-websocket-version"), 400),
        (opening((b"Sec-WebSocket-Version", b"13"), (b"sec-websocket-version", b"13")), 400),
        (opening((b"sec-websocket-key", b"")), 400),
        (opening((b"sec-websocket-key", b"c2hvcnQ=")), 400),
        (opening((b"sec-websocket-key", b"!!!!")), 400),
        (opening((b"sec-websocket-key", b"\xff" * 24)), 400),
        (
            opening(
                (b"Sec-WebSocket-Key", b"dGhlIHNhbXBsZSBub25jZQ=="),
                (b"sec-websocket-key", b"dGhlIHNhbXBsZSBub25jZQ=="),
            ),
            400,
        ),
        (opening((b"connection", b"keep-alive")), 400),
        (opening((b"origin", b"http://a"), (b"Origin", b"http://b")), 400),
        (opening((b"content-length", b"5")), 400),
        (opening((b"transfer-encoding", b"chunked")), 400),
        (opening((b"sec-websocket-protocol", b"a, a")), 400),
        (opening((b"sec-websocket-protocol", b"a, ,b")), 400),
        (opening((b"sec-websocket-protocol", b"a\xe9")), 400),
        (opening().replace(b"GET", b"POST"), 405),
    ],
)
def test_handshakes_that_are_refused(serve: Serve, sent: bytes, status: int) -> None:
    told = Told()
    connection = serve(told).exchange(sent, request("GET", "/next"))
    (response,) = responses(connection)
    assert response.status == status
    assert not told.scopes
    if status == 426:
        assert response.header(b"sec-websocket-version") == b"13"
        assert b"upgrade" in (response.header(b"connection") or b"")
    if status == 405:
        assert response.header(b"allow") == b"GET"


@pytest.mark.parametrize(
    "field",
    [
        (b"connection", b"keep-alive, Upgrade"),
        (b"upgrade", b"WebSocket"),
        (b"upgrade", b"h2c, websocket"),
        (b"content-length", b"0"),
        (b"origin", b"null"),
    ],
)
def test_handshakes_that_are_allowed(serve: Serve, field: tuple[bytes, bytes]) -> None:
    socket = Open(serve, field)
    socket.connection.reset()
    socket.finish()


def test_http_1_0_knows_no_upgrade(serve: Serve) -> None:
    """RFC 9110 section 7.8: the field must be ignored there."""
    told = Told()
    bench = serve(told)
    bench.exchange(opening().replace(b"HTTP/1.1", b"HTTP/1.0"))
    assert told.scopes[0]["type"] == "http"
    told.finish()


@pytest.mark.parametrize("upgrade", [b"h2c", b"TLS/1.3", b"websockets"])
def test_other_upgrades_are_plain_requests(serve: Serve, upgrade: bytes) -> None:
    told = Told()
    bench = serve(told)
    connection = bench.exchange(opening((b"upgrade", upgrade)))
    assert told.scopes[0]["type"] == "http"
    told.finish()
    bench.loop.settle()
    assert responses(connection)[0].status == 500


# ---- refusals by the application ----------------------------------------------------------------------


def test_a_close_before_the_accept_is_a_403_on_a_connection_that_stays(serve: Serve) -> None:
    bench = serve(sending({"type": "websocket.close", "code": 4000}))
    connection = bench.connect()
    for sent in (opening(), opening(), request()):
        bench.send(connection, sent)
    found = responses(connection)
    assert [response.status for response in found] == [403, 403, 500]
    assert b"Access denied" in found[0].body
    assert not connection.ended
    assert [action for _, action, _ in bench.actions][:3] == ["connecting", "rejected", "disconnected"]


def test_the_application_hears_that_the_refused_socket_is_gone(serve: Serve) -> None:
    told = Told()
    bench = serve(told)
    connection = bench.exchange(opening())
    receive, send = told.receives[0], told.sends[0]
    assert bench.loop.run(receive())["type"] == "websocket.connect"
    bench.loop.run(send({"type": "websocket.close"}))
    assert bench.loop.run(receive()) == {"type": "websocket.disconnect", "code": 1006, "reason": ""}
    with pytest.raises(OSError):
        bench.loop.run(send(ACCEPT))
    told.finish()
    assert len(responses(connection)) == 1


@pytest.mark.parametrize("length", [True, False])
def test_a_denial_response(serve: Serve, length: bool) -> None:
    headers = [(b"X-Why", b"because")] + ([(b"content-length", b"6")] if length else [])
    bench = serve(
        sending(
            {"type": "websocket.http.response.start", "status": 401, "headers": headers},
            {"type": "websocket.http.response.body", "body": b"not", "more_body": True},
            {"type": "websocket.http.response.body", "body": b"now"},
        )
    )
    connection = bench.connect()
    bench.send(connection, opening())
    bench.send(connection, opening())
    assert len(responses(connection)) == 2
    for response in responses(connection):
        assert (response.status, response.body, response.header(b"x-why")) == (401, b"notnow", b"because")
    assert not connection.ended


@pytest.mark.parametrize(
    "events",
    [
        [{"type": "websocket.http.response.start", "status": 101}],
        [{"type": "websocket.http.response.start", "status": 401}, ACCEPT],
        [{"type": "websocket.http.response.start", "status": 401}],
        [
            {"type": "websocket.http.response.start", "status": 401, "headers": [(b"content-length", b"2")]},
            {"type": "websocket.http.response.body", "body": b"abc"},
        ],
    ],
)
def test_a_denial_that_is_not_allowed_is_a_500(serve: Serve, events: list[Event]) -> None:
    assert serve(sending(*events)).responses(opening())[0].status == 500


def test_a_denial_that_is_not_finished_is_cut(serve: Serve) -> None:
    bench = serve(
        sending(
            {"type": "websocket.http.response.start", "status": 401},
            {"type": "websocket.http.response.body", "body": b"part", "more_body": True},
        )
    )
    connection = bench.exchange(opening())
    assert connection.ended
    assert not responses(connection)[0].complete


@pytest.mark.parametrize("problem", [None, LookupError("secret")])
def test_an_application_that_ends_before_its_answer_is_a_500(serve: Serve, problem: Exception | None) -> None:
    told = Told()
    bench = serve(told)
    connection = bench.exchange(opening())
    told.finish(0, problem)
    bench.loop.settle()
    assert responses(connection)[0].status == 500
    assert b"secret" not in connection.received


@pytest.mark.parametrize("how", ["reset", "send_eof", "close"])
def test_a_client_that_leaves_during_the_handshake(serve: Serve, how: str) -> None:
    told = Told()
    bench = serve(told)
    connection = bench.exchange(opening())
    getattr(connection, how)()
    bench.loop.settle()
    receive = told.receives[0]
    assert bench.loop.run(receive())["type"] == "websocket.connect"
    assert bench.loop.run(receive()) == {"type": "websocket.disconnect", "code": 1006, "reason": ""}
    with pytest.raises(OSError):
        bench.loop.run(told.sends[0](ACCEPT))
    told.finish()
    bench.loop.settle()
    assert not bench.server.service.site.connections
    assert connection.ended or how == "reset"
    assert [action for _, action, _ in bench.actions] == ["connecting", "disconnected"]


@pytest.mark.parametrize(
    "settings", [{}, {"websocket_connect_timeout": 2}, {"websocket_handshake_timeout": 2}]
)
def test_an_application_that_does_not_answer_in_time(serve: Serve, settings: dict[str, float]) -> None:
    told = Told()
    bench = serve(told, **settings)
    connection = bench.exchange(opening())
    seconds = min([5, *settings.values()])
    bench.loop.advance(seconds - 0.05)
    assert not connection.received
    bench.loop.advance(0.1)
    assert responses(connection)[0].status == 403
    assert not connection.ended
    told.finish()


@pytest.mark.parametrize("off", [-1, 0])
def test_a_connect_timeout_that_is_off(serve: Serve, off: int) -> None:
    told = Told()
    bench = serve(told, websocket_connect_timeout=off, websocket_handshake_timeout=off)
    connection = bench.exchange(opening())
    bench.loop.advance(1_000_000)
    bench.loop.run(told.sends[0](ACCEPT))
    assert answer(connection).status == 101
    connection.reset()
    told.finish()


# ---- messages -----------------------------------------------------------------------------------------


def test_messages_both_ways(serve: Serve) -> None:
    socket = Open(serve)
    socket.write(
        client_frame(TEXT, "h\u00e9".encode()), client_frame(BINARY, b"\xff"), client_frame(TEXT, b"")
    )
    assert [socket.receive() for _ in range(3)] == [
        {"type": "websocket.receive", "text": "h\u00e9"},
        {"type": "websocket.receive", "bytes": b"\xff"},
        {"type": "websocket.receive", "text": ""},
    ]
    for event, frame in [
        ({"text": "h\u00e9"}, Frame(TEXT, "h\u00e9".encode())),
        ({"bytes": b"\xff", "text": None}, Frame(BINARY, b"\xff")),
        ({"text": ""}, Frame(TEXT, b"")),
        ({"bytes": b""}, Frame(BINARY, b"")),
        ({"bytes": bytearray(b"like bytes")}, Frame(BINARY, b"like bytes")),
        *[({"bytes": b"x" * size}, Frame(BINARY, b"x" * size)) for size in (125, 126, 65535, 65536, 300_000)],
    ]:
        socket.send({"type": "websocket.send", **event})
        assert socket.read() == [frame]
    socket.connection.reset()
    socket.finish()


@pytest.mark.parametrize(
    "event",
    [
        {"type": "websocket.send"},
        {"type": "websocket.send", "text": "a", "bytes": b"b"},
        {"type": "websocket.send", "text": b"bytes"},
        {"type": "websocket.send", "bytes": "text"},
        {"type": "websocket.accept"},
        {"type": "websocket.http.response.start", "status": 200},
        {"type": "websocket.close", "code": 1005},
        {"type": "websocket.close", "code": 1006},
        {"type": "websocket.close", "code": 999},
        {"type": "websocket.close", "code": 5000},
        {"type": "websocket.close", "code": "1000"},
        {"type": "websocket.close", "reason": 5},
        {"type": "nonsense"},
    ],
)
def test_events_that_are_not_allowed_are_the_applications_error(serve: Serve, event: Event) -> None:
    socket = Open(serve)
    with pytest.raises(ValueError):
        socket.send(event)
    assert socket.read() == []
    socket.send({"type": "websocket.send", "text": "still open"})
    assert len(socket.read()) == 1
    socket.told.finish(0, ValueError("as applications do"))
    socket.loop.settle()
    assert socket.read()[0].close_code == 1011


def test_early_frames_are_kept(serve: Serve) -> None:
    told = Told()
    bench = serve(told)
    connection = bench.exchange(opening() + client_frame(TEXT, b"one"), client_frame(TEXT, b"two")[:4])
    bench.loop.run(told.receives[0]())
    bench.loop.run(told.sends[0](ACCEPT))
    bench.send(connection, client_frame(TEXT, b"two")[4:])
    assert [bench.loop.run(told.receives[0]())["text"] for _ in range(2)] == ["one", "two"]
    connection.reset()
    told.finish()


def test_early_frames_are_kept_within_a_bound(serve: Serve) -> None:
    told = Told()
    bench = serve(told)
    connection = bench.exchange(opening(), *[client_frame(BINARY, b"x" * 50_000)] * 20)
    assert not connection.server.is_reading()
    bench.loop.run(told.sends[0](ACCEPT))
    bench.loop.run(told.receives[0]())
    for _ in range(20):
        assert len(bench.loop.run(told.receives[0]())["bytes"]) == 50_000
    connection.reset()
    told.finish()


def test_early_frames_after_a_refusal_are_never_a_request(serve: Serve) -> None:
    told = Told()
    bench = serve(told)
    connection = bench.exchange(opening() + client_frame(TEXT, b"hello"))
    bench.loop.run(told.sends[0]({"type": "websocket.close"}))
    told.finish()
    bench.loop.settle()
    assert [response.status for response in responses(connection)] == [403]
    assert connection.ended


# ---- back-pressure --------------------------------------------------------------------------------------


def test_reading_pauses_while_the_application_does_not_take_messages(serve: Serve) -> None:
    socket = Open(serve, websocket_max_queue=65536)
    frame = client_frame(BINARY, b"x" * 10_000)
    for _ in range(30):
        socket.write(frame)
    assert not socket.connection.server.is_reading()
    for _ in range(30):
        assert len(socket.receive()["bytes"]) == 10_000
        socket.loop.settle()
    assert socket.connection.server.is_reading()
    socket.connection.reset()
    socket.finish()


def test_a_flood_of_tiny_messages_is_bounded_too(serve: Serve) -> None:
    socket = Open(serve, websocket_max_queue=65536)
    flood = client_frame(TEXT, b"") * 40_000
    for _ in range(10):
        socket.write(flood)
    assert not socket.connection.server.is_reading()
    socket.connection.reset()
    socket.finish()


def test_send_waits_while_the_client_does_not_read(serve: Serve) -> None:
    socket = Open(serve)
    socket.connection.stop_reading()
    socket.send({"type": "websocket.send", "bytes": b"x" * 60_000})
    pending = socket.loop.create_task(
        socket.told.sends[0]({"type": "websocket.send", "bytes": b"x" * 60_000})
    )
    socket.loop.settle()
    assert not pending.done()
    socket.connection.resume_reading()
    socket.loop.settle()
    assert pending.done()
    assert len(socket.read()) == 2
    socket.connection.reset()
    socket.finish()


def test_pings_do_not_pile_up_pongs_for_a_client_that_does_not_read(serve: Serve) -> None:
    socket = Open(serve)
    socket.connection.stop_reading()
    for _ in range(20):
        socket.write(client_frame(PING, b"x" * 125) * 1000)
    assert socket.connection.server.get_write_buffer_size() < 200_000
    socket.connection.reset()
    socket.finish()


def test_a_client_that_does_not_read_at_all_is_cut_off(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    socket = Open(serve, min_response_rate=1000, rate_grace=5)
    socket.connection.stop_reading()
    pending = socket.loop.create_task(socket.told.sends[0]({"type": "websocket.send", "bytes": MEGABYTE}))
    socket.loop.advance(70.4)
    assert not pending.done()
    socket.loop.advance(0.3)
    assert isinstance(pending.exception(), OSError)
    assert socket.connection.was_reset
    assert "--min-response-rate" in caplog.text
    socket.finish()


# ---- closing ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("event", "code", "reason"),
    [
        ({}, 1000, ""),
        ({"code": None, "reason": None}, 1000, ""),
        ({"code": 1001}, 1001, ""),
        ({"code": 3000, "reason": "bye"}, 3000, "bye"),
        ({"code": 4999, "reason": "é" * 100}, 4999, "é" * 61),
    ],
)
def test_the_application_closes(serve: Serve, event: Event, code: int, reason: str) -> None:
    socket = Open(serve)
    socket.send({"type": "websocket.close", **event})
    (frame,) = socket.read()
    assert (frame.opcode, frame.close_code, frame.close_reason) == (CLOSE, code, reason)
    with pytest.raises((OSError, ValueError)):
        socket.send({"type": "websocket.send", "text": "late"})
    socket.write(client_frame(TEXT, b"crossing"), close_frame(code))
    assert socket.connection.at_end
    assert socket.receive() == {"type": "websocket.disconnect", "code": code, "reason": ""}
    assert socket.actions == ["connecting", "connected", "disconnected"]
    socket.finish()


def test_the_client_closes(serve: Serve) -> None:
    socket = Open(serve)
    socket.write(
        client_frame(TEXT, b"last words") + close_frame(4000, b"bye") + client_frame(TEXT, b"too late")
    )
    (frame,) = socket.read()
    assert (frame.close_code, frame.close_reason) == (4000, "bye")
    assert socket.connection.at_end and not socket.connection.was_reset
    assert socket.receive() == {"type": "websocket.receive", "text": "last words"}
    for _ in range(2):
        assert socket.receive() == {"type": "websocket.disconnect", "code": 4000, "reason": "bye"}
    with pytest.raises(OSError):
        socket.send({"type": "websocket.send", "text": "anyone?"})
    with pytest.raises(OSError):
        socket.send({"type": "websocket.close"})
    socket.finish()


@pytest.mark.parametrize("how", ["reset", "send_eof", "close"])
def test_a_client_that_just_goes(serve: Serve, how: str) -> None:
    socket = Open(serve)
    getattr(socket.connection, how)()
    socket.loop.settle()
    assert socket.receive() == {"type": "websocket.disconnect", "code": 1006, "reason": ""}
    assert not socket.bench.server.service.site.connections
    socket.finish()


@pytest.mark.parametrize(("problem", "code"), [(None, 1000), (LookupError("secret"), 1011)])
def test_the_socket_closes_when_the_application_ends(
    serve: Serve, problem: Exception | None, code: int
) -> None:
    socket = Open(serve)
    socket.told.finish(0, problem)
    (frame,) = socket.read()
    assert (frame.close_code, frame.close_reason) == (code, "")
    socket.write(close_frame(code))
    assert socket.connection.at_end


def test_a_close_that_is_not_answered(serve: Serve) -> None:
    socket = Open(serve, websocket_handshake_timeout=3)
    socket.send({"type": "websocket.close"})
    socket.loop.advance(2.9)
    assert not socket.connection.ended
    socket.loop.advance(0.2)
    assert socket.connection.was_reset
    assert socket.receive()["code"] == 1006
    socket.finish()


def test_a_close_answered_to_a_client_that_does_not_read(serve: Serve) -> None:
    socket = Open(serve, ping_interval=0)
    socket.connection.stop_reading()
    socket.send({"type": "websocket.send", "bytes": b"x" * 1000})
    socket.write(close_frame())
    socket.loop.advance(60.1)
    assert socket.connection.was_reset
    assert socket.told.cancelled == 1


def test_a_client_that_goes_without_reading_what_is_left(serve: Serve) -> None:
    socket = Open(serve, ping_interval=0)
    socket.connection.stop_reading()
    socket.send({"type": "websocket.send", "bytes": b"x" * 1000})
    socket.connection.send_eof()
    socket.loop.advance(60.1)
    assert socket.connection.was_reset
    assert socket.receive()["code"] == 1006
    socket.finish()


def test_after_a_violation_the_client_may_still_read_why(serve: Serve) -> None:
    socket = Open(serve)
    socket.write(client_frame(3, b""))
    assert socket.connection.at_end and not socket.connection.was_reset
    assert socket.read()[0].close_code == 1002
    assert socket.receive()["code"] == 1006
    socket.write(b"x" * 100_000)
    socket.loop.advance(1.9)
    assert not socket.connection.was_reset
    socket.loop.advance(0.2)
    assert socket.connection.was_reset
    socket.finish()


# ---- time --------------------------------------------------------------------------------------------


def test_a_ping_after_the_interval_and_the_end_without_an_answer(serve: Serve) -> None:
    socket = Open(serve, ping_interval=20, ping_timeout=30)
    socket.loop.advance(19.95)
    assert socket.read() == []
    socket.loop.advance(0.1)
    assert [frame.opcode for frame in socket.read()] == [PING]
    socket.loop.advance(29.85)
    assert not socket.connection.ended
    assert socket.read() == []
    socket.loop.advance(0.1)
    assert socket.connection.was_reset
    assert socket.receive()["code"] == 1006
    socket.finish()


@pytest.mark.parametrize(
    "life", [client_frame(PONG, b""), client_frame(TEXT, b"hi"), client_frame(PING), b"\x81"]
)
@pytest.mark.parametrize("after", [0.0, 0.05, 9.9])
def test_any_byte_counts_as_life(serve: Serve, life: bytes, after: float) -> None:
    socket = Open(serve, ping_interval=20, ping_timeout=10)
    for _ in range(5):
        socket.loop.advance(20.01)
        assert PING in [frame.opcode for frame in socket.read()]
        socket.loop.advance(after)
        socket.write(life)
        life = life if life != b"\x81" else b"\x80\x00\x00\x00\x00\x81"
    assert not socket.connection.ended
    socket.connection.reset()
    socket.finish()


def test_a_ping_that_a_full_connection_delayed_is_sent_anew(serve: Serve) -> None:
    """Its answer waits behind what the client has not read yet, so that silence proves nothing."""
    socket = Open(serve, ping_interval=20, ping_timeout=30)
    socket.loop.advance(20)
    assert [frame.opcode for frame in socket.read()] == [PING]
    socket.connection.stop_reading()
    sending = socket.loop.create_task(socket.told.sends[0]({"type": "websocket.send", "bytes": MEGABYTE}))
    socket.loop.advance(20)
    socket.connection.resume_reading()
    socket.loop.advance(20.1)
    assert sending.done() and not socket.connection.ended
    assert [frame.opcode for frame in socket.read()] == [BINARY, PING]
    socket.loop.advance(30)
    assert socket.connection.was_reset
    socket.finish()


def test_a_client_that_talks_is_not_pinged(serve: Serve) -> None:
    socket = Open(serve, ping_interval=20)
    for _ in range(20):
        socket.loop.advance(19)
        socket.write(client_frame(TEXT, b"hi"))
        socket.receive()
    assert socket.read() == []
    socket.loop.advance(20.1)
    assert len(socket.read()) == 1
    socket.connection.reset()
    socket.finish()


@pytest.mark.parametrize(
    ("settings", "pings"), [({"ping_interval": 0}, 0), ({"ping_interval": 10, "ping_timeout": 0}, 10)]
)
def test_pings_and_their_timeout_can_be_off(serve: Serve, settings: dict[str, float], pings: int) -> None:
    socket = Open(serve, **settings)
    socket.loop.advance(105)
    assert not socket.connection.ended
    assert len(socket.read()) == pings
    socket.connection.reset()
    socket.finish()


@pytest.mark.parametrize("seconds", [86400, 7])
def test_the_lifetime_of_a_socket(serve: Serve, seconds: float, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    socket = Open(serve, websocket_timeout=seconds, ping_interval=0)
    socket.loop.advance(seconds - 0.05)
    assert socket.read() == []
    socket.loop.advance(0.1)
    assert socket.read()[0].close_code == 1000
    assert "websocket_timeout" in caplog.text
    socket.write(close_frame())
    socket.finish()


@pytest.mark.parametrize("off", [0, -1])
def test_a_lifetime_that_is_off(serve: Serve, off: int) -> None:
    socket = Open(serve, websocket_timeout=off, ping_interval=0)
    socket.loop.advance(10_000_000)
    assert socket.read() == []
    socket.connection.reset()
    socket.finish()


def test_the_connection_has_no_deadline_of_http_once_it_is_a_socket(serve: Serve) -> None:
    socket = Open(serve, ping_interval=0, keep_alive_timeout=5, request_head_timeout=5)
    socket.loop.advance(1000)
    assert not socket.connection.ended
    socket.connection.reset()
    socket.finish()


# ---- compression -------------------------------------------------------------------------------------

DEFLATE = (b"sec-websocket-extensions", b"permessage-deflate; client_max_window_bits")


def compressed(data: bytes) -> bytes:
    """`data` as RFC 7692 section 7.2.1 compresses it."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    return (deflate.compress(data) + deflate.flush(zlib.Z_SYNC_FLUSH))[:-4]


def test_compression_is_off_unless_switched_on(serve: Serve) -> None:
    socket = Open(serve, DEFLATE)
    assert socket.head.header(b"sec-websocket-extensions") is None
    socket.write(client_frame(TEXT, compressed(b"hi"), reserved=4))
    assert socket.read()[0].close_code == 1002
    socket.connection.reset()
    socket.finish()


def test_compression_both_ways(serve: Serve) -> None:
    socket = Open(serve, DEFLATE, ws_per_message_deflate=True)
    agreed = socket.head.header(b"sec-websocket-extensions")
    assert agreed.startswith(b"permessage-deflate") and b"client_no_context_takeover" in agreed
    for _ in range(3):
        socket.write(client_frame(TEXT, compressed(b"hello " * 100), reserved=4))
        assert socket.receive()["text"] == "hello " * 100
        socket.write(client_frame(TEXT, b"plain"))
        assert socket.receive()["text"] == "plain"
        data = compressed(b"ab" * 1000)
        socket.write(
            client_frame(BINARY, data[:5], reserved=4, final=False) + client_frame(CONTINUATION, data[5:])
        )
        assert socket.receive()["bytes"] == b"ab" * 1000
        socket.send({"type": "websocket.send", "text": "hello " * 1000})
        (frame,) = socket.read()
        assert (frame.reserved, frame.opcode) == (4, TEXT)
        assert len(frame.payload) < 200
        assert zlib.decompressobj(-15).decompress(frame.payload + b"\x00\x00\xff\xff") == b"hello " * 1000
    socket.connection.reset()
    socket.finish()


@pytest.mark.parametrize(
    "offer",
    [
        b"permessage-deflate; nonsense=1",
        b"x-unknown",
        b"permessage-deflate; client_max_window_bits=99",
        b";;,,=",
        b'"',
    ],
)
def test_offers_that_make_no_sense_are_passed_over(serve: Serve, offer: bytes) -> None:
    socket = Open(serve, (b"sec-websocket-extensions", offer), ws_per_message_deflate=True)
    assert socket.head.header(b"sec-websocket-extensions") is None
    socket.connection.reset()
    socket.finish()


def test_a_decompression_bomb(serve: Serve) -> None:
    import tracemalloc

    socket = Open(serve, DEFLATE, ws_per_message_deflate=True)
    bomb = compressed(b"\x00" * 100_000_000)
    assert len(bomb) < 1_048_576
    frame = client_frame(BINARY, bomb, reserved=4, mask=b"\x00\x00\x00\x00")
    tracemalloc.start()
    socket.write(frame)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert socket.read()[0].close_code == 1009
    assert peak < 20_000_000
    socket.connection.reset()
    socket.finish()


def test_garbage_in_a_compressed_message(serve: Serve) -> None:
    socket = Open(serve, DEFLATE, ws_per_message_deflate=True)
    socket.write(client_frame(BINARY, b"\xff" * 50, reserved=4))
    assert socket.read()[0].close_code in (1002, 1007)
    socket.connection.reset()
    socket.finish()
