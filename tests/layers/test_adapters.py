"""Adapters beside what all layers do: which shape gets which, threads, errors, and what goes back."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest
from twisted.internet.defer import Deferred

from daphne import errors
from daphne.layers import arrivals
from daphne.layers.adapters import adapt
from daphne.layers.classic import BlockingLayer, TwistedLayer
from daphne.layers.coroutines import CoroutineLayer
from daphne.layers.interface import AsyncLayer
from daphne.layers.memory import ChannelLayer
from tests.layers.classic_layer import ClassicLayer, ClassicTwistedLayer, ClassicWaitingLayer
from tests.layers.driver import in_loop
from tests.layers.redis_server import RedisServer


def channels_in_memory():
    from channels.layers import InMemoryChannelLayer

    return InMemoryChannelLayer()


@pytest.mark.parametrize(
    ("make", "force_sync", "expected"),
    [
        (ClassicLayer, False, BlockingLayer),
        (ClassicTwistedLayer, False, TwistedLayer),
        (ClassicTwistedLayer, True, BlockingLayer),
        (channels_in_memory, False, CoroutineLayer),
        (channels_in_memory, True, CoroutineLayer),
        (ChannelLayer, False, ChannelLayer),
    ],
)
def test_the_shape_decides(make, force_sync, expected):
    layer = make()
    adapted = adapt(layer, force_sync)
    assert type(adapted) is expected and isinstance(adapted, AsyncLayer)
    assert adapted.expiry == layer.expiry and adapted.group_expiry == layer.group_expiry
    assert adapted.extensions == layer.extensions


def test_what_is_no_layer_is_refused():
    for thing in (object(), {}, lambda scope: None):
        with pytest.raises(errors.ConfigurationError, match="is not a channel layer"):
            adapt(thing)


def test_publish_and_subscribe_layers_are_refused():
    from channels_redis.pubsub import RedisPubSubChannelLayer

    class Derived(RedisPubSubChannelLayer):
        pass

    for layer, socket in ((RedisPubSubChannelLayer(), None), (Derived(), None), (Derived(), "socket")):
        with pytest.raises(errors.ConfigurationError, match="every receiver"):
            adapt(layer, socket=socket)


def test_what_one_process_takes_from_channels_redis_no_other_gets_again():
    """The first process is held in the moment in which it has a message and has not yet struck it off."""
    from channels_redis.core import RedisChannelLayer

    async def scenario(url):
        held = asyncio.Event()
        layers = [RedisChannelLayer([url]) for _ in range(2)]
        strike_off = layers[0]._clean_receive_backup

        async def strike_off_later(*arguments):
            await held.wait()
            await strike_off(*arguments)

        layers[0]._clean_receive_backup = strike_off_later
        one, two = (adapt(layer) for layer in layers)
        try:
            await one.send_async("http.request", {"number": 1})
            assert await one.receive_batch(["http.request"]) == [("http.request", {"number": 1})]
            await one.send_async("http.request", {"number": 2})
            assert await two.receive_batch(["http.request"]) == [("http.request", {"number": 2})]
        finally:
            held.set()
            for adapted, layer in ((one, layers[0]), (two, layers[1])):
                await adapted.close_async()
                await layer.close_pools()

    server = RedisServer().start()
    try:
        asyncio.run(asyncio.wait_for(scenario(server.url), 60))
    finally:
        server.close()


def test_what_channels_redis_was_about_to_bring_is_put_back(caplog):
    """The process is held in the moment in which it has noted a message, and closes there."""
    from channels_redis.core import RedisChannelLayer

    async def scenario(server):
        noted = asyncio.Event()
        layers = [RedisChannelLayer([{"address": server.url, "socket_timeout": None}]) for _ in range(2)]
        take = layers[0]._brpop_with_clean

        async def take_and_hang(*arguments, **options):
            await take(*arguments, **options)
            noted.set()
            await asyncio.Event().wait()

        layers[0]._brpop_with_clean = take_and_hang
        one, two = (adapt(layer) for layer in layers)
        receiving = asyncio.ensure_future(one.receive_batch(["http.request"]))
        await two.send_async("http.request", {"number": 1})
        await noted.wait()
        receiving.cancel()
        await one.close_async()
        assert await two.receive_batch(["http.request"]) == [("http.request", {"number": 1})]
        assert not caplog.messages
        server.stop()
        await two.close_async()
        assert "What was on its way from http.request could not be given back" in caplog.text
        for layer in layers:
            await layer.close_pools()

    server = RedisServer().start()
    try:
        asyncio.run(asyncio.wait_for(scenario(server), 60))
    finally:
        server.close()


@pytest.mark.parametrize("make", [ClassicLayer, ClassicWaitingLayer])
def test_blocking_calls_stay_off_the_loops_thread(make):
    layer = make()

    async def scenario():
        adapted = adapt(layer)
        receiving = asyncio.ensure_future(adapted.receive_batch(["queue"]))
        await adapted.send_async("queue", {})
        await receiving
        await adapted.close_async()

    asyncio.run(scenario())
    assert layer.threads and threading.get_ident() not in layer.threads


def test_a_layer_that_does_not_wait_is_asked_less_and_less():
    class Counting(ClassicLayer):
        looks = []

        def receive(self, channels, block=False):
            self.looks.append(time.monotonic())
            return super().receive(channels, block)

    layer = Counting()

    async def scenario():
        adapted = adapt(layer)
        receiving = asyncio.ensure_future(adapted.receive_batch(["queue"]))
        while len(layer.looks) < 9:
            await asyncio.sleep(0.01)
        waits = [0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.05, 0.05]
        for before, after, wait in zip(layer.looks, layer.looks[1:], waits, strict=False):
            assert after - before > 0.9 * wait
        receiving.cancel()
        await asyncio.wait([receiving])
        await asyncio.sleep(0.1)
        looks = len(layer.looks)
        await asyncio.sleep(0.2)
        assert len(layer.looks) == looks
        await adapted.close_async()

    asyncio.run(scenario())


class Broken:
    """A classic layer whose server has gone."""

    extensions = ["groups"]

    class ChannelFull(Exception):
        pass

    def __init__(self, error):
        self.error = error

    def send(self, channel, message):
        raise self.error

    def receive(self, channels, block=False):
        raise self.error


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (Broken.ChannelFull("x"), errors.ChannelFull),
        (type("MessageTooLarge", (Exception,), {})("x"), errors.MessageTooLarge),
        (AssertionError("not a dict"), TypeError),
        (TypeError("not a name"), TypeError),
        (ConnectionRefusedError(), errors.LayerUnavailable),
        (RuntimeError("what a client library says"), errors.LayerUnavailable),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_foreign_errors_become_ours(raised, expected):
    async def scenario():
        adapted = adapt(Broken(raised))
        with pytest.raises(expected):
            await adapted.send_async("queue", {})
        with pytest.raises(expected):
            await adapted.receive_batch(["queue"])
        await adapted.close_async()

    asyncio.run(scenario())


def test_an_unanswered_deferred_serves_the_next_receive():
    """One receive under way at a time for the same names, whoever asks."""
    asked = []

    class Answering(ClassicTwistedLayer):
        def receive_twisted(self, channels):
            asked.append(Deferred())
            return asked[-1]

    async def scenario():
        adapted = adapt(Answering())
        for _ in range(3):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.02):
                    await adapted.receive_batch(["reply.x!"])
        assert len(asked) == 1
        receiving = asyncio.ensure_future(adapted.receive_batch(["reply.x!"]))
        await asyncio.sleep(0)
        asked[0].callback((None, None))  # it gave up, as asgi_redis does every five seconds
        while len(asked) < 2:
            await asyncio.sleep(0)
        asked[1].callback(("reply.x!y", {"a": 1}))
        assert await receiving == [("reply.x!y", {"a": 1})]

    asyncio.run(scenario())


def test_what_nobody_here_wants_is_given_back_after_a_moment(monkeypatch):
    monkeypatch.setattr(arrivals, "PATIENCE", 0.05)
    layer = channels_in_memory()

    async def scenario():
        one, other = adapt(layer), adapt(layer)
        receiving = asyncio.ensure_future(one.receive_batch(["shared"]))
        await asyncio.sleep(0.01)
        receiving.cancel()
        await other.send_async("shared", {"a": 1})
        async with asyncio.timeout(60):
            assert await other.receive_batch(["shared"]) == [("shared", {"a": 1})]
        await one.close_async()
        await other.close_async()

    asyncio.run(scenario())


def test_process_local_names_cannot_join_groups_of_a_layer_that_loses_them():
    async def scenario():
        adapted = adapt(channels_in_memory())
        with pytest.raises(errors.LayerError, match="groups"):
            await adapted.group_add_async("group", "local.x!y")

    asyncio.run(scenario())


def test_closing_does_not_wait_for_receives_that_only_this_process_wants():
    begun, closed = threading.Event(), threading.Event()

    class Slow(ClassicLayer):
        def receive(self, channels, block=False):
            begun.set()
            closed.wait(60)
            return None, None

    async def scenario():
        adapted = adapt(Slow())
        receiving = asyncio.ensure_future(adapted.receive_batch(["reply.x!"]))
        await asyncio.to_thread(begun.wait)
        receiving.cancel()
        await adapted.close_async()
        assert not closed.is_set()
        closed.set()

    started = time.monotonic()
    asyncio.run(scenario())
    assert time.monotonic() - started < 60, "closing has waited for the receive"


class Hanging:
    """A receive under way that brings its batch when the test says so."""

    shared = False

    def __init__(self):
        self.future = asyncio.get_running_loop().create_future()

    def stop(self):
        pass

    end = go_on = stop


@in_loop
async def test_what_came_for_a_process_local_name_that_nobody_receives_on_any_more_is_forgotten(loop):
    """A WebSocket that ends takes its name with it, and perhaps a message is on its way there."""
    begun = []

    def begin(names, limit):
        begun.append(Hanging())
        return begun[-1]

    async def none_is_given_back(batch):
        raise AssertionError(batch)

    receives = arrivals.Arrivals(begin, lambda names: [names], none_is_given_back)
    for number in range(3):
        receiving = asyncio.ensure_future(receives.receive((f"mine.{number}!",), 10))
        await asyncio.sleep(0)
        receiving.cancel()
        await asyncio.wait([receiving])
        begun[number].future.set_result([(f"mine.{number}!a", number)])
        await asyncio.sleep(0)
        loop.turn(arrivals.FORGOTTEN * 2 / 3)
        await asyncio.sleep(0.01)
    assert receives.take(("mine.0!",), 10) == []
    assert receives.take(("mine.2!",), 10) == [("mine.2!a", 2)]
    await receives.close()


@in_loop
async def test_receives_on_names_that_nobody_wants_any_more_end(loop):
    """Each long request body has a name of its own; a layer of Channels keeps a task, and channels_redis a
    connection, for as long as somebody receives on it."""
    ended = []

    class Waiting:
        extensions = ()

        async def send(self, channel, message):
            raise NotImplementedError

        async def receive(self, channel):
            try:
                await loop.create_future()
            finally:
                ended.append(channel)

    async def wait_a_moment(name):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await adapted.receive_batch([name])

    adapted = adapt(Waiting())
    for name in ("body?a", "body?b", "own.x!", "shared"):
        await wait_a_moment(name)
    loop.turn(arrivals.FORGOTTEN - 1)
    await wait_a_moment("body?b")
    loop.turn(2)
    await asyncio.sleep(0.01)
    assert ended == ["body?a", "own.x!"]
    loop.turn(arrivals.FORGOTTEN)
    await asyncio.sleep(0.01)
    assert ended == ["body?a", "own.x!", "body?b"]
    await adapted.close_async()
