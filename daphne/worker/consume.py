"""`Worker`: takes work off a channel layer while it has room, and runs an ASGI application for each piece.

Made by `daphne-worker`, or by the server for `--worker`; calls the layer, `http` and `websocket` for the runs
and `frontends` for the daphne processes on the other side.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Mapping
from fnmatch import fnmatchcase
from typing import Any

from daphne.application.lifespan import Lifespan
from daphne.application.running import Application
from daphne.errors import ConfigurationError, DaphneError
from daphne.layers.interface import BATCH, AsyncLayer, Message
from daphne.layers.sending import LineSender
from daphne.worker.bodies import BodyChannels
from daphne.worker.frontends import FrontEnds
from daphne.worker.http import HTTPRun
from daphne.worker.run import ApplicationRun
from daphne.worker.websocket import WebSocketRun

log = logging.getLogger("daphne.worker")

RUNS: Mapping[str, type[HTTPRun] | type[WebSocketRun]] = {
    "http.request": HTTPRun,
    "websocket.connect": WebSocketRun,
}
"""The channels that a worker takes new work from. What follows for a WebSocket that a classic consumer has
taken goes to `websocket.receive` and `websocket.disconnect`, and is left to it."""

_TASK_NAME = "daphne application"
"""One name for all: asyncio would number them, which takes longer than to create the task."""

FIRST_PAUSE = 0.1
LONGEST_PAUSE = 5.0
"""Seconds before a reader tries again after an error of the layer; each pause is twice the one before."""


class Worker:
    """Serves an ASGI application from a channel layer.

    `concurrency`: requests and handshakes at a time; open WebSockets do not count. `only_channels` and
    `exclude_channels`: globs over the channels to take work from. `drain_timeout`: seconds for what runs when
    the worker is told to end. `worker_timeout`: seconds of silence after which a front end counts as dead.
    `close_timeout`: seconds that the application may run on after its client has gone.
    """

    def __init__(
        self,
        layer: AsyncLayer,
        application: Application,
        *,
        concurrency: int = 1000,
        only_channels: Collection[str] = (),
        exclude_channels: Collection[str] = (),
        lifespan: str = "auto",
        drain_timeout: float = 30.0,
        worker_timeout: float = 5.0,
        close_timeout: float = 10.0,
    ) -> None:
        self.layer = layer
        self.application = application
        self.channels = [channel for channel in RUNS if _chosen(channel, only_channels, exclude_channels)]
        if not self.channels:
            raise ConfigurationError("the channels chosen leave none to take work from")
        self.state: dict[str, Any] | None = None
        """What the application put into its lifespan's state; None without lifespan."""
        self.sender = LineSender(layer)
        self.front_ends = FrontEnds(layer, self.sender, worker_timeout, self._read_own_anew)
        self.bodies = BodyChannels(layer)
        self._concurrency = concurrency
        self._lifespan = Lifespan(application, lifespan)
        self._started = False
        self._drain_timeout = drain_timeout
        self._close_timeout = close_timeout
        self._runs: set[ApplicationRun] = set()
        self._busy = 0
        self._room: asyncio.Future[None] | None = None
        self._saying: set[asyncio.Task[None]] = set()
        self._draining = asyncio.Event()
        self._ended = asyncio.Event()
        self._own_reader: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start the application. Raises `errors.LifespanError` when it does not want to.

        A start that is cancelled lets it end what it has begun, within the drain timeout, and shuts it down.
        """
        try:
            await self._lifespan.startup()
        except asyncio.CancelledError:
            await self._lifespan.shutdown(self._drain_timeout)
            raise
        self.state = self._lifespan.state
        self._started = True

    async def run(self) -> None:
        """Work until `drain` is called or this is cancelled, finish what runs, and shut the application down.

        Starts the application first if nobody has; raises then what `start` raises.
        """
        if not self._started:
            await self.start()
        loop = asyncio.get_running_loop()
        taking = loop.create_task(self._take_work(), name="daphne-worker")
        heart = loop.create_task(self.front_ends.beat(), name="daphne-worker-heartbeat")
        try:
            await self._draining.wait()
        finally:
            taking.cancel()
            await asyncio.wait([taking])
            await self._finish_runs()
            if self._saying:
                await asyncio.wait(self._saying, timeout=self.front_ends.timeout)
            await self.front_ends.say_bye()
            heart.cancel()
            if self._own_reader is not None:
                self._own_reader.cancel()
            await self._lifespan.shutdown(self._drain_timeout)
            self._ended.set()

    async def drain(self) -> None:
        """Take no more work, hand WebSockets over, let requests finish; returns when `run` has ended."""
        self._draining.set()
        if self._started:
            await self._ended.wait()

    # New work

    async def _take_work(self) -> None:
        pause = FIRST_PAUSE
        while True:
            while self._busy >= self._concurrency:
                self._room = asyncio.get_running_loop().create_future()
                await self._room
            try:
                batch = await self.layer.receive_batch(
                    self.channels, min(self._concurrency - self._busy, BATCH)
                )
            except Exception as problem:  # whatever a foreign layer raises must not end the worker
                log.error("Error trying to receive messages: %s", problem)
                await asyncio.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE)
                continue
            pause = FIRST_PAUSE
            self._begin(batch)

    def _begin(self, batch: list[tuple[str, Message]]) -> None:
        """Start a run for each message, and tell the front ends who has what does not end at once."""
        runs: list[ApplicationRun] = []
        for channel, message in batch:
            try:
                run = RUNS[channel](self, message)
            except (KeyError, TypeError, AttributeError) as problem:
                log.error("A message on %s could not be understood: %r", channel, problem)
                continue
            self._start(run)
            runs.append(run)
        if any(
            "body_channel" in run.first for run in runs
        ):  # what follows is to come no faster than it is taken
            self.say_takes(runs)
        else:
            asyncio.get_running_loop().call_soon(self.say_takes, runs)  # after the first turn of each

    def say_takes(self, runs: Collection[ApplicationRun]) -> None:
        """Tell the front ends who has these, at once if that is possible.

        A front end that reads no more must not keep the others' work waiting.
        """
        takes: dict[str, tuple[str, list[str]]] = {}
        for run in runs:
            if run.front_end is not None and run in self._runs:
                control = run.reply_channel.partition("!")[0] + "!control"
                takes.setdefault(control, (run.front_end.own_prefix, []))[1].append(run.local)
        for control, (prefix, ids) in takes.items():
            message = {
                "type": "daphne.take",
                "worker": prefix,
                "ids": ids,
                "timeout": self.front_ends.timeout,
            }
            if not self.sender.send_now(control, message):
                task = asyncio.get_running_loop().create_task(self._say_take(control, message))
                self._saying.add(task)
                task.add_done_callback(self._saying.discard)

    async def _say_take(self, control: str, message: Message) -> None:
        try:
            await self.sender.send(control, message, self.layer.expiry, self.layer.expiry)
        except (DaphneError, self.layer.ChannelFull) as problem:
            log.warning("%s could not be told of %d connections: %s", control, len(message["ids"]), problem)

    def _start(self, run: ApplicationRun) -> None:
        self._runs.add(run)
        self._busy += 1
        run.task = asyncio.Task(self._run(run), loop=asyncio.get_running_loop(), name=_TASK_NAME)

    async def _run(self, run: ApplicationRun) -> None:
        try:
            await run.run()
        except Exception as problem:  # what the layer raises at the end of a run
            log.exception("A run on %s ended badly: %s", run.reply_channel, problem)
        finally:
            if run.end is not None:
                run.end.cancel()
            run.close()
            self._runs.discard(run)
            self.no_longer_busy(run)

    def no_longer_busy(self, run: ApplicationRun) -> None:
        """`run` has ended, or is an open WebSocket now: there is room for another."""
        if run.busy:
            run.busy = False
            self._busy -= 1
            if self._room is not None and not self._room.done():
                self._room.set_result(None)

    def client_left(self, run: ApplicationRun) -> None:
        """The client of `run` has gone: the application gets `close_timeout` to end by itself."""
        if run in self._runs and run.end is None:
            run.end = asyncio.get_running_loop().call_later(self._close_timeout, self._cut, run)

    def _cut(self, run: ApplicationRun) -> None:
        if run.task is not None:
            log.warning(
                "Application instance for %s took too long to shut down and was killed.", run.reply_channel
            )
            run.task.cancel()

    # What follows

    def _read_own_anew(self) -> None:
        if self._own_reader is not None:
            self._own_reader.cancel()
            self._own_reader = None
        prefixes = self.front_ends.prefixes
        if prefixes:
            self._own_reader = asyncio.get_running_loop().create_task(self._read_own(prefixes))

    async def _read_own(self, prefixes: list[str]) -> None:
        pause = FIRST_PAUSE
        while True:
            try:
                batch = await self.layer.receive_batch(prefixes)
            except Exception as problem:  # as above
                log.error("Error trying to receive messages: %s", problem)
                await asyncio.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE)
                continue
            pause = FIRST_PAUSE
            for channel, message in batch:
                try:
                    self.front_ends.route(channel, message)
                except Exception:  # whatever stands in a message must not end the reader
                    log.exception("A message on %s could not be understood", channel)

    # The end

    async def _finish_runs(self) -> None:
        for run in list(self._runs):
            run.drain()
        tasks = [run.task for run in self._runs if run.task is not None]
        if not tasks:
            return
        _, late = await asyncio.wait(tasks, timeout=self._drain_timeout)
        for task in late:
            task.cancel()
        if late:
            log.warning("%d runs of the application did not end in time and were cancelled", len(late))
            await asyncio.wait(late, timeout=self._drain_timeout)


def _chosen(channel: str, only: Collection[str], exclude: Collection[str]) -> bool:
    """Whether the globs `only` (empty: all) and `exclude` leave `channel` in."""
    included = not only or any(fnmatchcase(channel, pattern) for pattern in only)
    return included and not any(fnmatchcase(channel, pattern) for pattern in exclude)
