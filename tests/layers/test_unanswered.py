"""One timer for all requests that are not answered yet."""

from __future__ import annotations

import asyncio

from daphne.layers.unanswered import QUIET_TIME, Unanswered
from tests.layers.driver import in_loop


class Request:
    asked_at = None

    def quiet(self, asked_at):
        assert self.asked_at is None, "told twice"
        self.asked_at = asked_at


async def turn(loop, seconds):
    loop.turn(seconds)
    await asyncio.sleep(0)
    await asyncio.sleep(0)


@in_loop
async def test_each_request_becomes_quiet_in_its_time(loop):
    unanswered, requests, times = Unanswered(), [Request() for _ in range(3)], []
    for request in requests:
        times.append(loop.time())
        unanswered.add(request)
        await turn(loop, QUIET_TIME * 0.4)
    assert [request.asked_at is None for request in requests] == [False, True, True]
    await turn(loop, QUIET_TIME * 0.4)
    assert [request.asked_at is None for request in requests] == [False, False, True]
    await turn(loop, QUIET_TIME * 0.4)
    assert all(0 <= request.asked_at - at < QUIET_TIME for request, at in zip(requests, times, strict=True))
    unanswered.add(late := Request())
    await turn(loop, QUIET_TIME * 1.1)
    assert late.asked_at is not None, "the timer was not set again"


@in_loop
async def test_a_request_that_is_over_is_left_alone(loop):
    unanswered, over, going_on = Unanswered(), Request(), Request()
    unanswered.add(over)
    unanswered.add(going_on)
    unanswered.discard(over)
    await turn(loop, QUIET_TIME * 1.1)
    assert (over.asked_at is None, going_on.asked_at is None) == (True, False)
    unanswered.add(over)
    unanswered.close()
    await turn(loop, QUIET_TIME * 2)
    assert over.asked_at is None
