"""Drives the bridge without a server, over a real layer: streams whose events the test gives and takes.

Used by the tests of the bridge and of the worker.

    @in_loop
    async def test_something(loop):
        layer = ChannelLayer()
        async with bridged(layer) as bridge:
            client = Client(bridge, http_scope("/page"))
            client.give(body=b"")
            channel, message = await one(layer, "http.request")
            await layer.send_async(message["reply_channel"], {"status": 200, "content": b"hi"})
            assert await client.response() == (200, b"hi")
"""

from __future__ import annotations

import asyncio
import functools
import gc
import inspect
import threading
import time
from collections import deque
from contextlib import asynccontextmanager, contextmanager

from daphne.errors import ClientDisconnected
from daphne.layers.bridge import Bridge
from daphne.layers.memory import ChannelLayer
from daphne.layers.message_keys import KEYS
from daphne.settings import Settings
from daphne.worker import Worker

DEADLINE = 60.0


class TurnedLoop(asyncio.SelectorEventLoop):
    """A loop whose clock the test can turn forward: timers that fall due in between fire at once."""

    ahead = 0.0

    def time(self) -> float:
        return super().time() + self.ahead

    def turn(self, seconds: float) -> None:
        self.ahead += seconds
        self.call_soon_threadsafe(lambda: None)


def in_loop(test):
    """Run an asynchronous test in a TurnedLoop of its own, within a deadline in real time."""

    @functools.wraps(test)
    def run(*args, **kwargs):
        loop = TurnedLoop()
        if "loop" in inspect.signature(test).parameters:
            kwargs["loop"] = loop
        task = loop.create_task(test(*args, **kwargs))
        alarm = threading.Timer(DEADLINE, lambda: loop.call_soon_threadsafe(task.cancel))
        alarm.start()
        try:
            loop.run_until_complete(task)
            left = asyncio.all_tasks(loop)
            assert not left, f"tasks are left: {left}"
        finally:
            alarm.cancel()
            for task in asyncio.all_tasks(loop):
                task.cancel()
                loop.run_until_complete(asyncio.wait([task]))
            loop.close()

    shown = [p for p in inspect.signature(test).parameters.values() if p.name != "loop"]
    run.__signature__ = inspect.Signature(shown)
    del run.__wrapped__
    return run


class CheckedLayer(ChannelLayer):
    """A memory layer that refuses messages with keys which the documentation does not have."""

    async def send_async(self, channel, message):
        self._check(channel, message)
        await super().send_async(channel, message)

    def give(self, channel, message):
        self._check(channel, message)
        return super().give(channel, message)

    def _check(self, channel, message):
        known = KEYS[_kind(channel, message)]
        assert set(message) <= set(known), f"{channel}: {message}"
        extra = message.get("daphne")
        if extra:
            assert set(extra) <= set(KEYS[f"{_kind(channel, message)} daphne"]), f"{channel}: {message}"


def _kind(channel, message):
    prefix = channel.partition("?")[0] if "?" in channel else channel.partition("!")[0]
    if "!" not in channel:
        return prefix
    if prefix.startswith("daphne.worker."):
        return f"to a worker: {message['type']}"
    if channel.endswith("!control"):
        return f"from a worker: {message['type']}"
    return "http reply" if prefix.startswith("http.response.") else "websocket reply"


async def until(condition, what="the condition"):
    """Let the loop turn until `condition()` is true."""
    deadline = time.monotonic() + DEADLINE
    while time.monotonic() < deadline:
        if value := condition():
            return value
        await asyncio.sleep(0.002)
    raise AssertionError(f"waited in vain for {what}")


async def one(layer, *channels):
    """The next message on `channels`: (channel, message)."""
    [(channel, message)] = await layer.receive_batch(list(channels), limit=1)
    return channel, message


@contextmanager
def let_go_of(*kinds):
    """What is made in the block of these kinds must be gone at its end, without the garbage collector."""
    gc.collect()
    before = [thing for thing in gc.get_objects() if issubclass(type(thing), kinds)]
    gc.disable()
    try:
        yield
        known = {id(thing) for thing in before}
        left = [
            thing for thing in gc.get_objects() if issubclass(type(thing), kinds) and id(thing) not in known
        ]
        assert not left, f"{len(left)} are left, such as {left[0]!r}"
    finally:
        gc.enable()


def empty(layer, *channels):
    """Whether nothing waits on `channels` of a memory layer."""
    return layer.receive(list(channels)) == (None, None)


class HandMade:
    """A worker that does what the test says, and is not heard of otherwise."""

    def __init__(self, layer, name="one"):
        self.layer = layer
        self.prefix = f"daphne.worker.{name}.{layer.client_prefix}!"

    async def receive(self, channel="http.request"):
        """The next request, not announced."""
        return (await one(self.layer, channel))[1]

    async def say(self, message, kind, **more):
        control = message["reply_channel"].partition("!")[0] + "!control"
        await self.layer.send_async(control, {"type": f"daphne.{kind}", "worker": self.prefix, **more})

    async def take(self, channel="http.request"):
        message = await self.receive(channel)
        local = message["reply_channel"].partition("!")[2]
        await self.say(message, "take", ids=[local], timeout=0)
        return message

    async def answer(self, message, **reply):
        await self.layer.send_async(message["reply_channel"], {"status": 200, "daphne": {}, **reply})

    async def told(self):
        return (await one(self.layer, self.prefix))[1]


def http_scope(path="/", **changes):
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.5"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"example.com")],
        "client": ("127.0.0.1", 40000),
        "server": ("127.0.0.1", 8000),
        "extensions": {
            "http.response.trailers": {},
            "http.response.early_hint": {},
            "http.response.pathsend": {},
        },
    }
    return scope | changes


def websocket_scope(path="/chat", **changes):
    scope = http_scope(path, type="websocket", scheme="ws", subprotocols=[])
    del scope["method"]
    scope["extensions"] = {"websocket.http.response": {}}
    return scope | changes


class Client:
    """One stream, as the server would run it: what it gives to the bridge, and what it was sent."""

    def __init__(self, application, scope):
        self.scope = scope
        self.sent = []
        self.gone = False
        self.refuses = None
        """What the stream raises out of every send."""
        self.waits = False
        """Whether somebody awaits an event."""
        self._given = deque()
        self._arrival = asyncio.Event()
        self._taken = asyncio.Event()
        self.can_take = asyncio.Event()
        self.can_take.set()
        self.task = asyncio.get_running_loop().create_task(application(scope, self._receive, self._send))
        if scope["type"] == "websocket":
            self.give("websocket.connect")

    def give(self, kind=None, **event):
        """The next event for the bridge."""
        kind = kind or "http.request"
        self._given.append({"type": kind, **event})
        self._arrival.set()

    def request(self, body=b""):
        self.give(body=body, more_body=False)
        return self

    def leave(self, code=1006, reason=""):
        """The client goes."""
        self.gone = True
        if self.scope["type"] == "http":
            self.give("http.disconnect")
        else:
            self.give("websocket.disconnect", code=code, reason=reason)

    @property
    def unread(self):
        return len(self._given)

    async def _receive(self):
        while not self._given:
            self._arrival.clear()
            self.waits = True
            await self._arrival.wait()
        self.waits = False
        event = self._given.popleft()
        if event["type"].endswith("disconnect"):
            self._given.append(event)  # it stays true
        return event

    async def _send(self, event):
        if self.gone:
            raise ClientDisconnected("gone")
        if self.refuses is not None:
            raise self.refuses
        self.sent.append(event)
        self._taken.set()
        await self.can_take.wait()
        kind = event["type"]
        if kind == "http.response.body" and not event.get("more_body"):
            self.give("http.disconnect")
        elif kind == "websocket.close" or (
            kind == "websocket.http.response.body" and not event.get("more_body")
        ):
            self.leave(event.get("code", 1006))

    async def next_sent(self, count=1):
        """Wait until `count` events were sent in all; gives the last of them."""
        await until(lambda: len(self.sent) >= count or self.task.done(), f"{count} events")
        assert len(self.sent) >= count, f"ended after {self.sent}: {self.task!r}"
        return self.sent[count - 1]

    async def response(self):
        """The whole response: (status, body)."""
        await self.task
        kinds = [event["type"] for event in self.sent]
        assert kinds[0] == "http.response.start" and set(kinds[1:]) == {"http.response.body"}, self.sent
        assert not self.sent[-1].get("more_body"), "the response was cut"
        return self.sent[0]["status"], b"".join(event.get("body", b"") for event in self.sent[1:])

    def texts(self):
        return [event["text"] for event in self.sent if "text" in event]


@asynccontextmanager
async def bridged(layer, **settings):
    """A bridge over `layer`; everything it began must have ended at the end of the block."""
    bridge = Bridge(layer, Settings(**settings))
    try:
        yield bridge
        await until(lambda: not len(bridge.replies), "the end of all streams")
    finally:
        await bridge.stop()


@asynccontextmanager
async def working(layer, application, **options):
    """A worker for `application` over `layer`."""
    worker = Worker(layer, application, **{"lifespan": "off", **options})
    task = asyncio.get_running_loop().create_task(worker.run())
    try:
        yield worker
    finally:
        await worker.drain()
        await task
