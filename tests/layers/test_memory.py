"""The memory layer beside what all layers do: threads, several loops, the clock, and its cost."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from daphne.layers.memory import ChannelLayer


class TurnedClock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def test_time_is_the_clocks():
    clock = TurnedClock()
    layer = ChannelLayer(expiry=60, clock=clock)
    layer.send("queue", {"number": 1})
    clock.now += 59
    layer.send("queue", {"number": 2})
    assert layer.channel_statistics("queue")["messages_max_age"] == 59
    clock.now += 2
    assert layer.receive(["queue"]) == ("queue", {"number": 2})
    assert layer.receive(["queue"]) == (None, None)


def test_statistics_count():
    layer = ChannelLayer(capacity=2)
    for channel in ("a.x!1", "a.x!2", "b"):
        layer.send(channel, {})
    with pytest.raises(layer.ChannelFull):
        layer.send("a.x!3", {})
    assert layer.channel_statistics("a.x!") == {
        "messages_count": 2,
        "channel_full_count": 1,
        "messages_pending": 2,
        "messages_max_age": pytest.approx(0, abs=5),
    }
    assert layer.global_statistics() == {"messages_count": 3, "channel_full_count": 1, "messages_pending": 3}
    layer.flush()
    assert layer.global_statistics()["messages_count"] == 0


def test_threads_and_loops_share_the_work():
    """Threads and loops send; threads and loops receive; each message arrives once."""
    layer = ChannelLayer(capacity=100_000)
    received, lock = [], threading.Lock()

    def note(batch):
        with lock:
            received.extend(message["number"] for _, message in batch if message)
            return len(received) < 2000

    def receive_in_thread():
        while note([layer.receive(["work"], block=True)]):
            pass

    async def receive_in_loop():
        while note(await layer.receive_batch(["work", "nothing"], limit=3)):
            pass

    def send(start):
        for number in range(start, start + 500):
            layer.send("work", {"number": number})

    async def send_in_loop(start):
        for number in range(start, start + 500):
            await layer.send_async("work", {"number": number})
            if number % 50 == 0:
                await asyncio.sleep(0)

    work = [receive_in_thread, receive_in_thread]
    work += [lambda: asyncio.run(receive_in_loop()), lambda: asyncio.run(receive_in_loop())]
    work += [lambda: send(0), lambda: send(500)]
    work += [lambda: asyncio.run(send_in_loop(1000)), lambda: asyncio.run(send_in_loop(1500))]
    threads = [threading.Thread(target=target, daemon=True) for target in work]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 60
    while len(received) < 2000:
        assert time.monotonic() < deadline, f"only {len(received)} of 2000 arrived"
        time.sleep(0.005)
    assert sorted(received) == list(range(2000))
    while any(thread.is_alive() for thread in threads):  # some still wait
        assert time.monotonic() < deadline
        layer.send("work", {"number": -1})
        time.sleep(0.005)


def test_a_receiver_whose_loop_was_closed_does_not_swallow_the_wake_up():
    layer = ChannelLayer()
    loop = asyncio.new_event_loop()
    waiting = loop.create_task(layer.receive_batch(["queue"]))
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    result = []
    thread = threading.Thread(target=lambda: result.append(layer.receive(["queue"], block=True)))
    thread.start()
    while len(layer._boxes._waiting["queue"]) < 2:
        time.sleep(0.001)
    layer.send("queue", {"a": 1})
    thread.join(60)
    assert result == [("queue", {"a": 1})]
    waiting._log_destroy_pending = False


def test_a_wake_up_that_comes_with_a_cancellation_goes_to_the_next():
    async def scenario():
        layer = ChannelLayer()
        first = asyncio.ensure_future(layer.receive_batch(["queue"]))
        second = asyncio.ensure_future(layer.receive_batch(["queue"]))
        await asyncio.sleep(0)
        await layer.send_async("queue", {"a": 1})
        first.cancel()
        async with asyncio.timeout(60):
            assert await second == [("queue", {"a": 1})]

    asyncio.run(scenario())


def test_a_receiver_with_a_limit_wakes_the_next_for_the_rest():
    async def scenario():
        layer = ChannelLayer()
        both = asyncio.ensure_future(layer.receive_batch(["one", "two"], limit=1))
        other = asyncio.ensure_future(layer.receive_batch(["two"], limit=1))
        await asyncio.sleep(0)
        await layer.send_async("one", {"a": 1})
        await layer.send_async("two", {"a": 2})
        async with asyncio.timeout(60):
            await other
            await both

    asyncio.run(scenario())


def cost(channels):
    """Seconds of CPU for a thousand sends and receives while `channels` other channels hold messages."""
    layer = ChannelLayer()
    for number in range(channels):
        layer.send(f"channel.{number}", {"body": b""})

    async def exchange():
        for _ in range(1000):
            await layer.send_async("queue", {"body": b"x"})
            await layer.receive_batch(["queue", "other"])

    best = 9.0
    for _ in range(5):
        started = time.process_time()
        asyncio.run(exchange())
        best = min(best, time.process_time() - started)
    return best


def test_the_number_of_channels_does_not_matter():
    assert cost(channels=20_000) < 3 * cost(channels=1)
