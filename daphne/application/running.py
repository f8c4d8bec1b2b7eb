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
from typing import Any, Protocol

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


class Begin(Protocol):
    """What the bridge to a channel layer can do beside being called: serve a stream without a task."""

    def __call__(self, stream: Any, runner: Runner) -> bool:
        """Begin to serve `stream`; False if it has to have a task from the start.

        `stream.task` is something to cancel then, and either `runner.go_on` follows, when something has to be
        waited for, or `runner.ended`, when the stream has got all that it is to get.
        """


class Runner:
    """Starts one task per stream and cancels those that outlive their client for too long."""

    def __init__(
        self,
        application: Application,
        loop: asyncio.AbstractEventLoop,
        close_timeout: float,
        begin: Begin | None = None,
    ) -> None:
        """`close_timeout`: seconds that an application may run on after its client has gone."""
        self._application = application
        self._begin = begin
        self._loop = loop
        self._close_timeout = close_timeout
        self._context = contextvars.copy_context()
        """Where each application starts: a pipelined request begins within the run of the one before it,
        whose context variables it must not see."""
        self.streams: set[Stream] = set()
        """The streams whose application is still running."""
        self.idle: Callable[[], None] | None = None
        """Called whenever the last running application has ended; set by a server that stops."""

    def start(self, stream: Stream) -> None:
        """Run the application for `stream`; returns at once."""
        self.streams.add(stream)
        if self._begin is None or not self._begin(stream, self):
            self.go_on(stream)

    def go_on(self, stream: Stream, rest: Callable[[], Awaitable[None]] | None = None) -> None:
        """Serve `stream` in a task: by `rest`, the rest of what was begun, or else by the application."""
        run = self._run(stream, rest)
        task = _new_task(run, loop=self._loop, name=_TASK_NAME, context=self._context.copy())
        if not task.done():
            stream.task = task
            if stream.disconnected:  # an eager task has refused its client before it was known here
                self.client_left(stream)

    async def _run(self, stream: Stream, rest: Callable[[], Awaitable[None]] | None) -> None:
        try:
            if rest is None:
                await self._application(stream.scope, stream.receive, stream.send)
            else:
                await rest()
        except asyncio.CancelledError:
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
            self.ended(stream)

    def ended(self, stream: Stream) -> None:
        """Nothing serves `stream` any more."""
        stream.task = None
        if stream.timer is not None:
            stream.timer.cancel()
        self.streams.discard(stream)
        if self.idle is not None and not self.streams:
            self.idle()

    def client_left(self, stream: Stream) -> None:
        """The client of `stream` has gone: the application gets `close_timeout` to end by itself."""
        if stream.timer is not None:
            stream.timer.cancel()
        if stream.task is not None:
            stream.timer = self._loop.call_later(self._close_timeout, self._cancel, stream)

    def _cancel(self, stream: Stream) -> None:
        if stream.task is not None:
            logger.warning(
                "Application instance %r for connection %s took too long to shut down and was killed.",
                stream.task,
                describe(stream),
            )
            stream.task.cancel()

    def cancel_all(self) -> list[asyncio.Task[None]]:
        """Cancel every application that still runs; their tasks."""
        running = [stream.task for stream in self.streams if stream.task is not None]
        for task in running:
            task.cancel()
        return [task for task in running if isinstance(task, asyncio.Task)]


def describe(stream: Stream) -> str:
    """The exchange in one line for the log."""
    scope = stream.scope
    return f"{scope.get('method', 'WebSocket')} {scope['path']!r} from {scope['client']}"
