"""Deadlines that move often and are met seldom.

Used by the protocols: keep-alive, request head, body rate, write rate, heartbeats. Setting one is an
assignment; the loop's timer behind it is armed once and looks, when it fires, whether the deadline has moved
on in the meantime.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Deadline:
    """Calls `expired()` once the time that was last `set()` has come, unless it was cleared before.

    Exact when the deadline moves later or is cleared (the armed timer is kept and re-armed for the rest); a
    deadline that moves earlier re-arms the timer at once.
    """

    __slots__ = ("_at", "_expired", "_loop", "_timer")

    def __init__(self, loop: asyncio.AbstractEventLoop, expired: Callable[[], None]) -> None:
        self._loop = loop
        self._expired = expired
        self._at: float | None = None
        self._timer: asyncio.TimerHandle | None = None

    def set(self, seconds: float) -> None:
        """Expire `seconds` from now, in place of any time set before."""
        at = self._loop.time() + seconds
        self._at = at
        timer = self._timer
        if timer is None:
            self._timer = self._loop.call_at(at, self._fire)
        elif timer.when() > at:
            timer.cancel()
            self._timer = self._loop.call_at(at, self._fire)

    def extend(self, seconds: float, most: float) -> None:
        """Move a deadline that is set by `seconds`, but to no more than `most` seconds from now; one that is
        not set stays so.
        """
        if self._at is not None:
            self._at = min(self._at + seconds, self._loop.time() + most)

    def clear(self) -> None:
        """Do not expire."""
        self._at = None

    def close(self) -> None:
        """Do not expire, and give the loop its timer back."""
        self._at = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def forget(self) -> None:
        """Close, and let go of whoever was to be called: it refers to this deadline, too."""
        self.close()
        self._expired = _nobody

    @property
    def is_set(self) -> bool:
        """Whether a time is set."""
        return self._at is not None

    def _fire(self) -> None:
        self._timer = None
        if self._at is None:
            return
        if self._at > self._loop.time():
            self._timer = self._loop.call_at(self._at, self._fire)
            return
        self._at = None
        self._expired()


def _nobody() -> None:
    """Stands for the owner of a deadline that is forgotten."""
