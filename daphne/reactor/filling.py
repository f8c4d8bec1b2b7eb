"""Reading from a socket straight into the protocol's memory.

Made by `daphne.reactor.transports.LoopTransport.receiveInto`; called by the loop's transport instead of it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from daphne.reactor.transports import LoopTransport


class Filling(asyncio.BufferedProtocol):
    """Has the protocol's memory filled, and passes everything else on to the LoopTransport."""

    __slots__ = ("_transport", "buffer_updated", "get_buffer")

    def __init__(self, transport: LoopTransport, protocol: Any) -> None:
        self._transport = transport
        self.get_buffer = protocol.get_buffer  # type: ignore[method-assign]
        self.buffer_updated = protocol.buffer_updated  # type: ignore[method-assign]

    def eof_received(self) -> bool:
        """See LoopTransport."""
        return self._transport.eof_received()

    def pause_writing(self) -> None:
        """See LoopTransport."""
        self._transport.pause_writing()

    def resume_writing(self) -> None:
        """See LoopTransport."""
        self._transport.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """See LoopTransport."""
        self._transport.connection_lost(exc)
