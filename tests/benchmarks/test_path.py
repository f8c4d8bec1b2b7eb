"""The exchange without sockets is a whole exchange: every connection gets its answer."""

import asyncio

import pytest

uvloop = pytest.importorskip("uvloop")

from benchmarks import path  # noqa: E402


def test_every_exchange_is_answered_and_takes_time():
    async def measure():
        async with asyncio.timeout(60):
            return await path.measure_all(2)

    measured = uvloop.run(measure())
    assert list(measured) == list(path.EXCHANGES)
    assert all(0 < seconds < 1 for seconds in measured.values())
