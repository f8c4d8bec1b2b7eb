"""The classic, blocking interface for layers that are asynchronous inside, through one loop in a thread.

Inherited by the Redis and the local layer. The thread is started by the first blocking call of the process:
a server that makes none has none.
"""

from __future__ import annotations

import asyncio
import os
import threading
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Coroutine, Sequence
from contextlib import suppress
from typing import Any, TypeVar
from weakref import WeakSet

from daphne import errors
from daphne.layers.interface import BLOCKING_RECEIVE, Message
from daphne.layers.names import random_name, single_reader_channel

T = TypeVar("T")


class _Background:
    """The loop of the process, and its thread; a forked child gets new ones."""

    def __init__(self) -> None:
        self._begin_anew()
        os.register_at_fork(after_in_child=self._begin_anew)

    def _begin_anew(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """The coroutine's result, waited for by the calling thread."""
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=self._loop.run_forever, name="daphne-layers", daemon=True).start()
        waiting = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return waiting.result()
        except BaseException:
            waiting.cancel()
            raise


_background = _Background()
_layers: WeakSet[BlockingDoor] = WeakSet()


def _forget_parents() -> None:
    """In a forked child: its layers get names and connections of their own."""
    for layer in _layers:
        layer.begin_anew()


os.register_at_fork(after_in_child=_forget_parents)


class BlockingDoor(ABC):
    """The classic interface (ASGI version 1) over the asynchronous one."""

    extensions = ("groups", "flush", "statistics")
    ChannelFull = errors.ChannelFull
    MessageTooLarge = errors.MessageTooLarge
    expiry: float
    group_expiry: float

    def __init__(self) -> None:
        self._abandoned: list[object] = []
        self._closers: dict[asyncio.AbstractEventLoop, AsyncGenerator[None]] = {}
        self.begin_anew()
        _layers.add(self)

    def begin_anew(self) -> None:
        """Called once more in a forked child."""
        self.client_prefix = random_name()

    def abandon(self, inherited: object) -> None:
        """Keep, untouched, what belongs to the parent process: to close it would disturb the parent."""
        self._abandoned.append(inherited)

    def close_with_loop(self) -> None:
        """Close the layer when the running loop is shut down in order, as `asyncio.run` does."""
        loop = asyncio.get_running_loop()
        if loop in self._closers:
            return
        for ended in [loop for loop in self._closers if loop.is_closed()]:
            del self._closers[ended]
        closer = self._closers[loop] = self._until_the_loop_ends()
        with suppress(StopIteration):
            closer.__anext__().__await__().__next__()  # runs up to its first yield; nothing waits in there

    async def _until_the_loop_ends(self) -> AsyncGenerator[None]:
        try:
            yield
        finally:
            await self.close_async()

    @abstractmethod
    async def close_async(self) -> None:
        """See `interface.AsyncLayer`."""

    def send(self, channel: str, message: Message) -> None:
        """Raises ChannelFull, MessageTooLarge, LayerUnavailable, TypeError."""
        _background.run(self.send_async(channel, message))

    def receive(self, channels: Sequence[str], block: bool = False) -> tuple[str | None, Message | None]:
        """`(channel, message)`, or `(None, None)` at once, or after some seconds with `block`."""
        return _background.run(self._receive_one(channels, block))

    def group_add(self, group: str, channel: str) -> None:
        """Make `channel` a member of `group` for `group_expiry` seconds."""
        _background.run(self.group_add_async(group, channel))

    def group_discard(self, group: str, channel: str) -> None:
        """End a membership."""
        _background.run(self.group_discard_async(group, channel))

    def group_channels(self, group: str) -> list[str]:
        """The members of `group`."""
        return _background.run(self.group_channels_async(group))

    def send_group(self, group: str, message: Message) -> None:
        """Send to every member that is not full."""
        _background.run(self.send_group_async(group, message))

    def flush(self) -> None:
        """Forget all messages, groups and statistics."""
        _background.run(self.flush_async())

    def global_statistics(self) -> dict[str, float]:
        """Counts over all channels: `messages_count`, `channel_full_count`."""
        return _background.run(self.statistics_async(None))

    def channel_statistics(self, channel: str) -> dict[str, float]:
        """The same for one channel, and `messages_pending`, `messages_max_age` in seconds."""
        return _background.run(self.statistics_async(channel))

    def new_channel(self, pattern: str) -> str:
        """An unused single-reader name that begins with `pattern`, which ends with `?`."""
        return single_reader_channel(pattern)

    async def _receive_one(self, channels: Sequence[str], block: bool) -> tuple[str | None, Message | None]:
        batch = await self.take_now(channels, 1)
        if block and not batch:
            try:
                async with asyncio.timeout(BLOCKING_RECEIVE):
                    batch = await self.receive_batch(channels, limit=1)
            except TimeoutError:
                pass
        return batch[0] if batch else (None, None)

    @abstractmethod
    async def send_async(self, channel: str, message: Message) -> None:
        """See `interface.AsyncLayer`."""

    @abstractmethod
    async def receive_batch(self, channels: Sequence[str], limit: int = 1) -> list[tuple[str, Message]]:
        """See `interface.AsyncLayer`."""

    @abstractmethod
    async def take_now(self, channels: Sequence[str], limit: int) -> list[tuple[str, Message]]:
        """What waits on `channels` at this moment, up to `limit` messages."""

    @abstractmethod
    async def group_add_async(self, group: str, channel: str) -> None:
        """See `interface.AsyncLayer`."""

    @abstractmethod
    async def group_discard_async(self, group: str, channel: str) -> None:
        """See `interface.AsyncLayer`."""

    @abstractmethod
    async def group_channels_async(self, group: str) -> list[str]:
        """The members of `group`."""

    @abstractmethod
    async def send_group_async(self, group: str, message: Message) -> None:
        """See `interface.AsyncLayer`."""

    @abstractmethod
    async def flush_async(self) -> None:
        """See `interface.AsyncLayer`."""

    @abstractmethod
    async def statistics_async(self, channel: str | None) -> dict[str, float]:
        """Of one channel, or of all."""
