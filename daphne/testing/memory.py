"""MemoryServer: any ASGI application, or a channel layer, behind the real protocols and without a socket.

Used in unit tests. What is in between is what runs in production: `daphne.service`, the HTTP/1.1, HTTP/2 and
WebSocket protocols, the streams; only the bytes travel in memory.

    async with MemoryServer(application) as server:
        response = await server.request("POST", "/form", body=b"a=1")
        async with server.websocket("/chat") as socket:
            socket.send("hello")
            assert await socket.receive() == "hello"
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

from daphne.service import Service
from daphne.settings import Settings
from daphne.testing.connections import Address, MemoryConnection, MemoryPort
from daphne.testing.responses import Response, read_response
from daphne.testing.sockets import MemoryWebSocket, WebSocketRefused, handshake

ActionLogger = Callable[[str, str, dict[str, Any]], Any]


class MemoryServer:
    """A server of `target`, for as long as its `async with` block lasts.

    `target` is an ASGI 2 or 3 application or a channel layer; `settings` are those of the command line (its
    defaults without any); `action_logger(protocol, action, details)` is told what the access log is made
    from; `address` is what the server is told to listen on. Entering raises LifespanError when the
    application fails to start; leaving stops the server as SIGTERM does.
    """

    def __init__(
        self,
        target: Any,
        settings: Settings | None = None,
        *,
        action_logger: ActionLogger | None = None,
        address: Address = ("127.0.0.1", 8000),
    ) -> None:
        self.service = Service(target, settings or Settings(), action_logger)
        self._address = address

    async def __aenter__(self) -> MemoryServer:
        await self.start()
        return self

    async def __aexit__(self, *problem: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Start the application; from now on connections come in. Raises LifespanError."""
        await self.service.start(None, [])
        self.port = MemoryPort(asyncio.get_running_loop(), self.service.site, self._address)

    async def stop(self) -> None:
        """Let what is under way finish, and end the application."""
        await self.service.stop()

    def connect(self, client: Address = ("127.0.0.1", 50000)) -> MemoryConnection:
        """A new connection, for tests that write the bytes themselves."""
        return self.port.connect(client)

    async def request(
        self,
        method: str,
        target: str,
        headers: Iterable[tuple[bytes, bytes]] = (),
        body: bytes = b"",
        connection: MemoryConnection | None = None,
    ) -> Response:
        """Send one HTTP/1.1 request, on a connection of its own unless one is given, and await the response.

        Host and Content-Length are added where they are not among `headers`. Raises EOFError when the
        connection ends without a response, ValueError for a malformed one.
        """
        own = connection is None
        connection = connection or self.connect()
        connection.send(request_bytes(method, target, headers, body))
        response, rest = await connection.wait_for(
            lambda: read_response(bytes(connection.received), method, connection.ended)
        )
        connection.received[:] = rest
        if own:
            connection.close()
        return response

    @contextlib.asynccontextmanager
    async def websocket(
        self,
        target: str,
        headers: Iterable[tuple[bytes, bytes]] = (),
        subprotocols: Iterable[str] = (),
    ) -> AsyncIterator[MemoryWebSocket]:
        """Open a WebSocket for the length of a block, which closes it. Raises WebSocketRefused with the
        server's answer."""
        fields = list(headers)
        if offered := ", ".join(subprotocols):
            fields.append((b"sec-websocket-protocol", offered.encode("ascii")))
        connection = self.connect()
        connection.send(handshake(target, fields))
        response, rest = await connection.wait_for(
            lambda: read_response(bytes(connection.received), "GET", connection.ended)
        )
        connection.received[:] = rest
        if response.status != 101:
            connection.close()
            raise WebSocketRefused(response)
        socket = MemoryWebSocket(connection, response)
        try:
            yield socket
        finally:
            if not connection.ended:
                await socket.close()


def request_bytes(
    method: str, target: str, headers: Iterable[tuple[bytes, bytes]] = (), body: bytes = b""
) -> bytes:
    """A request in HTTP/1.1, with Host and Content-Length added where they are missing."""
    fields = list(headers)
    given = {name.lower() for name, _ in fields}
    if b"host" not in given:
        fields.insert(0, (b"host", b"testserver"))
    if body and not given & {b"content-length", b"transfer-encoding"}:
        fields.append((b"content-length", b"%d" % len(body)))
    lines = b"".join([b"%b: %b\r\n" % pair for pair in fields])
    return f"{method} {target} HTTP/1.1\r\n".encode("ascii") + lines + b"\r\n" + body
