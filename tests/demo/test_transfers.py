"""The streamed response and the counted upload."""

from __future__ import annotations

import asyncio
import hashlib
import json

import pytest

from daphne.demo.routes import application
from tests.demo.exchange import answer, exchange, scope_of


def test_ticks_come_one_by_one() -> None:
    async def listen() -> None:
        async with exchange("http", "/ticks", query_string=b"count=3&interval=0.01") as running:
            running.arrive("http.request")
            start = await running.leave()
            assert start["status"] == 200
            assert dict(start["headers"])[b"content-type"] == b"application/x-ndjson"
            events = [await running.leave() for _ in range(3)]
            assert [json.loads(event["body"])["tick"] for event in events] == [1, 2, 3]
            assert [event["more_body"] for event in events] == [True, True, False]
            seconds = [json.loads(event["body"])["seconds"] for event in events]
            assert seconds == sorted(seconds)
            assert await running.end() == []

    asyncio.run(listen())


def test_ticks_end_when_the_client_leaves() -> None:
    async def leave_early() -> None:
        async with exchange("http", "/ticks", query_string=b"count=9999&interval=5") as running:
            running.arrive("http.request")
            assert (await running.leave())["status"] == 200
            await running.leave()
            running.arrive("http.disconnect")
            assert await running.end() == []

    asyncio.run(leave_early())


def test_ticks_end_when_sending_fails() -> None:
    sent = []

    async def send(event: dict) -> None:
        if len(sent) == 3:
            raise ConnectionResetError
        sent.append(event)

    async def run() -> None:
        scope = scope_of("http", "/ticks", query_string=b"count=9999&interval=0")
        await asyncio.wait_for(application(scope, asyncio.Event().wait, send), 60)

    asyncio.run(run())
    assert len(sent) == 3


def test_ticks_wait_for_a_slow_reader() -> None:
    async def run() -> int:
        tickets, sent = asyncio.Semaphore(5), []

        async def send(event: dict) -> None:
            await tickets.acquire()
            sent.append(event)

        scope = scope_of("http", "/ticks", query_string=b"count=9999&interval=0")
        running = asyncio.create_task(application(scope, asyncio.Event().wait, send))
        for _ in range(1000):
            await asyncio.sleep(0)
        running.cancel()
        return len(sent)

    assert asyncio.run(run()) == 5


@pytest.mark.parametrize(
    "query", ["count=0", "count=10001", "count=x", "interval=-1", "interval=6", "interval=nan"]
)
def test_ticks_out_of_bounds_are_refused(query: str) -> None:
    assert asyncio.run(answer("/ticks", query_string=query.encode()))[0] == 400


def test_an_upload_is_counted_and_hashed() -> None:
    pieces = (b"one", b"", b"two" * 1000, b"")
    status, _, body = asyncio.run(answer("/upload", body=pieces, method="POST"))
    sums = json.loads(body)
    assert (status, sums["bytes"], sums["pieces"]) == (200, 3003, 2)
    assert sums["sha256"] == hashlib.sha256(b"".join(pieces)).hexdigest()


def test_an_upload_that_breaks_off_is_not_answered() -> None:
    async def break_off() -> None:
        async with exchange("http", "/upload", method="POST") as running:
            running.arrive("http.request", body=b"half", more_body=True)
            running.arrive("http.disconnect")
            assert await running.end() == []

    asyncio.run(break_off())
