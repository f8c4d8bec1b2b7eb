"""Requests over a layer that are served without a task, between real streams and a worker made by hand."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager

import pytest

from daphne.layers.bridge_exchange import HTTPExchange
from daphne.layers.inbox import Inbox
from daphne.layers.workers import Lost
from daphne.settings import Settings
from daphne.streams.http import HTTPStream
from daphne.testing import MemoryServer, read_response
from tests.layers.driver import CheckedLayer, HandMade, empty, in_loop, let_go_of, one, until
from tests.layers.test_workers import pass_time
from tests.protocols.bench import request

WHOLE = {"status": 200, "headers": [(b"x-a", b"1")], "content": b"hello"}


@asynccontextmanager
async def asked(layer, sent=None, **settings):
    """A server of `layer` that has been sent a request: (server, connection, worker)."""
    async with MemoryServer(layer, Settings(**settings)) as server:
        connection = server.connect()
        connection.send(sent or request("GET", "/page"))
        yield server, connection, HandMade(layer)
        await until(lambda: not server.service.runner.streams, "the end of all streams")


async def response(connection, method="GET"):
    answer, rest = await connection.wait_for(
        lambda: read_response(bytes(connection.received), method, connection.ended)
    )
    connection.received[:] = rest
    return answer.status, answer.body


def waiting(server):
    """Whether the one request waits for its reply without a task."""
    [stream] = server.service.runner.streams
    return stream.task is None


@in_loop
async def test_a_whole_response_is_on_the_wire_in_the_call_that_brings_it():
    layer = CheckedLayer()
    async with asked(layer) as (server, connection, worker):
        message = await worker.take()
        assert waiting(server) and not connection.received
        with let_go_of(HTTPExchange, HTTPStream, Inbox):
            assert layer.give(message["reply_channel"], {**WHOLE, "daphne": {}})
            assert connection.received.endswith(b"hello") and not server.service.runner.streams
            assert await response(connection) == (200, b"hello")
            del message
        connection.send(request("POST", "/again", body=b"x" * 100))
        message = await worker.take()
        assert message["body"] == b"x" * 100
        await worker.answer(message, content=b"again")
        assert await response(connection) == (200, b"again")
        assert empty(layer, "http.disconnect") and empty(layer, worker.prefix)


@in_loop
async def test_a_reply_may_come_in_the_call_that_offers_the_request():
    class Prompt(CheckedLayer):
        def give(self, channel, message):
            if channel == "http.request":
                return super().give(message["reply_channel"], {**WHOLE, "daphne": {}})
            return super().give(channel, message)

    async with asked(Prompt()) as (_, connection, _):
        assert await response(connection) == (200, b"hello")


@in_loop
async def test_pipelined_requests_are_answered_in_their_order():
    layer = CheckedLayer()
    async with asked(layer, b"".join([request("GET", f"/{n}") for n in range(20)])) as (
        _,
        connection,
        worker,
    ):
        for number in range(20):
            message = await worker.take()
            assert message["path"] == f"/{number}"
            await worker.answer(message, content=b"%d" % number)
        assert [await response(connection) for _ in range(20)] == [(200, b"%d" % n) for n in range(20)]


@in_loop
async def test_a_response_in_parts_gets_a_task():
    layer = CheckedLayer()
    async with asked(layer) as (_, connection, worker):
        message = await worker.take()
        await worker.answer(message, content=b"one ", more_content=True)
        await layer.send_async(message["reply_channel"], {"content": b"two", "daphne": {"part": 1}})
        assert await response(connection) == (200, b"one two")


@in_loop
async def test_a_response_that_the_client_does_not_read_gets_a_task():
    layer = CheckedLayer()
    async with asked(layer) as (server, connection, worker):
        connection.stop_reading()
        await worker.answer(await worker.take(), content=b"x" * 1_000_000)
        await asyncio.sleep(0.01)
        assert not waiting(server)
        connection.resume_reading()
        assert await response(connection) == (200, b"x" * 1_000_000)


@in_loop
async def test_a_classic_consumer_hears_of_the_end():
    layer = CheckedLayer()
    async with asked(layer) as (_, connection, _):
        message = (await one(layer, "http.request"))[1]
        await layer.send_async(message["reply_channel"], WHOLE)
        assert await response(connection) == (200, b"hello")
        farewell = (await one(layer, "http.disconnect"))[1]
        assert farewell["reply_channel"] == message["reply_channel"]


@in_loop
@pytest.mark.parametrize(
    "reply",
    [{"headers": [(b"a b", b"1")]}, {"headers": [(b"x",)]}, {"status": 99}, {"content": "text"}],
    ids=["a field's name", "half a field", "status", "content"],
)
async def test_what_cannot_be_sent_is_a_500_and_harms_no_other(reply, caplog):
    layer = CheckedLayer()
    async with asked(layer) as (_, connection, worker):
        message = await worker.take()
        assert layer.give(message["reply_channel"], {**WHOLE, "daphne": {}, **reply})
        assert (await response(connection))[0] == 500
    assert [record for record in caplog.records if record.levelno == logging.ERROR]


@in_loop
async def test_the_worker_is_told_of_a_client_that_leaves():
    layer = CheckedLayer()
    async with asked(layer) as (server, connection, worker):
        message = await worker.take()
        assert waiting(server)
        connection.reset()
        assert await worker.told() == {"type": "http.disconnect"}
        await layer.send_async(message["reply_channel"], {**WHOLE, "daphne": {}})


@in_loop
async def test_time_runs_out(loop):
    layer = CheckedLayer()
    async with asked(layer, http_timeout=30) as (server, connection, worker):
        await worker.take()
        assert waiting(server)
        await pass_time(loop, 31)
        assert (await response(connection))[0] == 503


@in_loop
@pytest.mark.parametrize(("method", "status"), [("GET", 200), ("DELETE", 502)])
async def test_a_worker_that_dies(method, status):
    layer = CheckedLayer()
    async with asked(layer, request(method, "/page")) as (server, connection, worker):
        message = await worker.take()
        bridge = server.service.runner._application
        bridge.replies.find(message["reply_channel"]).put(Lost(None))
        if status == 200:
            await worker.answer(await HandMade(layer, "two").take(), content=b"from the other")
        assert (await response(connection, method))[0] == status


@in_loop
async def test_a_server_that_stops_does_not_wait_for_ever(loop):
    layer = CheckedLayer()
    async with MemoryServer(layer, Settings(graceful_timeout=1)) as server:
        connection = server.connect()
        connection.send(request("GET", "/page"))
        await HandMade(layer).take()
        stopping = asyncio.ensure_future(server.stop())
        await pass_time(loop, 2)
        await stopping
        assert not server.service.runner.streams and connection.ended


@in_loop
async def test_over_a_full_channel_the_request_gets_a_task():
    layer = CheckedLayer(capacity=1)
    await layer.send_async("http.request", {"path": "/before"})
    async with asked(layer) as (server, connection, worker):
        await asyncio.sleep(0.01)
        assert not waiting(server)
        assert (await worker.receive())["path"] == "/before"
        await worker.answer(await worker.take())
        assert (await response(connection))[0] == 200
