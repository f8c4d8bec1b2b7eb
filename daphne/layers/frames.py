"""The messages of one WebSocket's client where they have to wait on their way to a worker.

Called by `bridge_websocket`, which keeps them in `kept_frames`; calls the sender.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from daphne.layers import messages_websocket
from daphne.layers.inbox import Inbox
from daphne.layers.interface import Message
from daphne.layers.kept_frames import Frame, KeptFrames, for_worker
from daphne.layers.messages import Scope
from daphne.layers.sending import Abandoned

if TYPE_CHECKING:
    from daphne.layers.bridge import Bridge


class FrameFlow:
    """Sends the frames of one WebSocket as fast as there is room for them."""

    def __init__(self, bridge: Bridge, scope: Scope, frames: KeptFrames) -> None:
        self._bridge = bridge
        self._scope = scope
        self._frames = frames

    async def add(self, content: str | bytes) -> None:
        """Take one message; returns when it is on its way, or kept. Raises what `flow` raises."""
        frame = Frame(content)
        self._frames.unsent.append(frame)
        self._frames.window.sent(frame.size)
        await self.flow()

    async def room(self) -> None:
        """Wait until the next message may be read."""
        while self._frames.full:
            try:
                async with asyncio.timeout(self._bridge.settings.worker_timeout):
                    await self._frames.window.changed()
            except TimeoutError:
                await self._repeat_last()

    async def _repeat_last(self) -> None:
        """Nothing has been confirmed for long: should a layer that failed have lost all that is under way,
        the worker sees so by the last of it. Else it has that already, and drops it.
        """
        frames, inbox = self._frames, self._frames.inbox
        if inbox is None or frames.flowing or not frames.unconfirmed:
            return
        worker = inbox.worker
        if worker is not None and not worker.dead:
            await self._bridge.workers.tell(worker, inbox.local, for_worker(frames.unconfirmed[-1]))

    async def flow(self) -> None:
        """Send what is unsent, if there is anybody to send it to. Raises ChannelFull or MessageTooLarge."""
        frames = self._frames
        if frames.flowing:
            return
        frames.flowing = True
        try:
            while frames.unsent and (inbox := frames.inbox) is not None:
                if inbox.worker is not None and inbox.worker.dead:
                    break  # `lost`, which is about to come, sees to what is unsent
                await self._send(frames.unsent.popleft(), inbox)
        finally:
            frames.flowing = False

    async def _send(self, frame: Frame, inbox: Inbox) -> None:
        frames = self._frames
        frames.order += 1
        frame.order = frames.order
        frame.arrived = False
        worker = inbox.worker
        if worker is None:
            name, order = inbox.name, frame.order
            message = messages_websocket.websocket_receive(self._scope, name, order, frame.content)
            patience = self._bridge.settings.channel_full_timeout
            await self._send_patiently("websocket.receive", message, patience)
            frames.confirm(1)
            return
        frames.unconfirmed.append(frame)
        try:
            # However long its channel stays full: a worker that reads no more is taken for dead, which may
            # need more time than a full channel is given; no client is to lose its connection by that.
            await self._send_patiently(worker.prefix + inbox.local, for_worker(frame), None)
            frame.arrived = True
        except Abandoned:
            pass  # `lost`, which comes next, puts the frame back; `handed_over` has done so already

    async def _send_patiently(self, channel: str, message: Message, patience: float | None) -> None:
        """A full channel is waited for `patience` seconds, an absent layer for as long as it takes."""
        sender = self._bridge.sender
        if not sender.send_now(channel, message):
            await sender.send(channel, message, patience, outage=None)
