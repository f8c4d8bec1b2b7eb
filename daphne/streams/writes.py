"""Writes: how much is written in one turn of the loop, over all connections together.

Made by protocols/site.Site, one for all its connections; used by the streams. A kernel takes megabytes for
each connection before a writer has to wait for its peer: two hundred large answers that begin in one turn
would be a second in which nobody else is served. So when much has been written, whoever has a large piece
gets in line. Small pieces never wait; an answer alone waits a turn
of the loop, in which nobody else may have anything to do, for every three megabytes.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

LARGE: Final = 16384
"""Bytes of a piece up to which it is not counted."""
_AT_ONCE: Final = 3 << 20
"""Bytes of large pieces that are written before the next has to get in line: milliseconds of copying."""
_WOKEN: Final = 4
"""How many that are in line go on in one turn, at most."""


class Writes:
    """Who has a large piece to write, in the order in which they came."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._left = _AT_ONCE
        self._line: deque[asyncio.Future[None]] = deque()
        self._awake = False

    def take(self, size: int, in_turn: bool) -> bool:
        """Count `size` bytes that are to be written now; False if the writer has to get in line instead.

        `in_turn`: it has been in line.
        """
        if self._left < 0 and not in_turn:
            return False
        self._left -= size
        return True

    def turn(self) -> asyncio.Future[None]:
        """What to await until it is the caller's turn."""
        waiter: asyncio.Future[None] = self._loop.create_future()
        self._line.append(waiter)
        if not self._awake:
            self._awake = True
            self._loop.call_soon(self._next_turn)
        return waiter

    def _next_turn(self) -> None:
        self._left = _AT_ONCE
        for _ in range(min(_WOKEN, len(self._line))):
            waiter = self._line.popleft()
            if not waiter.done():
                waiter.set_result(None)
        self._awake = bool(self._line)
        if self._awake:
            self._loop.call_soon(self._next_turn)
