"""Reply channels and their one reader, which nothing may end."""

from __future__ import annotations

import asyncio
import logging

import pytest

from daphne.layers import replies as module
from daphne.layers.inbox import BACKLOG_LIMIT
from daphne.layers.memory import ChannelLayer
from daphne.layers.replies import BacklogFull, Replies, next_reply
from tests.layers.driver import in_loop, until


class Failing(ChannelLayer):
    """Raises out of `receive_batch` as often as it is told to."""

    failures = 0
    calls = 0

    async def receive_batch(self, channels, limit=100):
        self.calls += 1
        if self.failures:
            self.failures -= 1
            raise ConnectionError("the layer has a cold")
        return await super().receive_batch(channels, limit)


@in_loop
async def test_each_reply_reaches_its_inbox_in_order():
    layer = ChannelLayer()
    replies = Replies(layer, lambda channel, message: None)
    inboxes = [replies.open(prefix) for prefix in (replies.http_prefix, replies.websocket_prefix) * 5]
    for number in range(50):
        await layer.send_async(inboxes[number % 10].name, {"number": number})
    for index, inbox in enumerate(inboxes):
        assert [(await next_reply(inbox))["number"] for _ in range(5)] == list(range(index, 50, 10))
    await replies.stop()


@in_loop
async def test_names_are_short_unique_and_of_the_process():
    layer = ChannelLayer()
    first, second = (Replies(layer, lambda *_: None) for _ in range(2))
    assert first.http_prefix != second.http_prefix, "two servers may share one layer object"
    names = {first.open(first.http_prefix).name for _ in range(1000)}
    assert len(names) == 1000 and all(len(name) < 60 and name.isascii() for name in names)
    await first.stop()


@in_loop
async def test_an_error_of_the_layer_is_logged_and_the_reader_goes_on(loop, caplog):
    layer = Failing()
    layer.failures = 5
    replies = Replies(layer, lambda channel, message: None)
    inbox = replies.open(replies.http_prefix)
    for _ in range(5):
        await asyncio.sleep(0.005)
        loop.turn(module.LONGEST_PAUSE)
    await layer.send_async(inbox.name, {"status": 200})
    assert await next_reply(inbox) == {"status": 200}
    errors = [record for record in caplog.records if record.name == "daphne.server"]
    assert [record.getMessage() for record in errors] == [
        "Error trying to receive messages: the layer has a cold"
    ] * 5
    await replies.stop()


@in_loop
async def test_the_pauses_between_errors_grow_to_five_seconds(loop):
    layer = Failing()
    layer.failures = 1000
    replies = Replies(layer, lambda channel, message: None)
    replies.start()
    for _ in range(600):  # a minute
        await asyncio.sleep(0)
        loop.turn(0.1)
        await asyncio.sleep(0)
    assert 12 <= layer.calls <= 20
    await replies.stop()


@in_loop
async def test_b15_an_idle_reader_does_nothing(loop):
    """B15: twenty polls a second, for ever."""
    layer = Failing()
    replies = Replies(layer, lambda channel, message: None)
    replies.start()
    for _ in range(100):
        await asyncio.sleep(0)
        loop.turn(10)
    assert layer.calls == 1
    await replies.stop()


@in_loop
async def test_what_cannot_be_understood_does_not_end_the_reader(caplog):
    def broken(channel, message):
        raise KeyError("type")

    layer = ChannelLayer()
    replies = Replies(layer, broken)
    inbox = replies.open(replies.http_prefix)
    await layer.send_async(replies.http_prefix + "control", {})
    await layer.send_async(inbox.name, {"status": 200})
    assert await next_reply(inbox) == {"status": 200}
    assert "could not be understood" in caplog.text
    await replies.stop()


@in_loop
async def test_a_closed_inbox_is_an_unknown_channel(caplog):
    caplog.set_level(logging.DEBUG)
    layer = ChannelLayer()
    replies = Replies(layer, lambda channel, message: None)
    inbox = replies.open(replies.http_prefix)
    replies.close(inbox)
    await layer.send_async(inbox.name, {})
    await until(lambda: f"Message on unknown channel {inbox.name!r} - discarding" in caplog.text)
    assert len(replies) == 0
    await replies.stop()


@in_loop
async def test_a_cancelled_get_loses_nothing():
    replies = Replies(ChannelLayer(), lambda channel, message: None)
    inbox = replies.open(replies.http_prefix)
    getting = asyncio.ensure_future(next_reply(inbox))
    await asyncio.sleep(0)
    inbox.put({"a": 1})
    getting.cancel()
    await asyncio.wait([getting])
    if getting.cancelled():
        assert await next_reply(inbox) == {"a": 1}
    await replies.stop()


@in_loop
async def test_too_large_a_backlog_becomes_an_error():
    replies = Replies(ChannelLayer(), lambda channel, message: None)
    inbox = replies.open(replies.http_prefix)
    for _ in range(64):
        inbox.put({"content": bytes(BACKLOG_LIMIT // 32)})
    assert isinstance(await next_reply(inbox), BacklogFull)
    await replies.stop()


@in_loop
async def test_many_small_replies_are_a_backlog_too():
    replies = Replies(ChannelLayer(), lambda channel, message: None)
    inbox = replies.open(replies.http_prefix)
    for _ in range(BACKLOG_LIMIT // 1024 + 32):
        inbox.put({"text": "x"})
    assert isinstance(await next_reply(inbox), BacklogFull)
    await replies.stop()


class Weighed(dict):
    """A reply that counts how often somebody looks at what it holds."""

    looks = 0

    def values(self):
        self.looks += 1
        return super().values()


@in_loop
async def test_a_backlog_is_not_weighed_over_and_over():
    """30,000 small replies took seconds of the event loop's time."""
    replies = Replies(ChannelLayer(), lambda channel, message: None)
    inbox = replies.open(replies.http_prefix)
    waiting = [Weighed(text="x") for _ in range(BACKLOG_LIMIT // 2048)]
    for reply in waiting:
        inbox.put(reply)
    assert max(reply.looks for reply in waiting) == 1
    await replies.stop()


@pytest.mark.parametrize("left", [1, 100])
@in_loop
async def test_what_has_been_taken_is_no_backlog(left):
    replies = Replies(ChannelLayer(), lambda channel, message: None)
    inbox = replies.open(replies.http_prefix)
    content = bytes(BACKLOG_LIMIT // 256)
    for number in range(1000):
        inbox.put({"content": content, "number": number})
        if number >= left:
            assert inbox.take_now()["number"] == number - left
    await replies.stop()


@in_loop
async def test_an_attended_prefix_gets_its_replies_within_the_call_that_sends_them():
    layer = ChannelLayer()
    replies = Replies(layer, lambda channel, message: None)
    inbox = replies.open(replies.http_prefix)
    await layer.send_async(inbox.name, {"number": 1})
    assert inbox.take_now() == {"number": 1}, "the reader was waited for"
    await asyncio.to_thread(layer.send, inbox.name, {"number": 2})
    await layer.send_async(inbox.name, {"number": 3})
    assert [(await next_reply(inbox))["number"] for _ in range(2)] == [2, 3]
    assert layer.channel_statistics(replies.http_prefix)["messages_count"] == 3
    await replies.stop()
    await layer.send_async(inbox.name, {"number": 4})
    assert inbox.take_now() is None
    assert await layer.receive_batch([replies.http_prefix]) == [(inbox.name, {"number": 4})]
