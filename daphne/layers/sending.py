"""Sending to channels that may be full: wait in line, try again, give up after a while.

Called by the bridge and the worker for every message, which they make for this and keep no part of; calls the
layer's `give` if it has one, and else its `send_async`. There is one line for
each queue, so that messages keep their order and only the first in line tries again. Nothing is dropped in
silence: a send ends by having sent, or by raising.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from daphne.errors import ChannelFull, DaphneError, LayerUnavailable
from daphne.layers.interface import AsyncLayer, Message
from daphne.layers.names import local_prefix
from daphne.layers.prompt import PromptSender

FIRST_PAUSE = 0.002
LONGEST_PAUSE = 0.1
"""Seconds between tries; each pause is twice the one before."""


class Abandoned(DaphneError):
    """Whoever received on the channel has gone for good; the message was not sent."""


class LineSender:
    """Sends over one layer. `send` waits for room in a full channel, in line with earlier sends to it."""

    def __init__(self, layer: AsyncLayer) -> None:
        self._layer = layer
        self.prompt = PromptSender(layer)
        self.send_now = self.prompt.send_now
        self._give = self.prompt.give
        self._lines: dict[str, deque[_Place]] = self.prompt.lines

    async def send(
        self,
        channel: str,
        message: Message,
        patience: float | None,
        outage: float | None = 0,
        unsure: Callable[[], None] | None = None,
    ) -> None:
        """Send, waiting `patience` seconds for room and `outage` seconds for the layer (None: for ever).

        `unsure` is called before the message is sent again where it may have arrived already.

        Raises `errors.ChannelFull`, `errors.LayerUnavailable`, the layer's MessageTooLarge, or Abandoned.
        """
        queue = local_prefix(channel)
        if queue not in self._lines:
            try:
                if self._give is not None and self._give(channel, message):
                    return
                return await self._layer.send_async(channel, message)
            except self._layer.ChannelFull:
                pass
            except LayerUnavailable:
                if outage == 0:
                    raise
                if unsure is not None:
                    unsure()
        line = self._lines.get(queue)
        if patience == 0:
            if line and line[0].met_outage:
                raise LayerUnavailable(f"{queue} cannot be reached")
            raise ChannelFull(f"{queue} is full")
        if line is None:
            line = self._lines[queue] = deque()
        place = _Place(asyncio.get_running_loop(), channel, patience, outage)
        line.append(place)
        try:
            await place.turn(line)
            await self._try_until_sent(channel, message, line, unsure)
        finally:
            self._leave(queue, line, place)

    async def try_send(self, channel: str, message: Message) -> bool:
        """Send at once or not at all; False where the channel was full or the layer away."""
        try:
            await self.send(channel, message, 0)
        except (ChannelFull, LayerUnavailable):
            return False
        return True

    def abandon(self, queue: str, channel: str | None = None) -> None:
        """Make every send that waits in the line of `queue`, or only those to `channel`, raise Abandoned."""
        for place in self._lines.get(queue, ()):
            if channel is None or place.channel == channel:
                place.wake(Abandoned(f"nobody receives on {channel or queue} any more"))

    async def _try_until_sent(
        self, channel: str, message: Message, line: deque[_Place], unsure: Callable[[], None] | None
    ) -> None:
        place = line[0]
        pause = FIRST_PAUSE
        while True:
            try:
                return await self._layer.send_async(channel, message)
            except self._layer.ChannelFull:
                place.met_outage = False
                place.check_full()
            except LayerUnavailable as problem:
                place.met_outage = True
                if unsure is not None:
                    unsure()
                for waiting in line:
                    waiting.layer_is_away(problem)
            await place.wait(pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    def _leave(self, queue: str, line: deque[_Place], place: _Place) -> None:
        was_first = line[0] is place
        line.remove(place)
        if not line:
            del self._lines[queue]
        elif was_first:
            line[0].wake()


class _Place:
    """A sender's place in a line: until when it waits, and how it is woken."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, channel: str, patience: float | None, outage: float | None
    ) -> None:
        now = loop.time()
        self.channel = channel
        self.met_outage = False
        """Whether its last try failed because the layer was away."""
        self._patience = patience
        self._full_until = None if patience is None else now + patience
        self._away_until = None if outage is None else now + outage
        self._loop = loop
        self._future: asyncio.Future[None] | None = None
        self._error: Exception | None = None

    def wake(self, error: Exception | None = None) -> None:
        """End the wait; with `error`, this and every later wait raises it."""
        self._error = self._error or error
        if self._future is not None and not self._future.done():
            self._future.set_result(None)

    async def wait(self, seconds: float | None) -> None:
        """Wait to be woken, at most `seconds`."""
        self._future = self._loop.create_future()
        timer = None if seconds is None else self._loop.call_later(max(seconds, 0), self.wake)
        try:
            if self._error is None:
                await self._future
        finally:
            self._future = None
            if timer is not None:
                timer.cancel()
        if self._error is not None:
            raise self._error

    async def turn(self, line: deque[_Place]) -> None:
        """Wait to be the first in line. Raises ChannelFull when patience ends before."""
        while line[0] is not self:
            self.check_full()
            await self.wait(None if self._full_until is None else self._full_until - self._loop.time())

    def check_full(self) -> None:
        """Raise ChannelFull once patience has come to its end."""
        if self._full_until is not None and self._loop.time() >= self._full_until:
            raise ChannelFull(f"{self.channel} is full")

    def layer_is_away(self, problem: LayerUnavailable) -> None:
        """Give up where the layer has been away for too long; else meet a full channel with patience anew.

        It was not its fullness that was waited for.
        """
        now = self._loop.time()
        if self._away_until is not None and now >= self._away_until:
            self.wake(problem)
        elif self._patience is not None:
            self._full_until = now + self._patience
