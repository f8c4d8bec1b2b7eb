"""Where everything stands when the loop does not turn: the stacks of all threads and tasks.

Called by daphne.server: on SIGQUIT, and by the watchdog of `--stall-timeout`. Writes to standard error.
"""

from __future__ import annotations

import asyncio
import faulthandler
import logging
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any

logger = logging.getLogger("daphne.server")


def print_stacks(loop: asyncio.AbstractEventLoop) -> None:
    """Write the stack of every thread, then of every task of `loop`, to standard error."""
    print(f"daphne: stacks at {time.strftime('%Y-%m-%d %H:%M:%S')}", file=sys.stderr, flush=True)
    faulthandler.dump_traceback(file=sys.stderr, all_threads=True)
    for task in asyncio.all_tasks(loop):
        print(f"{task!r}, outermost call first:", file=sys.stderr)
        for frame in _frames(task.get_coro()):
            code = frame.f_code
            print(f'  File "{code.co_filename}", line {frame.f_lineno} in {code.co_name}', file=sys.stderr)
    sys.stderr.flush()


def _frames(coroutine: Any) -> Iterator[FrameType]:
    """The frames of a coroutine and of all that it awaits; Task.print_stack shows the first only."""
    while (frame := getattr(coroutine, "cr_frame", None)) is not None:
        yield frame
        coroutine = coroutine.cr_await


class StallWatch:
    """Prints all stacks when the loop has not turned for `timeout` seconds, once until it turns again."""

    def __init__(self, loop: asyncio.AbstractEventLoop, timeout: float) -> None:
        self._loop = loop
        self._timeout = timeout
        self._turned = threading.Event()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="daphne stall watch", daemon=True)

    def start(self) -> None:
        """Begin to watch; call it on the loop's thread."""
        self._turn()
        self._thread.start()

    def stop(self) -> None:
        """Watch no longer."""
        self._ended.set()

    def _turn(self) -> None:
        self._turned.set()
        if not self._ended.is_set():
            self._loop.call_later(self._timeout / 4, self._turn)

    def _watch(self) -> None:
        reported = False
        while not self._ended.wait(0):
            if self._turned.wait(self._timeout):
                reported = False
            elif not reported:
                reported = True
                logger.error("The loop has not turned for %s s (--stall-timeout)", self._timeout)
                print_stacks(self._loop)
            self._turned.clear()
            self._ended.wait(self._timeout / 4)
