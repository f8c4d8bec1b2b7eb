"""What one HTTP/2 client may make us do in a second, beyond requests: resets, and frames that carry nothing.

Called by http2_reader for every such frame, and by http2 when a stream ends early; calls nothing. Each
limit is a bucket that holds one second's worth and fills at the same rate, so that a burst passes and a
flood does not.

The attacks: rapid reset (CVE-2023-44487), made-you-reset (CVE-2025-8671), ping, settings, priority and
empty-frame floods (CVE-2019-9512 to 9518).
"""

from __future__ import annotations

import asyncio
from typing import Any

from daphne.errors import ConnectionFailed
from daphne.protocols.http2_frames import ENHANCE_YOUR_CALM
from daphne.settings import Settings

SMALL_UPDATE = 1024
"""A window that opens by less than this was hardly worth a frame."""


class Bucket:
    """`rate` drops a second, at most `rate` in stock; `name` is the setting that it stands for."""

    __slots__ = ("_at", "_left", "_loop", "_name", "_rate")

    def __init__(self, loop: asyncio.AbstractEventLoop, rate: int, name: str) -> None:
        self._loop = loop
        self._rate = rate
        self._left = float(rate)
        self._at = loop.time()
        self._name = name

    def take(self) -> None:
        """Take one drop. Raises ConnectionFailed(ENHANCE_YOUR_CALM) when none is left."""
        now = self._loop.time()
        left = min(self._rate, self._left + (now - self._at) * self._rate)
        self._at = now
        if left < 1:
            raise ConnectionFailed(ENHANCE_YOUR_CALM, f"more than {self._name}", limit=self._name)
        self._left = left - 1


class Floods:
    """The buckets of one connection."""

    __slots__ = ("_earned", "_frames", "_resets")

    def __init__(self, loop: asyncio.AbstractEventLoop, settings: Settings) -> None:
        self._resets = Bucket(loop, settings.http2_max_resets_per_second, "http2_max_resets_per_second")
        self._frames = Bucket(loop, settings.http2_max_frames_per_second, "http2_max_frames_per_second")
        self._earned = 0

    def reset(self) -> None:
        """The client has ended a stream before its time, or made us do so."""
        self._resets.take()

    def frame(self) -> None:
        """A frame has come that carries no request and no body."""
        self._frames.take()

    def data_sent(self) -> None:
        """Every DATA frame that we write earns the client two updates, for the stream's window and the
        connection's.
        """
        self._earned += 2

    def window_update(self, increment: int) -> None:
        """A window has opened; only small updates that answer nothing of ours are counted."""
        if increment < SMALL_UPDATE:
            if self._earned:
                self._earned -= 1
            else:
                self._frames.take()


class Places:
    """How many streams may be open at once, those counted whose client has gone and whose application runs
    on: else a client that resets as fast as it asks could keep any number running.
    """

    __slots__ = ("_left", "_most")

    def __init__(self, settings: Settings) -> None:
        self._most = settings.http2_max_concurrent_streams
        self._left: set[asyncio.Task[None]] = set()  # not the streams, which may hold much

    def left_behind(self, stream: Any) -> None:
        """The client of `stream` has gone; its application may still run."""
        if stream.task is not None:
            self._left.add(stream.task)
            stream.task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._left.discard(task)

    def room_beside(self, live: int) -> bool:
        """Whether one more stream may open beside `live` open ones. As many again may have been left."""
        if live >= self._most:
            return False
        if len(self._left) >= self._most:
            self._left = {task for task in self._left if not task.done()}
        return len(self._left) < self._most
