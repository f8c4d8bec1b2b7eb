"""Writing that waits for a peer that takes less than it is sent, and ends with one that takes nothing.

Inherited by http1_response.ResponseWriting, http2_life.ConnectionLife and websocket.WebSocketConnection,
which register themselves as producers of their transport; calls the transport.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from mypy_extensions import mypyc_attr

from daphne.streams.deadlines import Deadline
from daphne.streams.signal import Signal
from daphne.streams.writes import Writes

if TYPE_CHECKING:
    from daphne.protocols.site import Site

USUAL_BUFFER = 65536
"""Unsent bytes above which a transport pauses its writer unless it is told otherwise."""


def unsent_bytes(transport: Any) -> int:
    """Bytes that have been written and not been taken by the kernel; 0 where the transport does not say."""
    unsent = getattr(transport, "unsentBytes", None)
    return 0 if unsent is None else unsent()


@mypyc_attr(allow_interpreted_subclasses=True)
class Outflow:
    """The IPushProducer of one transport."""

    site: Site
    transport: Any
    write_paused = False
    """Whether the transport holds more than its high-water mark."""
    _room: Signal | None = None
    _write_deadline: Deadline | None = None
    _unsent = 0
    """What was unsent when `_write_deadline` was set."""
    _left = 0
    """What was unsent when `_sent_some` was last asked."""

    @property
    def writes(self) -> Writes:
        """Where large pieces get in line."""
        return self.site.writes

    def room(self) -> asyncio.Future[None]:
        """What to await until the peer may have taken enough, or has gone."""
        if self._room is None:
            self._room = Signal(self.site.loop)
        return self._room.waiter()

    def pauseProducing(self) -> None:
        """The transport holds more than its high-water mark."""
        self.write_paused = True
        self._await_progress()

    def resumeProducing(self) -> None:
        """The transport has room again."""
        self.write_paused = False
        if self._write_deadline is not None:
            self._write_deadline.clear()
        if self._room is not None:
            self._room.fire()

    def stopProducing(self) -> None:
        """The transport is gone; connectionLost follows."""
        self.resumeProducing()

    def stop_writing(self) -> None:
        """The connection is gone: nobody waits any longer."""
        if self._write_deadline is not None:
            self._write_deadline.forget()
            self._write_deadline = None
        self.resumeProducing()

    def flush_in_time(self) -> None:
        """The transport has been told to close: what is left must go at the minimum rate too, or drops of it
        would hold the connection for as long as the peer likes."""
        self._left = unsent_bytes(self.transport)
        if self._left:
            self._await_progress()

    def _await_progress(self) -> None:
        """Give the peer time for a bufferful at the minimum rate: kernels pass on what they hold in lumps."""
        settings = self.site.settings
        self._unsent = unsent_bytes(self.transport)
        if not settings.min_response_rate:
            return
        if self._write_deadline is None:
            self._write_deadline = Deadline(self.site.schedule, self._look_for_progress)
        bufferful = max(settings.write_buffer_size, USUAL_BUFFER)
        self._write_deadline.set(settings.rate_grace + bufferful / settings.min_response_rate)

    def _sent_some(self) -> bool:
        """Whether the peer, which has not taken everything, has taken some since this was last asked."""
        before, self._left = self._left, unsent_bytes(self.transport)
        return self._left not in (0, before)

    def _look_for_progress(self) -> None:
        bufferful = max(self.site.settings.write_buffer_size, USUAL_BUFFER)
        if self._unsent - unsent_bytes(self.transport) >= bufferful:
            self._await_progress()  # much was written at once: slow, but at the minimum rate
        else:
            self.site.limit_fired("min_response_rate", self.transport.getPeer())
            self.transport.abortConnection()


class Connection(Outflow):
    """What Twisted's Protocol gives to its subclasses, for classes that are compiled: they cannot be such."""

    connected = 0

    def makeConnection(self, transport: Any) -> None:
        """Take over a transport (Twisted's IProtocol)."""
        self.connected = 1
        self.transport = transport
        self.connectionMade()

    def connectionMade(self) -> None:
        """`transport` is there."""
        raise NotImplementedError
