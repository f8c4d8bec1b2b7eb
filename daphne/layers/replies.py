"""Reply channels: their names, and the one reader that brings each reply to its live connection.

Called by the bridge, which opens an inbox for every request and WebSocket; calls the layer's `receive_batch`
on the two prefixes of this process. Nothing polls: the reader waits in the layer, a connection in its inbox.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from daphne.errors import DaphneError
from daphne.layers.interface import AsyncLayer, AttendedLayer, Message
from daphne.layers.names import random_name
from daphne.layers.window import Confirmations

if TYPE_CHECKING:
    from daphne.layers.workers import KnownWorker

log = logging.getLogger("daphne.server")

FIRST_PAUSE = 0.1
LONGEST_PAUSE = 5.0
"""Seconds before the reader tries again after an error of the layer; each pause is twice the one before."""

BACKLOG_LIMIT = 32 * 1024 * 1024
"""Bytes of replies that one connection's client may leave untaken. Our own workers wait long before that; a
classic consumer cannot be told to wait, and one slow client must not fill the memory."""

_LOOK_EVERY = 32
"""Untaken replies between two looks at how many bytes they hold."""

CONTROL = "control"
"""The local part of the name on which workers speak to the process, not to one of its connections."""


class BacklogFull(DaphneError):
    """A client takes its responses so slowly that more replies wait for it than the process will hold."""


class Inbox:
    """The replies for one connection, in order, and whoever waits for the next."""

    __slots__ = (
        "_loop",
        "_messages",
        "_waiter",
        "confirmations",
        "local",
        "name",
        "offer",
        "prefix",
        "received",
        "worker",
    )

    def __init__(self, prefix: str, local: str, loop: asyncio.AbstractEventLoop) -> None:
        self.name = prefix + local
        self.prefix = prefix
        self.received = 0
        """How many replies have come."""
        self.offer = 0
        """The number under which the connection was offered to the workers; see `untaken`."""
        self.local = local
        self.confirmations: Confirmations | None = None
        """What of the replies has been passed on; see `window`."""
        self.worker: KnownWorker | None = None
        """The worker that has taken the connection; None before that, and for classic consumers always."""
        self._loop = loop
        self._messages: deque[Any] = deque()
        self._waiter: asyncio.Future[None] | None = None

    def put(self, message: Any) -> None:
        """Append a reply, or whatever else the reader of this inbox is to know."""
        messages = self._messages
        messages.append(message)
        self.received += 1
        waiter = self._waiter
        if waiter is not None:
            self._waiter = None
            if not waiter.done():
                waiter.set_result(None)
        elif len(messages) % _LOOK_EVERY == 0 and _size(messages) > BACKLOG_LIMIT:
            messages.clear()
            messages.append(BacklogFull(f"{self.name}: more than {BACKLOG_LIMIT} bytes of replies wait"))

    async def get(self) -> Any:
        """The next of them. Cancelling loses nothing."""
        while not self._messages:
            self._waiter = self._loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        return self._messages.popleft()

    def take_now(self) -> Any:
        """The next of them if there is one, else None."""
        return self._messages.popleft() if self._messages else None


def _size(messages: deque[Any]) -> int:
    return sum(
        len(value)
        for message in messages
        if isinstance(message, dict)
        for value in message.values()
        if isinstance(value, bytes | str)
    )


class Replies:
    """The reply channels of one process on one layer.

    HTTP requests are answered on `http.response.<process>!<id>`, WebSockets on
    `websocket.send.<process>!<id>`, so that the classic capacity globs and consumers that look at the first
    word of the name work. `on_control` is given what workers say to the process, and the name on which they
    said it.
    """

    def __init__(self, layer: AsyncLayer, on_control: Callable[[str, Message], None]) -> None:
        process = f"{secrets.token_hex(3)}.{layer.client_prefix}"
        self.http_prefix = f"http.response.{process}!"
        self.websocket_prefix = f"websocket.send.{process}!"
        self._prefixes = (self.http_prefix, self.websocket_prefix)
        self._layer = layer
        self._on_control = on_control
        self._inboxes: dict[str, Inbox] = {}
        self._loop: asyncio.AbstractEventLoop
        self._task: asyncio.Task[None] | None = None

    def open(self, prefix: str) -> Inbox:
        """A new inbox under a name that nobody can guess."""
        if self._task is None:
            self.start()
        inbox = Inbox(prefix, random_name(), self._loop)
        self._inboxes[inbox.name] = inbox
        return inbox

    def find(self, name: str) -> Inbox | None:
        """The open inbox with that name."""
        return self._inboxes.get(name)

    def close(self, inbox: Inbox) -> None:
        """Forget an inbox; later replies to it are discarded."""
        self._inboxes.pop(inbox.name, None)

    def __len__(self) -> int:
        return len(self._inboxes)

    def start(self) -> None:
        """Start the reader, in the running loop."""
        if self._task is None:
            self._loop = asyncio.get_running_loop()
            self._task = self._loop.create_task(self._read(), name="daphne-replies")
            if isinstance(self._layer, AttendedLayer):
                for prefix in self._prefixes:
                    self._layer.attend(prefix, self._deliver)

    async def stop(self) -> None:
        """Stop the reader. What is on its way stays in the layer."""
        task, self._task = self._task, None
        if task is not None:
            if isinstance(self._layer, AttendedLayer):
                for prefix in self._prefixes:
                    self._layer.forsake(prefix)
            task.cancel()
            await asyncio.wait([task])

    async def _read(self) -> None:
        pause = FIRST_PAUSE
        while True:
            try:
                batch = await self._layer.receive_batch(self._prefixes)
            except (
                Exception
            ) as problem:  # a foreign layer may raise anything, and the reader must not die of it
                log.error("Error trying to receive messages: %s", problem)
                await asyncio.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE)
                continue
            pause = FIRST_PAUSE
            for channel, message in batch:
                self._deliver(channel, message)

    def _deliver(self, channel: str, message: Message) -> None:
        inbox = self._inboxes.get(channel)
        if inbox is not None:
            inbox.put(message)
        elif channel.endswith("!" + CONTROL):
            self._control(channel, message)
        else:
            log.debug("Message on unknown channel %r - discarding", channel)

    def _control(self, channel: str, message: Message) -> None:
        try:
            self._on_control(channel, message)
        except Exception:  # whatever stands in a message must not end the reader
            log.exception("A message from a worker could not be understood")
