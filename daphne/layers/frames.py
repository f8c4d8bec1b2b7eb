"""The messages of one WebSocket's client on their way to a worker: in order, numbered, kept until confirmed.

Called by `bridge_websocket`; calls the sender. A message that a worker has not confirmed is kept
(`kept_frames`), so that it can go to the next worker when this one hands the connection over or dies. The
window bounds what is kept; while it is full the client is not read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from daphne.layers import messages_websocket
from daphne.layers.inbox import Inbox
from daphne.layers.interface import Message
from daphne.layers.kept_frames import Frame, KeptFrames, for_worker
from daphne.layers.messages import Event, Scope
from daphne.layers.sending import Abandoned

if TYPE_CHECKING:
    from daphne.layers.bridge import Bridge


class ClientFrames(KeptFrames):
    """The frames, and what has to be waited for on their way."""

    def __init__(self, bridge: Bridge, scope: Scope) -> None:
        super().__init__(bridge.sender.prompt, bridge.sender.abandon)
        self._bridge = bridge
        self._scope = scope

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
            await self._send_patiently(worker.prefix + inbox.local, for_worker(frame))
            frame.arrived = True
        except Abandoned:
            pass  # `lost`, which comes next, puts the frame back; `handed_over` has done so already

    async def _send_patiently(self, channel: str, message: Message) -> None:
        """A full channel is waited for within a bound, an absent layer for as long as it takes."""
        sender = self._bridge.sender
        if not sender.send_now(channel, message):
            await sender.send(channel, message, self._bridge.settings.channel_full_timeout, outage=None)
