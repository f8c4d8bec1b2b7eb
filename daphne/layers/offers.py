"""Requests and WebSockets that were offered to the workers and that none has said to have taken yet.

Called by the bridge with every offer and what becomes of it, and by `untaken`, which looks now and then for
those that a worker received and died with before it could say so. Compiled (setup.py).
"""

from __future__ import annotations

from collections.abc import Callable

from daphne.layers.inbox import Inbox


class Offers:
    """The open offers of one process. `look_after` is called for an offer while nobody looks after them, and
    returns the clock."""

    def __init__(self, look_after: Callable[[], Callable[[], float]]) -> None:
        self._look_after = look_after
        self._now: Callable[[], float] | None = None
        self.open: dict[Inbox, float] = {}
        """When each was made, in their order."""
        self.count = 0
        """How many have been made."""
        self.taken_up_to: dict[str, int] = {}
        """For each prefix the last that has been taken."""
        self.ours = False
        """Whether a worker of ours has ever taken or answered one."""
        self.classic = False
        """Whether a classic consumer has ever answered one."""

    def offered(self, inbox: Inbox) -> None:
        """The connection of `inbox` is in the layer now; unless it has an answer already."""
        if inbox.worker is not None or inbox.received:
            return
        now = self._now
        if now is None:
            now = self._now = self._look_after()
        self.count += 1
        inbox.offer = self.count
        self.open[inbox] = now()

    def taken(self, inbox: Inbox) -> None:
        """A worker of ours has said that it took it, or has answered."""
        self.ours = True
        self.open.pop(inbox, None)
        if inbox.offer > self.taken_up_to.get(inbox.prefix, 0):
            self.taken_up_to[inbox.prefix] = inbox.offer

    def answered(self, inbox: Inbox, classic: bool) -> None:
        """A first reply has come; `classic` when it was no worker of ours that sent it."""
        if not classic:
            self.taken(inbox)
        else:
            self.classic = True
            self.open.pop(inbox, None)

    def leave(self) -> None:
        """Nobody looks after them any more, until the next."""
        self._now = None

    def release(self, inbox: Inbox) -> None:
        """The connection of `inbox` has ended, or has another worker from now on."""
        self.open.pop(inbox, None)
        worker = inbox.worker
        if worker is not None:
            worker.let_go(inbox)
