"""Requests that no worker has answered yet: one timer for all of them.

Called by `bridge_http` for every request without a long body; calls `quiet` of those that are not answered
soon. Most requests are answered long before, and then cost an entry in a dict and no timer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

QUIET_TIME = 0.05
"""Seconds after which a request counts as one that takes its time."""


class Request(Protocol):
    """One request."""

    def quiet(self, asked_at: float) -> None:
        """It was handed to the workers at the loop's time `asked_at`, `QUIET_TIME` ago."""


class Unanswered:
    """The requests that were handed to the workers within the last `QUIET_TIME` seconds."""

    def __init__(self) -> None:
        self._now: Callable[[], float]
        self._asked_at: dict[Request, float] = {}  # the earliest first
        self._timer: asyncio.TimerHandle | None = None

    def add(self, request: Request) -> None:
        """`request` has been handed to the workers now."""
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._now = loop.time
            self._timer = loop.call_at(loop.time() + QUIET_TIME, self._look, loop)
        self._asked_at[request] = self._now()

    def discard(self, request: Request) -> None:
        """`request` is over, if it was not quiet before."""
        self._asked_at.pop(request, None)

    def close(self) -> None:
        """Forget all."""
        self._asked_at.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        now = loop.time()
        while self._asked_at:
            request, asked_at = next(iter(self._asked_at.items()))
            if asked_at + QUIET_TIME > now:
                self._timer = loop.call_at(asked_at + QUIET_TIME, self._look, loop)
                return
            del self._asked_at[request]
            request.quiet(asked_at)
