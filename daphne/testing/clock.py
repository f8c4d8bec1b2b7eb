"""ClockLoop: an asyncio loop in which time passes only when the test says so.

Used by tests of timeouts: what takes a day on the clock takes a millisecond and is exact.

    loop = ClockLoop()
    connection = loop.run(connect())
    loop.advance(9.9)     # not yet
    loop.advance(0.1)     # now
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from typing import Any, TypeVar, TypeVarTuple

T = TypeVar("T")
Arguments = TypeVarTuple("Arguments")

_MOST_TURNS = 100_000
"""Turns of the loop without an end in sight after which `settle` gives up."""


class ClockLoop(asyncio.SelectorEventLoop):
    """A loop whose `time()` starts at 0 and moves by `advance()` alone.

    Callbacks, tasks, sockets and threads work as in any loop while `run`, `settle` or `advance` drive it. It
    looks into two attributes of asyncio's base loop, `_ready` and `_scheduled`, since nothing public tells
    what is due.
    """

    _ready: Any
    _scheduled: Any

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0
        self._threads: set[asyncio.Future[Any]] = set()

    def time(self) -> float:
        """Seconds on the clock."""
        return self._now

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[*Arguments], T], *args: *Arguments
    ) -> asyncio.Future[T]:
        """Run `func` in a thread; while it runs, the loop is busy and waits for it, without time passing."""
        future = super().run_in_executor(executor, func, *args)
        self._threads.add(future)
        future.add_done_callback(self._threads.discard)
        return future

    def settle(self) -> None:
        """Run until nothing is left to do at this point in time.

        Raises RuntimeError if that never comes: something calls itself again and again without waiting.
        """
        for _ in range(_MOST_TURNS):
            self._turn()
            if not self._ready and not self._due(self._now):
                if not self._threads:
                    return
                self.run_until_complete(asyncio.wait(self._threads, return_when=asyncio.FIRST_COMPLETED))
        raise RuntimeError("the loop does not come to rest")

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass: run everything that falls due, in order, each at its own time."""
        end = self._now + seconds
        self.settle()
        while self._due(end):
            self._now = max(self._now, self._scheduled[0].when())
            self.settle()
        self._now = end
        self.settle()

    def run(self, coroutine: Coroutine[Any, Any, T], within: float = 0.0) -> T:
        """Run `coroutine` to its end, which must come `within` so many seconds on the clock; what it returns.

        Raises RuntimeError if it still waits then, or when nothing else is left to do.
        """
        end = self._now + within
        task = self.create_task(coroutine)
        self.settle()
        while not task.done() and self._due(end):
            self._now = max(self._now, self._scheduled[0].when())
            self.settle()
        if not task.done():
            task.cancel()
            self.settle()
            raise RuntimeError(f"{coroutine!r} waits for time to pass, or for something that does not happen")
        return task.result()

    def timers(self) -> list[asyncio.TimerHandle]:
        """The timers that are armed, the next one first: what a test looks at to find one that was left
        behind."""
        armed = [timer for timer in self._scheduled if not timer.cancelled()]
        return sorted(armed, key=lambda timer: timer.when())

    def _turn(self) -> None:
        """One turn of the loop: whatever is ready now, without waiting."""
        self.call_soon(self.stop)
        self.run_forever()

    def _due(self, end: float) -> bool:
        """Whether a timer falls due up to `end`; drops cancelled ones at the front of the queue."""
        armed = self.timers()
        return bool(armed) and armed[0].when() <= end
