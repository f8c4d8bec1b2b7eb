"""Receives that outlive their callers: what a cancelled receive was about to get waits for the next one.

Called by the adapters and by the Redis layer, whose receives cannot be cancelled without the risk of a loss;
calls back into them to start a receive, and to give back messages that nobody here wants any more.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Hashable
from typing import Any, Protocol

from daphne.layers.names import local_prefix

Batch = list[tuple[str, Any]]
Names = tuple[str, ...]

PATIENCE = 0.25
"""Seconds that a message from a shared channel is kept for a next receive here before others may have it."""
FORGOTTEN = 60.0
"""Seconds that a message for a process-local name is kept for a next receive on it, and that a receive on a
name of our own goes on for one. By then a layer would have forgotten the message, too: whoever received
there has ended."""
LAST_WAIT = 5.5
"""Seconds that closing waits for receives on shared channels: those of asgi_redis return after 5."""

log = logging.getLogger("daphne.layers")


class Fetch(Protocol):
    """One receive under way."""

    shared: bool
    """Whether other processes receive on any of the same channels."""

    @property
    def future(self) -> asyncio.Future[Batch]:
        """What it brings; nothing, if it gave up."""

    def stop(self) -> None:
        """Nobody wants it just now: end early if that can be done without losing a message."""

    def go_on(self) -> None:
        """Somebody wants it again, if it has not ended."""

    def end(self) -> None:
        """The layer is being closed: end soon if that can be done without losing a message."""


class TaskFetch:
    """A receive in a task. It is not cancelled while the layer is open, because most foreign layers lose the
    message that arrives at that moment; unless it is for names of our own that nobody has wanted for long.
    Each long request body has one, and would leave a task, and what its layer has for it, behind."""

    def __init__(self, receive: Coroutine[Any, Any, Batch], names: Names) -> None:
        self.future = asyncio.ensure_future(receive)
        self.shared = is_shared(names)
        self._own = all("!" in name or "?" in name for name in names)
        self._forgetting: asyncio.TimerHandle | None = None

    def stop(self) -> None:
        """It goes on, for the next caller."""
        if self._own and self._forgetting is None:
            loop = asyncio.get_running_loop()
            self._forgetting = loop.call_later(FORGOTTEN, self.future.cancel)
            self.future.add_done_callback(lambda _: self.go_on())

    def go_on(self) -> None:
        """For this one."""
        if self._forgetting is not None:
            self._forgetting.cancel()
            self._forgetting = None

    def end(self) -> None:
        """Cancel it."""
        self.future.cancel()


class Arrivals:
    """The receives under way, and the messages that they brought and nobody took yet.

    `split(names)` says which receives serve one call: one on all names, one for each name, one for each
    server, as any hashable value. `begin(part, limit)` starts such a receive. `give_back(batch)` hands
    messages of shared channels back to the layer, for others.
    """

    def __init__(
        self,
        begin: Callable[[Any, int], Fetch],
        split: Callable[[Names], list[Any]],
        give_back: Callable[[Batch], Awaitable[None]],
    ) -> None:
        self._begin = begin
        self._split = split
        self._give_back = give_back
        self._under_way: dict[Hashable, Fetch] = {}
        self._waiting: dict[asyncio.Future[None], tuple[Names, list[Any]]] = {}
        self._kept: Batch = []
        self._returns: set[asyncio.Task[None]] = set()
        self._forgetting: asyncio.TimerHandle | None = None
        self._closing = False

    async def receive(self, names: Names, limit: int) -> Batch:
        """Wait for at least one message. Raises what the foreign receive raised."""
        parts = self._split(names)
        while not (batch := self.take(names, limit)):
            for part in parts:
                if part in self._under_way:
                    self._under_way[part].go_on()
                else:
                    self._start(part, limit)
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting[waiter] = names, parts
            try:
                await waiter
            except BaseException:
                del self._waiting[waiter]
                self._stop_unwanted(parts)
                self._return_soon()
                raise
            del self._waiting[waiter]
            if len(parts) > 1:
                asyncio.get_running_loop().call_later(PATIENCE, self._stop_unwanted, parts)
        return batch

    async def close(self) -> None:
        """End the receives, and give back what they and earlier ones brought from shared channels."""
        self._closing = True
        if self._forgetting is not None:
            self._forgetting.cancel()
        for fetch in self._under_way.values():
            fetch.end()
        shared = [fetch.future for fetch in self._under_way.values() if fetch.shared]
        if shared:
            _, late = await asyncio.wait(shared, timeout=LAST_WAIT)
            for future in late:
                future.cancel()
            await asyncio.sleep(0)  # for `_arrived`
        await self._return_kept()
        if self._returns:
            await asyncio.wait(self._returns)

    def take(self, names: Names, limit: int) -> Batch:
        """What earlier receives have brought and nobody took."""
        if not self._kept:
            return []
        batch = [kept for kept in self._kept if local_prefix(kept[0]) in names][:limit]
        if batch:
            taken = {id(kept) for kept in batch}
            self._kept = [kept for kept in self._kept if id(kept) not in taken]
        return batch

    def _start(self, part: Hashable, limit: int) -> None:
        fetch = self._under_way[part] = self._begin(part, limit)
        fetch.future.add_done_callback(lambda future: self._arrived(part, future))

    def _stop_unwanted(self, parts: list[Any]) -> None:
        for part in parts:
            if part in self._under_way and not any(part in wanted for _, wanted in self._waiting.values()):
                self._under_way[part].stop()

    def _arrived(self, part: Hashable, future: asyncio.Future[Batch]) -> None:
        del self._under_way[part]
        error = None if future.cancelled() else future.exception()
        batch = [] if future.cancelled() or error else future.result()
        self._kept += batch
        brought = {local_prefix(channel) for channel, _ in batch}
        waiters = [
            waiter
            for waiter, (names, parts) in self._waiting.items()
            if not waiter.done() and (part in parts or not brought.isdisjoint(names))
        ]
        for waiter in waiters:
            if error:
                waiter.set_exception(error)
            else:
                waiter.set_result(None)
        if error and not waiters and not self._closing:
            log.warning("A receive failed while nobody waited for it: %s", error)
        if not waiters:
            self._return_soon()

    def _return_soon(self) -> None:
        if any("!" not in channel for channel, _ in self._kept):
            asyncio.get_running_loop().call_later(PATIENCE, self._begin_return)
        self._forget_later()

    def _forget_later(self) -> None:
        if self._forgetting is None and not self._closing:
            local = [kept for kept in self._kept if "!" in kept[0]]
            if local:
                loop = asyncio.get_running_loop()
                self._forgetting = loop.call_later(FORGOTTEN, self._forget, local)

    def _forget(self, local: Batch) -> None:
        """Nobody has taken these in all that time; what has come since has the same time."""
        self._forgetting = None
        forgotten = {id(kept) for kept in local}
        self._kept = [kept for kept in self._kept if id(kept) not in forgotten]
        self._forget_later()

    def _begin_return(self) -> None:
        task = asyncio.get_running_loop().create_task(self._return_kept())
        self._returns.add(task)
        task.add_done_callback(self._returns.discard)

    async def _return_kept(self) -> None:
        """Hand messages of shared channels back, for others to receive."""
        returning = [kept for kept in self._kept if "!" not in kept[0]]
        self._kept = [kept for kept in self._kept if "!" in kept[0]]
        if returning:
            await self._give_back(returning)


def is_shared(names: Names) -> bool:
    """Whether other processes may receive on any of these names."""
    return any("!" not in name for name in names)
