"""Receives that outlive their callers: what a cancelled receive was about to get waits for the next one.

Called by the adapters, whose foreign layers offer receives that cannot be cancelled without the risk of a
loss; calls back into them to start a receive, and to give back a message that nobody here wants any more.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol

from daphne.layers.interface import Message, local_prefix

Batch = list[tuple[str, Message]]
Names = tuple[str, ...]

PATIENCE = 0.25
"""Seconds that a message from a shared channel is kept for a next receive here before others may have it."""
LAST_WAIT = 5.5
"""Seconds that closing waits for receives on shared channels: those of asgi_redis return after 5."""

log = logging.getLogger("daphne.layers")


class Fetch(Protocol):
    """One receive under way on a foreign layer."""

    @property
    def future(self) -> asyncio.Future[Batch]:
        """What it brings; nothing, if it gave up."""

    def stop(self) -> None:
        """Nobody wants it just now: end early if that can be done without losing a message."""

    def end(self) -> None:
        """The layer is being closed: end soon if that can be done without losing a message."""


class TaskFetch:
    """A receive in a task. It is not cancelled while the layer is open, because most foreign layers lose the
    message that arrives at that moment."""

    def __init__(self, receive: Coroutine[Any, Any, Batch]) -> None:
        self.future = asyncio.ensure_future(receive)

    def stop(self) -> None:
        """It goes on, for the next caller."""

    def end(self) -> None:
        """Cancel it."""
        self.future.cancel()


class Arrivals:
    """The receives under way, and the messages that they brought and nobody took yet.

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
        self._under_way: dict[Names, Fetch] = {}
        self._waiting: dict[asyncio.Future[None], list[Names]] = {}
        self._kept: Batch = []
        self._returns: set[asyncio.Task[None]] = set()

    async def receive(self, names: Names, limit: int) -> Batch:
        """Wait for at least one message. Raises what the foreign receive raised."""
        parts = self._split(names)
        while not (batch := self._take(names, limit)):
            for part in parts:
                if part not in self._under_way:
                    self._start(part, limit)
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting[waiter] = parts
            try:
                await waiter
            except BaseException:
                self._return_soon()
                raise
            finally:
                del self._waiting[waiter]
                self._stop_unwanted(parts)
        return batch

    async def close(self) -> None:
        """End the receives, and give back what they and earlier ones brought from shared channels."""
        for fetch in self._under_way.values():
            fetch.end()
        shared = [fetch.future for part, fetch in self._under_way.items() if not _is_local(part)]
        if shared:
            _, late = await asyncio.wait(shared, timeout=LAST_WAIT)
            for future in late:
                future.cancel()
            await asyncio.sleep(0)  # for `_arrived`
        await self._return_kept()
        if self._returns:
            await asyncio.wait(self._returns)

    def _take(self, names: Names, limit: int) -> Batch:
        batch = [kept for kept in self._kept if local_prefix(kept[0]) in names][:limit]
        if batch:
            taken = {id(kept) for kept in batch}
            self._kept = [kept for kept in self._kept if id(kept) not in taken]
        return batch

    def _start(self, part: Names, limit: int) -> None:
        fetch = self._under_way[part] = self._begin(part, limit)
        fetch.future.add_done_callback(lambda future: self._arrived(part, future))

    def _stop_unwanted(self, parts: list[Names]) -> None:
        for part in parts:
            if part in self._under_way and not any(part in wanted for wanted in self._waiting.values()):
                self._under_way[part].stop()

    def _arrived(self, part: Names, future: asyncio.Future[Batch]) -> None:
        del self._under_way[part]
        if future.cancelled():
            return
        waiters = [waiter for waiter, wanted in self._waiting.items() if part in wanted and not waiter.done()]
        error = future.exception()
        if error is None:
            self._kept += future.result()
        elif not waiters:
            log.warning("A receive on %s failed while nobody waited for it: %s", ", ".join(part), error)
        for waiter in waiters:
            if error is None:
                waiter.set_result(None)
            else:
                waiter.set_exception(error)
        if not waiters:
            self._return_soon()

    def _return_soon(self) -> None:
        if any("!" not in channel for channel, _ in self._kept):
            asyncio.get_running_loop().call_later(PATIENCE, self._begin_return)

    def _begin_return(self) -> None:
        task = asyncio.get_running_loop().create_task(self._return_kept())
        self._returns.add(task)
        task.add_done_callback(self._returns.discard)

    async def _return_kept(self) -> None:
        """Send kept messages of shared channels again, for others to receive."""
        returning = [kept for kept in self._kept if "!" not in kept[0]]
        self._kept = [kept for kept in self._kept if "!" in kept[0]]
        for channel, message in returning:
            try:
                await self._give_back(channel, message)
            except Exception:  # whatever a foreign layer raises; the others must still be given back
                log.exception("A message for %s could not be given back and is lost", channel)


def _is_local(part: Names) -> bool:
    return all("!" in name for name in part)
