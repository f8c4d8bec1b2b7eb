"""WebSocket clients that this project did not write, over every way in and both ways to the application."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol

import aiohttp
import pytest
import websockets.asyncio.client
import websockets.exceptions

from tests.servers import DEADLINE, Address


class Refused(Exception):
    """The handshake was answered with this status."""


class Closed(Exception):
    """The server closed the socket with this code."""


class Socket(Protocol):
    """What the scenarios ask of every client."""

    async def send(self, data: str | bytes) -> None: ...

    async def receive(self) -> str:
        """The next text message. Raises `Closed`."""

    async def ping(self) -> None:
        """Returns once the server's pong has come."""


class WebsocketsSocket:
    def __init__(self, connection: websockets.asyncio.client.ClientConnection) -> None:
        self.connection = connection

    async def send(self, data: str | bytes) -> None:
        await self.connection.send(data)

    async def receive(self) -> str:
        try:
            return str(await self.connection.recv())
        except websockets.exceptions.ConnectionClosed as closed:
            raise Closed(closed.rcvd.code if closed.rcvd else None) from None

    async def ping(self) -> None:
        await (await self.connection.ping())


def trusting_anybody() -> ssl.SSLContext:
    """TLS without a look at the certificate, which the server has made for itself."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


@asynccontextmanager
async def websockets_client(address: Address, path: str, **options: Any) -> AsyncIterator[Socket]:
    """The `websockets` library."""
    if address.secure:
        options["ssl"] = trusting_anybody()
    if address.path:
        opening = websockets.asyncio.client.unix_connect(address.path, address.url(path, "ws"), **options)
    else:
        opening = websockets.asyncio.client.connect(address.url(path, "ws"), **options)
    try:
        connection = await opening
    except websockets.exceptions.InvalidStatus as refused:
        raise Refused(refused.response.status_code) from None
    try:
        yield WebsocketsSocket(connection)
    finally:
        await connection.close()


class AiohttpSocket:
    def __init__(self, connection: aiohttp.ClientWebSocketResponse) -> None:
        self.connection = connection

    async def send(self, data: str | bytes) -> None:
        await (self.connection.send_str(data) if isinstance(data, str) else self.connection.send_bytes(data))

    async def receive(self) -> str:
        message = await self.connection.receive()
        if message.type is not aiohttp.WSMsgType.TEXT:
            raise Closed(self.connection.close_code)
        return str(message.data)

    async def ping(self) -> None:
        await self.connection.ping()


@asynccontextmanager
async def aiohttp_client(address: Address, path: str, **options: Any) -> AsyncIterator[Socket]:
    """aiohttp."""
    options["protocols"] = options.pop("subprotocols", ())
    connector = aiohttp.UnixConnector(address.path) if address.path else aiohttp.TCPConnector(ssl=False)
    async with aiohttp.ClientSession(connector=connector) as session:
        try:
            connection = await session.ws_connect(address.url(path), **options)
        except aiohttp.WSServerHandshakeError as refused:
            raise Refused(refused.status) from None
        async with connection:
            yield AiohttpSocket(connection)


Connect = Callable[..., AbstractAsyncContextManager[Socket]]


@pytest.fixture(params=[websockets_client, aiohttp_client], ids=["websockets", "aiohttp"])
def connect(request: pytest.FixtureRequest) -> Connect:
    """Opens a socket: `connect(address, path, subprotocols=...)`."""
    client: Connect = request.param
    return client


async def hear(socket: Socket, kind: str) -> dict[str, Any]:
    """The next line of the chat that is of this kind."""
    async with asyncio.timeout(DEADLINE):
        while True:
            line: dict[str, Any] = json.loads(await socket.receive())
            if line["kind"] == kind:
                return line


def test_what_is_said_comes_back(address: Address, connect: Connect) -> None:
    async def talk() -> None:
        async with connect(address, "/chat") as socket:
            assert (await hear(socket, "welcome"))[
                "text"
            ] == f"WebSocket over HTTP/1.1, ws{'s' * address.secure}"
            await socket.ping()
            for text in ("Hello", "Grüße, 世界 🌍", "x" * 500):
                await socket.send(json.dumps({"say": text}))
                assert (await hear(socket, "said"))["text"] == text

    asyncio.run(talk())


def test_many_lines_come_back_in_order(address: Address, connect: Connect) -> None:
    async def talk() -> None:
        async with connect(address, "/chat") as socket:
            for number in range(200):
                await socket.send(json.dumps({"say": str(number)}))
                assert (await hear(socket, "said"))["text"] == str(number)

    asyncio.run(talk())


def test_the_application_closes_with_its_code(address: Address, connect: Connect) -> None:
    async def offend() -> None:
        async with connect(address, "/chat") as socket:
            await hear(socket, "joined")
            await socket.send(b"\x00\x01")
            with pytest.raises(Closed, match="1003"):
                await hear(socket, "nothing")

    asyncio.run(offend())


def test_a_socket_that_nobody_serves_is_refused(address: Address, connect: Connect) -> None:
    async def ask() -> None:
        with pytest.raises(Refused, match="403"):
            async with connect(address, "/elsewhere"):
                pass

    asyncio.run(ask())


def test_offered_subprotocols_do_not_hinder(address: Address, connect: Connect) -> None:
    async def talk() -> None:
        async with connect(address, "/chat", subprotocols=["chat.v2", "chat.v1"]) as socket:
            assert await hear(socket, "welcome")

    asyncio.run(talk())
