"""Reading WebSocket frames: a short path for the usual whole frames, and Autobahn's parser behind it.

The part of a WebSocketConnection that turns bytes into messages. Autobahn's own parser (websocket_autobahn)
takes whatever is not a complete, masked control frame or unfragmented, uncompressed data frame within the
limits: fragments, compressed messages and every violation.

A large frame that does not come whole (websocket_large) is read by the transport into the memory that the
application gets, where the transport can do that; and while such frames follow each other, what comes between
them, their heads, is read into a small buffer.
"""

from __future__ import annotations

from typing import Any, Final

from mypy_extensions import mypyc_attr

from daphne.protocols.masking import unmask
from daphne.protocols.outflow import Outflow
from daphne.protocols.turns import LARGEST
from daphne.protocols.websocket_large import LargeFrame, needed
from daphne.streams import closecodes
from daphne.streams.websocket import WebSocketStream

OPEN: Final = 3
CLOSING: Final = 2
CLOSED: Final = 0
"""The states of a WebSocket, as Autobahn numbers them (its STATE_OPEN, STATE_CLOSING and STATE_CLOSED)."""

SLICE: Final = 4096
"""Bytes that Autobahn's parser gets at a time: it copies what it has not read for every frame."""


@mypyc_attr(allow_interpreted_subclasses=True)
class WebSocketReader(Outflow):
    """Reads frames. What inherits it delivers messages, answers control frames and fails connections."""

    stream: WebSocketStream
    state = OPEN
    longest: int
    """Bytes of payload up to which neither limit is broken."""
    _perMessageCompress: Any = None
    _pending: list[bytes] | None = None
    """Pieces of a data frame that is not complete yet."""
    _pending_size = 0
    _wanted = 0
    _large: LargeFrame | None = None
    """A large frame that is not complete yet."""
    _filling = False
    """Whether the transport reads into memory of ours."""
    _with_autobahn = False
    """Whether Autobahn's parser is within a frame or a message."""
    _heard_at = 0.0
    """When the last bytes came."""
    _muted = False
    """Whether no more is read."""
    _reading_paused = False
    """Whether the application has not taken what is there."""
    _frames_left = 0
    """Frames that may still be taken in this turn."""
    _backlog = b""
    """What came and has to wait for the application, or for others to have their turn."""
    _backlog_from = 0
    """How much of `_backlog` has been taken."""
    _waits = False
    """Whether it waits for its turn."""

    def _deliver(self, message: str | bytes) -> None:
        """Take a message that is complete."""
        raise NotImplementedError

    def _onPing(self, payload: bytes) -> None:
        """Take a ping."""
        raise NotImplementedError

    def _onPong(self, payload: bytes) -> None:
        """Take a pong."""
        raise NotImplementedError

    def onCloseFrame(self, code: int | None, reasonRaw: bytes | None) -> bool:
        """Take a close frame."""
        raise NotImplementedError

    def _fail_connection(self, code: int = closecodes.GOING_AWAY, reason: str = "") -> None:
        """_Fail the WebSocket Connection_ (RFC 6455 section 7.1.7)."""
        raise NotImplementedError

    def _to_autobahn(self, data: bytes) -> bytes:
        """Let Autobahn's parser go on until it is at the end of a message; what it has not seen."""
        raise NotImplementedError

    def dataReceived(self, data: bytes) -> None:
        """Take bytes from the client, however they are split."""
        if self._muted:
            return
        self._heard_at = self.site.loop.time()
        if self._backlog:
            self._backlog += data
            return
        self._frames_left = LARGEST
        data = _read(self, data)
        if data:
            self._backlog = data
            self._backlog_from = 0
            if not self._reading_paused:
                self.transport.pauseProducing()
                self._wait_for_turn()
        elif self._large is not None:
            self._fill()

    def _wait_for_turn(self) -> None:
        if not self._waits:
            self._waits = True
            client = self.stream.client
            self.site.turns.wait(client[0] if client else None, self._take_turn)

    def _take_turn(self) -> None:
        """Take some of what has waited."""
        self._waits = False
        self._heard_at = self.site.loop.time()
        self._frames_left = self.site.turns.size
        while self._backlog and self._frames_left > 0 and not self._reading_paused:
            size = SLICE if self._large is None else max(SLICE, len(self._large.rest))
            piece = self._backlog[self._backlog_from : self._backlog_from + size]
            rest = _read(self, piece)
            self._backlog_from += len(piece) - len(rest)
            if self._backlog_from >= len(self._backlog):
                self._backlog = b""
        if self._backlog and not self._reading_paused:
            self._wait_for_turn()
        elif not (self._reading_paused or self._muted):
            if self._large is not None:
                self._fill()
            self.transport.resumeProducing()

    def _drop_input(self) -> None:
        """Nothing that has come is read any more."""
        self._pending = self._large = None
        self._backlog = b""
        self._stop_filling()

    # ---- large frames ----------------------------------------------------------------------------

    def _fill(self) -> None:
        """Have the transport read into the large frame, if it can."""
        if not self._filling:
            receive_into = getattr(self.transport, "receiveInto", None)
            self._filling = receive_into is not None and receive_into(self)

    def _stop_filling(self) -> None:
        if self._filling:
            self._filling = False
            self.transport.receiveData()

    def get_buffer(self, hint: int) -> memoryview:
        """Where the transport is to read to."""
        return self.site.between_frames if self._large is None else self._large.rest

    def buffer_updated(self, count: int) -> None:
        """The transport has read so many bytes."""
        large = self._large
        if large is not None:
            self._heard_at = self.site.loop.time()
            large.written(count)
            if not large.rest:
                self._frames_left = LARGEST
                self._large_complete()
            return
        self.dataReceived(bytes(self.site.between_frames[:count]))
        if self._large is None:
            self._stop_filling()

    def _large_complete(self) -> None:
        large, self._large = self._large, None
        assert large is not None
        self._frames_left -= 1
        if large.is_text:
            _deliver_text(self, large.payload())
        else:
            self._deliver(large.payload())

    # ---- frames ----------------------------------------------------------------------------------

    def _take_control(self, first: int, payload: bytes) -> None:
        """Take a whole control frame, as Autobahn's parser does at the end of one."""
        if first == 0x89:
            self._onPing(payload)
        elif first == 0x8A:
            self._onPong(payload)
        else:
            code = int.from_bytes(payload[:2], "big") if payload else None
            self.onCloseFrame(code, payload[2:] or None)

    def _begin_data(self, data: bytes, at: int, start: int, length: int) -> None:
        """Keep a data frame that begins at `at`, its payload at `start`, until the rest of it comes."""
        before = needed(length)
        if len(data) - start < before:
            self._hold(data[at:], start + before - at)
        else:
            self._large = LargeFrame(data[at] == 0x81, data[start - 4 : start], length)
            self._large.take(data[start:])

    def _hold(self, data: bytes, wanted: int) -> None:
        """Keep the pieces of one frame until `wanted` bytes of it are there."""
        if wanted > len(data):
            self._pending = [data]
            self._pending_size = len(data)
            self._wanted = wanted


# The usual frame passes these. They are functions because calls of methods that a class outside of what is
# compiled may replace are looked up.


def _read(reader: WebSocketReader, data: bytes) -> bytes:
    """Take as many frames as it is the peer's turn for, if the application keeps up; the rest."""
    if reader._pending is not None:
        reader._pending.append(data)
        reader._pending_size += len(data)
        if reader._pending_size < reader._wanted:
            return b""
        data = b"".join(reader._pending)
        reader._pending = None
    elif reader._large is not None:
        data = reader._large.take(data)
        if reader._large.rest:
            return b""
        reader._large_complete()
        if reader._muted or reader.state == CLOSED:
            return b""
    while data and reader._frames_left > 0 and not reader._reading_paused:
        data = reader._to_autobahn(data) if reader._with_autobahn else _read_frames(reader, data)
        if reader._muted or reader.state == CLOSED:
            return b""
    return data


def _read_frames(reader: WebSocketReader, data: bytes) -> bytes:
    """Read whole frames as long as there are any of the usual kinds; what is for Autobahn's parser."""
    at, size = 0, len(data)
    while size - at >= 6:
        if reader._frames_left <= 0 or reader._reading_paused:
            return data[at:]
        first, second = data[at], data[at + 1]
        # A close frame of one byte is a violation.
        if 0x88 <= first <= 0x8A and 0x80 <= second <= 0xFD and (first != 0x88 or second != 0x81):
            end = at + 6 + (second & 0x7F)
            if end > size:
                reader._hold(data[at:], end - at)
                return b""
            reader._take_control(first, unmask(data[at + 2 : at + 6], data[at + 6 : end]))
            if reader._muted:
                return b""
            at = end
            continue
        if first not in (0x81, 0x82) or second < 0x80 or reader._perMessageCompress is not None:
            break
        length = second & 0x7F
        start = at + 6
        if length > 125:
            extended = 2 if length == 126 else 8
            start += extended
            if start > size:
                reader._hold(data[at:], start - at)
                return b""
            length = int.from_bytes(data[at + 2 : at + 2 + extended], "big")
            if length < (126 if extended == 2 else 65536):
                break
        if length > reader.longest:
            break
        end = start + length
        if end > size:
            reader._begin_data(data, at, start, length)
            return b""
        payload = unmask(data[start - 4 : start], data[start:end])
        at = end
        reader._frames_left -= 1
        if first == 0x82:
            reader._deliver(payload)
        elif not _deliver_text(reader, payload):
            return b""
    rest = data[at:] if at else data
    plain = b"\x88\x89\x8a" if reader._perMessageCompress is not None else b"\x81\x82\x88\x89\x8a"
    short = 0 < len(rest) < 6 and rest[0] in plain
    if short and (len(rest) == 1 or rest[1] >= 0x80):
        reader._hold(rest, 2 if len(rest) == 1 else 6)
        return b""
    reader._with_autobahn = bool(rest)
    return rest


def _deliver_text(reader: WebSocketReader, payload: bytes) -> bool:
    """Hand a text message on; False if it is none, which fails the connection."""
    try:
        text = payload.decode("utf-8")
    except UnicodeDecodeError:
        reader._fail_connection(closecodes.INVALID_PAYLOAD, "text that is not UTF-8")
        return False
    reader._deliver(text)
    return True
