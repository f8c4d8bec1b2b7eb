"""Pull producers (twisted.internet.interfaces.IPullProducer) on a transport that knows only how to pause.

Made and called by `daphne.reactor.transports`; calls the pull producer.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

log = logging.getLogger(__name__)


class PulledProducer:
    """Makes a push producer of a pull producer: asks for more in each turn of the loop while all is sent.

    It must be resumed only once after it was paused or made, which is what a transport does.
    """

    __slots__ = ("_next", "_producer", "_transport")

    def __init__(self, producer: Any, transport: Any) -> None:
        self._producer = producer
        self._transport = transport
        self._next: asyncio.Handle | None = None

    def resumeProducing(self) -> None:
        """Ask now, and in the turns that follow until `pauseProducing`."""
        self._next = self._transport.port.loop.call_soon(self.resumeProducing)
        try:
            self._producer.resumeProducing()
        except Exception:
            # The loop called, and nobody above would end the connection: the peer would wait for ever.
            log.exception("%r raised in resumeProducing", self._producer)
            self.pauseProducing()
            self._transport.abortConnection()

    def pauseProducing(self) -> None:
        """Ask no more until resumed."""
        if self._next is not None:
            self._next.cancel()

    def stopProducing(self) -> None:
        """The connection is lost: ask no more, and say so."""
        self.pauseProducing()
        self._producer.stopProducing()
