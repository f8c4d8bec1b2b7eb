"""What one run of the application has in common for HTTP and WebSocket: its reply channel, flow control, its
end.

Base of `http.HTTPRun` and `websocket.WebSocketRun`; made by the worker for each message it takes. Calls the
sender.
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING

from daphne.errors import ClientDisconnected
from daphne.layers.interface import Message
from daphne.layers.message_keys import EXTRA
from daphne.layers.messages import Event
from daphne.layers.names import sending_queue
from daphne.layers.sending import Abandoned
from daphne.layers.window import Confirmations, Window
from daphne.streams.signal import Signal

if TYPE_CHECKING:
    from daphne.worker.consume import Worker
    from daphne.worker.frontends import FrontEnd

log = logging.getLogger("daphne.worker")


class ApplicationRun:
    """One run of the application: events for it, replies from it."""

    __slots__ = (
        *("_arrival", "_events", "busy", "confirmations", "end", "first", "front_end", "gone", "local"),
        *("reply_channel", "task", "too_large", "window", "worker"),
    )

    def __init__(self, worker: Worker, message: Message) -> None:
        self.worker = worker
        self.first = message
        self.reply_channel: str = message["reply_channel"]
        # What is no name is a TypeError now, and not in each reader and heartbeat that sends there.
        sending_queue(self.reply_channel)
        self.local = self.reply_channel.partition("!")[2]
        self.window = Window()
        self.confirmations = Confirmations()
        self.gone = False
        """Whether the client, or the front end with it, has gone."""
        self.too_large = False
        """Whether the layer has refused a reply, so that the front end lacks it."""
        self.busy = True
        """Whether it counts towards the worker's concurrency."""
        self.task: asyncio.Task[None] | None = None
        self.end: asyncio.TimerHandle | None = None
        """When the application is cancelled, once its client has gone."""
        self._events: list[Event] = []  # a window full at most, and none for most requests
        self._arrival: Signal | None = None
        self.front_end: FrontEnd | None = None
        """The daphne process that holds the connection; None for one with classic messages only."""
        if EXTRA in message:
            self.front_end = worker.front_ends.of(self.reply_channel)
            self.front_end.runs[self.local] = self

    def reply_now(self, message: Message, size: int = -1) -> bool:
        """Send one reply, if that takes no waiting: else False, and `reply` is to be called.

        Raises the layer's MessageTooLarge.
        """
        if self.gone or (self.window.full and self.front_end is not None):
            return False
        if self.front_end is None:
            message.pop(EXTRA, None)  # a classic one refuses keys that it does not know
        try:
            if not self.worker.sender.send_now(self.reply_channel, message):
                return False
        except self.worker.layer.MessageTooLarge:
            self.too_large = True
            raise
        if size >= 0:
            self.window.sent(size)
        return True

    async def reply(self, message: Message, size: int = -1) -> None:
        """Send one reply. Waits for room in the layer and, with `size` bytes of content, for the client.

        Raises ClientDisconnected, and the layer's MessageTooLarge.
        """
        while self.window.full and self.front_end is not None and not self.gone:
            await self.window.changed()
        if self.gone:
            raise ClientDisconnected("the client has disconnected")
        if self.reply_now(message, size):
            return
        unsure = None
        if size >= 0:
            unsure = partial(self.unsure, message, self.window.sent_count)
            self.window.sent(size)
        try:
            await self.worker.sender.send(self.reply_channel, message, None, None, unsure)
        except Abandoned as problem:
            raise ClientDisconnected("the process that held the connection has gone") from problem
        except self.worker.layer.MessageTooLarge:
            self.too_large = True
            raise

    def unsure(self, message: Message, count: int) -> None:
        """A reply that comes after `count` others is sent again, and may have arrived the first time."""

    async def last_word(self, message: Message) -> None:
        """Send a reply that waits for nobody; if it cannot be sent, the front end is gone or notices by
        itself."""
        if not self.gone:
            if self.front_end is None:
                message.pop(EXTRA, None)
            await self.worker.sender.try_send(self.reply_channel, message)

    async def confirm(self) -> None:
        """Say now what of the front end's messages has been worked off."""
        if self.confirmations.unsaid and self.front_end is not None and not self.gone:
            count = self.confirmations.done_count
            if await self.worker.sender.try_send(self.reply_channel, {EXTRA: {"done": count}}):
                self.confirmations.said(count)

    def disconnected(self) -> None:
        """The client has gone: `send()` raises from now on."""
        self.gone = True
        self.window.wake()
        self.wake()
        self.worker.client_left(self)

    def front_end_lost(self) -> None:
        """The front end is dead, and the client with it."""
        self.disconnected()

    def wake(self) -> None:
        """Let `receive()` look again."""
        if self._arrival is not None:
            self._arrival.fire()

    async def wait(self) -> None:
        """Wait until something has happened that `receive()` may want to know. Any number may wait: one task
        of an event stream for the end, another for a moment."""
        if self._arrival is None:
            self._arrival = Signal(asyncio.get_running_loop())
        await self._arrival.waiter()

    def message(self, message: Message) -> None:
        """Take what the front end says for this connection."""
        if message["type"] == "daphne.ack":
            self.window.confirm(message["count"])
        else:
            self.heard(message)

    def heard(self, message: Message) -> None:
        """Take any other message."""
        raise NotImplementedError

    async def run(self) -> None:
        """Run the application to its end, and see to it that the connection gets its own."""
        raise NotImplementedError

    def is_good_end(self, error: BaseException) -> bool:
        """Whether the application may end with `error`; False when it may not, which is logged.

        A cancellation that came from outside is raised again: it is meant for the run.
        """
        task = asyncio.current_task()
        if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
            raise error
        if isinstance(error, ClientDisconnected):
            return self.gone  # the usual way to learn that the client has gone
        log.exception("Exception inside application: %s", str(error) or repr(error))
        return False

    async def receive(self) -> Event:
        """ASGI receive."""
        raise NotImplementedError

    async def send(self, event: Event) -> None:
        """ASGI send."""
        raise NotImplementedError

    def drain(self) -> None:
        """The worker is about to end."""

    def close(self) -> None:
        """The run is over: nothing more is received for it."""
        if self.front_end is not None:
            self.front_end.runs.pop(self.local, None)
