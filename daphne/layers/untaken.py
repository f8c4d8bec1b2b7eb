"""A look now and then at the offers that no worker has said to have taken: did one that died receive them?

Called by `workers`; calls the layer for how many messages wait, and `lost` for what a worker received and
died with before it could say so.

Where nothing waits in the channel, every offer has been received. What nobody has taken half of the
`worker_timeout` after that was with a worker that is dead. And as channels are first in, first out, what was
offered before something that has been taken is no longer in its channel; with several hosts that holds for
each of them only, so it counts when a worker has died. While there are offers, one timer is armed; a look
costs one question to the layer, and most offers are taken long before.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from daphne.errors import DaphneError
from daphne.layers.inbox import Inbox
from daphne.layers.interface import AsyncLayer, CountingLayer
from daphne.layers.offers import Offers

TAKE_TIME = 1.0
"""Seconds within which a worker that has received an offer says that it took it, where one has just died."""

log = logging.getLogger("daphne.server")


class Untaken:
    """The open offers of one process. Classic consumers take without a word: beside them nothing is lost."""

    def __init__(self, layer: AsyncLayer, timeout: float, lost: Callable[[Inbox], None]) -> None:
        self._layer = layer
        self._interval = timeout / 2
        self._lost = lost
        self.offers = Offers(self._begin)
        self._received_up_to: dict[str, int] = {}
        """The offers that were no longer in their channels at the last look."""
        self._passed_up_to: dict[str, int] = {}
        """The offers before which others have been taken, when that was last noted after a death."""
        self._death = False
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._now: Callable[[], float]

    def _begin(self) -> Callable[[], float]:
        self._now = asyncio.get_running_loop().time
        if self._timer is None:
            self._arm(self._interval)
        return self._now

    def worker_died(self) -> None:
        """Look at once: it may have received what it did not say."""
        if self.offers.open:
            self._death = True
            self._passed_up_to = dict(self.offers.taken_up_to)
            self._look_soon(TAKE_TIME)

    def close(self) -> list[asyncio.Task[None]]:
        """Forget all; the tasks that are about to end."""
        self.offers.open.clear()
        self.offers.leave()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._task is None or self._task.done():
            return []
        self._task.cancel()
        return [self._task]

    def _arm(self, delay: float) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(delay, self._due, loop.time() + delay + self._interval)

    def _due(self, latest: float) -> None:
        self._timer = None
        if self._now() > latest:  # this process stood still, and what workers said is waiting to be read
            self._passed_up_to = self._received_up_to = {}
        if not self.offers.open:
            self._death = False
            self.offers.leave()
            return
        if self._death:
            for prefix, offer in self._passed_up_to.items():
                self._end(prefix, offer)
            self._passed_up_to = dict(self.offers.taken_up_to)
        self._look_soon(self._interval)

    def _look_soon(self, delay: float) -> None:
        """Ask the layer now, and be due again in a while."""
        if self._timer is not None:
            self._timer.cancel()
        self._arm(delay)
        if isinstance(self._layer, CountingLayer) and (self._task is None or self._task.done()):
            self._task = asyncio.get_running_loop().create_task(self._look(self._layer))

    async def _look(self, layer: CountingLayer) -> None:
        received_before, self._received_up_to = self._received_up_to, {}
        for prefix in {inbox.prefix: None for inbox in self.offers.open}:
            count = self.offers.count
            channel = "http.request" if prefix.startswith("http.") else "websocket.connect"
            try:
                waiting = await layer.pending_async(channel)
            except DaphneError as problem:
                log.debug("How many messages wait in %s is not known: %s", channel, problem)
                continue
            if not waiting:  # twice in a row: a receive that was cancelled gives back what it brought
                self._end(prefix, received_before.get(prefix, 0))
                self._received_up_to[prefix] = count

    def _end(self, prefix: str, up_to: int) -> None:
        """The offers up to that number have been received long enough ago to have been taken."""
        if self.offers.classic or not self.offers.ours:
            return
        unexpired = self._now() - self._layer.expiry
        for inbox, offered_at in list(self.offers.open.items()):
            if inbox.prefix == prefix and inbox.offer <= up_to and offered_at > unexpired:
                del self.offers.open[inbox]
                self._lost(inbox)
