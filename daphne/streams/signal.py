"""A signal that coroutines wait for, made so that nobody pays for it until somebody waits.

Used by the streams (an application waits for an event) and by the protocols (`send()` waits for room).
"""

from __future__ import annotations

import asyncio

SENDS_IN_A_ROW = 64
"""Parts of a body after which an application that was never made to wait gives way to the loop. Without that,
one that streams to a client that has gone would let nobody else be served."""
MESSAGES_IN_A_ROW = 16
"""The same for messages of a WebSocket, sent and received; clients send them without a break, too."""


class Signal:
    """Wakes every coroutine that waits when it fires; keeps no state between firings.

    A waiter re-checks its own condition after it wakes, as with a condition variable.
    """

    __slots__ = ("_loop", "_waiters")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiters: list[asyncio.Future[None]] = []

    def waiter(self) -> asyncio.Future[None]:
        """A future that is done after the next `fire()`. Whoever awaits it may be cancelled; the others go on
        waiting.
        """
        while self._waiters and self._waiters[-1].done():  # somebody has been cancelled, time and again
            self._waiters.pop()
        waiter: asyncio.Future[None] = self._loop.create_future()
        self._waiters.append(waiter)
        return waiter

    @property
    def awaited(self) -> bool:
        """Whether somebody waits for the next firing."""
        return bool(self._waiters) and not self._waiters[-1].done()

    def fire(self) -> None:
        """Wake all who wait now."""
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)
