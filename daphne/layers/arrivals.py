"""Receives that outlive their callers: what a cancelled receive was about to get waits for the next one.

Called by the adapters, whose foreign layers offer receives that cannot be cancelled without the risk of a
loss; calls back into them to start a receive, and to give back a message that nobody here wants any more.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Protocol

from daphne.layers.interface import Message, local_prefix

Batch = list[tuple[str, Message]]
Names = tuple[str, ...]

PATIENCE = 0.25
"""Seconds that a message from a shared channel is kept for a next receive here before others may have it."""

log = logging.getLogger("daphne.layers")


class Fetch(Protocol):
    """One receive under way on a foreign layer."""

    @property
    def future(self) -> asyncio.Future[Batch]:
        """What it brings."""

    def stop(self) -> None:
        """Its caller has gone: end early if that can be done without losing a message."""

    def end(self) -> None:
        """The layer is being closed: let the future become done soon."""


class TaskFetch:
    """A receive in a task, which is not cancelled before the layer is closed: most foreign layers lose the
    message that arrives at that moment."""

    def __init__(self, receive: Coroutine[Any, Any, Batch]) -> None:
        self.future = asyncio.ensure_future(receive)

    def stop(self) -> None:
        """It goes on, for the next caller."""

    def end(self) -> None:
        """Cancel it."""
        self.future.cancel()


class Arrivals:
    """The receives under way, and the messages that came to ones whose caller had gone.

    `begin(names, limit)` starts a receive. `split(names)` says which receives serve one call: one on all
    names, or one for each name. `give_back(channel, message)` sends a message that was taken in vain.
    """

    def __init__(
        self,
        begin: Callable[[Names, int], Fetch],
        split: Callable[[Names], list[Names]],
        give_back: Callable[[str, Message], Awaitable[None]],
    ) -> None:
        self._begin = begin
        self._split = split
        self._give_back = give_back
        self._idle: dict[Names, list[Fetch]] = {}
        self._kept: Batch = []
        self._waiting: set[asyncio.Future[None]] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def receive(self, names: Names, limit: int) -> Batch:
        """Wait for at least one message. Raises what the foreign receive raised."""
        while True:
            if batch := self._take_kept(names, limit):
                return batch
            fetches = [(part, self._adopt(part) or self._begin(part, limit)) for part in self._split(names)]
            kept: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.add(kept)
            futures: list[asyncio.Future[Any]] = [kept, *(fetch.future for _, fetch in fetches)]
            try:
                await asyncio.wait(futures, return_when=asyncio.FIRST_COMPLETED)
            except BaseException:
                for part, fetch in fetches:
                    fetch.stop()
                    self._let_idle(part, fetch)
                raise
            finally:
                self._waiting.discard(kept)
            done = [fetch for _, fetch in fetches if fetch.future.done()]
            for part, fetch in fetches:
                if fetch not in done:
                    self._let_idle(part, fetch)
            for fetch in done:
                self._keep(fetch)
            for fetch in done:
                if not fetch.future.cancelled():
                    fetch.future.result()  # raises what it failed with

    async def close(self) -> None:
        """End the receives, and give back what they and earlier ones brought."""
        idle = [fetch for fetches in self._idle.values() for fetch in fetches]
        self._idle.clear()
        for fetch in idle:
            fetch.end()
        if idle:
            await asyncio.wait([fetch.future for fetch in idle])
        for fetch in idle:
            self._keep(fetch)
        await self._give_back_all(self._kept)
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _take_kept(self, names: Names, limit: int) -> Batch:
        batch = [kept for kept in self._kept if local_prefix(kept[0]) in names][:limit]
        for kept in batch:
            self._kept.remove(kept)
        return batch

    def _adopt(self, part: Names) -> Fetch | None:
        fetches = self._idle.get(part, [])
        fetch = fetches.pop() if fetches else None
        if not fetches:
            self._idle.pop(part, None)
        return fetch

    def _let_idle(self, part: Names, fetch: Fetch) -> None:
        self._idle.setdefault(part, []).append(fetch)
        fetch.future.add_done_callback(lambda _: self._arrived_in_vain(part, fetch))

    def _arrived_in_vain(self, part: Names, fetch: Fetch) -> None:
        if fetch not in self._idle.get(part, []):
            return  # somebody adopted it, and is about to take the result
        self._idle[part].remove(fetch)
        if fetch.future.cancelled():
            return
        if error := fetch.future.exception():
            log.warning("A receive on %s failed while nobody waited for it: %s", ", ".join(part), error)
            return
        batch = fetch.future.result()
        self._keep(fetch)
        shared = [kept for kept in batch if "!" not in kept[0]]
        if shared:
            loop = asyncio.get_running_loop()
            loop.call_later(PATIENCE, self._spawn, shared)

    def _keep(self, fetch: Fetch) -> None:
        if fetch.future.cancelled() or fetch.future.exception():
            return
        self._kept.extend(fetch.future.result())
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_result(None)

    def _spawn(self, batch: Batch) -> None:
        task = asyncio.get_running_loop().create_task(self._give_back_all(batch))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _give_back_all(self, batch: Sequence[tuple[str, Message]]) -> None:
        for kept in list(batch):
            if not any(kept is still for still in self._kept) or "!" in kept[0]:
                continue
            self._kept = [still for still in self._kept if still is not kept]
            try:
                await self._give_back(*kept)
            except Exception:  # whatever a foreign layer raises; the others must still be given back
                log.exception("A message for %s could not be given back and is lost", kept[0])
