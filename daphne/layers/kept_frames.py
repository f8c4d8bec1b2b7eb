"""The messages of one WebSocket's client that no worker has confirmed: in order, numbered, kept.

Made by `bridge_websocket`; calls the sender where that takes no waiting, as `frames` does where it does. What
a worker has not confirmed is kept, so that it can go to the next one when this one hands the connection over
or dies. The window bounds what is kept; while it is full the client is not read. Compiled (setup.py), for
every message of a client passes here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from daphne.layers.inbox import Inbox
from daphne.layers.interface import Message
from daphne.layers.messages_packed import packed_receive
from daphne.layers.prompt import PromptSender
from daphne.layers.window import Window


class Frame:
    """One message of the client. `order` counts from 1 anew with each worker; 0 before it was sent."""

    def __init__(self, content: str | bytes) -> None:
        self.content = content
        """str of a text message, bytes of a binary one."""
        self.size = len(content)
        self.order = 0
        self.arrived = False
        """Whether the layer has it."""


class KeptFrames:
    """What the client sent and no worker has confirmed. `open_to(inbox)` lets it flow, `hold()` stops it."""

    def __init__(self, sender: PromptSender, abandon: Callable[[str, str], None]) -> None:
        """`abandon` ends what stands in line for a prefix and a channel with that prefix."""
        self._sender = sender
        self._abandon = abandon
        self.inbox: Inbox | None = None
        """Whose worker they flow to; None while there is none."""
        self.unsent: deque[Frame] = deque()
        self.unconfirmed: deque[Frame] = deque()
        self.window = Window()
        self.flowing = False
        """Whether what was unsent is being sent."""
        self.order = 0
        """The order of the last message sent to the present worker."""

    @property
    def waiting(self) -> bool:
        """Whether there are messages that no worker was sent yet."""
        return bool(self.unsent)

    def add_now(self, content: str | bytes) -> bool:
        """Take one message, if that takes no waiting; else False, and `FrameFlow.add` is to be called.

        The next may be read once they are not `full`. Raises MessageTooLarge.
        """
        inbox = self.inbox
        if inbox is None or self.unsent or self.flowing or self._sender.give is None:
            return False
        worker = inbox.worker
        if worker is None or worker.dead:
            return False
        frame = Frame(content)
        frame.order = self.order + 1
        if not send_frame(self._sender, worker.prefix, inbox.local, frame):
            return False
        self.order = frame.order
        frame.arrived = True
        self.unconfirmed.append(frame)
        self.window.sent(frame.size)
        return True

    @property
    def full(self) -> bool:
        """Whether the next message has to wait for `room`."""
        return self.window.full

    def open_to(self, inbox: Inbox) -> None:
        """The connection is accepted by whoever answers to `inbox`: messages may go there, once `flow` is
        called."""
        self.inbox = inbox

    def hold(self) -> None:
        """Nobody has the connection for now: keep what comes, and what stands in line for its worker."""
        inbox, self.inbox = self.inbox, None
        if inbox is not None and inbox.worker is not None:
            prefix = inbox.worker.prefix
            self._abandon(prefix, prefix + inbox.local)
        self.order = 0

    def confirmed(self, order: int) -> None:
        """The worker is done with the messages up to `order`."""
        count = 0
        while self.unconfirmed and self.unconfirmed[0].order <= order:
            self.unconfirmed.popleft()
            count += 1
        self.confirm(count)

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
            for frame in self.unconfirmed
            if frame.arrived and (untaken is None or frame.order < untaken)
        ]
        self.unconfirmed = deque(frame for frame in self.unconfirmed if frame not in held)
        self.confirm(len(held))
        self._take_back_unconfirmed()
        return [frame.order for frame in held]

    def _take_back_unconfirmed(self) -> None:
        self.unsent.extendleft(reversed(self.unconfirmed))
        self.unconfirmed.clear()
        self.hold()

    def confirm(self, count: int) -> None:
        """`count` more are done with."""
        self.window.confirm(self.window.confirmed + count)


def send_frame(sender: PromptSender, prefix: str, local: str, frame: Frame) -> bool:
    """Send it to the worker of `prefix`, if that takes no waiting. Raises MessageTooLarge."""
    if sender.packs:
        return sender.send_packed(prefix, prefix + local, packed_receive(frame.order, frame.content))
    return sender.send_now(prefix + local, for_worker(frame))


def for_worker(frame: Frame) -> Message:
    """`websocket.receive` for a worker of ours."""
    key = "text" if type(frame.content) is str else "bytes"
    return {"type": "websocket.receive", "order": frame.order, key: frame.content}
