"""daphne.streams.deadlines and daphne.streams.signal, on a clock that the test turns."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from daphne.streams.deadlines import Deadline, Schedule
from daphne.streams.signal import Signal
from daphne.testing import ClockLoop


@pytest.fixture
def loop() -> Iterator[ClockLoop]:
    loop = ClockLoop()
    yield loop
    loop.close()


def watched(loop: ClockLoop) -> tuple[Deadline, list[float]]:
    """A deadline, and the times at which it expires."""
    times: list[float] = []
    return Deadline(Schedule(loop), lambda: times.append(loop.time())), times


def test_it_expires_once_at_its_time(loop: ClockLoop) -> None:
    deadline, times = watched(loop)
    deadline.set(5)
    assert deadline.is_set
    loop.advance(4.99)
    assert times == []
    loop.advance(100)
    assert times == [5]
    assert not deadline.is_set


def test_a_later_time_keeps_the_timer_and_expires_exactly(loop: ClockLoop) -> None:
    deadline, times = watched(loop)
    for _ in range(10):
        deadline.set(5)
        loop.advance(1)
        assert len(loop.timers()) == 1
    loop.advance(100)
    assert times == [14]


def test_an_earlier_time_counts_at_once(loop: ClockLoop) -> None:
    deadline, times = watched(loop)
    deadline.set(50)
    deadline.set(5)
    loop.advance(100)
    assert times == [5]


def test_a_cleared_deadline_does_not_expire_and_can_be_set_again(loop: ClockLoop) -> None:
    deadline, times = watched(loop)
    deadline.set(5)
    deadline.clear()
    loop.advance(4)
    deadline.set(5)
    loop.advance(100)
    assert times == [9]


def test_extending(loop: ClockLoop) -> None:
    deadline, times = watched(loop)
    deadline.extend(5, most=60)
    assert not deadline.is_set
    deadline.set(5)
    deadline.extend(3, most=60)
    deadline.extend(1000, most=20)
    loop.advance(100)
    assert times == [20]


def test_a_closed_deadline_leaves_one_timer_that_is_spent_in_vain(loop: ClockLoop) -> None:
    deadline, times = watched(loop)
    deadline.set(5)
    deadline.close()
    deadline.set(7)
    deadline.close()
    assert len(loop.timers()) == 1
    loop.advance(5)
    assert (loop.timers(), times) == ([], [])


def test_a_closed_schedule_leaves_no_timer_and_can_go_on(loop: ClockLoop) -> None:
    schedule, times = Schedule(loop), list[float]()
    deadline = Deadline(schedule, lambda: times.append(loop.time()))
    schedule.close()
    deadline.set(5)
    schedule.close()
    assert loop.timers() == []
    deadline.close()
    deadline.set(7)
    loop.advance(10)
    assert times == [7]


def test_a_deadline_may_set_itself_again_when_it_expires(loop: ClockLoop) -> None:
    times: list[float] = []

    def again() -> None:
        times.append(loop.time())
        deadline.set(5)

    deadline = Deadline(Schedule(loop), again)
    deadline.set(5)
    loop.advance(16)
    assert times == [5, 10, 15]
    deadline.close()


def test_one_timer_serves_all(loop: ClockLoop) -> None:
    schedule, times = Schedule(loop), list[tuple[int, float]]()
    deadlines = [
        Deadline(schedule, lambda number=number: times.append((number, loop.time())))  # type: ignore[misc]
        for number in range(100)
    ]
    for number, deadline in enumerate(deadlines):
        deadline.set(200 - number)
        assert len(loop.timers()) == 1
    for deadline in deadlines[3:99]:
        deadline.close()
    assert len(schedule._heap) <= 2 * len(schedule) + 32 == 40
    deadlines[99].set(500)
    loop.advance(198)
    assert times == [(2, 198)]
    for deadline in (*deadlines[:2], deadlines[99]):
        deadline.close()
    assert (len(schedule), len(loop.timers())) == (0, 1)
    loop.advance(1)
    assert (loop.timers(), schedule._heap) == ([], [])


def test_one_that_raises_takes_nothing_from_the_others(loop: ClockLoop) -> None:
    schedule, times, problems = Schedule(loop), list[float](), list[Exception]()
    loop.set_exception_handler(lambda loop, context: problems.append(context["exception"]))

    def fail() -> None:
        raise ValueError("planted")

    first, second = Deadline(schedule, fail), Deadline(schedule, lambda: times.append(loop.time()))
    first.set(5)
    second.set(5)
    loop.advance(5)
    assert times == [5]
    assert [str(problem) for problem in problems] == ["planted"]


def test_a_signal_wakes_all_who_wait_and_nobody_else(loop: ClockLoop) -> None:
    signal = Signal(loop)
    signal.fire()
    waiting = [signal.waiter() for _ in range(3)]
    loop.settle()
    waiting[1].cancel()
    loop.settle()
    signal.fire()
    loop.settle()
    assert [task.done() for task in waiting] == [True] * 3
    assert waiting[1].cancelled()
    late = signal.waiter()
    loop.settle()
    assert not late.done()
    signal.fire()
    loop.settle()
    assert late.done()


def test_a_signal_keeps_none_of_those_who_gave_up(loop: ClockLoop) -> None:
    signal = Signal(loop)
    for _ in range(100):
        signal.waiter().cancel()
    last = signal.waiter()
    assert signal._waiters == [last]
    signal.fire()
    assert last.done()


def test_a_forgotten_deadline_keeps_nobody_alive():
    class Owner:
        def __init__(self, loop):
            self.deadline = Deadline(Schedule(loop), self.expired)

        def expired(self):
            raise AssertionError("called although forgotten")

    loop = ClockLoop()
    owner = Owner(loop)
    gone = weakref.ref(owner)
    owner.deadline.set(1)
    owner.deadline.forget()
    gc.disable()
    try:
        del owner
        assert gone() is None
    finally:
        gc.enable()
    loop.advance(2)
