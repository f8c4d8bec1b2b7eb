"""Workers of the channel-layer era, unchanged, behind today's daphne.

`DAPHNE_TEST_CLASSIC_CHANNELS` names an interpreter (Python 3.6) that has Django 1.11, Channels 1.1.8 and
asgi_redis 1.4.3. Front end and worker share nothing but a Redis server.
"""

import asyncio
import hashlib
import os
import subprocess
from pathlib import Path

import httpx
import pytest
import websockets

from tests.layers.redis_server import RedisServer
from tests.servers import serving

INTERPRETER = "DAPHNE_TEST_CLASSIC_CHANNELS"
PROJECT = Path(__file__).parent / "project"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    interpreter = os.environ.get(INTERPRETER)
    if not interpreter:
        pytest.skip(f"needs a Python with Channels 1.1.8 and asgi_redis 1.4.3, named by {INTERPRETER}")
    folder = tmp_path_factory.mktemp("classic")
    redis = RedisServer().start()
    environment = {"CLASSIC_REDIS": redis.url}
    worker = subprocess.Popen(
        [interpreter, "classic_site.py", "runworker", "--threads", "2"],
        cwd=PROJECT,
        env={**os.environ, **environment, "PYTHONPATH": ""},
    )
    try:
        with serving("tests.classic.front:channel_layer", folder=folder, environment=environment) as running:
            yield running
    finally:
        worker.kill()
        worker.wait()
        redis.close()


def test_a_page(server):
    answer = httpx.get(server.address.url("/some/page?x=1"), timeout=60)
    assert (answer.status_code, answer.text) == (200, "GET /some/page?x=1")


@pytest.mark.parametrize("size", [0, 1000, 3_000_000])
def test_an_upload(server, size):
    body = os.urandom(size)
    answer = httpx.post(server.address.url("/upload"), content=body, timeout=60)
    assert answer.text == f"{size} {hashlib.sha256(body).hexdigest()}"


def test_a_streamed_response(server):
    assert httpx.get(server.address.url("/stream"), timeout=60).text == "one two three"


def test_a_chat_between_two_clients(server):
    async def chat():
        address = server.address.url("/", "ws")
        async with websockets.connect(address) as first, websockets.connect(address) as second:
            # Both are in the room once each has heard the other.
            await _until_heard(first, second, "from the first")
            await _until_heard(second, first, "from the second")
            await first.send(b"\x00\xff")
            while (heard := await first.recv()) != b"\x00\xff":
                assert isinstance(heard, str)
            await second.send("bye")
            with pytest.raises(websockets.ConnectionClosed):
                while True:
                    await second.recv()
            assert second.close_code == 4001

    asyncio.run(asyncio.wait_for(chat(), 60))


async def _until_heard(speaker, listener, line):
    while True:
        await speaker.send(line)
        try:
            while await asyncio.wait_for(listener.recv(), 0.5) != line:
                pass
        except TimeoutError:
            continue
        return
