"""The messages of one WebSocket's client on their way to a worker: in order, numbered, kept until confirmed.

Called by `bridge_websocket`; calls the sender. A message that a worker has not confirmed is kept here, so
that it can go to the next worker when this one hands the connection over or dies. The window bounds what is
kept; while it is full the client is not read.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from daphne.layers import messages_websocket
from daphne.layers.interface import Message
from daphne.layers.messages import Event, Scope
from daphne.layers.replies import Inbox
from daphne.layers.sending import Abandoned
from daphne.layers.window import Window

if TYPE_CHECKING:
    from daphne.layers.bridge import Bridge


class Frame:
    """One message of the client. `order` counts from 1 anew with each worker; 0 before it was sent."""

    __slots__ = ("arrived", "event", "order", "size")

    def __init__(self, event: Event) -> None:
        text = event.get("text")
        self.event = event
        self.size = len(text if text is not None else event["bytes"])
        self.order = 0
        self.arrived = False
        """Whether the layer has it."""


class ClientFrames:
    """What the client sent and no worker has confirmed. `open_to(inbox)` lets it flow, `hold()` stops it."""

    def __init__(self, bridge: Bridge, scope: Scope) -> None:
        self._bridge = bridge
        self._scope = scope
        self._inbox: Inbox | None = None
        self._unsent: deque[Frame] = deque()
        self._unconfirmed: deque[Frame] = deque()
        self._window = Window()
        self._flowing = False
        self.order = 0
        """The order of the last message sent to the present worker."""

    @property
    def waiting(self) -> bool:
        """Whether there are messages that no worker was sent yet."""
        return bool(self._unsent)

    def add_now(self, event: Event) -> bool:
        """Take one `websocket.receive`, if that takes no waiting; else False, and `add` is to be called.

        The next may be read once there is `room`. Raises MessageTooLarge.
        """
        inbox = self._inbox
        if inbox is None or self._unsent or self._flowing:
            return False
        worker = inbox.worker
        if worker is None or worker.dead:
            return False
        frame = Frame(event)
        frame.order = self.order + 1
        if not self._bridge.sender.send_now(worker.prefix + inbox.local, _for_worker(frame)):
            return False
        self.order = frame.order
        frame.arrived = True
        self._unconfirmed.append(frame)
        self._window.sent(frame.size)
        return True

    @property
    def full(self) -> bool:
        """Whether the next message has to wait for `room`."""
        return self._window.full

    async def add(self, event: Event) -> None:
        """Take one `websocket.receive`; returns when the next may be read. Raises what `flow` raises."""
        frame = Frame(event)
        self._unsent.append(frame)
        self._window.sent(frame.size)
        await self.flow()
        await self.room()

    async def room(self) -> None:
        """Wait until the next message may be read."""
        while self._window.full:
            await self._window.changed()

    def open_to(self, inbox: Inbox) -> None:
        """The connection is accepted by whoever answers to `inbox`: messages may go there, once `flow` is
        called."""
        self._inbox = inbox

    def hold(self) -> None:
        """Nobody has the connection for now: keep what comes, and what stands in line for its worker."""
        inbox, self._inbox = self._inbox, None
        if inbox is not None and inbox.worker is not None:
            prefix = inbox.worker.prefix
            self._bridge.sender.abandon(prefix, prefix + inbox.local)
        self.order = 0

    async def flow(self) -> None:
        """Send what is unsent, if there is anybody to send it to. Raises ChannelFull or MessageTooLarge."""
        if self._flowing:
            return
        self._flowing = True
        try:
            while self._unsent and (inbox := self._inbox) is not None:
                if inbox.worker is not None and inbox.worker.dead:
                    break  # `lost`, which is about to come, sees to what is unsent
                await self._send(self._unsent.popleft(), inbox)
        finally:
            self._flowing = False

    async def _send(self, frame: Frame, inbox: Inbox) -> None:
        self.order += 1
        frame.order = self.order
        frame.arrived = False
        worker = inbox.worker
        if worker is None:
            message = messages_websocket.websocket_receive(self._scope, inbox.name, frame.order, frame.event)
            await self._send_patiently("websocket.receive", message)
            self._confirm(1)
            return
        self._unconfirmed.append(frame)
        try:
            await self._send_patiently(worker.prefix + inbox.local, _for_worker(frame))
            frame.arrived = True
        except Abandoned:
            pass  # `lost`, which comes next, puts the frame back; `handed_over` has done so already

    async def _send_patiently(self, channel: str, message: Message) -> None:
        """A full channel is waited for within a bound, an absent layer for as long as it takes."""
        sender = self._bridge.sender
        if not sender.send_now(channel, message):
            await sender.send(channel, message, self._bridge.settings.channel_full_timeout, outage=None)

    def confirmed(self, order: int) -> None:
        """The worker is done with the messages up to `order`."""
        count = 0
        while self._unconfirmed and self._unconfirmed[0].order <= order:
            self._unconfirmed.popleft()
            count += 1
        self._confirm(count)

    def handed_over(self, received: int) -> None:
        """The worker gave the connection back after message `received`; what follows is for the next."""
        self.confirmed(received)
        self._take_back_unconfirmed()

    def lost(self, untaken: int | None) -> list[int]:
        """The worker died; it left message `untaken` and later ones in its channel (None: nothing).

        Returns the orders of those that were in its hands; they are not sent again, for it may have worked
        them off.
        """
        held = [
            frame
            for frame in self._unconfirmed
            if frame.arrived and (untaken is None or frame.order < untaken)
        ]
        self._unconfirmed = deque(frame for frame in self._unconfirmed if frame not in held)
        self._confirm(len(held))
        self._take_back_unconfirmed()
        return [frame.order for frame in held]

    def _take_back_unconfirmed(self) -> None:
        self._unsent.extendleft(reversed(self._unconfirmed))
        self._unconfirmed.clear()
        self.hold()

    def _confirm(self, count: int) -> None:
        self._window.confirm(self._window.confirmed + count)


def _for_worker(frame: Frame) -> Message:
    event = frame.event
    text = event.get("text")
    message: Message = {"type": "websocket.receive", "order": frame.order}
    if text is not None:
        message["text"] = text
    else:
        message["bytes"] = event["bytes"]
    return message
