"""A store that threads and event loops share: a message wakes one waiting receiver, wherever it waits.

Called by the memory layer, which keeps messages in it, and by the local layer's broker, which keeps packed
ones, and for both by `receiving`; calls `store` under a lock. Nothing polls. Compiled (setup.py).
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from threading import get_ident
from typing import Any

from daphne.errors import LayerUnavailable
from daphne.layers.names import Capacities, local_prefix
from daphne.layers.store import Store

Batch = list[tuple[str, Any]]
Take = Callable[[str, Any], None]
"""Takes a message for the full channel name."""


class Closed(LayerUnavailable):
    """The mailboxes are kept elsewhere now; what was asked has not been done."""


class Waiter:
    """One receive that waits: the queues it waits on, and what wakes it, in any thread, without blocking."""

    __slots__ = ("names", "wake", "woken")

    def __init__(self, names: Sequence[str], wake: Callable[[], None]) -> None:
        self.names = names
        self.wake = wake
        self.woken = False


class _Attendant:
    """Who attends a queue, in which thread, and how many messages were handed over there."""

    __slots__ = ("count", "take", "take_packed", "thread")

    def __init__(self, take: Take, take_packed: Take, thread: int) -> None:
        self.take = take
        self.take_packed = take_packed
        self.thread = thread
        self.count = 0


class Mailboxes:
    """Queues and groups. Names and messages are taken as they are: whoever calls has checked them."""

    def __init__(
        self,
        expiry: float,
        group_expiry: float,
        capacities: Capacities,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.expiry = expiry
        self._clock = clock
        self._lock = threading.Lock()
        self._store = Store(expiry, group_expiry, capacities)
        self._waiting: dict[str, dict[Waiter, None]] = {}
        self._attendants: dict[str, _Attendant] = {}
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether they have been closed."""
        return self._closed

    def put(self, name: str, channel: str, message: Any, bounded: bool = True) -> None:
        """Append to the queue `name` what is meant for `channel`. Raises ChannelFull, if it is `bounded`, and
        Closed."""
        if name in self._attendants and self.hand(name, channel, message):
            return
        self._lock.acquire()  # not `with`, which is several look-ups
        try:
            if self._closed:
                raise Closed("the mailboxes are closed")
            self._store.put(name, channel, message, self._clock(), bounded)
            if name in self._waiting:
                self._wake_one(name)
        finally:
            self._lock.release()

    def hand(self, name: str, channel: str, message: Any) -> bool:
        """Give the message to whoever attends the queue `name` in this thread, unless others wait there; else
        False. Raises Closed."""
        attendant = self._attendants.get(name)
        if attendant is None or attendant.thread != get_ident():
            return False
        if self._closed:
            raise Closed("the mailboxes are closed")
        if self._store.holds(name):
            return False
        attendant.count += 1  # without the lock: no other thread does
        if type(message) is bytes:
            attendant.take_packed(channel, message)
        else:
            attendant.take(channel, message)
        return True

    def attended(self, thread: int) -> list[str]:
        """The queues that are attended in that thread."""
        return [name for name, attendant in self._attendants.items() if attendant.thread == thread]

    def attend(self, name: str, take: Take, thread: int, take_packed: Take | None = None) -> None:
        """From now on, what that thread puts into the queue `name` goes to `take` at once, or if it is packed
        to `take_packed`, unless earlier messages wait there.

        Somebody has to receive on it as well: for those, and for other threads.
        """
        self.forsake(name)
        self._attendants[name] = _Attendant(take, take_packed or take, thread)

    def forsake(self, name: str) -> None:
        """End that."""
        attendant = self._attendants.pop(name, None)
        if attendant is not None:
            with self._lock:
                self._store.count_messages(name, attendant.count)

    def put_back(self, batch: Sequence[tuple[str, Any]]) -> None:
        """Return what was taken but cannot be handed on, in its order, to the front."""
        with self._lock:
            for channel, message in reversed(batch):
                self._store.put_back(channel, message, self._clock())
                self._wake_one(local_prefix(channel))

    def take(self, names: Sequence[str], limit: int) -> Batch:
        """Up to `limit` messages that wait now."""
        with self._lock:
            taken = self._store.take(names, limit, self._clock())
            if len(taken) == limit and self._waiting:
                self._wake_for_the_rest(names)
            return taken

    def wait(self, names: Sequence[str], wake: Callable[[], None]) -> Waiter:
        """Call `wake` once, when there may be something to take. Whoever is woken takes, or stops waiting."""
        waiter = Waiter(names, wake)
        with self._lock:
            for name in names:
                self._waiting.setdefault(name, {})[waiter] = None
            if self._closed:
                self._wake_one(names[0])
            self._wake_for_the_rest(names)  # for what came since the last look
        return waiter

    def awaited(self, name: str) -> bool:
        """Whether a receive waits on the queue `name`."""
        return name in self._waiting

    def stop_waiting(self, waiter: Waiter) -> None:
        """After a cancellation or a time-out: a wake-up that nobody answers goes to the next in line."""
        with self._lock:
            if waiter.woken:
                self._wake_for_the_rest(waiter.names)
            else:
                self._forget(waiter)

    def receive_blocking(self, names: Sequence[str], timeout: float) -> Batch:
        """The same for a thread, for one message; [] after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        in_time = timeout > 0
        taken = self.take(names, 1)
        while in_time and not taken:
            event = threading.Event()
            waiter = self.wait(names, event.set)
            try:
                in_time = event.wait(deadline - time.monotonic())
            finally:
                self.stop_waiting(waiter)
            taken = self.take(names, 1)
        return taken

    def group_add(self, group: str, channel: str) -> None:
        """Membership begins, or begins anew."""
        with self._lock:
            self._store.group_add(group, channel, self._clock())

    def group_discard(self, group: str, channel: str) -> None:
        """Membership ends, if there was one."""
        with self._lock:
            self._store.group_discard(group, channel)

    def group_channels(self, group: str) -> list[str]:
        """The members."""
        with self._lock:
            return self._store.group_channels(group, self._clock())

    def flush(self) -> None:
        """Forget all messages, groups and statistics."""
        with self._lock:
            self._store.flush()
            for attendant in self._attendants.values():
                attendant.count = 0

    def statistics(self, name: str | None) -> dict[str, float]:
        """Counts since the start or the last flush: of a queue, or with None of all."""
        with self._lock:
            store = self._store
            if name is None:
                handed = sum([attendant.count for attendant in self._attendants.values()])
                return {
                    "messages_count": store.messages_total + handed,
                    "channel_full_count": store.full_total,
                    "messages_pending": store.pending(),
                }
            handed = self._attendants[name].count if name in self._attendants else 0
            return {
                "messages_count": store.messages_count.get(name, 0) + handed,
                "channel_full_count": store.full_count.get(name, 0),
                "messages_pending": store.pending(name),
                "messages_max_age": store.oldest(name, self._clock()),
            }

    def close(self) -> dict[str, Any]:
        """End all waiting; returns all messages and groups with the seconds they have left, for `load`."""
        with self._lock:
            self._closed = True
            dumped = self._store.dump(self._clock())
            self._store.flush()
            for name in list(self._waiting):
                while name in self._waiting:
                    self._wake_one(name)
            return dumped

    def load(self, dumped: dict[str, Any], elapsed: float) -> None:
        """Go on with what `close` returned `elapsed` seconds ago."""
        with self._lock:
            self._store.load(dumped, self._clock() - elapsed)

    # Under the lock

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

    def _forget(self, waiter: Waiter) -> None:
        for name in waiter.names:
            waiters = self._waiting.get(name, {})
            waiters.pop(waiter, None)
            if not waiters:
                self._waiting.pop(name, None)


class LoopEvent:
    """A future of the running loop that any thread may resolve."""

    __slots__ = ("_loop", "_owner", "future")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._owner = get_ident()
        self.future: asyncio.Future[None] = self._loop.create_future()

    def set(self) -> None:
        """Resolve it, at once or, from another thread, soon. RuntimeError if the loop is closed."""
        if get_ident() == self._owner:
            self._resolve()
        else:
            self._loop.call_soon_threadsafe(self._resolve)

    def _resolve(self) -> None:
        if not self.future.done():
            self.future.set_result(None)
