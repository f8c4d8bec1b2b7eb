"""The wire format against asgi_redis itself, both ways: needs an interpreter of its era.

`DAPHNE_TEST_CLASSIC_PYTHON` names it: a Python 3.6 with `asgi_redis==1.4.3` and `cryptography`.
"""

from __future__ import annotations

import ast
import asyncio
import os
import subprocess
from pathlib import Path

import pytest

from tests.layers.redis_server import RedisServer

INTERPRETER = "DAPHNE_TEST_CLASSIC_PYTHON"
MESSAGE = {
    "reply_channel": "http.response.x!y",
    "headers": [[b"host", b"example"], [b"x", bytes(range(256))]],
    "text": "snow \u2603 nul \0",
    "numbers": [0, -1, 2**63 - 1, 1.5],
    "flags": [True, False, None],
    "nested": {"a": {"b": [1]}},
}


class ClassicPeer:
    """asgi_redis in a process of the old interpreter."""

    def __init__(self, interpreter, **arguments):
        program = str(Path(__file__).with_name("classic_peer.py"))
        self._process = subprocess.Popen(
            [interpreter, program, repr(arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __call__(self, *call):
        self._process.stdin.write(repr(call) + "\n")
        self._process.stdin.flush()
        status, value = ast.literal_eval(self._process.stdout.readline())
        if status == "error":
            raise RuntimeError(value)
        return value

    def receive(self, channels):
        """Polls, for asgi_redis looks on one host for each call."""
        for _ in range(100):
            channel, message = self("receive", channels)
            if channel is not None:
                return channel, message
        return None, None

    def close(self):
        self._process.stdin.close()
        self._process.wait(60)
        self._process.stdout.close()


@pytest.fixture(scope="module")
def servers():
    servers = [RedisServer().start() for _ in range(2)]
    yield servers
    for server in servers:
        server.close()


@pytest.fixture(params=["one host", "two hosts", "encrypted"])
def both(request, servers):
    """Our layer and theirs, on the same Redis."""
    interpreter = os.environ.get(INTERPRETER)
    if not interpreter:
        pytest.skip(f"{INTERPRETER} names no interpreter with asgi_redis 1.4")
    pytest.importorskip("hiredis")
    from daphne.layers.redis import ChannelLayer

    arguments = {
        "hosts": [server.url + "?db=0" for server in servers[: 2 if request.param == "two hosts" else 1]],
        "prefix": f"{request.param.replace(' ', '')}:",
        "stats_prefix": f"meta-{request.param.replace(' ', '')}:",
        "capacity": 5,
    }
    if request.param == "encrypted":
        arguments["symmetric_encryption_keys"] = ["our secret", "an older one"]
    theirs = ClassicPeer(interpreter, **arguments)
    ours = ChannelLayer(**arguments)
    ours.flush()
    yield ours, theirs
    theirs.close()


def received(ours, channels):
    """One message by our asynchronous interface."""

    async def receive():
        async with asyncio.timeout(60):
            return (await ours.receive_batch(channels, limit=1))[0]

    return asyncio.run(receive())


@pytest.mark.parametrize(
    ("channel", "queue"), [("http.request", "http.request"), ("reply.abc!one", "reply.abc!"), ("a?b", "a?b")]
)
def test_messages_go_both_ways(both, channel, queue):
    ours, theirs = both
    for _ in range(4):  # so that round-robin has been on each host
        ours.send(channel, MESSAGE)
        assert theirs.receive([queue]) == (channel, MESSAGE)
        theirs("send", channel, MESSAGE)
        assert received(ours, [queue]) == (channel, MESSAGE)


def test_groups_are_shared(both):
    ours, theirs = both
    ours.group_add("chat", "reply.ours!1")
    theirs("group_add", "chat", "reply.theirs!1")
    assert set(ours.group_channels("chat")) == {"reply.ours!1", "reply.theirs!1"}
    assert set(theirs("group_channels", "chat")) == {"reply.ours!1", "reply.theirs!1"}
    for send in (lambda: ours.send_group("chat", MESSAGE), lambda: theirs("send_group", "chat", MESSAGE)):
        send()
        assert received(ours, ["reply.ours!"]) == ("reply.ours!1", MESSAGE)
        assert theirs.receive(["reply.theirs!"]) == ("reply.theirs!1", MESSAGE)
    theirs("group_discard", "chat", "reply.ours!1")
    ours.group_discard("chat", "reply.theirs!1")
    assert ours.group_channels("chat") == [] == theirs("group_channels", "chat")


def test_capacity_is_counted_together(both):
    ours, theirs = both
    for _ in range(2):
        ours.send("reply.full!1", {})
        theirs("send", "reply.full!2", {})
    ours.send("reply.full!1", {})
    with pytest.raises(ours.ChannelFull):
        ours.send("reply.full!1", {})
    with pytest.raises(RuntimeError, match="ChannelFull"):
        theirs("send", "reply.full!1", {})
    ours.flush()


def test_statistics_are_counted_together(both):
    ours, theirs = both
    ours.flush()
    for _ in range(2):
        ours.send("reply.counted!1", {})
        theirs("send", "reply.counted!2", {})
    for statistics in (ours.channel_statistics, lambda name: theirs("channel_statistics", name)):
        counts = statistics("reply.counted!")
        assert counts["messages_count"] == 4 and counts["messages_pending"] == 4
        assert counts["channel_full_count"] == 0
    assert ours.global_statistics()["messages_count"] == theirs("global_statistics")["messages_count"] == 4
    ours.flush()
    assert theirs.receive(["reply.counted!"]) == (None, None)
