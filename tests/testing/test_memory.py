"""daphne.testing: the server in memory, as the unit tests of applications use it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from daphne.errors import LifespanError
from daphne.layers.memory import ChannelLayer
from daphne.settings import Settings
from daphne.testing import (
    MemoryServer,
    Response,
    WebSocketClosed,
    WebSocketRefused,
    client_frame,
    read_frame,
    read_response,
)
from tests.protocols.bench import echo, sending


def run(main: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(main(), 60))


async def chat(scope: Any, receive: Any, send: Any) -> None:
    """Echoes; "close" closes with 4000."""
    await receive()
    await send({"type": "websocket.accept", "subprotocol": next(iter(scope["subprotocols"]), None)})
    while (event := await receive())["type"] == "websocket.receive":
        if event.get("text") == "close":
            await send({"type": "websocket.close", "code": 4000, "reason": "asked"})
        else:
            await send({**event, "type": "websocket.send"})


def test_requests() -> None:
    async def main() -> None:
        async with MemoryServer(echo) as server:
            response = await server.request("POST", "/form", body=b"a=1")
            assert (response.status, response.body) == (200, b"POST /form a=1")
            response = await server.request("GET", "/", [(b"Host", b"mine"), (b"x", b"y")])
            assert response.header(b"server") == b"daphne"
            response = await server.request("HEAD", "/")
            assert (response.status, response.body) == (200, b"")
            connection = server.connect()
            for _ in range(3):
                assert (await server.request("GET", "/", connection=connection)).status == 200

    run(main)


def test_websockets() -> None:
    async def main() -> None:
        async with MemoryServer(chat) as server:
            async with server.websocket("/", subprotocols=["a", "b"]) as socket:
                assert socket.subprotocol == "a"
                socket.send("text")
                socket.send(b"bytes")
                socket.ping(b"still there?")
                assert [await socket.receive() for _ in range(2)] == ["text", b"bytes"]
                assert (await socket.receive_frame()).payload == b"still there?"
            async with server.websocket("/") as socket:
                socket.send("close")
                with pytest.raises(WebSocketClosed) as closed:
                    await socket.receive()
                assert (closed.value.code, closed.value.reason) == (4000, "asked")
            async with server.websocket("/") as socket:
                assert await socket.close(4001, "done") == (4001, "done")

    run(main)


def test_a_websocket_that_is_refused() -> None:
    async def main() -> None:
        async with MemoryServer(sending({"type": "websocket.close"})) as server:
            with pytest.raises(WebSocketRefused) as refused:
                async with server.websocket("/"):
                    pass
            assert refused.value.response.status == 403

    run(main)


def test_settings_and_what_the_access_log_is_told() -> None:
    async def main() -> None:
        actions: list[Any] = []
        settings = Settings(server_name="mine", lifespan="off")
        async with MemoryServer(
            echo, settings, action_logger=lambda *action: actions.append(action)
        ) as server:
            assert (await server.request("GET", "/")).header(b"server") == b"mine"
        assert [action[:2] for action in actions] == [("http", "complete")]

    run(main)


def test_a_channel_layer() -> None:
    async def main() -> None:
        async with MemoryServer(ChannelLayer(), Settings(worker="daphne.demo:application")) as server:
            assert (await server.request("GET", "/")).status == 200

    run(main)


def test_an_application_that_fails_to_start() -> None:
    async def main() -> None:
        with pytest.raises(LifespanError, match="no reason"):
            async with MemoryServer(sending({"type": "lifespan.startup.failed"})):
                pass

    run(main)


# ---- reading responses strictly ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "body", "rest"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhiMORE", b"hi", b"MORE"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\nMORE", b"hi", b"MORE"),
        (b"HTTP/1.1 204 No Content\r\n\r\nMORE", b"", b"MORE"),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", b"", b""),
    ],
)
def test_complete_responses(data: bytes, body: bytes, rest: bytes) -> None:
    found = read_response(data)
    assert found is not None
    response, after = found
    assert (response.body, after, response.complete) == (body, rest, True)
    for cut in range(len(data) - len(rest)):
        assert read_response(data[:cut]) is None


def test_responses_that_the_end_of_the_connection_ends() -> None:
    assert read_response(b"HTTP/1.0 200 OK\r\n\r\nhi") is None
    assert read_response(b"HTTP/1.0 200 OK\r\n\r\nhi", ended=True) == (Response(200, [], "1.0", b"hi"), b"")
    for data in (
        b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nhi",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nhi",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\nx: y",
    ):
        found = read_response(data, ended=True)
        assert found is not None and not found[0].complete


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\nx: y\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx : y\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx: a\x00b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 1\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nx\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nxy\r\n0\r\n\r\n",
    ],
)
def test_malformed_responses(data: bytes) -> None:
    with pytest.raises(ValueError):
        read_response(data)


def test_frames_from_the_server_are_not_masked() -> None:
    with pytest.raises(ValueError, match="masked"):
        read_frame(client_frame(1, b"hi"))
    assert read_frame(b"") is read_frame(b"\x81\x7e\x00") is read_frame(b"\x81\x02h") is None
