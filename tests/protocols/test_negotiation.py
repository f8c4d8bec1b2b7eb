"""daphne.protocols.negotiation: the WebSocket handshake and its refusals, as the client sees them."""

from __future__ import annotations

import pytest

from tests.protocols.bench import Event, Told, request, responses, sending
from tests.protocols.open_socket import ACCEPT, Open, Serve, answer, opening

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
        ([b"a, b"], ("b",), "", b"b"),
        ([b"a, b"], (), "", None),
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
        assert response.header(b"connection") == b"upgrade, close"
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
