"""Messages of a WebSocket over a layer that pass at once, between a real stream and a worker made by hand."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager

import pytest

from daphne.errors import ApplicationError
from daphne.layers.bridge_connection import WebSocketConnection
from daphne.layers.inbox import Inbox, KnownWorker
from daphne.layers.kept_frames import Frame, KeptFrames
from daphne.layers.passing import Passing
from daphne.layers.window import OVERHEAD, WINDOW, Window
from daphne.settings import Settings
from daphne.testing import MemoryServer
from daphne.testing.frames import BINARY, TEXT, client_frame
from daphne.testing.sockets import WebSocketClosed
from tests.layers.driver import (
    CheckedLayer,
    Client,
    HandMade,
    bridged,
    empty,
    in_loop,
    let_go_of,
    one,
    until,
    websocket_scope,
)


@asynccontextmanager
async def talking(layer, **settings):
    """An open WebSocket of a server of `layer`: (client, worker, the name of its reply channel)."""
    async with MemoryServer(layer, Settings(**settings)) as server:
        worker = HandMade(layer)
        opening = asyncio.ensure_future(accept(layer, worker))
        async with server.websocket("/chat") as client:
            yield client, worker, await opening


async def accept(layer, worker):
    message = await worker.take("websocket.connect")
    await layer.send_async(message["reply_channel"], {"accept": True, "daphne": {}})
    return message["reply_channel"]


@in_loop
async def test_a_message_of_the_client_is_in_the_layer_in_the_turn_that_brings_it():
    layer = CheckedLayer()
    async with talking(layer) as (client, worker, _):
        await asyncio.sleep(0)
        client.connection.send(client_frame(TEXT, b"one") + client_frame(BINARY, b"two"))
        await asyncio.sleep(0)
        channels = [worker.prefix]
        (_, first), (_, second) = layer.receive(channels), layer.receive(channels)
        assert first == {"type": "websocket.receive", "order": 1, "text": "one"}
        assert second == {"type": "websocket.receive", "order": 2, "bytes": b"two"}


@in_loop
@pytest.mark.parametrize("content", [{"text": "h\u00e9"}, {"bytes": b"\xff"}, {"text": ""}])
async def test_a_reply_is_on_the_wire_in_the_call_that_sends_it(content):
    layer = CheckedLayer()
    async with talking(layer) as (client, _, name):
        await asyncio.sleep(0)
        assert layer.give(name, {**content, "daphne": {}})
        assert client.connection.received, "the relaying task was waited for"
        assert await client.receive() == next(iter(content.values()))


@in_loop
async def test_messages_keep_their_order_where_some_have_to_wait():
    """The window is full after a few, the rest waits with the stream, and later ones pass at once again."""
    layer = CheckedLayer()
    size = WINDOW // 8
    async with talking(layer) as (client, worker, name):
        for number in range(20):
            client.send(f"{number:03}".ljust(size, "."))
        await until(lambda: layer.channel_statistics(worker.prefix)["messages_pending"] >= 8)
        await asyncio.sleep(0)
        assert layer.channel_statistics(worker.prefix)["messages_pending"] == 8
        for number in range(40):
            message = await worker.told()
            assert (message["order"], int(message["text"][:3])) == (number + 1, number)
            layer.give(name, {"daphne": {"done": number + 1}})
            if number < 20:
                client.send(f"{number + 20:03}")


@in_loop
async def test_replies_keep_their_order_where_some_have_to_wait():
    """The client does not read for a while, and then some of them pass at once again."""
    layer = CheckedLayer(capacity=1000)
    async with talking(layer) as (client, worker, name):
        client.connection.stop_reading()
        content = "." * 40_000
        for number in range(30):
            await layer.send_async(name, {"text": f"{number:03}{content}", "daphne": {}})
        client.connection.resume_reading()
        for number in range(60):
            assert (await client.receive())[:3] == f"{number:03}"
            await layer.send_async(name, {"text": f"{number + 30:03}", "daphne": {}})
        count = 0
        while not empty_of_acks(layer, worker):
            message = await worker.told()
            assert message["type"] == "daphne.ack" and message["count"] > count
            count = message["count"]
        assert count * OVERHEAD + 30 * len(content) > WINDOW // 2


def empty_of_acks(layer, worker):
    return layer.channel_statistics(worker.prefix)["messages_pending"] == 0


@in_loop
@pytest.mark.parametrize("reply", [{"text": "\ud800", "daphne": {}}, {"text": "a", "daphne": {"done": "b"}}])
async def test_what_cannot_be_sent_ends_its_connection_and_no_other(reply, caplog):
    """Whoever sends a reply, here the layer's own code, must not meet its error."""
    layer = CheckedLayer()
    async with talking(layer) as (client, worker, name):
        client.send("unconfirmed")
        await worker.told()
        await asyncio.sleep(0)
        assert layer.give(name, reply)
        with pytest.raises(WebSocketClosed) as closed:
            await client.receive()
        assert closed.value.code == 1011
    assert "Exception inside application" in caplog.text


@in_loop
async def test_a_message_too_large_for_the_layer_closes_with_1009(caplog):
    layer = CheckedLayer(max_message_size=1000)
    async with talking(layer) as (client, _, _):
        await asyncio.sleep(0)
        client.send("x" * 2000)
        with pytest.raises(WebSocketClosed) as closed:
            await client.receive()
        assert closed.value.code == 1009


@in_loop
async def test_a_flood_of_replies_gives_way_to_others():
    layer = CheckedLayer(capacity=1000)
    async with talking(layer) as (client, _, name):
        await asyncio.sleep(0)
        for number in range(100):
            layer.give(name, {"text": str(number), "daphne": {}})
        assert client.connection.received.count(b"\x81") < 100
        assert [await client.receive() for _ in range(100)] == [str(number) for number in range(100)]


@in_loop
async def test_a_reply_to_a_client_that_has_gone_is_dropped(caplog):
    caplog.set_level(logging.DEBUG)
    layer = CheckedLayer()
    async with talking(layer) as (client, worker, name):
        client.connection.close()
        await until(lambda: layer.channel_statistics(worker.prefix)["messages_pending"])
        assert layer.give(name, {"text": "late", "daphne": {}})
        assert f"unknown channel {name!r}" in caplog.text


@asynccontextmanager
async def called(layer):
    """A WebSocket of a bridge that has but `receive` and `send`: (client, worker, its reply channel)."""
    async with bridged(layer) as bridge:
        client = Client(bridge, websocket_scope())
        worker = HandMade(layer)
        name = await accept(layer, worker)
        await client.next_sent()
        yield client, worker, name
        client.leave()
        await asyncio.wait([client.task])


@in_loop
async def test_a_stream_that_something_was_put_around_is_called_as_asgi_says():
    layer = CheckedLayer()
    async with called(layer) as (client, worker, name):
        client.give("websocket.receive", text="one")
        assert (await worker.told())["text"] == "one"
        await layer.send_async(name, {"text": "two", "daphne": {}})
        assert await client.next_sent(2) == {"type": "websocket.send", "text": "two"}


@in_loop
async def test_what_the_stream_refuses_counts_as_passed_on(caplog):
    layer = CheckedLayer()
    async with called(layer) as (client, _, name):
        client.refuses = ApplicationError("not this")
        await layer.send_async(name, {"text": "plain", "daphne": {}})
        await layer.send_async(name, {"text": "with more", "daphne": {"state": "1"}})
        await until(lambda: caplog.text.count("not this") == 2)
        client.refuses = None
        await layer.send_async(name, {"text": "the third", "daphne": {"sent": 2}})
        assert (await client.next_sent(2))["text"] == "the third"
        assert "lost" not in caplog.text


@in_loop
async def test_what_is_under_way_at_the_end_is_let_go_of(recwarn):
    layer = CheckedLayer()
    async with called(layer) as (client, _, name):
        assert layer.give(name, {"text": "never seen", "daphne": {}})
        client.task.cancel()
        await asyncio.wait([client.task])
    assert client.texts() == [] and not recwarn.list


def test_what_went_wrong_can_be_let_go_of_too():
    Passing(ValueError(), 0).forget()


@in_loop
async def test_early_messages_of_the_client_wait_for_the_worker():
    layer = CheckedLayer()
    async with MemoryServer(layer) as server:
        worker = HandMade(layer)
        opening = asyncio.ensure_future(accept(layer, worker))
        async with server.websocket("/chat") as client:
            client.connection.send(client_frame(TEXT, b"1") + client_frame(TEXT, b"2"))
            client.send("3")
            await opening
            assert [(await worker.told())["text"] for _ in range(3)] == ["1", "2", "3"]
        _, message = await one(layer, worker.prefix)
        assert (message["type"], message["code"]) == ("websocket.disconnect", 1000)
    assert empty(layer, worker.prefix)


async def the_client_leaves(client, layer, worker, name):
    client.connection.close()


async def the_client_closes(client, layer, worker, name):
    assert await client.close(1000) == (1000, "")


async def the_worker_closes(client, layer, worker, name):
    await layer.send_async(name, {"close": 4000, "daphne": {}})
    with pytest.raises(WebSocketClosed):
        await client.receive()


async def replies_come_as_the_client_leaves(client, layer, worker, name):
    await asyncio.sleep(0)
    client.connection.reset()
    client.connection.was_reset = True
    for _ in range(20):  # one of them after the end is known, and before the relaying task knows it
        layer.give(name, {"text": "late", "daphne": {}})
        await asyncio.sleep(0)


async def the_server_stops(client, layer, worker, name):
    client.send("unconfirmed")


async def the_worker_hands_over(client, layer, worker, name):
    await layer.send_async(name, {"daphne": {"handover": {"received": 0}}})
    assert await accept(layer, HandMade(layer, "two")) != name
    client.connection.close()


async def its_worker_is_lost(client, layer, worker, name):
    client.send("unconfirmed")
    await worker.told()
    control = name.partition("!")[0] + "!control"
    await layer.send_async(control, {"type": "daphne.bye", "worker": worker.prefix})
    assert await accept(layer, HandMade(layer, "two")) != name
    client.connection.close()


@in_loop
@pytest.mark.parametrize(
    "end",
    [
        *(the_client_leaves, the_client_closes, the_worker_closes, replies_come_as_the_client_leaves),
        *(the_server_stops, the_worker_hands_over, its_worker_is_lost),
    ],
)
async def test_a_connection_that_has_ended_leaves_nothing_to_the_collector(end):
    """It may hold much: the client's messages, replies, and with the frame of a task what it refers to."""
    with let_go_of(Inbox, WebSocketConnection, KeptFrames, Frame, Passing, Window, KnownWorker):
        layer = CheckedLayer()
        async with talking(layer) as (client, worker, name):
            client.send("first")
            await worker.told()
            await end(client, layer, worker, name)
        del client, worker, layer
