"""`ChannelLayer`: a channel layer inside one process, for threads and event loops alike.

Called by the bridge, by workers in the same process, by tests and by the local layer's broker; calls the
store. A message wakes one waiting receiver, in whatever thread or loop it waits; nothing polls.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from re import Pattern

from daphne import errors
from daphne.layers.copying import independent_copy
from daphne.layers.interface import (
    BATCH,
    MAX_MESSAGE_SIZE,
    Capacities,
    Message,
    checked_group,
    random_name,
    receiving_queues,
    sending_queue,
    single_reader_channel,
)
from daphne.layers.store import Store

BLOCKING_RECEIVE = 5.0
"""Seconds after which `receive(channels, block=True)` returns empty-handed (as asgi_redis does), so that its
caller can look whether it was asked to stop."""


class _Waiter:
    """One receive that waits: the queues it waits on, and how to wake it."""

    __slots__ = ("names", "wake", "woken")

    def __init__(self, names: Sequence[str], wake: Callable[[], None]) -> None:
        self.names = names
        self.wake = wake
        self.woken = False


class ChannelLayer:
    """A channel layer in memory: the classic interface, and the asynchronous one of `interface.AsyncLayer`.

    `expiry` and `group_expiry` in seconds; `capacity` messages per channel, `channel_capacity` maps globs or
    compiled regular expressions to other capacities, the first match counts; `max_message_size` in bytes;
    `clock` returns seconds.
    """

    extensions = ("groups", "flush", "statistics")
    ChannelFull = errors.ChannelFull
    MessageTooLarge = errors.MessageTooLarge

    def __init__(
        self,
        expiry: float = 60,
        group_expiry: float = 86400,
        capacity: int = 100,
        channel_capacity: Mapping[str | Pattern[str], int] | None = None,
        max_message_size: int = MAX_MESSAGE_SIZE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.expiry = expiry
        self.group_expiry = group_expiry
        self.capacity = capacity
        self.max_message_size = max_message_size
        self.client_prefix = random_name()
        self._clock = clock
        self._lock = threading.Lock()
        self._store = Store(expiry, group_expiry, Capacities(capacity, channel_capacity))
        self._waiting: dict[str, dict[_Waiter, None]] = {}

    # Sending and receiving

    def send(self, channel: str, message: Message) -> None:
        """Append a copy of `message` to `channel`. Raises ChannelFull, MessageTooLarge, TypeError."""
        name = sending_queue(channel)
        copy, size = independent_copy(message)
        if size > self.max_message_size:
            raise errors.MessageTooLarge(
                f"{size} bytes for {channel}; the layer carries {self.max_message_size}"
            )
        with self._lock:
            self._store.put(name, channel, copy, self._clock())
            if name in self._waiting:
                self._wake_one(name)

    def receive(self, channels: Sequence[str], block: bool = False) -> tuple[str | None, Message | None]:
        """`(channel, message)`, or `(None, None)` at once, or after some seconds with `block`."""
        names = receiving_queues(channels)
        deadline = time.monotonic() + BLOCKING_RECEIVE
        taken = self._take(names, 1)
        while block and not taken:
            event = threading.Event()
            waiter = self._wait(names, event.set)
            try:
                block = event.wait(deadline - time.monotonic())
            finally:
                self._stop_waiting(waiter)
            taken = self._take(names, 1)
        return taken[0] if taken else (None, None)

    async def send_async(self, channel: str, message: Message) -> None:
        """As `send`, which never waits."""
        self.send(channel, message)

    async def receive_batch(self, channels: Sequence[str], limit: int = BATCH) -> list[tuple[str, Message]]:
        """Wait for at least one message on `channels` and take up to `limit`; see `interface.AsyncLayer`."""
        names = receiving_queues(channels)
        while not (taken := self._take(names, limit)):
            event = _LoopEvent()
            waiter = self._wait(names, event.set)
            try:
                await event.future
            except BaseException:
                self._stop_waiting(waiter)
                raise
        return taken

    def put_back(self, messages: Sequence[tuple[str, Message]]) -> None:
        """Return messages that were taken but cannot be handed on, in their order, to the front."""
        with self._lock:
            for channel, message in reversed(messages):
                self._store.put_back(channel, message, self._clock())
                self._wake_one(sending_queue(channel))

    # Groups

    def group_add(self, group: str, channel: str) -> None:
        """Make `channel` a member of `group` for `group_expiry` seconds."""
        checked_group(group)
        sending_queue(channel)
        with self._lock:
            self._store.group_add(group, channel, self._clock())

    def group_discard(self, group: str, channel: str) -> None:
        """End a membership."""
        checked_group(group)
        sending_queue(channel)
        with self._lock:
            self._store.group_discard(group, channel)

    def group_channels(self, group: str) -> list[str]:
        """The members of `group`."""
        with self._lock:
            return self._store.group_channels(checked_group(group), self._clock())

    def send_group(self, group: str, message: Message) -> None:
        """Send to every member that is not full. Raises MessageTooLarge."""
        for channel in self.group_channels(group):
            with suppress(errors.ChannelFull):  # the classic specification: group sends drop in silence
                self.send(channel, message)

    async def group_add_async(self, group: str, channel: str) -> None:
        """As `group_add`."""
        self.group_add(group, channel)

    async def group_discard_async(self, group: str, channel: str) -> None:
        """As `group_discard`."""
        self.group_discard(group, channel)

    async def send_group_async(self, group: str, message: Message) -> None:
        """As `send_group`."""
        self.send_group(group, message)

    # The rest

    def new_channel(self, pattern: str) -> str:
        """An unused single-reader name that begins with `pattern`, which ends with `?`."""
        return single_reader_channel(pattern)

    def flush(self) -> None:
        """Forget all messages, groups and statistics."""
        with self._lock:
            self._store.flush()

    async def flush_async(self) -> None:
        """As `flush`."""
        self.flush()

    async def close_async(self) -> None:
        """Nothing to let go of."""

    def global_statistics(self) -> dict[str, float]:
        """Counts since the start (or the last flush) over all channels."""
        with self._lock:
            return self._statistics("", self._store.pending())

    def channel_statistics(self, channel: str) -> dict[str, float]:
        """The same for one channel (a process-local one up to its `!`), and the age of its oldest message."""
        with self._lock:
            age = self._store.oldest(channel, self._clock())
            return {**self._statistics(channel, self._store.pending(channel)), "messages_max_age": age}

    def _statistics(self, name: str, pending: int) -> dict[str, float]:
        return {
            "messages_count": self._store.messages_count[name],
            "channel_full_count": self._store.full_count[name],
            "messages_pending": pending,
        }

    # Waiting

    def _take(self, names: Sequence[str], limit: int) -> list[tuple[str, Message]]:
        with self._lock:
            taken = self._store.take(names, limit, self._clock())
            if len(taken) == limit and self._waiting:
                self._wake_for_the_rest(names)
            return taken

    def _wait(self, names: Sequence[str], wake: Callable[[], None]) -> _Waiter:
        waiter = _Waiter(names, wake)
        with self._lock:
            for name in names:
                self._waiting.setdefault(name, {})[waiter] = None
            self._wake_for_the_rest(names)  # for what came since the last look
        return waiter

    def _stop_waiting(self, waiter: _Waiter) -> None:
        """After a cancellation or a time-out: a wake-up that nobody answers goes to the next in line."""
        with self._lock:
            if waiter.woken:
                self._wake_for_the_rest(waiter.names)
            else:
                self._forget(waiter)

    def _wake_for_the_rest(self, names: Sequence[str]) -> None:
        for name in names:
            if name in self._waiting and self._store.holds(name):
                self._wake_one(name)

    def _wake_one(self, name: str) -> None:
        while name in self._waiting:
            waiter = next(iter(self._waiting[name]))
            self._forget(waiter)
            waiter.woken = True
            try:
                waiter.wake()
            except RuntimeError:  # its loop is closed: nobody is there any more
                continue
            return

    def _forget(self, waiter: _Waiter) -> None:
        for name in waiter.names:
            waiters = self._waiting.get(name, {})
            waiters.pop(waiter, None)
            if not waiters:
                self._waiting.pop(name, None)


class _LoopEvent:
    """A future of the running loop that any thread may resolve."""

    __slots__ = ("_loop", "_thread", "future")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self.future: asyncio.Future[None] = self._loop.create_future()

    def set(self) -> None:
        if threading.get_ident() == self._thread:
            self._resolve()
        else:
            self._loop.call_soon_threadsafe(self._resolve)

    def _resolve(self) -> None:
        if not self.future.done():
            self.future.set_result(None)
