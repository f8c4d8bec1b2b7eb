"""What the bridge knows of workers: who has taken which connection, and which of them are still alive.

Called by the replies' reader with what workers say to the process, and by the bridge when a connection ends;
calls the layer to answer heartbeats and to take back what a dead worker has not taken. Classic consumers
never speak to the process, and so are not known here.

A worker *takes* a request or a WebSocket by naming a process-local prefix of its own; what follows for that
connection goes there. While it has any, both sides send `daphne.alive` a few times within `worker_timeout`.
A layer that notices a process's end itself (`interface.WatchingLayer`) is believed at once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from daphne.errors import ChannelFull, LayerUnavailable
from daphne.layers.inbox import CONTROL, Inbox, KnownWorker
from daphne.layers.interface import AsyncLayer, Message, WatchingLayer
from daphne.layers.sending import Abandoned, LineSender
from daphne.layers.untaken import Untaken

log = logging.getLogger("daphne.server")

BEATS = 3
"""Heartbeats within one `worker_timeout`."""

RETURN_TIME = 2.0
"""Seconds by which others may notice later than this process that the layer is there again."""

TAKE_BACK_TIME = 0.3
"""Seconds to wait for messages that a dead worker has left in its channel."""


class Lost:
    """Put into an inbox: its worker has gone. `untaken` is the order of the first message it left in its
    channel."""

    __slots__ = ("untaken",)

    def __init__(self, untaken: int | None) -> None:
        self.untaken = untaken


class Workers:
    """The workers that have connections of this process."""

    def __init__(
        self,
        layer: AsyncLayer,
        sender: LineSender,
        timeout: float,
        find: Callable[[str], Inbox | None],
    ) -> None:
        """`timeout`: seconds of silence after which a worker counts as dead. `find`: reply channel to
        inbox."""
        self._layer = layer
        self._sender = sender
        self._timeout = timeout
        self._find = find
        self._workers: dict[str, KnownWorker] = {}
        self._heart: asyncio.Task[None] | None = None
        self._untaken = Untaken(layer, timeout, self._untaken_lost)
        self.offers = self._untaken.offers
        self.offered = self.offers.offered
        self.answered = self.offers.answered
        self.release = self.offers.release
        self._tasks: set[asyncio.Task[None]] = set()

    def said(self, channel: str, message: Message) -> None:
        """Act on what a worker said to this process on the control name `channel`."""
        kind, prefix = message["type"], message["worker"]
        if kind == "daphne.take":
            self._take(self._known(prefix), channel.removesuffix(CONTROL), message)
        elif kind == "daphne.bye":
            # Whoever stands in line for a full channel that nobody reads any more has another worker by now.
            self._sender.abandon(prefix)
            if prefix in self._workers:
                self._lose(self._workers[prefix], "has ended")
        elif prefix in self._workers:
            self._hear(self._workers[prefix], message)

    def taken(self, prefix: str, inbox: Inbox) -> None:
        """The connection of `inbox` belongs to the worker that listens on `prefix`, unless it has one
        already."""
        if inbox.worker is None:
            worker = self._known(prefix)
            worker.heard_at = asyncio.get_running_loop().time()
            self._belongs(inbox, worker)

    def _belongs(self, inbox: Inbox, worker: KnownWorker) -> None:
        inbox.worker = worker
        worker.inboxes.add(inbox)
        self.offers.taken(inbox)

    def confirm(self, inbox: Inbox, size: int) -> None:
        """A reply of `size` bytes has been passed on to the client; tell its worker now and then."""
        if count := inbox.passed_on(size):
            self.acknowledge(inbox, count)

    def acknowledge(self, inbox: Inbox, count: int) -> None:
        """Tell the worker that the client has taken `count` replies in all."""
        if inbox.worker is not None:
            self.tell_later(inbox.worker, inbox.local, {"type": "daphne.ack", "count": count})

    async def tell(self, worker: KnownWorker, local: str, message: Message) -> None:
        """Send to the worker's channel `local`, waiting for room as long as the worker lives."""
        try:
            if not self._sender.send_now(worker.prefix + local, message):
                await self._sender.send(worker.prefix + local, message, None, None)
        except Abandoned:
            log.debug("Worker %s died before it was told %s", worker.prefix, message["type"])

    def tell_later(self, worker: KnownWorker, local: str, message: Message) -> None:
        """As `tell`, but without waiting for it."""
        self._spawn(self.tell(worker, local, message))

    async def stop(self) -> None:
        """Forget everybody."""
        tasks = [
            *self._tasks,
            *self._untaken.close(),
            *(worker.watch for worker in self._workers.values() if worker.watch),
        ]
        if self._heart is not None:
            tasks.append(self._heart)
        self._workers.clear()
        self._heart = None
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _known(self, prefix: str) -> KnownWorker:
        worker = self._workers.get(prefix)
        if worker is None:
            worker = self._workers[prefix] = KnownWorker(prefix)
            loop = asyncio.get_running_loop()
            if isinstance(self._layer, WatchingLayer):
                worker.watch = loop.create_task(self._watch(self._layer, worker))
            if self._heart is None:
                self._heart = loop.create_task(self._beat(), name="daphne-heartbeat")
        return worker

    def _take(self, worker: KnownWorker, reply_prefix: str, message: Message) -> None:
        self._hear(worker, message)
        gone = []
        for local in message["ids"]:
            inbox = self._find(reply_prefix + local)
            if inbox is None:
                gone.append(local)
            elif inbox.worker is None:
                self._belongs(inbox, worker)
        if gone:
            self.tell_later(worker, CONTROL, {"type": "daphne.gone", "ids": gone})

    def _hear(self, worker: KnownWorker, message: Message) -> None:
        worker.heard_at = asyncio.get_running_loop().time()
        worker.timeout = message.get("timeout", 0.0)

    async def _beat(self) -> None:
        """Answer heartbeats and miss them, until no worker has a connection of this process."""
        loop = asyncio.get_running_loop()
        interval = self._timeout / BEATS
        while any(worker.inboxes for worker in self._workers.values()):
            slept_at = loop.time()
            await asyncio.sleep(interval)
            overslept = loop.time() - slept_at > 2 * interval
            for worker in list(self._workers.values()):
                if overslept:  # this process stood still, and heartbeats are waiting to be read
                    worker.heard_at = loop.time()
                elif worker.inboxes and self._is_silent(worker, loop.time()):
                    self._lose(worker, f"has been silent for {loop.time() - worker.heard_at:.1f} seconds")
                elif worker.inboxes:
                    await self._say_alive(worker)
        self._heart = None
        for worker in self._workers.values():
            worker.watch_no_more()
        self._workers.clear()

    async def _say_alive(self, worker: KnownWorker) -> None:
        message = {"type": "daphne.alive", "timeout": self._timeout}
        try:
            await self._sender.send(worker.prefix + CONTROL, message, 0)
        except LayerUnavailable:  # nobody can be heard through it either
            worker.heard_at = asyncio.get_running_loop().time() + RETURN_TIME
        except ChannelFull:
            pass

    def _is_silent(self, worker: KnownWorker, now: float) -> bool:
        """Whether neither a heartbeat nor a reply of the worker has come for its whole time."""
        replies = worker.replies_to_ended + sum(inbox.received for inbox in worker.inboxes)
        if replies > worker.replies:  # its heartbeats may be waiting behind many of them
            worker.replies = replies
            worker.heard_at = now
        return now - worker.heard_at > max(self._timeout, worker.timeout)

    async def _watch(self, layer: WatchingLayer, worker: KnownWorker) -> None:
        await layer.watch_async(worker.prefix)
        worker.watch = None
        if self._workers.get(worker.prefix) is worker:
            self._lose(worker, "is no longer attached to the layer")

    def _lose(self, worker: KnownWorker, why: str) -> None:
        """The worker is dead. Its connections are told once what it has left in its channel is known."""
        del self._workers[worker.prefix]
        worker.dead = True
        worker.watch_no_more()
        if worker.inboxes:
            self._spawn(self._bury(worker, why))
        self._untaken.worker_died()

    async def _bury(self, worker: KnownWorker, why: str) -> None:
        self._sender.abandon(worker.prefix)
        try:
            untaken = await self._take_back(worker.prefix)
            # If it is not dead but was frozen, it shall end what it believes to have.
            await self._sender.try_send(worker.prefix + CONTROL, {"type": "daphne.lost"})
        finally:
            # Only now: what it said to those it has handed over may come later than its goodbye, and they may
            # have gone to others since.
            if worker.inboxes:
                log.warning("Worker %s %s; it had %d connections", worker.prefix, why, len(worker.inboxes))
            for inbox in list(worker.inboxes):
                self.release(inbox)
                inbox.put(Lost(untaken.get(inbox.local)))

    def _untaken_lost(self, inbox: Inbox) -> None:
        log.warning("%s was received by a worker that died before it could say so", inbox.name)
        inbox.put(Lost(None))

    async def _take_back(self, prefix: str) -> dict[str, int]:
        """For each connection, the order of the first message that the worker left in its channel."""
        untaken: dict[str, int] = {}
        try:
            while True:
                async with asyncio.timeout(TAKE_BACK_TIME):
                    batch = await self._layer.receive_batch([prefix])
                for channel, message in batch:
                    if "order" in message:
                        untaken.setdefault(channel.partition("!")[2], message["order"])
        except TimeoutError:
            return untaken
        except Exception as problem:  # a foreign layer may not let us, in its own words
            log.info("What worker %s has not taken cannot be had back: %s", prefix, problem)
            return untaken

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
