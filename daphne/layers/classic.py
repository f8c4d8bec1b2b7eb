"""Adapters for layers of the classic specification (asgiref 1, asgi_redis): blocking calls, or Deferreds.

Called by `adapters.adapt`; calls the foreign layer. Blocking calls run in threads of an executor that
belongs to the adapter, never on the loop's thread.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from daphne.layers.arrivals import Batch, Fetch, Names, TaskFetch, is_shared
from daphne.layers.foreign import ForeignLayer
from daphne.layers.interface import Message

SENDERS = 4
"""Threads for calls that end soon: sends, groups."""
RECEIVERS = 32
"""Threads for receives, each of which holds one while it waits; further receives wait for a thread."""
SHORTEST_PAUSE, LONGEST_PAUSE = 0.001, 0.05
"""Seconds between two looks at a layer whose `receive` does not wait by itself."""


class BlockingLayer(ForeignLayer):
    """A classic layer whose every call may block."""

    def __init__(self, layer: Any) -> None:
        super().__init__(layer)
        self._senders = ThreadPoolExecutor(SENDERS, thread_name_prefix="daphne-layer-send")
        self._receivers = ThreadPoolExecutor(RECEIVERS, thread_name_prefix="daphne-layer-receive")

    async def send_async(self, channel: str, message: Message) -> None:
        """See `interface.AsyncLayer`."""
        await self._call(self.layer.send, channel, message)

    async def group_add_async(self, group: str, channel: str) -> None:
        """See `interface.AsyncLayer`."""
        await self._call(self.layer.group_add, group, channel)

    async def group_discard_async(self, group: str, channel: str) -> None:
        """See `interface.AsyncLayer`."""
        await self._call(self.layer.group_discard, group, channel)

    async def send_group_async(self, group: str, message: Message) -> None:
        """See `interface.AsyncLayer`."""
        await self._call(self.layer.send_group, group, message)

    async def flush_async(self) -> None:
        """See `interface.AsyncLayer`."""
        await self._call(self.layer.flush)

    async def close_async(self) -> None:
        """Waits for receives that block just now: 5 seconds with asgi_redis."""
        await super().close_async()
        for executor in (self._senders, self._receivers):
            executor.shutdown(wait=False)

    async def _call(self, function: Callable[..., object], *args: object) -> None:
        with self._translated_errors():
            await asyncio.get_running_loop().run_in_executor(self._senders, function, *args)

    def _begin(self, names: Names, limit: int) -> Fetch:
        return _ThreadFetch(
            self._receivers, lambda stopping: self._receive(names, limit, stopping), is_shared(names)
        )

    def _receive(self, names: Names, limit: int, stopping: threading.Event) -> Batch:
        """In a thread: block until something comes, then take what else is there. [] when stopped."""
        pause = SHORTEST_PAUSE
        with self._translated_errors():
            while not stopping.is_set():
                asked_at = time.monotonic()
                channel, message = self.layer.receive(list(names), block=True)
                if channel is not None:
                    return [(channel, message), *self._receive_more(names, limit - 1)]
                if time.monotonic() - asked_at > LONGEST_PAUSE:
                    continue  # it waits by itself
                stopping.wait(pause)
                pause = min(pause * 2, LONGEST_PAUSE)
        return []

    def _receive_more(self, names: Names, limit: int) -> Batch:
        batch: Batch = []
        while len(batch) < limit:
            channel, message = self.layer.receive(list(names), block=False)
            if channel is None:
                break
            batch.append((channel, message))
        return batch


class TwistedLayer(BlockingLayer):
    """A classic layer that receives by Deferred; the loop is the one under the Twisted reactor."""

    def _begin(self, names: Names, limit: int) -> Fetch:
        return _DeferredFetch(self._receive_deferred(names), names)

    async def _receive_deferred(self, names: Names) -> Batch:
        loop = asyncio.get_running_loop()
        with self._translated_errors():
            channel, message = await self.layer.receive_twisted(list(names)).asFuture(loop)
        return [] if channel is None else [(channel, message)]


class _DeferredFetch(TaskFetch):
    def end(self) -> None:
        """It ends by itself in a moment, empty-handed; cancelling could lose a message."""


class _ThreadFetch:
    def __init__(
        self, executor: ThreadPoolExecutor, receive: Callable[[threading.Event], Batch], shared: bool
    ) -> None:
        self.shared = shared
        self._stopping = threading.Event()
        self.future = asyncio.get_running_loop().run_in_executor(executor, receive, self._stopping)

    def stop(self) -> None:
        self._stopping.set()

    def go_on(self) -> None:
        """It ends all the same; the next one follows it."""

    end = stop
