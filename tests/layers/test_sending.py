"""Sending in line to channels that are full: order, patience, giving up."""

from __future__ import annotations

import asyncio

import pytest

from daphne.errors import ChannelFull, LayerUnavailable, MessageTooLarge
from daphne.layers.memory import ChannelLayer
from daphne.layers.sending import Abandoned, LineSender
from tests.layers.driver import empty, in_loop, one, until


class Shaky(ChannelLayer):
    problem = None
    tries = 0

    async def send_async(self, channel, message):
        self.tries += 1
        if self.problem is not None:
            raise self.problem
        await super().send_async(channel, message)


def sends(sender, channel, count, patience, **options):
    loop = asyncio.get_running_loop()
    return [
        loop.create_task(sender.send(channel, {"number": number}, patience, **options))
        for number in range(count)
    ]


@in_loop
async def test_what_waits_is_sent_in_the_order_of_its_coming():
    layer = Shaky(capacity=1)
    tasks = sends(LineSender(layer), "full", 20, 5)
    numbers = [(await one(layer, "full"))[1]["number"] for _ in range(20)]
    assert numbers == list(range(20))
    await asyncio.gather(*tasks)


@in_loop
async def test_only_the_first_in_line_tries_again(loop):
    layer = Shaky(capacity=1)
    tasks = sends(LineSender(layer), "full", 100, None)
    await until(lambda: layer.tries > 3)
    before = layer.tries
    for _ in range(20):
        loop.turn(0.1)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert layer.tries - before <= 21
    for _ in range(100):
        await one(layer, "full")
    await asyncio.gather(*tasks)


@in_loop
async def test_patience_ends_for_everybody_in_line(loop):
    layer = Shaky(capacity=1)
    sender = LineSender(layer)
    tasks = sends(sender, "full", 4, 5)
    await until(lambda: tasks[0].done())
    loop.turn(4.9)
    await asyncio.sleep(0.01)
    assert not any(task.done() for task in tasks[1:])
    loop.turn(0.2)
    await asyncio.wait(tasks)
    assert [type(task.exception()) for task in tasks] == [type(None), *[ChannelFull] * 3]
    assert not sender._lines


@in_loop
async def test_other_channels_are_not_held_up():
    layer = Shaky(capacity=1)
    sender = LineSender(layer)
    tasks = sends(sender, "local.x!a", 2, 5)
    await until(lambda: tasks[0].done())
    await sender.send("other", {}, 0)
    with pytest.raises(ChannelFull):  # of one process all names share one queue
        await sender.send("local.x!b", {}, 0)
    await one(layer, "local.x!")
    await one(layer, "local.x!")
    await asyncio.gather(*tasks)


@in_loop
async def test_try_send_says_whether_it_sent():
    layer = Shaky(capacity=1)
    sender = LineSender(layer)
    assert await sender.try_send("channel", {})
    assert not await sender.try_send("channel", {})
    layer.problem = LayerUnavailable("away")
    assert not await sender.try_send("other", {})


@in_loop
async def test_an_outage_has_a_patience_of_its_own(loop):
    layer = Shaky()
    sender = LineSender(layer)
    layer.problem = LayerUnavailable("away")
    with pytest.raises(LayerUnavailable):
        await sender.send("channel", {}, 100)
    waiting, given_up = sends(sender, "channel", 1, 0.5, outage=None) + sends(
        sender, "other", 1, 100, outage=5
    )
    for _ in range(60):
        loop.turn(0.1)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    await until(given_up.done)
    assert isinstance(given_up.exception(), LayerUnavailable) and not waiting.done()
    layer.problem = None
    loop.turn(1)
    await waiting
    assert not empty(layer, "channel")


@in_loop
async def test_patience_with_a_full_channel_does_not_run_during_an_outage(loop):
    """Neither for the first in line nor for those behind it."""
    layer = Shaky(capacity=1)
    sender = LineSender(layer)
    layer.problem = LayerUnavailable("away")
    tasks = sends(sender, "channel", 3, 5, outage=None)
    for _ in range(60):
        loop.turn(0.2)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    with pytest.raises(LayerUnavailable):  # which is what the line waits for
        await sender.send("channel", {}, 0)
    layer.problem = None
    loop.turn(0.2)
    assert [(await one(layer, "channel"))[1]["number"] for _ in range(3)] == [0, 1, 2]
    await asyncio.gather(*tasks)


@in_loop
async def test_who_does_not_wait_for_an_outage_does_not_stand_in_line_for_it(loop):
    layer = Shaky()
    sender = LineSender(layer)
    layer.problem = LayerUnavailable("away")
    [patient] = sends(sender, "channel", 1, None, outage=None)
    await until(lambda: layer.tries == 2)
    [other] = sends(sender, "channel", 1, 100)
    await until(other.done)
    assert isinstance(other.exception(), LayerUnavailable) and not patient.done()
    layer.problem = None
    loop.turn(1)
    await patient


@in_loop
async def test_a_line_can_be_abandoned():
    layer = Shaky(capacity=1)
    sender = LineSender(layer)
    tasks = sends(sender, "local.x!a", 4, None)
    await until(lambda: tasks[0].done())
    sender.abandon("local.x!")
    await asyncio.wait(tasks)
    assert [type(task.exception()) for task in tasks[1:]] == [Abandoned] * 3


@in_loop
async def test_one_that_is_cancelled_lets_the_next_go():
    layer = Shaky(capacity=1)
    tasks = sends(LineSender(layer), "full", 4, None)
    await until(lambda: tasks[0].done())
    tasks[1].cancel()
    numbers = [(await one(layer, "full"))[1]["number"] for _ in range(3)]
    assert numbers == [0, 2, 3]
    await asyncio.wait(tasks)


@in_loop
async def test_what_can_never_be_sent_raises_at_once():
    layer = Shaky(max_message_size=10)
    with pytest.raises(MessageTooLarge):
        await LineSender(layer).send("channel", {"text": "x" * 100}, None)


@in_loop
async def test_sending_at_once_stands_in_no_line_and_overtakes_nobody():
    layer = ChannelLayer(capacity=1)
    sender = LineSender(layer)
    assert sender.send_now("queue", {"number": 0})
    assert not sender.send_now("queue", {"number": 1})  # full
    waiting = asyncio.get_running_loop().create_task(sender.send("queue", {"number": 1}, 5))
    await asyncio.sleep(0)
    assert (await one(layer, "queue"))[1] == {"number": 0}
    assert not sender.send_now("queue", {"number": 2})  # there is room, but another is in line
    await waiting
    assert (await one(layer, "queue"))[1] == {"number": 1}
    assert sender.send_now("queue", {"number": 2})
    with pytest.raises(MessageTooLarge):
        sender.send_now("queue", {"text": "x" * (layer.max_message_size + 1)})


@in_loop
async def test_a_derived_layer_with_a_send_of_its_own_sees_every_message():
    layer = Shaky()
    sender = LineSender(layer)
    assert not sender.send_now("queue", {})
    await sender.send("queue", {}, 0)
    assert layer.tries == 1
