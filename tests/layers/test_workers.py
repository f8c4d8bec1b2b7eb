"""What becomes of requests when workers die. The workers here are hand-made, so that they can fall silent."""

from __future__ import annotations

import asyncio

import pytest

from daphne.errors import LayerUnavailable
from daphne.layers.workers import Lost
from tests.layers.driver import (
    CheckedLayer,
    Client,
    HandMade,
    bridged,
    empty,
    http_scope,
    in_loop,
    one,
    until,
    websocket_scope,
    working,
)


async def pass_time(loop, seconds, step=0.25):
    for _ in range(int(seconds / step)):
        loop.turn(step)
        await asyncio.sleep(0.002)


@in_loop
async def test_a_safe_request_is_asked_again_once_and_then_502(loop, caplog):
    layer = CheckedLayer()
    async with bridged(layer, worker_timeout=2) as bridge:
        client = Client(bridge, http_scope("/page")).request()
        first = await HandMade(layer, "one").take()
        await pass_time(loop, 3.5)
        second = await HandMade(layer, "two").take()
        assert second["path"] == "/page" and second["reply_channel"] != first["reply_channel"]
        assert not client.task.done()
        await layer.send_async(first["reply_channel"], {"status": 200, "content": b"from the dead"})
        await pass_time(loop, 3.5)
        status, page = await client.response()
        assert status == 502 and b"from the dead" not in page
        assert "has been silent" in caplog.text


@in_loop
async def test_a_request_is_not_asked_again_for_a_client_that_leaves_with_the_worker(loop):
    layer = CheckedLayer()
    async with bridged(layer) as bridge:
        worker = HandMade(layer)
        client = Client(bridge, http_scope()).request()
        message = await worker.take()
        await pass_time(loop, 1)  # the client is looked out for by now
        inbox = bridge.replies.find(message["reply_channel"])
        client.leave()
        inbox.put(Lost(None))
        await until(client.task.done, "the end of the request")
        assert empty(layer, "http.request") and client.sent == []


@in_loop
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
async def test_others_are_502_as_soon_as_the_death_is_known(loop, method):
    layer = CheckedLayer()
    async with bridged(layer, worker_timeout=2) as bridge:
        client = Client(bridge, http_scope(method=method)).request()
        await HandMade(layer).take()
        await pass_time(loop, 3.5)
        assert (await client.response())[0] == 502


@in_loop
async def test_r13_a_response_that_has_begun_is_cut(loop):
    layer = CheckedLayer()
    async with bridged(layer, worker_timeout=2) as bridge:
        client = Client(bridge, http_scope()).request()
        worker = HandMade(layer)
        await worker.answer(await worker.take(), content=b"a", more_content=True)
        await pass_time(loop, 3.5)
        await client.task
        assert client.sent[-1]["more_body"] is True


@in_loop
async def test_a_worker_that_goes_on_speaking_is_not_dead(loop):
    layer = CheckedLayer()
    async with bridged(layer, worker_timeout=2) as bridge:
        client = Client(bridge, http_scope()).request()
        worker = HandMade(layer)
        message = await worker.take()
        for _ in range(10):
            await pass_time(loop, 1)
            await worker.say(message, "alive", timeout=0)
        assert (await worker.told())["type"] == "daphne.alive", "and is answered"
        await worker.answer(message)
        assert (await client.response())[0] == 200


@in_loop
async def test_replies_count_as_life(loop):
    """Under load heartbeats may have to wait behind replies."""
    layer = CheckedLayer()
    async with bridged(layer, worker_timeout=2) as bridge:
        client = Client(bridge, http_scope()).request()
        worker = HandMade(layer)
        message = await worker.take()
        await worker.answer(message, content=b"0", more_content=True)
        for _ in range(10):
            await pass_time(loop, 1)
            await layer.send_async(
                message["reply_channel"], {"content": b"1", "more_content": True, "daphne": {}}
            )
        await layer.send_async(message["reply_channel"], {"daphne": {}})
        assert await client.response() == (200, b"0" + b"1" * 10)


@in_loop
async def test_the_longer_of_two_time_limits_holds(loop):
    layer = CheckedLayer()
    async with bridged(layer, worker_timeout=1) as bridge:
        client = Client(bridge, http_scope()).request()
        worker = HandMade(layer)
        message = await worker.take()
        await worker.say(message, "alive", timeout=30)
        await pass_time(loop, 20)
        await worker.answer(message)
        assert (await client.response())[0] == 200


@in_loop
async def test_a_bridge_that_stood_still_does_not_blame_its_workers(loop):
    layer = CheckedLayer()
    async with bridged(layer, worker_timeout=2) as bridge:
        client = Client(bridge, http_scope()).request()
        worker = HandMade(layer)
        message = await worker.take()
        await until(lambda: bridge.workers._workers)
        loop.turn(60)
        await asyncio.sleep(0.01)
        assert not client.task.done()
        await worker.answer(message)
        assert (await client.response())[0] == 200


class Away(CheckedLayer):
    """Cannot be sent to while it is `away`."""

    away = False

    async def send_async(self, channel, message):
        if self.away:
            raise LayerUnavailable("away")
        await super().send_async(channel, message)


@in_loop
@pytest.mark.parametrize("busy", [False, True], ids=["nothing waits", "a client's message waits"])
async def test_while_the_layer_is_away_nobody_counts_as_dead(busy, loop, caplog):
    """Neither end hears the other then, and both are to go on when it returns."""
    layer, heard = Away(), []

    async def application(scope, receive, send):
        while (event := await receive())["type"] != "websocket.disconnect":
            heard.append(event.get("text"))
            if len(heard) == 1:
                await send({"type": "websocket.accept"})

    options = {"worker_timeout": 2}
    async with bridged(layer, **options) as bridge, working(layer, application, **options):
        client = Client(bridge, websocket_scope())
        await client.next_sent()
        await pass_time(loop, 1)
        layer.away = True
        if busy:
            client.give("websocket.receive", text="one")
        await pass_time(loop, 7)
        layer.away = False
        client.give("websocket.receive", text="two")
        await pass_time(loop, 3)
        assert heard == [None, *["one"] * busy, "two"]
        client.leave()
    assert "silent" not in caplog.text


@in_loop
async def test_bye_is_believed_at_once(caplog):
    layer = CheckedLayer()
    async with bridged(layer) as bridge:
        client = Client(bridge, http_scope(method="POST")).request()
        worker = HandMade(layer)
        await worker.say(await worker.take(), "bye")
        assert (await client.response())[0] == 502
    assert "has ended; it had 1 connections" in caplog.text


@in_loop
async def test_a_request_that_is_given_back_goes_to_another():
    layer = CheckedLayer()
    async with bridged(layer) as bridge:
        client = Client(bridge, http_scope()).request()
        first, second = HandMade(layer, "one"), HandMade(layer, "two")
        message = await first.take()
        await layer.send_async(message["reply_channel"], {"daphne": {"handback": True}})
        await second.answer(await second.take(), content=b"hi")
        assert await client.response() == (200, b"hi")


@in_loop
async def test_what_a_layer_notices_itself_is_believed_at_once():
    class Watching(CheckedLayer):
        def __init__(self):
            super().__init__()
            self.gone = asyncio.Event()

        async def watch_async(self, prefix):
            await self.gone.wait()

    layer = Watching()
    async with bridged(layer, worker_timeout=1000) as bridge:
        client = Client(bridge, http_scope(method="POST")).request()
        await HandMade(layer).take()
        await until(lambda: bridge.workers._workers)
        layer.gone.set()
        assert (await client.response())[0] == 502


# What a dead worker had received and not yet announced


async def one_death_over(layer, bridge, loop):
    """A worker receives two requests, announces the later one only, and dies."""
    first = Client(bridge, http_scope("/unannounced")).request()
    await until(lambda: layer.global_statistics()["messages_pending"] == 1)
    second = Client(bridge, http_scope("/announced")).request()
    worker = HandMade(layer)
    unannounced = await worker.receive()
    await worker.take()
    await until(lambda: bridge.workers._workers)
    await pass_time(loop, 3.5)
    return first, second, unannounced


@in_loop
async def test_a_request_that_was_passed_over_is_offered_again(loop):
    layer = CheckedLayer()
    async with bridged(layer, worker_timeout=2) as bridge:
        first, second, _ = await one_death_over(layer, bridge, loop)
        other = HandMade(layer, "two")
        answered = set()
        while len(answered) < 2:
            await until(
                lambda: loop.turn(0.1) or layer.channel_statistics("http.request")["messages_pending"]
            )
            message = await other.take()
            answered.add(message["path"])
            await other.answer(message)
        assert answered == {"/unannounced", "/announced"}
        assert (await first.response())[0] == (await second.response())[0] == 200


async def answered_once(layer, bridge):
    """After this, the bridge knows that there are workers of ours."""
    client, worker = Client(bridge, http_scope()).request(), HandMade(layer)
    await worker.answer(await worker.take())
    await client.response()


@pytest.mark.parametrize("method", ["GET", "POST"])
@in_loop
async def test_what_died_with_its_worker_unannounced_is_found_without_later_traffic(method, loop, caplog):
    layer = CheckedLayer()
    async with bridged(layer, worker_timeout=4) as bridge:
        await answered_once(layer, bridge)
        client = Client(bridge, http_scope(method=method)).request()
        await HandMade(layer).receive()
        await pass_time(loop, 4.25)
        assert "died before it could say so" in caplog.text
        if method == "GET":
            other = HandMade(layer, "two")
            await other.answer(await other.take())
        assert (await client.response())[0] == (200 if method == "GET" else 502)


@in_loop
async def test_what_waits_in_the_channel_or_is_announced_late_is_not_taken_for_lost(loop):
    layer = CheckedLayer()
    async with bridged(layer, worker_timeout=4) as bridge:
        await answered_once(layer, bridge)
        clients = [Client(bridge, http_scope(method="POST")).request() for _ in range(2)]
        await pass_time(loop, 20)
        worker = HandMade(layer)
        messages = [await worker.take(), await worker.receive()]
        await pass_time(loop, 1.75)  # less than half of the time-out
        await worker.say(
            messages[1], "take", ids=[messages[1]["reply_channel"].partition("!")[2]], timeout=40
        )
        await pass_time(loop, 10)
        for message, client in zip(messages, clients, strict=True):
            await worker.answer(message)
            assert (await client.response())[0] == 200


@in_loop
async def test_with_classic_consumers_about_nothing_is_offered_twice(loop):
    """They announce nothing, and one may have it in hand."""
    layer = CheckedLayer()
    async with bridged(layer, worker_timeout=2) as bridge:
        client = Client(bridge, http_scope()).request()
        await layer.send_async((await one(layer, "http.request"))[1]["reply_channel"], {"status": 200})
        await client.response()
        first, second, unannounced = await one_death_over(layer, bridge, loop)
        other = HandMade(layer, "two")
        await other.answer(await other.take())
        await second.response()
        await pass_time(loop, 5)
        await layer.send_async(unannounced["reply_channel"], {"status": 200, "content": b"slow classic"})
        assert await first.response() == (200, b"slow classic")


@in_loop
async def test_a_websocket_that_was_taken_and_not_accepted_is_offered_again(loop):
    layer = CheckedLayer()
    async with bridged(layer, worker_timeout=2) as bridge:
        client = Client(bridge, websocket_scope())
        await HandMade(layer, "one").take("websocket.connect")
        await pass_time(loop, 3.5)
        other = HandMade(layer, "two")
        message = await other.take("websocket.connect")
        assert "resume" not in message["daphne"]
        await layer.send_async(message["reply_channel"], {"accept": True, "daphne": {}})
        assert await client.next_sent() == {"type": "websocket.accept"}
        client.leave()
        await client.task


@in_loop
async def test_nothing_is_left_when_all_have_ended(loop):
    layer = CheckedLayer()
    async with bridged(layer, worker_timeout=2) as bridge:
        worker = HandMade(layer)
        for _ in range(20):
            client = Client(bridge, http_scope()).request()
            await worker.answer(await worker.take())
            await client.response()
        await pass_time(loop, 5)
        workers = bridge.workers
        assert not workers._workers and not workers.offers.open and workers._heart is None


@pytest.mark.parametrize("said", [["handover"], ["handover", "bye"], ["bye", "handover"]], ids="-".join)
@in_loop
async def test_what_stands_in_line_for_a_worker_that_has_ended_goes_to_the_next(caplog, said):
    """Whatever comes first: the two travel in different queues. Either way it has ended in order."""
    layer = CheckedLayer(capacity=2)
    async with bridged(layer, channel_full_timeout=1000) as bridge:
        client = Client(bridge, websocket_scope())
        first, second = HandMade(layer, "one"), HandMade(layer, "two")

        async def accept(worker):
            message = await worker.take("websocket.connect")
            extra = {"worker": worker.prefix}
            await layer.send_async(message["reply_channel"], {"accept": True, "daphne": extra})
            return message

        message = await accept(first)
        await client.next_sent()
        for number in range(3):
            client.give("websocket.receive", text=str(number))
        await until(lambda: bridge.sender._lines, "a full channel")
        for what in said:
            if what == "bye":
                await first.say(message, "bye")
                await until(lambda: not any(worker.inboxes for worker in bridge.workers._workers.values()))
            else:
                handover = {"daphne": {"handover": {"received": 0}}}
                await layer.send_async(message["reply_channel"], handover)
        await accept(second)
        assert [(await second.told())["text"] for _ in range(3)] == ["0", "1", "2"]
        client.leave()
        await client.task
        assert "has ended" not in caplog.text


@in_loop
async def test_a_dead_workers_full_channel_closes_no_websocket(loop, caplog):
    """With the defaults a death takes longer to notice than the patience with a full channel lasts."""
    layer = CheckedLayer(capacity=2)
    async with bridged(layer) as bridge:
        client = Client(bridge, websocket_scope())
        first, second = HandMade(layer, "one"), HandMade(layer, "two")
        for worker in (first, second):
            message = await worker.take("websocket.connect")
            extra = {"worker": worker.prefix}
            await layer.send_async(message["reply_channel"], {"accept": True, "daphne": extra})
            if worker is first:
                await client.next_sent()
                for number in range(4):
                    client.give("websocket.receive", text=str(number))
                await until(lambda: bridge.sender._lines, "a full channel")
                await pass_time(loop, 10)
        assert [(await second.told())["text"] for _ in range(4)] == ["0", "1", "2", "3"]
        assert client.sent == [{"type": "websocket.accept"}]
        assert "has been silent" in caplog.text
        client.leave()
        await client.task
