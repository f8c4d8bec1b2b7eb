"""The load's worker over Redis reads and writes the classic wire format."""

import secrets
import subprocess
import time

import pytest

redis = pytest.importorskip("redis")
msgpack = pytest.importorskip("msgpack")

from benchmarks.load.classic_worker import RedisWorker  # noqa: E402
from benchmarks.load.outcome import HOST  # noqa: E402
from benchmarks.running import free_port  # noqa: E402
from tests.programs import require_program  # noqa: E402

REPLY_QUEUE = "asgi:http.response.abc!"


@pytest.fixture
def port():
    program = require_program("redis-server")
    port = free_port()
    server = subprocess.Popen(
        [program, "--port", str(port), "--bind", HOST, "--save", "", "--loglevel", "warning"]
    )
    deadline = time.monotonic() + 60
    try:
        client = redis.Redis(port=port)
        while time.monotonic() < deadline:
            try:
                client.ping()
                break
            except redis.ConnectionError:
                time.sleep(0.02)
        yield port
    finally:
        server.terminate()
        server.wait()


def push(client, channel, message):
    key = "asgi:" + secrets.token_hex(8)
    client.set(key, msgpack.packb(message), ex=60)
    client.rpush("asgi:" + channel, key)
    return key.encode()


def test_requests_are_answered_on_their_reply_channels(port):
    client = redis.Redis(port=port)
    worker = RedisWorker(port)
    keys = [push(client, "http.request", {"reply_channel": f"http.response.abc!{number}"}) for number in "12"]
    worker.answer_all("http.request", [*keys, b"asgi:expired"])
    assert client.exists(*keys) == 0
    replies = [msgpack.unpackb(client.get(key)) for key in client.lrange(REPLY_QUEUE, 0, -1)]
    assert [reply["__asgi_channel__"] for reply in replies] == ["http.response.abc!1", "http.response.abc!2"]
    assert {reply["content"] for reply in replies} == {b"Hello, world!"}
    assert client.ttl(REPLY_QUEUE) > 50


@pytest.mark.parametrize(
    ("channel", "message", "reply"),
    [
        ("websocket.connect", {}, {"accept": True}),
        ("websocket.receive", {"text": "a"}, {"text": "a"}),
        ("websocket.receive", {"bytes": b"\xff"}, {"bytes": b"\xff"}),
        ("websocket.disconnect", {"code": 1000}, None),
    ],
)
def test_websocket_messages_are_answered(port, channel, message, reply):
    client = redis.Redis(port=port)
    key = push(client, channel, {"reply_channel": "websocket.send.abc!1", **message})
    RedisWorker(port).answer_all(channel, [key])
    replies = [msgpack.unpackb(client.get(key)) for key in client.lrange("asgi:websocket.send.abc!", 0, -1)]
    assert replies == ([] if reply is None else [{**reply, "__asgi_channel__": "websocket.send.abc!1"}])
