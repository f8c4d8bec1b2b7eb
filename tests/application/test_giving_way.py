"""An application that streams without end to a client that has gone leaves the loop to everybody else."""

import http.client
import socket

import pytest

from daphne.testing import BaseDaphneTestingInstance


async def endless(scope, receive, send):
    """Streams or chatters for ever under /endless, greets elsewhere."""
    if scope["type"] == "websocket":
        await send({"type": "websocket.accept"})
        while True:
            await send({"type": "websocket.send", "text": "x"})
    await send({"type": "http.response.start", "status": 200, "headers": []})
    while scope["path"] == "/endless":
        await send({"type": "http.response.body", "body": b"x", "more_body": True})
    await send({"type": "http.response.body", "body": b"hello"})


REQUEST = b"GET /endless HTTP/1.1\r\nHost: a\r\n\r\n"
HANDSHAKE = (
    b"GET /endless HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: x3JJHMbDL1EzLkh9GBhXDw==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


@pytest.mark.parametrize(
    "opening", [b"GET /endless HTTP/1.1\r\nHost: a\r\n\r\n", HANDSHAKE], ids=["http", "websocket"]
)
def test_others_are_served_after_the_client_of_an_endless_stream_has_gone(opening):
    with BaseDaphneTestingInstance(application=endless) as server:
        for _ in range(3):
            with socket.create_connection((server.host, server.port)) as client:
                client.sendall(opening)
                assert client.recv(1000)
        connection = http.client.HTTPConnection(server.host, server.port, timeout=60)
        connection.request("GET", "/")
        assert connection.getresponse().read() == b"hello"
