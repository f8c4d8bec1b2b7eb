"""Inboxes: where the replies for one connection wait for it, and how each reply finds its inbox.

Made and read by the bridge through `replies`, which fills them; calls nothing but the names. Compiled
(setup.py), for every reply passes here: what has to wait waits elsewhere, for the future of `Inbox.arrival`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from daphne.errors import DaphneError
from daphne.layers.names import random_name
from daphne.layers.window import OVERHEAD, Confirmations

log = logging.getLogger("daphne.server")

BACKLOG_LIMIT = 32 * 1024 * 1024
"""Bytes of replies that one connection's client may leave untaken. Our own workers wait long before that; a
classic consumer cannot be told to wait, and one slow client must not fill the memory."""

_LOOK_EVERY = 32
"""Replies between two looks at how many bytes the untaken ones hold."""

CONTROL = "control"
"""The local part of the name on which workers speak to the process, not to one of its connections."""

_CONTROL_END = "!" + CONTROL


class BacklogFull(DaphneError):
    """A client takes its responses so slowly that more replies wait for it than the process will hold."""


class KnownWorker:
    """One worker process, as seen from here."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.inboxes: set[Inbox] = set()
        self.heard_at = 0.0
        self.timeout = 0.0
        self.replies = 0
        """How many replies had come from it when that was last looked at."""
        self.replies_to_ended = 0
        """How many of them were for connections that have ended."""
        self.dead = False
        self.watch: asyncio.Task[None] | None = None

    def watch_no_more(self) -> None:
        """End the watch over its process."""
        watch, self.watch = self.watch, None
        if watch is not None:
            watch.cancel()

    def let_go(self, inbox: Inbox) -> None:
        """The connection of `inbox` is no longer its own."""
        inbox.worker = None
        self.inboxes.discard(inbox)
        self.replies_to_ended += inbox.received


class Inbox:
    """The replies for one connection, in order, and whoever waits for the next."""

    def __init__(self, prefix: str, local: str, loop: asyncio.AbstractEventLoop) -> None:
        self.name = prefix + local
        self.prefix = prefix
        self.received = 0
        """How many replies have come."""
        self.offer = 0
        """The number under which the connection was offered to the workers; see `offers`."""
        self.local = local
        self.confirmations: Confirmations | None = None
        """What of the replies has been passed on; see `window`."""
        self.worker: KnownWorker | None = None
        """The worker that has taken the connection; None before that, and for classic consumers always."""
        self._loop = loop
        self._messages: list[Any] = []  # one at most, unless the client is slow
        self._looked_at = 0
        """How many replies had come at the last look."""
        self._held = 0
        """The bytes of those that were untaken then, and at times of some that had been taken by then."""
        self._waiter: asyncio.Future[None] | None = None
        self._taker: Callable[[Any], Any] | None = None
        self._first: Callable[[Any], None] | None = None

    def give_first(self, taker: Callable[[Any], None] | None) -> None:
        """Nobody reads yet: call `taker` with the next reply, once, in the very call that puts it here. A
        reader has those that follow."""
        self._first = taker
        if taker is not None and self._messages:
            self._first = None
            taker(self._messages.pop(0))

    def attend(self, taker: Callable[[Any], Any] | None) -> None:
        """Whenever the reader waits, call `taker` with the next reply, in the very call that puts it here;
        what that returns is put here instead, unless it is None. The reader does the same with each that it
        takes, so that it makes no difference which of them came when."""
        self._taker = taker

    def put(self, message: Any) -> None:
        """Append a reply, or whatever else the reader of this inbox is to know."""
        self.received += 1
        first = self._first
        if first is not None:
            self._first = None
            first(message)
            return
        waiter, messages = self._waiter, self._messages
        if self._taker is not None and waiter is not None and not (messages or waiter.done()):
            message = self._taker(message)
            if message is None:
                return
        messages.append(message)
        if waiter is not None:
            self._waiter = None
            if not waiter.done():
                waiter.set_result(None)
        elif self.received >= self._looked_at + _LOOK_EVERY:
            self._look()

    def _look(self) -> None:
        """Keep the untaken replies within bounds. Each is weighed once, and all again only where they may be
        too much: else, the more there are, the longer each look would take."""
        messages = self._messages
        new = self.received - self._looked_at
        self._looked_at = self.received
        self._held = _size(messages[-new:]) + (self._held if len(messages) > new else 0)
        if self._held > BACKLOG_LIMIT:
            self._held = _size(messages)  # without what has been taken since
            if self._held > BACKLOG_LIMIT:
                messages.clear()
                messages.append(BacklogFull(f"{self.name}: more than {BACKLOG_LIMIT} bytes of replies wait"))

    def take_now(self) -> Any:
        """The next of them if there is one, else None."""
        return self._messages.pop(0) if self._messages else None

    def arrival(self) -> asyncio.Future[None]:
        """Done once there may be one to take. For one reader; cancelling it loses nothing."""
        waiter: asyncio.Future[None] = self._loop.create_future()
        if self._messages:
            waiter.set_result(None)
        else:
            self._waiter = waiter
        return waiter

    def lacks(self, sent: int) -> int:
        """The worker had sent `sent` replies that count before this one: how many of them have not come, if
        above 0. Below it, this one has come already. Those that have not come count as passed on.
        """
        confirmations = self.confirmations
        if confirmations is None:
            confirmations = self.confirmations = Confirmations()
        missing = sent - confirmations.done_count
        if missing > 0:
            confirmations.done_count = sent
        return missing

    def passed_on(self, size: int) -> int:
        """A reply of `size` bytes has been passed on to the client: how many have been, if it is time to tell
        the worker; else 0."""
        confirmations = self.confirmations
        if confirmations is None:
            confirmations = self.confirmations = Confirmations()
        if not confirmations.done(size) or self.worker is None:
            return 0
        confirmations.said(confirmations.done_count)
        return confirmations.done_count


class Inboxes:
    """The open inboxes of one process, by their names, which begin with one of two prefixes.

    `on_control` is given what workers say to the process, and the name on which they said it. `read` is
    called with the first inbox: from then on somebody has to `deliver`.
    """

    def __init__(
        self,
        http_prefix: str,
        websocket_prefix: str,
        on_control: Callable[[str, Any], None],
        read: Callable[[], None],
    ) -> None:
        self.http_prefix = http_prefix
        self.websocket_prefix = websocket_prefix
        self._on_control = on_control
        self._read = read
        self._open: dict[str, Inbox] = {}
        self.loop: asyncio.AbstractEventLoop | None = None
        """The loop that they are read in."""

    def open_http(self) -> Inbox:
        """A new inbox for the replies to a request."""
        return self.open(self.http_prefix)

    def open_websocket(self) -> Inbox:
        """A new inbox for the replies to a WebSocket."""
        return self.open(self.websocket_prefix)

    def open(self, prefix: str) -> Inbox:
        """A new inbox under a name that nobody can guess."""
        if self.loop is None:
            self._read()
            self.loop = asyncio.get_running_loop()
        inbox = Inbox(prefix, random_name(), self.loop)
        self._open[inbox.name] = inbox
        return inbox

    def find(self, name: str) -> Inbox | None:
        """The open inbox with that name."""
        return self._open.get(name)

    def close(self, inbox: Inbox) -> None:
        """Forget an inbox; later replies to it are discarded."""
        self._open.pop(inbox.name, None)

    def __len__(self) -> int:
        return len(self._open)

    def deliver(self, channel: str, message: Any) -> None:
        """Bring one message to its inbox."""
        inbox = self._open.get(channel)
        if inbox is not None:
            inbox.put(message)
        elif channel.endswith(_CONTROL_END):
            self._control(channel, message)
        else:
            log.debug("Message on unknown channel %r - discarding", channel)

    def _control(self, channel: str, message: Any) -> None:
        try:
            self._on_control(channel, message)
        except Exception:  # whatever stands in a message must not end the reader
            log.exception("A message from a worker could not be understood")


def _size(messages: list[Any]) -> int:
    """Each counts `OVERHEAD` as well: many small ones cost more memory and time than a few large ones."""
    return OVERHEAD * len(messages) + sum(
        [
            len(value)
            for message in messages
            if isinstance(message, dict)
            for value in message.values()
            if isinstance(value, bytes | str)
        ]
    )
