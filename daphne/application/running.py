"""Run the application once for each stream, and see to it that every stream gets its end.

Called by protocols/ (through the site) with a stream that is ready; calls the application, and the stream
when it is done.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import logging
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from daphne.errors import ClientDisconnected
from daphne.streams.http import HTTPStream
from daphne.streams.websocket import WebSocketStream

logger = logging.getLogger("daphne.server")

_TASK_NAME = "daphne application"
"""One name for all: asyncio would number them, which takes longer than to create the task."""

_new_task: Any = asyncio.Task
if sys.version_info >= (3, 12):
    # An eager task runs to its first wait right where it is made: most requests never touch the loop's queue.
    _new_task = functools.partial(asyncio.Task, eager_start=True)

Application = Callable[[Any, Any, Any], Awaitable[Any]]
Stream = HTTPStream | WebSocketStream
Rest = Callable[[], Awaitable[None]]
"""What is to be run in a task for a stream."""
Begin = Callable[[Any, Any], Rest | None]
"""Serves a stream for a runner, without a task for now; else returns what is to be run in one."""


class Runner:
    """Starts one task per stream and cancels those that outlive their client for too long."""

    def __init__(
        self,
        application: Application,
        loop: asyncio.AbstractEventLoop,
        close_timeout: float,
        begin: Begin | None = None,
    ) -> None:
        """`close_timeout`: seconds that an application may run on after its client has gone. `begin`: the
        application's own way of serving a request without a task, if it has one.
        """
        self._application = application
        self._begin = begin
        self._without_task: dict[Stream, Any] = {}
        """What serves them, of the `streams` that have no task."""
        self._loop = loop
        self._close_timeout = close_timeout
        self._context = contextvars.copy_context()
        """Where each application starts: a pipelined request begins within the run of the one before it,
        whose context variables it must not see."""
        self.streams: set[Stream] = set()
        """The streams whose application is still running."""
        self._leaving: dict[Stream, tuple[float, int]] = {}
        """Those of them whose client has gone or sends no more, until when they may run, and how much they
        had sent; the first of them first."""
        self._alarm: asyncio.TimerHandle | None = None
        """For one of the `_leaving`, which may have ended: most end at once and need none of their own."""
        self.idle: Callable[[], None] | None = None
        """Called whenever the last running application has ended; set by a server that stops."""

    def start(self, stream: Stream, rest: Rest | None = None) -> None:
        """Run the application for `stream`, or `rest` of what is to be done for it; returns at once."""
        self.streams.add(stream)
        if rest is None and self._begin is not None and stream.kind == "http":
            rest = self._begun_without_task(stream)
            if rest is None:
                return
        run = self._run(stream, rest)
        task = _new_task(run, loop=self._loop, name=_TASK_NAME, context=self._context.copy())
        if not task.done():
            stream.task = task
            if stream.disconnected:  # an eager task has refused its client before it was known here
                self.client_left(stream)

    def _begun_without_task(self, stream: Stream) -> Rest | None:
        assert self._begin is not None
        try:
            return self._begin(stream, self)
        except Exception:  # one request must not end the reading of its connection
            logger.exception("The beginning of %s failed", describe(stream))
            stream.application_failed()
            self.ended(stream)
            return None

    def wait(self, stream: Stream, exchange: Any) -> None:
        """`exchange` serves `stream`, without a task. Should the client leave, what its `leave()` returns
        is to be run in one. It calls `go_on` or `ended` once."""
        self._without_task[stream] = exchange

    def go_on(self, stream: Stream, rest: Rest) -> None:
        """`stream` needs a task after all, which runs `rest`."""
        self._without_task.pop(stream, None)
        self.start(stream, rest)

    def ended(self, stream: Stream) -> None:
        """Nothing is left to do for `stream`."""
        if stream.timer is not None:
            _end_timer(stream)
        if self._without_task:
            self._without_task.pop(stream, None)
        self._leaving.pop(stream, None)
        self.streams.discard(stream)
        if self.idle is not None and not self.streams:
            self.idle()

    async def _run(self, stream: Stream, rest: Rest | None) -> None:
        try:
            if rest is None:
                await self._application(stream.scope, stream.receive, stream.send)
            else:
                await rest()
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is not None and not task.cancelling():  # by nobody but the application
                logger.exception("Exception inside application: %r", error)
            stream.application_failed()
        except ClientDisconnected:
            stream.application_failed()  # the usual way to learn that the client has gone: nothing to report
        except (Exception, SystemExit) as error:
            # SystemExit too: one request must not end the server for all others.
            if isinstance(error.__context__, ClientDisconnected):
                # Frameworks put one of their own in its place, such as Starlette's ClientDisconnect.
                traceback = logger.isEnabledFor(logging.DEBUG)
                logger.info("Application ended after its client had gone: %r", error, exc_info=traceback)
            else:
                logger.exception("Exception inside application: %s", error)
            stream.application_failed()
        except BaseException:
            stream.application_failed()
            raise
        else:
            if not stream.application_returned():
                logger.error("Application returned without a complete response to %s", describe(stream))
        finally:
            stream.task = None
            self.ended(stream)

    def client_left(self, stream: Stream) -> None:
        """The client of `stream` has gone, or sends no more, which is how most clients go.

        The application gets `close_timeout` to end by itself, and gets it anew while it has something for a
        client that only sends no more: a minimum rate bounds that.
        """
        if stream.disconnected:
            _end_timer(stream)
        if self._without_task and stream in self._without_task:
            self.go_on(stream, self._without_task[stream].leave())
        if stream.task is not None:
            self._leaving.pop(stream, None)
            until = self._loop.time() + self._close_timeout
            self._leaving[stream] = until, stream.sent
            if self._alarm is None:
                self._alarm = self._loop.call_at(until, self._cancel_late)

    def _cancel_late(self) -> None:
        self._alarm = None
        now = self._loop.time()
        while self._leaving:
            stream, (until, sent) = next(iter(self._leaving.items()))
            if until > now:
                self._alarm = self._loop.call_at(until, self._cancel_late)
                break
            del self._leaving[stream]
            if _is_answering(stream, sent):
                self._leaving[stream] = now + self._close_timeout, stream.sent
            elif stream.task is not None:
                logger.warning(
                    "Application instance %r for connection %s took too long to shut down and was killed.",
                    stream.task,
                    describe(stream),
                )
                stream.task.cancel()

    def close(self) -> None:
        """Leave no timer behind, when no application runs any longer."""
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def cancel_all(self) -> list[asyncio.Task[None]]:
        """Cancel every application that still runs; their tasks."""
        tasks = [stream.task for stream in self.streams if stream.task is not None]
        for task in tasks:
            task.cancel()
        for stream, exchange in list(self._without_task.items()):
            self.go_on(stream, exchange.leave())  # which ends by itself
            if stream.task is not None:
                tasks.append(stream.task)
        return tasks


def _end_timer(stream: Stream) -> None:
    if stream.timer is not None:
        stream.timer.forget()
        stream.timer = None


def _is_answering(stream: Stream, sent: int) -> bool:
    """Whether the client, which sends no more, may still read, and has got more than `sent` bytes to read."""
    if not isinstance(stream, HTTPStream) or stream.disconnected:
        return False
    return stream.sent != sent or bool(stream.wire.write_paused)


def describe(stream: Stream) -> str:
    """The exchange in one line for the log."""
    scope = stream.scope
    return f"{scope.get('method', 'WebSocket')} {scope.get('path')!r} from {stream.client}"
