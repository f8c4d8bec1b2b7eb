"""Deadlines that move often and are met seldom.

Used by the protocols: keep-alive, request head, body rate, write rate, heartbeats. Setting one again is an
assignment: a Schedule holds all of a loop in a heap, with one timer armed for the first, and looks when it
fires whether the deadline has moved on. A timer of the loop's own for each would cost a connection more than
its parsing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from heapq import heapify, heappop, heappush
from typing import Any, Final

_NOT_ENTERED: Final = -1
_SPARED: Final = 32
"""Entries of deadlines that have left which may stay beside as many as wait: it costs to look for them."""


class Schedule:
    """The deadlines of one loop, the first one in front.

    Its timer stays armed when the last deadline leaves: connections come and go, and to be woken once in vain
    costs less than a timer for each.
    """

    __slots__ = ("_armed_for", "_firing", "_heap", "_loop", "_next_number", "_timer", "_waiting", "time")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop: Any = loop
        self.time: Any = loop.time
        self._heap: list[tuple[float, int]] = []
        """Times, each with the number of a deadline that may have left since."""
        self._waiting: dict[int, Deadline] = {}
        self._next_number = 0
        self._timer: asyncio.TimerHandle | None = None
        self._armed_for = 0.0
        self._firing = False

    def __len__(self) -> int:
        """How many deadlines are set."""
        return len(self._waiting)

    def enter(self, at: float, deadline: Deadline) -> int:
        """Look at `deadline` at that time of the loop; a number to leave by."""
        number = self._next_number
        self._next_number = number + 1
        self._waiting[number] = deadline
        heappush(self._heap, (at, number))
        if not self._firing and (self._timer is None or at < self._armed_for):
            self._arm()
        return number

    def leave(self, number: int) -> None:
        """Do not look at that deadline."""
        del self._waiting[number]
        if not self._firing:
            self._tidy()

    def close(self) -> None:
        """Leave no timer behind; a deadline that is set later arms it again."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tidy(self) -> None:
        """Throw out those that have left once they are many more than those that wait."""
        if len(self._heap) > 2 * len(self._waiting) + _SPARED:
            self._heap = [entry for entry in self._heap if entry[1] in self._waiting]
            heapify(self._heap)

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._heap:
            self._armed_for = self._heap[0][0]
            self._timer = self._loop.call_at(self._armed_for, self._fire)

    def _fire(self) -> None:
        self._timer = None
        self._firing = True
        now = self.time()
        try:
            while self._heap:
                at, number = self._heap[0]
                deadline = self._waiting.get(number)
                if deadline is not None and at > now:
                    break
                heappop(self._heap)
                if deadline is not None:
                    del self._waiting[number]
                    deadline.look(now)
        finally:
            self._firing = False
            self._tidy()
            self._arm()  # also if one raises: the others have theirs in the next turn


class Deadline:
    """Calls `expired()` once the time that was last `set()` has come, unless it was cleared before."""

    __slots__ = ("_at", "_entered_for", "_expired", "_number", "_schedule")

    def __init__(self, schedule: Schedule, expired: Callable[[], None]) -> None:
        self._schedule = schedule
        self._expired = expired
        self._at: float | None = None
        self._number = _NOT_ENTERED
        self._entered_for = 0.0

    def set(self, seconds: float) -> None:
        """Expire `seconds` from now, in place of any time set before."""
        at: float = self._schedule.time() + seconds
        self._at = at
        if self._number != _NOT_ENTERED:
            if at >= self._entered_for:
                return
            self._leave()
        self._enter(at)

    def extend(self, seconds: float, most: float) -> None:
        """Move a deadline that is set by `seconds`, but to no more than `most` seconds from now; one that is
        not set stays so.
        """
        if self._at is not None:
            self._at = min(self._at + seconds, self._schedule.time() + most)

    def clear(self) -> None:
        """Do not expire."""
        self._at = None

    def close(self) -> None:
        """Do not expire, and leave the schedule."""
        self._at = None
        if self._number != _NOT_ENTERED:
            self._leave()

    def forget(self) -> None:
        """Close, and let go of whoever was to be called: it refers to this deadline, too."""
        self.close()
        self._expired = _nobody

    @property
    def is_set(self) -> bool:
        """Whether a time is set."""
        return self._at is not None

    def look(self, now: float) -> None:
        """The time of the entry has come: expire, or enter anew if the deadline has moved on."""
        self._number = _NOT_ENTERED
        at = self._at
        if at is None:
            return
        if at > now:
            self._enter(at)
        else:
            self._at = None
            self._expired()

    def _enter(self, at: float) -> None:
        self._entered_for = at
        self._number = self._schedule.enter(at, self)

    def _leave(self) -> None:
        number, self._number = self._number, _NOT_ENTERED
        self._schedule.leave(number)


def _nobody() -> None:
    """Stands for the owner of a deadline that is forgotten."""
