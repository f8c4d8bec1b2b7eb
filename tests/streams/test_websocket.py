"""daphne.streams.websocket: every state of a WebSocket against everything that can happen in it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest

from daphne.errors import ApplicationError, ClientDisconnected
from daphne.streams.calls import stream_behind
from daphne.streams.websocket import WebSocketStream
from daphne.testing.frames import TEXT, client_frame, close_frame, read_frame
from daphne.testing.sockets import handshake
from tests.protocols.bench import Bench, Driven, Event, responses

ACCEPT: Event = {"type": "websocket.accept"}
SEND: Event = {"type": "websocket.send", "text": "hi"}
CLOSE: Event = {"type": "websocket.close"}
DENY: Event = {"type": "websocket.http.response.start", "status": 401}
BODY: Event = {"type": "websocket.http.response.body", "body": b"x"}
MORE: Event = {**BODY, "more_body": True}
HTTP: Event = {"type": "http.response.start", "status": 200}
UNKNOWN: Event = {"type": "websocket.nonsense"}

STATES: dict[str, list[Event]] = {
    "connecting": [],
    "open": [ACCEPT],
    "talking": [ACCEPT, SEND],
    "closed": [ACCEPT, CLOSE],
    "refused": [CLOSE],
    "denying": [DENY],
    "denying body": [DENY, MORE],
    "denied": [DENY, BODY],
}
INPUTS: dict[str, Event] = {
    "accept": ACCEPT,
    "send": SEND,
    "close": CLOSE,
    "deny": DENY,
    "body": BODY,
    "more": MORE,
    "http": HTTP,
    "unknown": UNKNOWN,
}
ALLOWED = {
    ("connecting", "accept"),
    ("connecting", "close"),
    ("connecting", "deny"),
    ("open", "send"),
    ("open", "close"),
    ("talking", "send"),
    ("talking", "close"),
    ("denying", "body"),
    ("denying", "more"),
    ("denying body", "body"),
    ("denying body", "more"),
}
OVER = {"closed", "refused", "denied"}

Serve = Callable[..., Bench]


class Socket(Driven):
    """One WebSocket in a given state."""

    def __init__(self, serve: Serve, state: str) -> None:
        super().__init__(serve, handshake("/", []))
        for event in STATES[state]:
            self.send(event)
        self.sent = bytes(self.connection.received)


@pytest.mark.parametrize("input", INPUTS)
@pytest.mark.parametrize("state", STATES)
def test_every_event_in_every_state(serve: Serve, state: str, input: str) -> None:
    socket = Socket(serve, state)
    if (state, input) in ALLOWED:
        socket.send(INPUTS[input])
    else:
        expected = ClientDisconnected if state in OVER else ApplicationError
        with pytest.raises(expected):
            socket.send(INPUTS[input])
        assert socket.connection.received == socket.sent
    socket.connection.reset()
    socket.finish()


@pytest.mark.parametrize("input", INPUTS)
@pytest.mark.parametrize("state", STATES)
def test_every_event_after_the_client_has_gone(serve: Serve, state: str, input: str) -> None:
    socket = Socket(serve, state)
    socket.connection.reset()
    socket.loop.settle()
    with pytest.raises(ClientDisconnected):
        socket.send(INPUTS[input])
    assert socket.receive()["type"] == "websocket.connect"
    assert socket.receive()["type"] == "websocket.disconnect"
    socket.finish()


@pytest.mark.parametrize("problem", [None, LookupError("secret")])
@pytest.mark.parametrize("state", STATES)
def test_the_end_of_the_application_in_every_state(
    serve: Serve, state: str, problem: Exception | None
) -> None:
    socket = Socket(serve, state)
    socket.finish(problem)
    connection = socket.connection
    if state in ("open", "talking"):
        part = read_frame(bytes(connection.received[len(socket.sent) :]))
        assert part is not None and part[0].close_code == (1000 if problem is None else 1011)
        connection.send(close_frame())
        socket.loop.settle()
        assert connection.at_end
    elif state == "closed":
        assert connection.received == socket.sent
        connection.send(close_frame())
    else:
        (response,) = responses(connection)
        expected = {"connecting": 500, "denying": 500, "refused": 403}.get(state, 401)
        assert (response.status, response.complete) == (expected, state != "denying body")
    actions = [action for _, action, _ in socket.bench.actions if action != "complete"]
    socket.loop.settle()
    expected_second = "connected" if state in ("open", "talking", "closed") else "rejected"
    assert actions[0] == "connecting"
    assert actions[1] == expected_second


@pytest.mark.parametrize("state", STATES)
def test_what_receive_says_in_every_state(serve: Serve, state: str) -> None:
    socket = Socket(serve, state)
    assert socket.receive() == {"type": "websocket.connect"}
    if state in ("refused", "denied"):
        assert socket.receive() == {"type": "websocket.disconnect", "code": 1006, "reason": ""}
    else:
        pending = socket.loop.create_task(socket.told.receives[0]())
        socket.loop.settle()
        assert not pending.done()
        socket.connection.reset()
        socket.loop.settle()
        assert pending.result() == {"type": "websocket.disconnect", "code": 1006, "reason": ""}
    socket.finish()


def test_messages_that_wait_are_told_before_the_disconnect(serve: Serve) -> None:
    socket = Socket(serve, "open")
    socket.bench.send(socket.connection, client_frame(TEXT, b"one"), client_frame(TEXT, b"two"))
    socket.connection.reset()
    socket.loop.settle()
    assert [socket.receive().get("text") for _ in range(3)] == [None, "one", "two"]
    assert socket.receive()["code"] == 1006
    socket.finish()


def test_messages_are_offered_first_while_the_application_awaits_one(serve: Serve) -> None:
    """What is not taken keeps its place: what comes before the application awaits the next is received."""
    order: list[tuple[str, str]] = []

    def take(message: str | bytes) -> bool:
        assert isinstance(message, str)
        if message[0] == "t":
            order.append(("taken", message))
        return message[0] == "t"

    async def application(scope: Any, receive: Any, send: Any) -> None:
        stream = stream_behind(receive)
        stream.attend(take)
        await receive()
        await send(ACCEPT)
        while (event := await receive())["type"] == "websocket.receive":
            order.append(("received", event["text"]))
            if event["text"] == "r5":
                stream.attend(None)

    bench = serve(application)
    connection = bench.exchange(handshake("/", []))
    for messages in ("t0 t1 r2 t3", "t4 r5", "t6"):
        bench.send(connection, b"".join([client_frame(TEXT, text.encode()) for text in messages.split()]))
    assert order == [
        *[("taken", "t0"), ("taken", "t1"), ("received", "r2"), ("received", "t3")],
        *[("taken", "t4"), ("received", "r5"), ("received", "t6")],
    ]
    bench.send(connection, close_frame())


def test_only_its_own_receive_leads_to_a_stream(serve: Serve) -> None:
    socket = Socket(serve, "open")
    receive = socket.told.receives[0]
    assert isinstance(stream_behind(receive), WebSocketStream)
    assert stream_behind(socket.told.sends[0]) is stream_behind(lambda: receive()) is None
    assert stream_behind(functools.partial(receive)) is None
    socket.connection.reset()
    socket.finish()
