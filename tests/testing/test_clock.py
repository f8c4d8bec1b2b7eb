"""daphne.testing.clock: time passes when the test says so, and not otherwise."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import pytest

from daphne.testing import ClockLoop


@pytest.fixture
def loop() -> Iterator[ClockLoop]:
    loop = ClockLoop()
    yield loop
    loop.close()


def test_a_day_takes_no_time(loop: ClockLoop) -> None:
    times: list[float] = []
    for seconds in (86400, 5, 5, 0.001):
        loop.call_later(seconds, lambda: times.append(loop.time()))
    began = time.monotonic()
    loop.advance(86400)
    assert time.monotonic() - began < 5
    assert times == [0.001, 5, 5, 86400]
    assert loop.time() == 86400


def test_what_falls_due_meanwhile_is_run_in_order_too(loop: ClockLoop) -> None:
    times: list[float] = []

    async def ticks() -> None:
        while True:
            await asyncio.sleep(1)
            times.append(loop.time())

    task = loop.create_task(ticks())
    loop.advance(3.5)
    assert times == [1, 2, 3]
    loop.advance(0.5)
    assert times == [1, 2, 3, 4]
    task.cancel()
    loop.settle()


def test_nothing_happens_between_two_calls(loop: ClockLoop) -> None:
    happened: list[str] = []
    loop.call_soon(happened.append, "soon")
    loop.call_later(0, happened.append, "now")
    time.sleep(0.01)
    assert happened == []
    loop.settle()
    assert sorted(happened) == ["now", "soon"]
    assert loop.time() == 0


def test_run_gives_the_result(loop: ClockLoop) -> None:
    async def answer() -> int:
        await asyncio.sleep(0)
        return 42

    assert loop.run(answer()) == 42


def test_run_within_some_time(loop: ClockLoop) -> None:
    async def slow() -> float:
        await asyncio.sleep(5)
        return loop.time()

    assert loop.run(slow(), within=10) == 5
    assert loop.time() == 5
    with pytest.raises(RuntimeError, match="waits for time to pass"):
        loop.run(slow(), within=4)
    with pytest.raises(RuntimeError, match="waits for time to pass"):
        loop.run(slow())


def test_run_raises_what_is_raised(loop: ClockLoop) -> None:
    async def fails() -> None:
        raise LookupError

    with pytest.raises(LookupError):
        loop.run(fails())


def test_threads_are_waited_for_without_time_passing(loop: ClockLoop) -> None:
    async def main() -> list[int]:
        return await asyncio.gather(*[asyncio.to_thread(lambda n=n: time.sleep(0.02) or n) for n in range(3)])  # type: ignore[misc]

    late: list[int] = []
    loop.call_later(1, late.append, 1)
    assert loop.run(main()) == [0, 1, 2]
    assert (loop.time(), late) == (0, [])


def test_a_loop_that_never_rests_is_noticed(loop: ClockLoop) -> None:
    def again() -> None:
        loop.call_soon(again)

    again()
    with pytest.raises(RuntimeError, match="does not come to rest"):
        loop.settle()


def test_timers_shows_what_is_armed(loop: ClockLoop) -> None:
    second, first, cancelled = (loop.call_later(seconds, print) for seconds in (2, 1, 3))
    cancelled.cancel()
    assert loop.timers() == [first, second]
