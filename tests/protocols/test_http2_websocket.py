"""daphne.protocols.http2_tunnel: WebSockets over HTTP/2 (RFC 8441), many on one connection."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

import pytest
from h2.settings import SettingCodes

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
    read_frame,
)
from tests.protocols.bench import Bench, Event, Told, answering
from tests.protocols.http2_client import Client, Headers

Serve = Callable[..., Bench]
ACCEPT: Event = {"type": "websocket.accept"}
VERSION = (b"sec-websocket-version", b"13")
NO_ERROR, PROTOCOL, CANCEL = 0, 1, 8


def opening(*fields: tuple[bytes, bytes]) -> Headers:
    return [VERSION, (b"origin", b"http://example.org"), *fields]


class Open:
    """One WebSocket on a client's connection, with an application that the test drives."""

    def __init__(
        self, client: Client, told: Told, *fields: tuple[bytes, bytes], accept: Event = ACCEPT
    ) -> None:
        self.client, self.told, self.loop = client, told, client.bench.loop
        self.stream_id = client.start(
            "CONNECT", "/ws?x=1", opening(*fields), ended=False, protocol="websocket"
        )
        self.index = len(told.scopes) - 1
        assert self.receive() == {"type": "websocket.connect"}
        self.send(accept)
        assert self.answer.status == 200

    @property
    def answer(self) -> Any:
        return self.client.answers[self.stream_id]

    def receive(self) -> Event:
        return self.loop.run(self.told.receives[self.index]())  # type: ignore[no-any-return]

    def send(self, event: Event) -> None:
        sending = self.loop.create_task(self.told.sends[self.index](event))
        self.client.flush()
        sending.result()

    def write(self, *pieces: bytes, ended: bool = False) -> None:
        for piece in pieces:
            assert self.client.send(self.stream_id, piece) == len(piece)
        if ended:
            self.client.machine.end_stream(self.stream_id)
            self.client.flush()

    def read(self) -> list[Frame]:
        self.client.flush()
        data, found = self.answer.body, []
        while data:
            part = read_frame(data)
            assert part is not None
            frame, data = part
            found.append(frame)
        self.answer.body = b""
        return found

    def finish(self) -> None:
        self.told.finish(self.index)
        self.client.flush()


def opened(serve: Serve, *fields: tuple[bytes, bytes], accept: Event = ACCEPT, **settings: Any) -> Open:
    told = Told()
    return Open(Client(serve(told, **settings)), told, *fields, accept=accept)


# ---- the handshake -----------------------------------------------------------------------------------


def test_the_server_says_that_it_can(serve: Serve) -> None:
    client = Client(serve(answering()))
    assert client.machine.remote_settings[SettingCodes.ENABLE_CONNECT_PROTOCOL] == 1


def test_the_scope(serve: Serve) -> None:
    socket = opened(serve, (b"sec-websocket-protocol", b"a, b"))
    scope = socket.told.scopes[0]
    assert scope["type"] == "websocket"
    assert (scope["http_version"], scope["scheme"]) == ("2", "ws")
    assert (scope["path"], scope["query_string"]) == ("/ws", b"x=1")
    assert scope["subprotocols"] == ["a", "b"]
    assert scope["headers"][:2] == [(b"host", b"example.org"), VERSION]
    assert "method" not in scope
    socket.client.connection.close()
    socket.loop.settle()
    socket.finish()


def test_an_accepted_handshake(serve: Serve) -> None:
    accept = {**ACCEPT, "subprotocol": "b", "headers": [(b"X-Test", b"1"), (b"set-cookie", b"c=d")]}
    socket = opened(serve, (b"sec-websocket-protocol", b"a, b"), accept=accept)
    headers = dict(socket.answer.headers)
    assert headers[b"sec-websocket-protocol"] == b"b"
    assert (headers[b"x-test"], headers[b"set-cookie"]) == (b"1", b"c=d")
    assert not {b"sec-websocket-accept", b"upgrade", b"connection", b"content-length"} & headers.keys()
    assert not socket.answer.ended
    assert [action for _, action, _ in socket.client.bench.actions] == ["connecting", "connected"]
    socket.client.connection.close()
    socket.loop.settle()
    socket.finish()


def test_a_rejected_handshake_leaves_the_connection(serve: Serve) -> None:
    told = Told()
    bench = serve(told)
    client = Client(bench)
    stream_id = client.start("CONNECT", "/", opening(), ended=False, protocol="websocket")
    bench.loop.run(told.sends[0]({"type": "websocket.close"}))
    client.flush()
    answer = client.answers[stream_id]
    assert (answer.status, answer.ended, answer.reset) == (403, True, NO_ERROR)
    told.finish()
    assert [action for _, action, _ in bench.actions] == ["connecting", "rejected", "disconnected"]
    other = Open(client, told)
    other.client.connection.close()
    other.loop.settle()
    other.finish()


def test_an_applications_own_refusal(serve: Serve) -> None:
    told = Told()
    bench = serve(told)
    client = Client(bench)
    stream_id = client.start("CONNECT", "/", opening(), ended=False, protocol="websocket")
    start = {"type": "websocket.http.response.start", "status": 401, "headers": [(b"x", b"y")]}
    bench.loop.run(told.sends[0](start))
    for body, more in ((b"no ", True), (b"way", False)):
        event = {"type": "websocket.http.response.body", "body": body, "more_body": more}
        bench.loop.run(told.sends[0](event))
    client.flush()
    answer = client.answers[stream_id]
    assert (answer.status, answer.body, answer.ended) == (401, b"no way", True)
    assert (b"x", b"y") in answer.headers
    told.finish()


def test_an_application_that_raises_before_it_answers(serve: Serve) -> None:
    told = Told()
    client = Client(serve(told))
    stream_id = client.start("CONNECT", "/", opening(), ended=False, protocol="websocket")
    told.finish(0, ValueError())
    client.flush()
    assert client.answers[stream_id].status == 500


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ([], 400),
        ([(b"sec-websocket-version", b"12")], 426),
        ([VERSION, VERSION], 400),
        ([VERSION, (b"sec-websocket-protocol", b"a, a")], 400),
        ([VERSION, (b"sec-websocket-protocol", b"a b")], 400),
    ],
)
def test_handshakes_that_are_refused(serve: Serve, fields: Headers, status: int) -> None:
    client = Client(serve(answering()))
    stream_id = client.start("CONNECT", "/", fields, ended=False, protocol="websocket")
    answer = client.answers[stream_id]
    assert answer.status == status
    assert status != 426 or (b"sec-websocket-version", b"13") in answer.headers


def test_a_handshake_that_ends_its_stream(serve: Serve) -> None:
    client = Client(serve(answering()))
    stream_id = client.start("CONNECT", "/", opening(), protocol="websocket")
    assert client.answers[stream_id].status == 400


def test_an_application_that_does_not_answer(serve: Serve) -> None:
    told = Told()
    bench = serve(told)
    client = Client(bench)
    stream_id = client.start("CONNECT", "/", opening(), ended=False, protocol="websocket")
    bench.loop.advance(5.1)
    client.flush()
    assert client.answers[stream_id].status == 403
    told.finish()


@pytest.mark.parametrize("how", ["reset", "end"])
def test_a_client_that_leaves_before_it_is_accepted(serve: Serve, how: str) -> None:
    told = Told()
    bench = serve(told)
    client = Client(bench)
    stream_id = client.start("CONNECT", "/", opening(), ended=False, protocol="websocket")
    if how == "reset":
        client.machine.reset_stream(stream_id, CANCEL)
    else:
        client.machine.end_stream(stream_id)
    client.flush()
    assert bench.loop.run(told.receives[0]()) == {"type": "websocket.connect"}
    event = bench.loop.run(told.receives[0]())
    assert (event["type"], event["code"]) == ("websocket.disconnect", 1006)
    told.finish()


# ---- messages ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536, 200_000, 1_000_000])
def test_messages_of_every_size_both_ways(serve: Serve, size: int) -> None:
    socket = opened(serve)
    socket.write(client_frame(TEXT, b"x" * size))
    assert socket.receive() == {"type": "websocket.receive", "text": "x" * size}
    socket.write(client_frame(BINARY, b"y" * size))
    assert socket.receive() == {"type": "websocket.receive", "bytes": b"y" * size}
    socket.send({"type": "websocket.send", "text": "x" * size})
    socket.send({"type": "websocket.send", "bytes": b"y" * size})
    assert socket.read() == [Frame(TEXT, b"x" * size), Frame(BINARY, b"y" * size)]
    socket.client.connection.close()
    socket.loop.settle()
    socket.finish()


def test_pings_and_fragments(serve: Serve) -> None:
    socket = opened(serve)
    socket.write(
        client_frame(TEXT, b"a", final=False),
        client_frame(PING, b"p"),
        client_frame(CONTINUATION, b"b"),
    )
    assert socket.read() == [Frame(PONG, b"p")]
    assert socket.receive() == {"type": "websocket.receive", "text": "ab"}
    socket.client.connection.close()
    socket.loop.settle()
    socket.finish()


def test_frames_that_come_before_the_handshake_is_answered(serve: Serve) -> None:
    told = Told()
    bench = serve(told)
    client = Client(bench)
    stream_id = client.start("CONNECT", "/", opening(), ended=False, protocol="websocket")
    client.machine.send_data(stream_id, client_frame(TEXT, b"early") + client_frame(TEXT, b"too"))
    client.flush()
    bench.loop.run(told.receives[0]())
    bench.loop.run(told.sends[0](ACCEPT))
    assert bench.loop.run(told.receives[0]())["text"] == "early"
    assert bench.loop.run(told.receives[0]())["text"] == "too"
    client.connection.close()
    bench.loop.settle()
    told.finish()


def test_early_frames_are_no_request_body(serve: Serve) -> None:
    told = Told()
    client = Client(serve(told, max_body_size=10, http2_stream_window=65535))
    stream_id = client.start("CONNECT", "/", opening(), ended=False, protocol="websocket")
    frame = client_frame(BINARY, b"x" * 1000)
    assert client.send(stream_id, frame * 100) == 65535  # not a byte more before it is accepted
    client.bench.loop.run(told.receives[0]())
    client.bench.loop.run(told.sends[0](ACCEPT))
    assert client.bench.loop.run(told.receives[0]())["bytes"] == b"x" * 1000
    client.connection.close()
    client.bench.loop.settle()
    told.finish()


def test_compression(serve: Serve) -> None:
    socket = opened(serve, (b"sec-websocket-extensions", b"permessage-deflate"), ws_per_message_deflate=True)
    assert dict(socket.answer.headers)[b"sec-websocket-extensions"].startswith(b"permessage-deflate")
    squeeze = zlib.compressobj(wbits=-15)
    squeezed = squeeze.compress(b"hello") + squeeze.flush(zlib.Z_SYNC_FLUSH)
    socket.write(client_frame(TEXT, squeezed[:-4], reserved=4))
    assert socket.receive()["text"] == "hello"
    socket.send({"type": "websocket.send", "text": "back " * 100})
    (frame,) = socket.read()
    assert frame.reserved == 4
    assert zlib.decompressobj(wbits=-15).decompress(frame.payload + b"\0\0\xff\xff") == b"back " * 100
    socket.client.connection.close()
    socket.loop.settle()
    socket.finish()


def test_sockets_beside_requests_on_one_connection(serve: Serve) -> None:
    told = Told()

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await (told if scope["type"] == "websocket" else answering(b"plain"))(scope, receive, send)

    client = Client(serve(application))
    sockets = [Open(client, told) for _ in range(50)]
    assert client.fetch().body == b"plain"
    for index, socket in enumerate(sockets):
        socket.write(client_frame(TEXT, b"%d" % index))
    for index, socket in enumerate(sockets):
        assert socket.receive()["text"] == str(index)
        socket.send({"type": "websocket.send", "text": str(index)})
        assert socket.read() == [Frame(TEXT, b"%d" % index)]
    assert client.fetch().body == b"plain"
    client.connection.close()
    client.bench.loop.settle()
    for socket in sockets:
        assert socket.receive()["code"] == 1006
        socket.told.finish(socket.index)


# ---- flow control ------------------------------------------------------------------------------------


def test_an_application_that_does_not_receive_shuts_the_window(serve: Serve) -> None:
    socket = opened(serve, http2_stream_window=65535, websocket_max_queue=10_000)
    client = socket.client
    frame = client_frame(BINARY, b"x" * 1000)
    sent = 0
    while sent < 1_000_000:
        room = client.send(socket.stream_id, frame)
        sent += room
        if room < len(frame):
            break
    assert 65535 <= sent < 200_000
    assert client.fetch("GET", "/").status in (0, 200)  # others go on
    for _ in range(sent // len(frame)):
        socket.receive()
    client.flush()
    assert client.machine.local_flow_control_window(socket.stream_id) > 30_000
    client.connection.close()
    client.bench.loop.settle()
    for index in range(len(socket.told.scopes)):
        socket.told.finish(index)


def test_a_client_that_does_not_read_makes_send_wait(serve: Serve) -> None:
    told = Told()
    bench = serve(told, write_buffer_size=10_000)
    client = Client(bench, {SettingCodes.INITIAL_WINDOW_SIZE: 1000}, acknowledge=False)
    socket = Open(client, told)
    sending = bench.loop.create_task(told.sends[0]({"type": "websocket.send", "bytes": b"x" * 20_000}))
    bench.loop.settle()
    assert not sending.done()
    client.flush()
    client.machine.increment_flow_control_window(30_000, socket.stream_id)
    client.flush()
    assert sending.done()
    assert socket.read() == [Frame(BINARY, b"x" * 20_000)]
    client.connection.close()
    bench.loop.settle()
    socket.finish()


def test_a_client_that_never_reads_is_reset(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    told = Told()
    bench = serve(told, ping_interval=0)
    client = Client(bench, {SettingCodes.INITIAL_WINDOW_SIZE: 1000}, acknowledge=False)
    socket = Open(client, told)
    socket.send({"type": "websocket.send", "bytes": b"x" * 20_000})
    bench.loop.advance(60.1)
    client.flush()
    assert socket.answer.reset == CANCEL
    assert "--http2-stall-timeout" in caplog.text
    assert socket.receive()["code"] == 1006
    socket.finish()


# ---- the end -----------------------------------------------------------------------------------------


def test_a_close_by_the_client(serve: Serve) -> None:
    socket = opened(serve)
    socket.write(close_frame(1000, b"bye"), ended=True)
    event = socket.receive()
    assert (event["type"], event["code"], event["reason"]) == ("websocket.disconnect", 1000, "bye")
    assert [frame.opcode for frame in socket.read()] == [CLOSE]
    assert (socket.answer.ended, socket.answer.reset) == (True, None)
    socket.finish()
    (connection,) = socket.client.bench.server.service.site.connections
    assert connection.exchanges == {}
    assert [action for _, action, _ in socket.client.bench.actions][-1] == "disconnected"


def test_a_close_by_the_application(serve: Serve) -> None:
    socket = opened(serve)
    socket.send({"type": "websocket.close", "code": 3000, "reason": "done"})
    (frame,) = socket.read()
    assert (frame.close_code, frame.close_reason) == (3000, "done")
    assert not socket.answer.ended
    socket.write(close_frame(3000))
    assert socket.answer.ended  # our END_STREAM, as a server ends TCP first
    socket.client.machine.end_stream(socket.stream_id)
    socket.client.flush()
    assert socket.answer.reset is None
    assert socket.receive()["code"] == 3000
    socket.finish()


def test_a_client_that_does_not_end_its_side(serve: Serve) -> None:
    socket = opened(serve)
    socket.write(close_frame(1000))
    assert socket.answer.ended
    socket.loop.advance(1.9)
    socket.client.flush()
    assert socket.answer.reset is None
    socket.loop.advance(0.2)
    socket.client.flush()
    assert socket.answer.reset == NO_ERROR
    socket.finish()


def test_a_close_that_is_not_answered(serve: Serve) -> None:
    socket = opened(serve)
    socket.send({"type": "websocket.close"})
    socket.loop.advance(5.1)
    socket.client.flush()
    assert socket.answer.reset == CANCEL
    socket.finish()


def test_a_reset_by_the_client(serve: Serve) -> None:
    socket = opened(serve)
    socket.client.machine.reset_stream(socket.stream_id, CANCEL)
    socket.client.flush()
    assert socket.receive()["code"] == 1006
    socket.finish()


def test_an_end_without_a_close_frame(serve: Serve) -> None:
    socket = opened(serve)
    socket.write(client_frame(TEXT, b"last"), ended=True)
    assert socket.receive()["text"] == "last"
    assert socket.receive()["code"] == 1006
    assert socket.answer.ended
    socket.finish()


def test_a_broken_rule_of_websocket(serve: Serve) -> None:
    socket = opened(serve)
    socket.write(client_frame(TEXT, b"not masked", mask=None))
    (frame,) = socket.read()
    assert frame.close_code == 1002
    assert socket.answer.ended
    assert socket.receive()["code"] == 1006
    socket.client.flush()
    socket.loop.advance(2.1)
    socket.client.flush()
    assert socket.answer.reset == CANCEL
    socket.finish()


def test_a_message_too_large(serve: Serve) -> None:
    socket = opened(serve, websocket_max_message_size=1000)
    socket.write(client_frame(TEXT, b"x" * 1001))
    assert [frame.close_code for frame in socket.read()] == [1009]
    socket.client.connection.close()
    socket.loop.settle()
    socket.finish()


def test_an_application_that_raises(serve: Serve) -> None:
    socket = opened(serve)
    socket.told.finish(0, ValueError())
    assert [frame.close_code for frame in socket.read()] == [1011]
    socket.client.connection.close()
    socket.loop.settle()


def test_a_peer_that_does_not_answer_pings(serve: Serve) -> None:
    socket = opened(serve)
    socket.loop.advance(20.1)
    assert [frame.opcode for frame in socket.read()] == [PING]
    socket.loop.advance(30)
    socket.client.flush()
    assert socket.answer.reset == CANCEL
    socket.finish()


def test_a_server_that_stops_closes_with_1001(serve: Serve) -> None:
    socket = opened(serve)
    bench = socket.client.bench
    stopping = bench.loop.create_task(bench.server.stop())
    bench.loop.advance(1)
    # h2's client takes nothing more once it has seen GOAWAY: look at the bytes.
    received = bytes(socket.client.connection.received)
    assert client_side(received, socket.stream_id).endswith(b"\x88\x02\x03\xe9")
    socket.client.connection.close()
    bench.loop.settle()
    socket.told.finish()
    bench.loop.advance(5)
    assert stopping.done()


def client_side(data: bytes, stream_id: int) -> bytes:
    """The DATA of a stream in the bytes of a connection."""
    body = b""
    while len(data) >= 9:
        size = int.from_bytes(data[:3], "big")
        if data[3] == 0 and int.from_bytes(data[5:9], "big") == stream_id:
            body += data[9 : 9 + size]
        data = data[9 + size :]
    return body
