"""Turns: in what order connections go on that have more for us to do than others should wait for.

Made by site.Site, one for all its connections. A connection takes a few requests, messages, chunks or frames
of what it has received; what is left it keeps, reads no more, and waits here for its turn. There is one turn
at a time, however many wait: a hundred connections that send without a break cost others as much as one. Peer
addresses take turns, then the connections of each.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable

QUIET = 0.00001
"""Seconds of a turn of the loop in which nothing else was to be done."""
_SHARE = 16
"""How much longer than a turn took others have the loop after it, if they need it. What comes of the turn in
the application counts among them."""
_MOST_WAITED = 16
"""Turns of the loop that a turn here waits for at most: on a slow machine even those with nothing to do take
longer than QUIET."""
_LONG = 0.0001
"""Seconds from a turn until all that came of it was done above which the next is shorter."""
LARGEST = 8
"""Messages that are taken in a turn at most."""


class Turns:
    """The connections that wait, by the address of their peer."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        """`clock`: seconds, to measure by what each has of the loop."""
        self._loop = loop
        self._clock = clock
        self._lines: dict[str | None, deque[Callable[[], None]]] = {}
        self._awake = False
        self._debt = 0.0
        """Seconds that others may still have before the next turn."""
        self._waited = 0
        """Turns of the loop since the last turn."""
        self._left = 0.0
        """When others began to have the loop."""
        self._begun = 0.0
        """When the last turn began."""
        self.size = LARGEST
        """Messages to be taken in a turn."""

    def wait(self, peer: str | None, go_on: Callable[[], None]) -> None:
        """Call `go_on` when it is the connection's turn. It must be one that does not wait already."""
        line = self._lines.get(peer)
        if line is None:
            line = self._lines[peer] = deque()
        line.append(go_on)
        if not self._awake:
            self._awake = True
            self._left = self._clock()
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        """Let as many go on as others leave time for: one if there was nothing else to do."""
        now = self._clock()
        others = now - self._left
        self._waited += 1
        self._debt = max(self._debt, 0.0) - others if others > QUIET else 0.0
        if self._debt > 0.0 and self._waited >= _MOST_WAITED:
            self._debt = 0.0
        if self._debt <= 0.0:
            self._waited = 0
            self._resize(now - self._begun)
            self._begun = now
        try:
            while self._debt <= 0.0 and self._lines:
                self._next()()
                self._debt += _SHARE * (self._clock() - now)
                now = self._clock()
        finally:
            self._left = now
            self._awake = bool(self._lines)
            if self._awake:
                self._loop.call_soon(self._turn)

    def _resize(self, took: float) -> None:
        """Shorten turns of which much comes (a message may take a channel layer and a worker)."""
        if took > _LONG:
            self.size = max(self.size // 2, 1)
        elif took < _LONG / 2 and self.size < LARGEST:
            self.size += 1

    def _next(self) -> Callable[[], None]:
        peer, line = next(iter(self._lines.items()))
        del self._lines[peer]
        go_on = line.popleft()
        if line:
            self._lines[peer] = line
        return go_on
