"""The worker itself: lifespan, errors of the layer, draining, and front ends that come and go."""

from __future__ import annotations

import asyncio

import pytest

from daphne.errors import LifespanError
from daphne.worker import Worker
from tests.layers.driver import CheckedLayer, Client, bridged, http_scope, in_loop, until, working
from tests.worker.test_http import answer, echo


class Failing(CheckedLayer):
    """Raises out of `receive_batch` for the channels that begin as told, as often as told."""

    prefix = ""
    failures = 0

    async def receive_batch(self, channels, limit=100):
        if self.failures and channels[0].startswith(self.prefix):
            self.failures -= 1
            raise ConnectionError("the layer has a cold")
        return await super().receive_batch(channels, limit)


@in_loop
async def test_lifespan_and_its_state():
    seen = []

    async def application(scope, receive, send):
        if scope["type"] == "lifespan":
            scope["state"]["database"] = "open"
            assert (await receive())["type"] == "lifespan.startup"
            await send({"type": "lifespan.startup.complete"})
            assert (await receive())["type"] == "lifespan.shutdown"
            seen.append("closed")
            await send({"type": "lifespan.shutdown.complete"})
        else:
            seen.append(scope["state"])
            await answer(send)

    layer = CheckedLayer()
    async with bridged(layer) as bridge, working(layer, application, lifespan="on"):
        await Client(bridge, http_scope()).request().response()
    assert seen == [{"database": "open"}, "closed"]


@in_loop
async def test_an_application_that_does_not_shut_down_holds_no_worker(caplog):
    async def application(scope, receive, send):
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await asyncio.Event().wait()

    async with working(CheckedLayer(), application, lifespan="on", drain_timeout=0.1):
        pass
    assert "did not shut down in time" in caplog.text


@in_loop
async def test_a_start_up_that_fails_is_raised():
    async def application(scope, receive, send):
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})

    worker = Worker(CheckedLayer(), application)
    with pytest.raises(LifespanError, match="no database"):
        await worker.run()
    await worker.drain()  # of a worker that never ran returns at once


@in_loop
@pytest.mark.parametrize("prefix", ["http.request", "daphne.worker"])
async def test_an_error_of_the_layer_is_logged_and_the_worker_goes_on(loop, prefix, caplog):
    layer = Failing()
    layer.prefix, layer.failures = prefix, 3
    async with bridged(layer) as bridge, working(layer, echo):
        client = Client(bridge, http_scope()).request(b"x")
        await until(lambda: not layer.failures or loop.turn(1))
        loop.turn(5)
        assert await client.response() == (200, b"x")
        assert "Error trying to receive messages: the layer has a cold" in caplog.text


@in_loop
async def test_an_error_of_the_layer_on_a_body_channel_loses_nothing(loop):
    layer = Failing()
    layer.prefix, layer.failures = "http.request.body", 2
    async with bridged(layer, body_chunk_size=10) as bridge, working(layer, echo):
        client = Client(bridge, http_scope(method="POST")).request(b"0123456789" * 5)
        await until(lambda: not layer.failures or loop.turn(1))
        loop.turn(1)
        assert await client.response() == (200, b"0123456789" * 5)


@in_loop
async def test_what_no_run_can_end_is_logged(caplog):
    """A layer that refuses the last word of a run."""

    async def application(scope, receive, send):
        raise RuntimeError

    class Refusing(CheckedLayer):
        async def send_async(self, channel, message):
            if "status" in message:
                raise OSError("no")
            await super().send_async(channel, message)

    layer = Refusing()
    async with bridged(layer) as bridge, working(layer, application) as worker:
        client = Client(bridge, http_scope()).request()
        await until(lambda: "ended badly" in caplog.text)
        assert not worker._runs and worker._busy == 0
        client.leave()
        await client.task


# Draining


@in_loop
async def test_a_draining_worker_finishes_its_requests_and_takes_no_more():
    go_on = asyncio.Event()

    async def application(scope, receive, send):
        await go_on.wait()
        await answer(send, b"done")

    layer = CheckedLayer()
    async with bridged(layer) as bridge:
        worker = Worker(layer, application, lifespan="off")
        running = asyncio.ensure_future(worker.run())
        first = Client(bridge, http_scope()).request()
        await until(lambda: worker._runs)
        draining = asyncio.ensure_future(worker.drain())
        await asyncio.sleep(0.01)
        second = Client(bridge, http_scope("/second")).request()
        await asyncio.sleep(0.01)
        assert len(worker._runs) == 1 and not draining.done()
        go_on.set()
        assert await first.response() == (200, b"done")
        await draining
        await running
        async with working(layer, echo):
            assert await second.response() == (200, b"")


@in_loop
@pytest.mark.parametrize(
    ("method", "begun", "status"), [("GET", False, 200), ("POST", False, 502), ("GET", True, None)]
)
async def test_what_outlives_the_drain_timeout_is_given_back_or_cut(loop, method, begun, status):
    async def stubborn(scope, receive, send):
        await send({"type": "http.response.start", "status": 200})
        if begun:
            await send({"type": "http.response.body", "body": b"a", "more_body": True})
        await asyncio.Event().wait()

    layer = CheckedLayer()
    async with bridged(layer) as bridge:
        worker = Worker(layer, stubborn, lifespan="off", drain_timeout=10)
        running = asyncio.ensure_future(worker.run())
        client = Client(bridge, http_scope(method=method)).request()
        await until(lambda: worker._runs)
        if begun:
            await client.next_sent(2)
        async with working(layer, echo):
            draining = asyncio.ensure_future(worker.drain())
            await asyncio.sleep(0.01)
            loop.turn(10.1)
            await draining
            await running
            if status is None:
                await client.task
                assert client.sent[-1]["more_body"] is True
            else:
                assert (await client.response())[0] == status


# Front ends


@in_loop
async def test_a_front_end_that_has_long_been_quiet_is_forgotten_until_it_comes_again(loop):
    layer = CheckedLayer()
    async with bridged(layer) as bridge, working(layer, echo) as worker:
        await Client(bridge, http_scope()).request(b"1").response()
        assert len(worker.front_ends.prefixes) == 1
        await until(lambda: not worker.front_ends.prefixes or loop.turn(1))
        assert await Client(bridge, http_scope()).request(b"2").response() == (200, b"2")


@in_loop
async def test_a_worker_that_was_taken_for_dead_lets_go(loop, caplog):
    seen = []

    async def application(scope, receive, send):
        await receive()
        seen.append((await receive())["type"])

    layer = CheckedLayer()
    async with bridged(layer) as bridge, working(layer, application) as worker:
        client = Client(bridge, http_scope()).request()
        await until(lambda: worker.front_ends.prefixes)
        await layer.send_async(worker.front_ends.prefixes[0] + "control", {"type": "daphne.lost"})
        await until(lambda: seen)
        assert seen == ["http.disconnect"] and "took this worker for dead" in caplog.text
        client.leave()
        await client.task


@in_loop
async def test_a_worker_serves_several_front_ends():
    layer = CheckedLayer()
    async with bridged(layer) as one, bridged(layer) as other, working(layer, echo) as worker:
        clients = [Client(bridge, http_scope()).request(b"x") for bridge in (one, other) * 5]
        for client in clients:
            assert await client.response() == (200, b"x")
        assert len(worker.front_ends.prefixes) == 2


@in_loop
async def test_a_full_reply_channel_delays_and_loses_nothing():
    layer = CheckedLayer(capacity=1)
    async with bridged(layer) as bridge, working(layer, echo):
        clients = [Client(bridge, http_scope()).request(b"%d" % number) for number in range(50)]
        for number, client in enumerate(clients):
            assert await client.response() == (200, b"%d" % number)
