"""The other processes' side of a local layer: one connection to the broker for each loop.

Called by the local layer; the frames are described in `local_broker`.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable
from typing import Any

from daphne.errors import ChannelFull, LayerError, LayerUnavailable
from daphne.layers.arrivals import Names, is_shared
from daphne.layers.local_frames import (
    ATTENDED,
    DONE,
    FULL,
    LEAVING,
    SENT,
    UNASKED,
    VERSION,
    FrameProtocol,
)
from daphne.layers.mailboxes import Closed
from daphne.layers.packing import packed, text_head

_GIVE = b"\x94" + packed(UNASKED) + packed("give")
"""How the frame of a message begins that is given."""

log = logging.getLogger("daphne.layers.local")


class BrokerGone(LayerUnavailable):
    """The broker has gone; another process takes its place now. Whether the request was done is not known."""


class Attachment(FrameProtocol):
    """A connection to the broker. `on_leaving` is called once it must not be used for new requests."""

    def __init__(self, on_leaving: Callable[[Attachment], None]) -> None:
        super().__init__()
        self._on_leaving = on_leaving
        self._numbers = itertools.count(1)
        self._pending: dict[int, asyncio.Future[Any]] = {}
        self._left = self._paused = self._closed_here = False
        self._attended: frozenset[str] = frozenset()
        """The prefixes whose owner takes at once what comes to them."""
        self.closed: asyncio.Future[None] = self._loop.create_future()
        self.admitted: asyncio.Future[None] = self._loop.create_future()

    @property
    def is_usable(self) -> bool:
        """Whether new requests may be made."""
        return not (self._left or self.closed.done())

    def takes(self, prefix: str) -> bool:
        """Whether `give` may be called for channels of the process-local `prefix`."""
        return prefix in self._attended and not self._paused and self.is_usable

    def give(self, channel: str, body: bytes) -> None:
        """Send a packed message that cannot be refused; there is no answer."""
        name = channel.encode()
        self.write_parts([_GIVE, text_head(len(name)), name, body])

    def pause_writing(self) -> None:
        """Called by the loop when the broker does not keep up with reading."""
        self._paused = True

    def resume_writing(self) -> None:
        """Called by the loop when it does."""
        self._paused = False

    async def call(self, operation: str, *arguments: Any) -> Any:
        """Ask, and wait for the answer. Raises ChannelFull, BrokerGone, Closed (then it was not asked)."""
        return await self.ask(operation, *arguments)[1]

    def ask(self, operation: str, *arguments: Any) -> tuple[int, asyncio.Future[Any]]:
        """Ask: the number of the request, and the answer to come."""
        number = next(self._numbers)
        answer: asyncio.Future[Any] = self._loop.create_future()
        if not self.is_usable:
            answer.set_exception(Closed("the broker of the local layer has left"))
        else:
            self._pending[number] = answer
            self.write_frame((number, operation, *arguments))
        return number, answer

    async def watch(self, prefix: str) -> None:
        """Wait until the owner of `prefix` has gone."""
        number, answer = self.ask("watch", prefix)
        try:
            await answer
        except asyncio.CancelledError:
            self.tell("unwatch", number)
            raise

    def tell(self, operation: str, number: int) -> None:
        """End a request early; the answer is that request's."""
        if self.is_usable:
            self.write_frame((UNASKED, operation, number))

    def frame_received(self, fields: Any) -> None:
        """Called with each answer."""
        number, status, value = fields
        if number == UNASKED:
            self._told(status, value)
            return
        answer = self._pending.pop(number, None)
        if answer is None or answer.done():
            return
        if status == DONE:
            answer.set_result(value)
        elif status == FULL:
            answer.set_exception(ChannelFull(value))
        else:
            answer.set_exception(LayerError(value))

    def _told(self, status: int, value: Any) -> None:
        if status == SENT:
            for number in value:
                answer = self._pending.pop(number, None)
                if answer is not None and not answer.done():
                    answer.set_result(None)
        elif status == ATTENDED:
            self._attended = frozenset(value)
        elif status == LEAVING:
            self._left = True
            self._on_leaving(self)
            self.flush_frames()
            if self._transport is not None:
                self._transport.write_eof()
        elif status == DONE and value == VERSION:
            self.admitted.set_result(None)
        else:
            reason = f"it speaks version {value}" if status == DONE else value
            self.admitted.set_exception(LayerUnavailable(f"the local layer's broker refuses: {reason}"))

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the loop, at once when the broker's process dies."""
        self.closed.set_result(None)
        if not self.admitted.done():  # the broker left before it saw this connection
            self.admitted.set_exception(ConnectionResetError())
        self._on_leaving(self)
        pending, self._pending = self._pending, {}
        unanswered = [answer for answer in pending.values() if not answer.done()]
        if unanswered and not (self._left or self._closed_here):
            log.warning("The broker of the local layer has gone, and what it held with it")
        for answer in unanswered:
            answer.set_exception(BrokerGone("the broker of the local layer has gone"))

    def part(self) -> None:
        """Ask no more: the broker ends the connection once it has read everything. What is still unanswered
        will not be.

        Were this end closed first, the next thing that the broker writes would fail, and with it its reading.
        """
        self._closed_here = self._left = True
        self.flush_frames()
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write_eof()


class AttachmentFetch:
    """A receive under way at the broker, for `arrivals`."""

    def __init__(self, attachment: Attachment, names: Names, limit: int) -> None:
        self.shared = is_shared(names)
        self._attachment = attachment
        self._number, self.future = attachment.ask("receive", names, limit)
        self._cancelled = False

    def stop(self) -> None:
        """The broker answers with nothing, unless messages are on their way already."""
        if not self._cancelled:
            self._cancelled = True
            self._attachment.tell("cancel", self._number)

    def go_on(self) -> None:
        """It ends all the same; the next one follows it."""

    end = stop
