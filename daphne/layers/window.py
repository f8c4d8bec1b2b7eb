"""Flow control between the two ends of a layer: how much may be under way, and when to confirm it.

Used by the bridge and the worker alike, for request bodies, responses and WebSockets in both directions. The
sending end keeps a `Window` and waits while it is full; the receiving end keeps `Confirmations` and now and
then sends the number of messages that it is done with. Without this a layer would have to hold whatever a
slow client or application leaves lying. Classic consumers confirm nothing; for them a full channel is the
limit.
"""

from __future__ import annotations

import asyncio

WINDOW = 512 * 1024
"""Bytes under way for one connection in one direction."""

OVERHEAD = 1024
"""Bytes that each message counts in addition to its content, so that small ones are limited in number."""


class Window:
    """The messages that were sent and are not confirmed yet."""

    __slots__ = ("_sizes", "_under_way", "_waiters", "confirmed")

    def __init__(self) -> None:
        self.confirmed = 0
        """How many messages were confirmed in all."""
        self._sizes: list[int] = []  # few, for each has its overhead; and empty for most windows
        self._under_way = 0
        self._waiters: list[asyncio.Future[None]] = []

    @property
    def sent_count(self) -> int:
        """How many messages were sent in all."""
        return self.confirmed + len(self._sizes)

    @property
    def full(self) -> bool:
        """Whether the next message has to wait."""
        return self._under_way >= WINDOW

    def sent(self, size: int) -> None:
        """One more message, of `size` bytes, is under way."""
        self._sizes.append(size + OVERHEAD)
        self._under_way += size + OVERHEAD

    def confirm(self, count: int) -> None:
        """The other end is done with the first `count` messages of all."""
        while self.confirmed < count and self._sizes:
            self._under_way -= self._sizes.pop(0)
            self.confirmed += 1
        if self._waiters and not self.full:
            self.wake()

    def wake(self) -> None:
        """Let whoever waits look again."""
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    def changed(self) -> asyncio.Future[None]:
        """Done once there may be room, or `wake` is called."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        return waiter


class Confirmations:
    """What this end is done with and has not yet said so."""

    __slots__ = ("_unsaid", "done_count", "said_count")

    def __init__(self) -> None:
        self.done_count = 0
        self.said_count = 0
        self._unsaid = 0

    def done(self, size: int) -> bool:
        """One more message, of `size` bytes, is done with. True when it is time to confirm."""
        self.done_count += 1
        self._unsaid += size + OVERHEAD
        return self._unsaid * 2 >= WINDOW

    @property
    def unsaid(self) -> bool:
        """Whether there is anything to confirm."""
        return self.done_count > self.said_count

    def said(self, count: int) -> None:
        """The first `count` messages have been confirmed."""
        self.said_count = count
        self._unsaid = 0
