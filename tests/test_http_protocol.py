"""daphne.http_protocol and daphne.ws_protocol, driven without a loop as daphne 1.x's own callers do."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet.error import ConnectionDone
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from daphne.http_protocol import HTTPFactory, WebRequest
from daphne.layers.memory import ChannelLayer
from daphne.ws_protocol import WebSocketFactory, WebSocketProtocol

GET = b"GET /te%20st-%C3%A0/?foo=+bar HTTP/1.1\r\nHost: somewhere.com\r\n\r\n"
HANDSHAKE = (
    b"GET /chat?room=1 HTTP/1.1\r\nHost: somewhere.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: x3JJHMbDL1EzLkh9GBhXDw==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
ACCEPT_KEY = b"HSmrc0sMlYUkAGmm5OPpG2HaGWk="


class Driven:
    """A factory over a layer in memory, and one connection of it."""

    def __init__(self, **options: Any) -> None:
        self.layer = ChannelLayer(**options.pop("layer", {}))
        self.factory = HTTPFactory(self.layer, send_channel="test!", **options)
        self.protocol = self.factory.buildProtocol(("127.0.0.1", 0))
        self.transport = StringTransport()
        self.protocol.makeConnection(self.transport)

    def says(self, data: bytes, channel: str = "http.request") -> dict[str, Any]:
        """The message that is on the layer as soon as the bytes have been received."""
        self.protocol.dataReceived(data)
        return self.next(channel)

    def next(self, channel: str) -> dict[str, Any]:
        found, message = self.layer.receive([channel])
        assert found == channel
        return dict(message)

    def answer(self, channel: str, message: dict[str, Any]) -> bytes:
        """What is on the wire as soon as a reply has been dispatched."""
        self.transport.clear()
        self.factory.dispatch_reply(channel, message)
        return bytes(self.transport.value())


@pytest.fixture
def driven() -> Driven:
    return Driven()


def test_a_request_and_its_response(driven: Driven) -> None:
    message = driven.says(GET)
    channel = message.pop("reply_channel")
    assert channel.startswith("test!") and driven.factory.reply_channels() == [channel]
    assert (message["path"], message["query_string"]) == ("/te st-\xe0/", b"foo=+bar")
    assert (message["method"], message["http_version"], message["body"]) == ("GET", "1.1", b"")
    assert [tuple(pair) for pair in message["headers"]] == [(b"host", b"somewhere.com")]
    assert "daphne" not in message
    reply = {"status": 201, "headers": [(b"X-A", b"b")], "content": b"hi"}
    written = driven.answer(channel, reply)
    assert written.startswith(b"HTTP/1.1 201 Created\r\n")
    assert b"x-a: b\r\n" in written.lower()
    assert b"date:" not in written.lower() and b"content-length" not in written.lower()
    assert written.endswith(b"\r\n\r\n2\r\nhi\r\n0\r\n\r\n")
    assert driven.next("http.disconnect")["path"] == "/te st-\xe0/"
    assert driven.factory.reply_channels() == []


def test_a_response_in_parts(driven: Driven) -> None:
    channel = driven.says(GET)["reply_channel"]
    first = driven.answer(channel, {"status": 200, "content": b"one", "more_content": True})
    assert first.endswith(b"3\r\none\r\n")
    assert driven.answer(channel, {"content": b"three", "more_content": True}) == b"5\r\nthree\r\n"
    assert driven.answer(channel, {"content": b""}) == b"0\r\n\r\n"


def test_a_reply_without_status_is_an_error_there(driven: Driven) -> None:
    channel = driven.says(GET)["reply_channel"]
    with pytest.raises(ValueError):
        driven.factory.dispatch_reply(channel, {"content": b"x"})
    assert driven.transport.value() == b""
    assert driven.answer(channel, {"status": 200, "content": b"x"}).startswith(b"HTTP/1.1 200")


def test_a_reply_for_nobody_is_dropped(driven: Driven) -> None:
    assert driven.answer("test!nobody", {"status": 200}) == b""


def test_a_malformed_request_is_refused_at_once(driven: Driven) -> None:
    driven.protocol.dataReceived(b"GET / HTTP/1.1\r\nBad Header: x\r\n\r\n")
    assert driven.transport.value().startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert driven.layer.receive(["http.request"]) == (None, None)


def test_a_full_channel_is_503_at_once() -> None:
    driven = Driven(layer={"capacity": 1})
    driven.layer.send("http.request", {})
    driven.protocol.dataReceived(GET)
    assert driven.transport.value().startswith(b"HTTP/1.1 503 ")


def test_proxy_headers_that_are_set_later(driven: Driven) -> None:
    driven.factory.proxy_forwarded_address_header = "X-Forwarded-For"
    driven.factory.proxy_forwarded_port_header = "X-Forwarded-Port"
    fields = b"X-Forwarded-For: 10.1.2.3\r\nX-Forwarded-Port: 80\r\n\r\n"
    message = driven.says(GET[:-2] + fields)
    assert list(message["client"]) == ["10.1.2.3", 80]
    assert list(Driven().says(GET)["client"]) == ["192.168.1.1", 54321]  # what its transport says


def test_a_client_that_leaves_before_its_response(driven: Driven) -> None:
    channel = driven.says(GET)["reply_channel"]
    driven.protocol.connectionLost(Failure(ConnectionDone()))
    assert driven.next("http.disconnect")["reply_channel"] == channel
    assert channel not in driven.factory.reply_protocols


def test_a_websocket(driven: Driven) -> None:
    message = driven.says(HANDSHAKE, "websocket.connect")
    channel = message["reply_channel"]
    assert (message["path"], message["query_string"]) == ("/chat", b"room=1")
    assert driven.transport.value() == b""
    written = driven.answer(channel, {"accept": True})
    assert written.startswith(b"HTTP/1.1 101 Switching Protocols\r\n") and ACCEPT_KEY in written
    assert driven.answer(channel, {"text": "hello"}) == b"\x81\x05hello"
    assert driven.answer(channel, {"bytes": b"hi"}) == b"\x82\x02hi"
    received = driven.says(b"\x81\x85\0\0\0\0hello", "websocket.receive")
    assert received["text"] == "hello" and received["reply_channel"] == channel
    assert driven.answer(channel, {"close": 4000}) == b"\x88\x02\x0f\xa0"
    driven.protocol.connectionLost(Failure(ConnectionDone()))
    assert driven.next("websocket.disconnect")["code"] in (1006, 4000)


def test_a_websocket_that_is_refused(driven: Driven) -> None:
    channel = driven.says(HANDSHAKE, "websocket.connect")["reply_channel"]
    assert driven.answer(channel, {"accept": False}).startswith(b"HTTP/1.1 403 ")


def test_the_live_objects_answer_too(driven: Driven) -> None:
    channel = driven.says(GET)["reply_channel"]
    request = driven.factory.reply_protocols[channel]
    assert isinstance(request, WebRequest) and request.duration() < 60
    request.basic_error(404, b"Not Found", "Nothing here")
    assert driven.transport.value().startswith(b"HTTP/1.1 404 Not Found\r\n")
    assert b"Nothing here" in driven.transport.value()
    channel = driven.says(HANDSHAKE, "websocket.connect")["reply_channel"]
    socket = driven.factory.reply_protocols[channel]
    assert isinstance(socket, WebSocketProtocol)
    driven.transport.clear()
    socket.serverAccept()
    socket.serverSend("hi")
    socket.serverSend(b"hi", binary=True)
    socket.serverClose()
    assert driven.transport.value().endswith(b"\x81\x02hi\x82\x02hi\x88\x02\x03\xe8")


def test_it_can_be_driven_inside_a_running_loop() -> None:
    async def inside() -> str:
        driven = Driven()
        channel = driven.says(GET)["reply_channel"]
        assert driven.answer(channel, {"status": 200}).startswith(b"HTTP/1.1 200")
        await asyncio.sleep(0)
        return "done"

    assert asyncio.run(inside()) == "done"


def test_nothing_is_left_behind(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> None:
    driven = Driven()
    driven.says(GET)
    other = Driven()
    other.says(HANDSHAKE, "websocket.connect")
    gc.collect()
    caplog.clear()
    capfd.readouterr()
    with caplog.at_level(logging.DEBUG):
        del driven, other
        gc.collect()
    assert [record for record in caplog.records if record.name == "asyncio"] == []
    assert "destroyed" not in capfd.readouterr().err


def test_arguments_and_attributes() -> None:
    with pytest.raises(AssertionError):
        HTTPFactory(ChannelLayer())
    factory = HTTPFactory(ChannelLayer(), send_channel="s!", root_path="/r", timeout=5)
    assert (factory.root_path, factory.timeout, factory.send_channel) == ("/r", 5, "s!")
    assert factory.make_send_channel().startswith("s!")
    assert factory.acceptableProtocols() == [b"h2", b"http/1.1"]
    assert isinstance(factory.ws_factory, WebSocketFactory) and factory.ws_factory.main_factory is factory


def test_the_action_logger_is_told() -> None:
    told: list[tuple[str, str, Any]] = []
    driven = Driven(action_logger=lambda *arguments: told.append(arguments))
    channel = driven.says(GET)["reply_channel"]
    driven.answer(channel, {"status": 204})
    assert [(protocol, action, details["status"]) for protocol, action, details in told] == [
        ("http", "complete", 204)
    ]
    driven.factory.ws_factory.log_action("websocket", "connected", {"status": None})
    assert told[-1][1] == "connected"


def test_helpers() -> None:
    request = WebRequest(None)
    assert request.client_addr is None and request.server_addr is None
    for door in (WebRequest, WebSocketProtocol):
        assert door.unquote(b"a%20b+c") == "a b+c"
        assert door.unquote(b"a%20b+c", plus_as_space=True) == "a b c"


@pytest.fixture(autouse=True)
def no_loop_of_the_thread() -> Iterator[None]:
    """No test needs a loop that is set for the thread."""
    asyncio.set_event_loop(None)
    yield
