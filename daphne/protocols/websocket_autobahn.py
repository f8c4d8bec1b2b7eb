"""Autobahn's part of a WebSocket: its options, and its parser for whatever is not read on the short path.

Made by websocket_handshake; calls Autobahn. Only this file touches the insides of that parser. It is thin,
since subclasses of Autobahn's classes cannot be compiled.
"""

from __future__ import annotations

from typing import Any

from autobahn.twisted.websocket import WebSocketServerProtocol
from autobahn.websocket.protocol import TrafficStats
from autobahn.websocket.utf8validator import Utf8Validator

from daphne.protocols.websocket import WebSocketConnection
from daphne.protocols.websocket_reader import CLOSED, SLICE
from daphne.streams import closecodes


class AutobahnConnection(WebSocketConnection, WebSocketServerProtocol):  # type: ignore[misc]
    """A WebSocketConnection and the Autobahn protocol that it is."""

    # Start values of Autobahn's parser (its _connectionMade sets them in every instance).
    data = b""
    current_frame: Any = None
    inside_message = False
    message_data: Any = None
    websocket_version = 13
    trackedTimings = None
    trafficStats = TrafficStats()  # which nobody reads
    autoPingTimeoutCall = None
    autoPingPending = None
    wasMaxMessagePayloadSizeExceeded = False
    _fragments = 0

    @property
    def utf8validator(self) -> Any:
        """Autobahn's incremental validator, made when a message needs it."""
        validator = self.__dict__.get("_validator")
        if validator is None:
            validator = self.__dict__["_validator"] = Utf8Validator()
        return validator

    def _to_autobahn(self, data: bytes) -> bytes:
        """Let Autobahn's parser go on until it is at the end of a message; what it has not seen."""
        at = 0
        while at < len(data) and not self._muted and self.state != CLOSED:
            rest = 0
            if self.current_frame is not None:
                rest = self.current_frame.length - self.current_frame_masker.pointer()
            step = self._next_step(data, at) or max(SLICE, rest)
            self.data += data[at : at + step]
            at += step
            self.consumeData()
            if self._reading_paused or self._frames_left <= 0:
                break
            if self.current_frame is None and not self.inside_message and not self.data:
                self._with_autobahn = False
                break
        return data[at:]

    def _next_step(self, data: bytes, at: int) -> int:
        """The size of a whole control frame at `at`, so that what follows can take the short path; or 0."""
        if self.data or self.current_frame is not None or len(data) - at < 6 or not 0x88 <= data[at] <= 0x8A:
            return 0
        size = 6 + (data[at + 1] & 0x7F)
        return size if data[at + 1] >= 0x80 and size <= 131 and size <= len(data) - at else 0

    def send_compressed(self, payload: bytes, binary: bool) -> None:
        """See WebSocketConnection."""
        self.sendMessage(payload, binary)

    def _drop_input(self) -> None:
        self.data = b""
        super()._drop_input()

    # ---- Autobahn's calls ------------------------------------------------------------------------

    def onMessageFrameBegin(self, length: int) -> None:
        """A data frame begins: besides Autobahn's limits on size, count the fragments."""
        self._frames_left -= 1
        if self.message_data:
            self._fragments += 1
            if 0 < self.site.settings.websocket_max_fragments < self._fragments:
                self._fail_connection(closecodes.POLICY_VIOLATION, "too many fragments")
        else:
            self._fragments = 1
        super().onMessageFrameBegin(length)

    def onMessageEnd(self) -> None:
        """A message that came over Autobahn's path is complete."""
        if not self.failedByMe:
            message = b"".join(self.message_data)
            self._deliver(message if self.message_is_binary else message.decode("utf-8"))
        self.message_data = None

    def sendData(self, data: bytes, sync: bool = False, chopsize: int | None = None) -> None:
        """Each frame that Autobahn makes (pongs, compressed messages) goes out at once, past its queue."""
        self.transport.write(data)
