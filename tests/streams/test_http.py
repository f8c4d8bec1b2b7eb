"""daphne.streams.http: every state of an exchange against everything that can happen in it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h2.settings
import pytest

from daphne.errors import ApplicationError, ClientDisconnected
from tests.protocols.bench import Bench, Driven, Event, Told, request, responses, sending
from tests.protocols.http2_client import Client

START: Event = {"type": "http.response.start", "status": 200}
BODY: Event = {"type": "http.response.body", "body": b"x"}
MORE: Event = {**BODY, "more_body": True}
TRAILERS: Event = {"type": "http.response.trailers", "headers": [(b"t", b"1")]}
MORE_TRAILERS: Event = {**TRAILERS, "more_trailers": True}
HINT: Event = {"type": "http.response.early_hint", "links": [b"</a>"]}
FILE: Event = {"type": "http.response.pathsend", "path": __file__}
SOCKET: Event = {"type": "websocket.accept"}
UNKNOWN: Event = {"type": "http.response.nonsense"}

STATES: dict[str, list[Event]] = {
    "waiting": [],
    "hinted": [HINT],
    "started": [START],
    "sending": [START, MORE],
    "started with trailers": [{**START, "trailers": True}],
    "sending with trailers": [{**START, "trailers": True}, MORE],
    "trailing": [{**START, "trailers": True}, BODY],
    "trailing on": [{**START, "trailers": True}, BODY, MORE_TRAILERS],
    "done": [START, BODY],
    "done by file": [START, FILE],
    "done by trailers": [{**START, "trailers": True}, BODY, TRAILERS],
}
INPUTS: dict[str, Event] = {
    "start": START,
    "body": BODY,
    "more": MORE,
    "trailers": TRAILERS,
    "hint": HINT,
    "file": FILE,
    "socket": SOCKET,
    "unknown": UNKNOWN,
}
ALLOWED = {
    ("waiting", "start"),
    ("waiting", "hint"),
    ("hinted", "start"),
    ("hinted", "hint"),
    *[(state, input) for state in ("started", "started with trailers") for input in ("body", "more", "file")],
    *[(state, input) for state in ("sending", "sending with trailers") for input in ("body", "more")],
    ("trailing", "trailers"),
    ("trailing on", "trailers"),
}
COMPLETE = {"done", "done by file", "done by trailers"}
BEGUN = {"sending", "sending with trailers", "trailing", "trailing on"}

Serve = Callable[..., Bench]


class Exchange(Driven):
    """One request in a given state."""

    def __init__(self, serve: Serve, state: str = "waiting", sent: bytes = b"") -> None:
        super().__init__(serve, sent or request())
        for event in STATES[state]:
            self.send(event)


@pytest.mark.parametrize("input", INPUTS)
@pytest.mark.parametrize("state", STATES)
def test_every_event_in_every_state(serve: Serve, state: str, input: str) -> None:
    exchange = Exchange(serve, state)
    before = bytes(exchange.connection.received)
    if (state, input) in ALLOWED:
        exchange.send(INPUTS[input])
    else:
        with pytest.raises(ApplicationError, match="Unexpected event"):
            exchange.send(INPUTS[input])
        assert exchange.connection.received == before, "something of a wrong event has been written"
    exchange.finish()


@pytest.mark.parametrize("input", INPUTS)
@pytest.mark.parametrize("state", STATES)
def test_every_event_after_the_client_has_gone(serve: Serve, state: str, input: str) -> None:
    exchange = Exchange(serve, state)
    exchange.connection.reset()
    exchange.loop.settle()
    # A complete response is the connection's no longer: what follows is an error of the application.
    expected = ApplicationError if state in COMPLETE else ClientDisconnected
    with pytest.raises(expected):
        exchange.send(INPUTS[input])
    assert exchange.receive()["type"] in ("http.request", "http.disconnect")
    exchange.finish()


@pytest.mark.parametrize("problem", [None, LookupError("secret")])
@pytest.mark.parametrize("state", STATES)
def test_the_end_of_the_application_in_every_state(
    serve: Serve, state: str, problem: Exception | None, caplog: pytest.LogCaptureFixture
) -> None:
    exchange = Exchange(serve, state)
    exchange.finish(problem)
    connection = exchange.connection
    (response,) = responses(connection)
    if state in COMPLETE:
        assert (response.status, response.complete, connection.ended) == (200, True, False)
    elif state in BEGUN:
        assert (response.status, response.complete, connection.ended) == (200, False, True)
    else:
        assert (response.status, response.complete, connection.ended) == (500, True, False)
        assert b"secret" not in response.body
    if problem is not None:
        assert "Exception inside application: secret" in caplog.text
    elif state not in COMPLETE:
        assert "without a complete response to GET '/'" in caplog.text


@pytest.mark.parametrize("state", STATES)
def test_what_receive_says_in_every_state(serve: Serve, state: str) -> None:
    """ASGI HTTP 2.5, "Disconnect - receive event": when the client has gone, or the response is complete."""
    exchange = Exchange(serve, state)
    assert exchange.receive() == {"type": "http.request", "body": b"", "more_body": False}
    if state in COMPLETE:
        for _ in range(2):
            assert exchange.receive() == {"type": "http.disconnect"}
    else:
        pending = exchange.loop.create_task(exchange.told.receives[0]())
        exchange.loop.settle()
        assert not pending.done()
        exchange.connection.reset()
        exchange.loop.settle()
        assert pending.result() == {"type": "http.disconnect"}
    exchange.finish()


def test_an_unread_body_is_drained_before_the_disconnect(serve: Serve) -> None:
    exchange = Exchange(serve, "done", request("POST", "/", body=b"unread"))
    assert exchange.receive() == {"type": "http.request", "body": b"unread", "more_body": False}
    assert exchange.receive() == {"type": "http.disconnect"}
    exchange.finish()


def test_a_body_that_is_not_complete_ends_with_the_disconnect(serve: Serve) -> None:
    exchange = Exchange(serve, "done", request("POST", "/", "Content-Length: 10") + b"part")
    assert exchange.receive() == {"type": "http.disconnect"}
    exchange.finish()


def test_a_body_that_ends_after_the_answer_does_not_pass_for_a_whole_one(serve: Serve) -> None:
    """In HTTP/2 a body goes on while the answer to it waits for the client's window."""
    told = Told()
    client = Client(serve(told), {h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 10}, acknowledge=False)
    stream = client.start("POST", ended=False)
    client.send(stream, b"part")
    for event in (START, {**BODY, "body": b"x" * 1000}):
        client.bench.loop.run(told.sends[0](event))
    client.send(stream, b"rest", ended=True)
    assert client.bench.loop.run(told.receives[0]()) == {"type": "http.disconnect"}
    told.finish()
    client.machine.reset_stream(stream)
    client.flush()


def test_several_receive_at_once(serve: Serve) -> None:
    exchange = Exchange(serve, "waiting", request("POST", "/", "Content-Length: 4"))
    receive = exchange.told.receives[0]
    first, second, third = (exchange.loop.create_task(receive()) for _ in range(3))
    exchange.loop.settle()
    third.cancel()
    exchange.bench.send(exchange.connection, b"ab", b"cd")
    assert {task.result()["body"] for task in (first, second)} == {b"ab", b"cd"}
    exchange.finish()


def test_events_without_a_type(serve: Serve) -> None:
    exchange = Exchange(serve)
    with pytest.raises((KeyError, ValueError)):
        exchange.send({})
    exchange.finish()


def test_a_file_that_is_not_there(serve: Serve, tmp_path: Path) -> None:
    exchange = Exchange(serve, "started")
    with pytest.raises(FileNotFoundError):
        exchange.send({"type": "http.response.pathsend", "path": str(tmp_path / "nothing")})
    exchange.finish(FileNotFoundError("as applications do"))
    assert responses(exchange.connection)[0].status == 500


def test_nothing_goes_between_the_bytes_of_a_file(serve: Serve, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"y" * 300_000)
    exchange = Exchange(serve, "started")
    sending = exchange.loop.create_task(exchange.told.sends[0]({**FILE, "path": str(path)}))
    exchange.connection.stop_reading()
    exchange.loop.settle()
    assert not sending.done()
    for event in (MORE, BODY):
        with pytest.raises(ApplicationError, match="while a file is being sent"):
            exchange.send(event)
    exchange.connection.resume_reading()
    exchange.loop.settle()
    assert sending.done()
    assert responses(exchange.connection)[0].body == path.read_bytes()
    exchange.finish()


@pytest.mark.parametrize("fields", [[], [(b"content-length", b"4")]], ids=["chunked", "length"])
def test_more_body_is_true_or_false_as_anything_is_in_python(serve: Serve, fields: list[Any]) -> None:
    start = {"type": "http.response.start", "status": 200, "headers": fields}
    pieces = [{"type": "http.response.body", "body": b"ab", "more_body": more} for more in (1, "yes", None)]
    pieces[1]["body"] = b""
    (response,) = serve(sending(start, *pieces)).responses(request())
    assert response.body == b"abab"
