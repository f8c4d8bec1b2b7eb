"""The reading half of HTTP/2: bytes in, events out, every rule of RFC 9113 about frames and streams checked
on the way.

Called by http2.HTTP2Connection with what the client sends; calls its `Events`, http2_hpack for field blocks
and http2_limits for floods. Together with http2_output this is all that knows frames: what stands behind it
can be exchanged.

A rule that the client breaks is StreamReset or ConnectionFailed with the code that RFC 9113 names for it.
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from collections.abc import Mapping

from daphne.errors import ConnectionFailed, StreamReset
from daphne.protocols import http2_frames as frames
from daphne.protocols.http2_events import Events, ReadingStream
from daphne.protocols.http2_frames import (
    ENHANCE_YOUR_CALM,
    FLOW_CONTROL_ERROR,
    FRAME_SIZE_ERROR,
    PROTOCOL_ERROR,
)
from daphne.protocols.http2_hpack import Decoder
from daphne.protocols.http2_limits import Floods
from daphne.settings import Settings
from daphne.streams.head import Headers

FRAMES_IN_A_ROW = 32
"""Frames after which others get a turn: the loop reads some megabytes of one client in a turn, and a frame
may have ten bytes."""
_HEADERS_COUNT = 2
"""How many others a HEADERS frame counts for: a request comes of it."""
_CLOSED_REMEMBERED = 1000
"""Closed streams of which it is known how they ended."""

_unpack_head = struct.Struct(">BHBBI").unpack_from
_unpack_setting = struct.Struct(">HI").iter_unpack


class FrameReader:
    """The reading state of one connection. `streams` are the live ones, which the connection keeps."""

    def __init__(
        self, settings: Settings, streams: Mapping[int, ReadingStream], events: Events, floods: Floods
    ) -> None:
        self._streams = streams
        self._events = events
        self._floods = floods
        self._decoder = Decoder(settings.http2_max_header_list_size)
        self._largest_block = 2 * max(settings.http2_max_header_list_size, frames.FRAME_SIZE)
        self._most_continuations = settings.http2_max_continuation_frames
        self.highest = 0
        """The highest stream that the client has opened."""
        self.credit = settings.http2_connection_window
        """Bytes of DATA that the client may still send on the connection."""
        self._preface = frames.PREFACE
        self._first = True
        self._held = b""
        self.behind = False
        """Whether whole frames have come that are still to be taken, by `receive(b"")` in another turn."""
        self._block: list[bytes] = []
        """The pieces of a field block that is not complete."""
        self._block_stream = 0
        self._block_ended = False
        self._block_size = 0
        self._closed: OrderedDict[int, bool] = OrderedDict()
        """Streams that are closed -> whether frames for them may still be under way; the oldest are
        forgotten."""
        self._take = {
            frames.DATA: self._data,
            frames.HEADERS: self._headers,
            frames.PRIORITY: self._priority,
            frames.RST_STREAM: self._rst_stream,
            frames.SETTINGS: self._settings,
            frames.PUSH_PROMISE: self._push_promise,
            frames.PING: self._ping,
            frames.GOAWAY: self._goaway,
            frames.WINDOW_UPDATE: self._window_update,
            frames.CONTINUATION: self._continuation,
            frames.PRIORITY_UPDATE: self._priority_update,
        }

    def forget(self, stream_id: int, under_way: bool) -> None:
        """A stream is closed; `under_way` if we closed it while the client may still be sending."""
        closed = self._closed
        closed[stream_id] = under_way
        if len(closed) > _CLOSED_REMEMBERED:
            closed.popitem(last=False)

    # ---- frames ----------------------------------------------------------------------------------

    @property
    def unfinished(self) -> tuple[int, int] | None:
        """The type and the stream of a frame of which only a part has come, or that must still follow."""
        if self._block_stream:
            return frames.CONTINUATION, self._block_stream
        if len(self._held) < 9:
            return None
        _, _, kind, _, stream_id = _unpack_head(self._held)
        return kind, stream_id & frames.LARGEST

    def receive(self, data: bytes, left: int = FRAMES_IN_A_ROW) -> None:
        """Take bytes from the client, however they are split, `left` frames at most; or ConnectionFailed."""
        if self._held:
            data = self._held + data
        at, end = 0, len(data)
        self.behind = False
        if self._preface:
            at = self._take_preface(data)
        while end - at >= 9:
            high, size, kind, flags, stream_id = _unpack_head(data, at)
            if high or size > frames.FRAME_SIZE:
                raise ConnectionFailed(FRAME_SIZE_ERROR, "a frame that is too large")
            stop = at + 9 + size
            if stop > end:
                break
            if left <= 0:
                self.behind = True
                break
            left -= _HEADERS_COUNT if kind == frames.HEADERS else 1
            stream_id &= frames.LARGEST
            if self._block_stream and (kind != frames.CONTINUATION or stream_id != self._block_stream):
                raise ConnectionFailed(PROTOCOL_ERROR, "a frame within a field block")
            if self._first and kind != frames.SETTINGS:
                raise ConnectionFailed(PROTOCOL_ERROR, "no SETTINGS first")
            take = self._take.get(kind)
            if take is None:
                self._floods.frame()  # unknown types are passed over (RFC 9113 section 4.1)
            else:
                try:
                    take(flags, stream_id, data[at + 9 : stop])
                except StreamReset as error:
                    self._events.stream_failed(stream_id, error)
            at = stop
        self._held = data[at:]

    def _take_preface(self, data: bytes) -> int:
        """Compare with what a client must send first; how much of `data` that was (RFC 9113 section 3.4)."""
        size = min(len(self._preface), len(data))
        if data[:size] != self._preface[:size]:
            raise ConnectionFailed(PROTOCOL_ERROR, "no connection preface")
        self._preface = self._preface[size:]
        return size

    # ---- requests --------------------------------------------------------------------------------

    def _headers(self, flags: int, stream_id: int, payload: bytes) -> None:
        """RFC 9113 section 6.2."""
        if not stream_id & 1:
            raise ConnectionFailed(PROTOCOL_ERROR, "HEADERS on a stream that no client opens")
        if flags & (frames.PADDED | frames.PRIORITIZED):
            payload = _unpadded(flags, payload)
            if flags & frames.PRIORITIZED:
                if len(payload) < 5:
                    raise ConnectionFailed(FRAME_SIZE_ERROR, "HEADERS too short for its priority")
                payload = payload[5:]  # of RFC 7540, which nobody heeds any more (RFC 9113 section 5.3.2)
        if flags & frames.END_HEADERS:
            self._field_block(stream_id, payload, bool(flags & frames.END_STREAM))
        else:
            self._block_stream = stream_id
            self._block_ended = bool(flags & frames.END_STREAM)
            self._block = [payload]
            self._block_size = len(payload)

    def _continuation(self, flags: int, stream_id: int, payload: bytes) -> None:
        """RFC 9113 section 6.10. An endless chain of them is an attack (CVE-2024-27316)."""
        if not self._block_stream:
            raise ConnectionFailed(PROTOCOL_ERROR, "CONTINUATION without HEADERS")
        if len(self._block) > self._most_continuations:
            raise ConnectionFailed(
                ENHANCE_YOUR_CALM, "too many CONTINUATION frames", limit="http2_max_continuation_frames"
            )
        self._block.append(payload)
        self._block_size += len(payload)
        if self._block_size > self._largest_block:
            raise ConnectionFailed(
                ENHANCE_YOUR_CALM, "field block too large", limit="http2_max_header_list_size"
            )
        if flags & frames.END_HEADERS:
            block, ended = b"".join(self._block), self._block_ended
            self._block_stream = 0
            self._block = []
            self._field_block(stream_id, block, ended)

    def _field_block(self, stream_id: int, block: bytes, ended: bool) -> None:
        fields, size = self._decoder.decode(block)  # whatever becomes of it: later blocks refer to it
        stream = self._streams.get(stream_id)
        if stream is not None:
            self._trailers(stream, stream_id, fields, ended)
        elif stream_id > self.highest:
            self.highest = stream_id
            self._events.request_received(stream_id, fields, size, ended)
        elif self._may_be_under_way(stream_id):
            self._floods.frame()
            if ended:
                self._closed[stream_id] = False
        else:
            code = frames.STREAM_CLOSED if stream_id in self._closed else PROTOCOL_ERROR
            raise ConnectionFailed(code, "HEADERS on a stream that is closed")

    def _trailers(self, stream: ReadingStream, stream_id: int, fields: Headers, ended: bool) -> None:
        if not stream.receiving:
            raise StreamReset(frames.STREAM_CLOSED, "HEADERS after the end of a request")
        if not ended:
            raise StreamReset(PROTOCOL_ERROR, "trailers that do not end a request")
        stream.receiving = False
        self._events.trailers_received(stream_id, fields)

    def _may_be_under_way(self, stream_id: int) -> bool:
        return self._closed.get(stream_id, False)

    def _data(self, flags: int, stream_id: int, payload: bytes) -> None:
        """RFC 9113 section 6.1; padding counts in both windows."""
        size = len(payload)
        self.credit -= size
        if self.credit < 0:
            raise ConnectionFailed(FLOW_CONTROL_ERROR, "more DATA than the connection's window")
        ended = bool(flags & frames.END_STREAM)
        if flags & frames.PADDED:
            payload = _unpadded(flags, payload)
        if not payload and not ended:
            self._floods.frame()
        stream = self._streams.get(stream_id)
        if stream is None:
            self._data_on_no_stream(stream_id, ended)
            return
        if not stream.receiving:
            raise StreamReset(frames.STREAM_CLOSED, "DATA after the end of a request")
        stream.credit -= size
        if stream.credit < 0:
            raise StreamReset(FLOW_CONTROL_ERROR, "more DATA than the stream's window")
        if ended:
            stream.receiving = False
        self._events.body_received(stream_id, payload, ended)

    def _data_on_no_stream(self, stream_id: int, ended: bool) -> None:
        if self._is_idle(stream_id):
            raise ConnectionFailed(PROTOCOL_ERROR, "DATA on a stream that is not open")
        if not self._may_be_under_way(stream_id):
            raise ConnectionFailed(frames.STREAM_CLOSED, "DATA on a stream that is closed")
        if ended:
            self._closed[stream_id] = False

    def _is_idle(self, stream_id: int) -> bool:
        """Whether no stream has had that number; those that a server opens are even, and we open none."""
        return stream_id > self.highest or not stream_id & 1

    def _rst_stream(self, flags: int, stream_id: int, payload: bytes) -> None:
        """RFC 9113 section 6.4."""
        if len(payload) != 4:
            raise ConnectionFailed(FRAME_SIZE_ERROR, "RST_STREAM")
        if self._is_idle(stream_id):
            raise ConnectionFailed(PROTOCOL_ERROR, "RST_STREAM on a stream that is not open")
        if stream_id in self._streams:
            self._events.stream_reset(stream_id, int.from_bytes(payload, "big"))
        else:
            self._floods.frame()
            if stream_id in self._closed:
                self._closed[stream_id] = False

    # ---- the connection --------------------------------------------------------------------------

    def _settings(self, flags: int, stream_id: int, payload: bytes) -> None:
        """RFC 9113 section 6.5."""
        self._on_connection(stream_id, "SETTINGS")
        if flags & frames.ACK:
            if payload:
                raise ConnectionFailed(FRAME_SIZE_ERROR, "SETTINGS with ACK and a payload")
            if self._first:
                raise ConnectionFailed(PROTOCOL_ERROR, "no SETTINGS first")
            self._floods.frame()
            self._events.settings_acknowledged()
            return
        if len(payload) % 6:
            raise ConnectionFailed(FRAME_SIZE_ERROR, "SETTINGS")
        self._first = False
        self._floods.frame()
        values: dict[int, int] = {}
        for name, value in _unpack_setting(payload):
            _check_setting(name, value)
            values[name] = value
        self._events.settings_received(values)

    def _ping(self, flags: int, stream_id: int, payload: bytes) -> None:
        """RFC 9113 section 6.7."""
        self._on_connection(stream_id, "PING")
        if len(payload) != 8:
            raise ConnectionFailed(FRAME_SIZE_ERROR, "PING")
        self._floods.frame()
        if flags & frames.ACK:
            self._events.pong_received(payload)
        else:
            self._events.ping_received(payload)

    def _goaway(self, flags: int, stream_id: int, payload: bytes) -> None:
        """RFC 9113 section 6.8."""
        self._on_connection(stream_id, "GOAWAY")
        if len(payload) < 8:
            raise ConnectionFailed(FRAME_SIZE_ERROR, "GOAWAY")
        self._floods.frame()
        self._events.goaway_received(int.from_bytes(payload[4:8], "big"))

    def _window_update(self, flags: int, stream_id: int, payload: bytes) -> None:
        """RFC 9113 section 6.9; whether the window overflows is for the one who keeps it."""
        if len(payload) != 4:
            raise ConnectionFailed(FRAME_SIZE_ERROR, "WINDOW_UPDATE")
        increment = int.from_bytes(payload, "big") & frames.LARGEST
        if stream_id and self._is_idle(stream_id):
            raise ConnectionFailed(PROTOCOL_ERROR, "WINDOW_UPDATE on a stream that is not open")
        self._floods.window_update(increment)
        if stream_id and stream_id not in self._streams:
            return
        if increment == 0:
            if stream_id:
                raise StreamReset(PROTOCOL_ERROR, "WINDOW_UPDATE of nothing")
            raise ConnectionFailed(PROTOCOL_ERROR, "WINDOW_UPDATE of nothing")
        self._events.window_opened(stream_id, increment)

    def _priority(self, flags: int, stream_id: int, payload: bytes) -> None:
        """The priority of RFC 7540: passed over (RFC 9113 section 6.3)."""
        if stream_id == 0:
            raise ConnectionFailed(PROTOCOL_ERROR, "PRIORITY on the connection")
        self._floods.frame()
        if len(payload) != 5:
            if stream_id in self._streams:
                raise StreamReset(FRAME_SIZE_ERROR, "PRIORITY")
            raise ConnectionFailed(FRAME_SIZE_ERROR, "PRIORITY")

    def _priority_update(self, flags: int, stream_id: int, payload: bytes) -> None:
        """RFC 9218 section 7.1."""
        self._on_connection(stream_id, "PRIORITY_UPDATE")
        self._floods.frame()
        if len(payload) < 4:
            raise ConnectionFailed(FRAME_SIZE_ERROR, "PRIORITY_UPDATE")
        prioritized = int.from_bytes(payload[:4], "big") & frames.LARGEST
        if not prioritized & 1:
            raise ConnectionFailed(PROTOCOL_ERROR, "PRIORITY_UPDATE for a stream that no client opens")
        if prioritized in self._streams or prioritized > self.highest:
            self._events.priority_received(prioritized, payload[4:])

    def _push_promise(self, flags: int, stream_id: int, payload: bytes) -> None:
        raise ConnectionFailed(PROTOCOL_ERROR, "PUSH_PROMISE from a client")  # RFC 9113 section 8.4

    def _on_connection(self, stream_id: int, name: str) -> None:
        if stream_id:
            raise ConnectionFailed(PROTOCOL_ERROR, f"{name} on a stream")


def _unpadded(flags: int, payload: bytes) -> bytes:
    """The payload without its padding (RFC 9113 section 6.1)."""
    if not flags & frames.PADDED:
        return payload
    if not payload:
        raise ConnectionFailed(FRAME_SIZE_ERROR, "no padding length")
    padding = payload[0]
    if padding >= len(payload):
        raise ConnectionFailed(PROTOCOL_ERROR, "more padding than payload")
    return payload[1 : len(payload) - padding]


def _check_setting(name: int, value: int) -> None:
    """Raise ConnectionFailed for a value that the setting cannot have; unknown settings are passed over
    (RFC 9113 section 6.5.2).
    """
    if name in (frames.ENABLE_PUSH, frames.ENABLE_CONNECT_PROTOCOL, frames.NO_RFC7540_PRIORITIES):
        if value > 1:
            raise ConnectionFailed(PROTOCOL_ERROR, f"setting {name} is neither 0 nor 1")
    elif name == frames.INITIAL_WINDOW_SIZE and value > frames.LARGEST:
        raise ConnectionFailed(FLOW_CONTROL_ERROR, "INITIAL_WINDOW_SIZE")
    elif name == frames.MAX_FRAME_SIZE and not frames.FRAME_SIZE <= value < 1 << 24:
        raise ConnectionFailed(PROTOCOL_ERROR, "MAX_FRAME_SIZE")
