"""The daphne processes that a worker serves: under which names, and whether they are still alive.

Called by the worker for each connection it takes and for each message on its own channels; calls the sender.
For each front end the worker has one process-local prefix, `daphne.worker.<random>.<worker>!`: what follows
for a connection comes to that prefix and the connection's id, heartbeats to the id `control`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Callable
from typing import Protocol

from daphne.errors import ChannelFull, LayerUnavailable
from daphne.layers.interface import AsyncLayer, Message
from daphne.layers.replies import CONTROL
from daphne.layers.sending import Abandoned, LineSender
from daphne.layers.workers import BEATS, RETURN_TIME

log = logging.getLogger("daphne.worker")

IDLE_TIME = 60.0
"""Seconds without a connection after which a front end is forgotten until it sends the next."""


class Run(Protocol):
    """One run of the application, as far as its front end matters to it."""

    local: str

    def message(self, message: Message) -> None:
        """Take what the front end says for this connection."""

    def front_end_lost(self) -> None:
        """The front end is dead, and the client with it."""

    async def confirm(self) -> None:
        """Say now what has been worked off, so that the front end need not keep it."""


class FrontEnd:
    """One daphne process."""

    def __init__(self, process: str, reply_prefix: str, own_prefix: str) -> None:
        self.process = process
        self.control = reply_prefix + CONTROL
        self.own_prefix = own_prefix
        self.heard_at = 0.0
        self.timeout = 0.0
        self.runs: dict[str, Run] = {}
        self.heartbeat: asyncio.Task[None] | None = None


class FrontEnds:
    """The front ends that this worker has, or lately had, connections of."""

    def __init__(
        self, layer: AsyncLayer, sender: LineSender, timeout: float, changed: Callable[[], None]
    ) -> None:
        """`timeout`: seconds of silence after which a front end counts as dead. `changed` is called when the
        set of `prefixes` has changed."""
        self._layer = layer
        self._sender = sender
        self.timeout = timeout
        self._changed = changed
        self._by_process: dict[str, FrontEnd] = {}
        self._by_prefix: dict[str, FrontEnd] = {}
        self._begun = asyncio.Event()
        """Set when the first run of a front end begins."""

    @property
    def prefixes(self) -> list[str]:
        """The channels to receive on."""
        return list(self._by_prefix)

    def of(self, reply_channel: str) -> FrontEnd:
        """The front end that listens to `reply_channel`."""
        reply_prefix, _, _ = reply_channel.partition("!")
        process = reply_prefix.split(".", 2)[-1]
        found = self._by_process.get(process)
        if found is None:
            own = f"daphne.worker.{secrets.token_hex(4)}.{self._layer.client_prefix}!"
            found = self._by_process[process] = self._by_prefix[own] = FrontEnd(
                process, reply_prefix + "!", own
            )
            self._changed()
        if not found.runs:
            self._begun.set()
            found.heard_at = asyncio.get_running_loop().time()
        return found

    def route(self, channel: str, message: Message) -> None:
        """Bring a message from one of `prefixes` to its run."""
        prefix, marker, local = channel.partition("!")
        front_end = self._by_prefix.get(prefix + marker)
        if front_end is None:
            return
        front_end.heard_at = asyncio.get_running_loop().time()
        run = front_end.runs.get(local)
        if run is not None:
            run.message(message)
        elif local == CONTROL:
            self._control(front_end, message)
        else:
            log.debug("Message on unknown channel %r - discarding", channel)

    def _control(self, front_end: FrontEnd, message: Message) -> None:
        kind = message["type"]
        if kind == "daphne.alive":
            front_end.timeout = message.get("timeout", 0.0)
        elif kind == "daphne.gone":
            for local in message["ids"]:
                if local in front_end.runs:
                    front_end.runs[local].front_end_lost()
        elif kind == "daphne.lost":
            log.warning(
                "Front end %s took this worker for dead; its connections are let go", front_end.process
            )
            self._end_runs(front_end)

    async def beat(self) -> None:
        """Send heartbeats and miss them, for ever; nothing happens while nothing runs."""
        loop = asyncio.get_running_loop()
        interval = self.timeout / BEATS
        while True:
            await self._wait_for_runs()
            slept_at = loop.time()
            await asyncio.sleep(interval)
            overslept = loop.time() - slept_at > 2 * interval
            for front_end in list(self._by_process.values()):
                silence = loop.time() - front_end.heard_at
                if overslept:  # this process stood still, and heartbeats are waiting to be read
                    front_end.heard_at = loop.time()
                elif front_end.runs and silence > max(self.timeout, front_end.timeout):
                    self._lose(front_end, silence)
                elif not front_end.runs and silence > IDLE_TIME:
                    self._forget(front_end)
                if front_end.runs and (front_end.heartbeat is None or front_end.heartbeat.done()):
                    # A task, for it may have to stand in line where the front end has much to read.
                    front_end.heartbeat = loop.create_task(self._say_alive(front_end))

    async def _wait_for_runs(self) -> None:
        """Return once a connection is to be watched over, or a front end to be forgotten."""
        front_ends = self._by_process.values()
        if any(front_end.runs for front_end in front_ends):
            return
        self._begun.clear()
        quiet_since = min((front_end.heard_at for front_end in front_ends), default=None)
        until = None if quiet_since is None else quiet_since + IDLE_TIME
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(until):
                await self._begun.wait()

    async def _say_alive(self, front_end: FrontEnd) -> None:
        """One heartbeat, and what has been worked off since the last."""
        message = {"type": "daphne.alive", "worker": front_end.own_prefix, "timeout": self.timeout}
        try:
            await self._sender.send(front_end.control, message, self.timeout)
        except LayerUnavailable:  # nobody can be heard through it either
            front_end.heard_at = asyncio.get_running_loop().time() + RETURN_TIME
        except (ChannelFull, Abandoned):
            pass
        for run in list(front_end.runs.values()):
            await run.confirm()

    async def say_bye(self) -> None:
        """Tell every front end that this worker ends in order."""
        for front_end in self._by_process.values():
            if front_end.heartbeat is not None:
                front_end.heartbeat.cancel()
            await self._sender.try_send(
                front_end.control, {"type": "daphne.bye", "worker": front_end.own_prefix}
            )

    def _lose(self, front_end: FrontEnd, silence: float) -> None:
        log.warning("Front end %s has been silent for %.1f seconds", front_end.process, silence)
        self._forget(front_end)
        for kind in ("http.response.", "websocket.send."):
            self._sender.abandon(f"{kind}{front_end.process}!")
        self._end_runs(front_end)

    def _end_runs(self, front_end: FrontEnd) -> None:
        for run in list(front_end.runs.values()):
            run.front_end_lost()

    def _forget(self, front_end: FrontEnd) -> None:
        del self._by_process[front_end.process]
        del self._by_prefix[front_end.own_prefix]
        self._changed()
