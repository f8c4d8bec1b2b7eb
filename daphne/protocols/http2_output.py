"""The writing half of HTTP/2: what streams want to send becomes frames, within the windows and in the order
of priorities.

Called by http2_exchange for each answer and by http2 for the connection's own frames; calls the transport's
`write`, once per turn of the loop or per `dataReceived`, and its `Owner` when the client takes nothing.

An answer that is small goes straight into the turn's write. What is larger, or cannot go out now, waits in
its stream's queue; a stream with a queue is in one of three places: in `_levels` when it can send, in
`_starved` when the connection's window is shut, in neither when its own window is.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Protocol

from daphne.errors import ConnectionFailed, StreamReset
from daphne.protocols import http2_frames as frames
from daphne.protocols.http2_frames import END_STREAM, FRAME_SIZE, frame_head
from daphne.protocols.http2_hpack import EMPTY_TABLE
from daphne.protocols.http2_limits import Floods
from daphne.protocols.http2_priority import LEVELS, UNSAID, Priority

if TYPE_CHECKING:
    from daphne.protocols.site import Site

_SMALL = 4096
"""Bytes of a body that is not worth a place in the order."""
_WRITE_SIZE = 65536
"""Bytes that are gathered before they are given to the transport."""
_TURN_SIZE = 262144
"""Bytes that are written in one turn of the loop before others get theirs."""


_DATA, _LAST_DATA, _HEAD, _LAST_HEAD = range(4)


class SendingStream:
    """The sending state of one stream; http2_exchange.Exchange is one."""

    id: int
    window: int
    """Bytes of DATA that the client still takes on the stream; less than nothing after it has shrunk its
    windows."""
    sending = True
    """Whether END_STREAM has not been written."""
    queue: deque[tuple[bytes | memoryview, int]] | None = None
    """What waits: a body's parts and field blocks, and which of these they are and whether they end the
    stream."""
    queued = 0
    """Bytes of DATA in the queue."""
    stalled = False
    """Whether the queue has met the end of the stream's window and has not been empty since."""
    write_paused = False
    priority: Priority = UNSAID

    def end_written(self) -> None:
        """END_STREAM is on its way."""
        raise NotImplementedError

    def drained(self) -> None:
        """The queue is short again, after `write_paused` was set."""
        raise NotImplementedError

    def stall(self, sent: int | None) -> None:
        """`stalled` has begun (0), or `sent` bytes have gone out meanwhile, or it is over (None)."""
        raise NotImplementedError


class Owner(Protocol):
    """What the output tells the connection."""

    def stall(self, sent: int | None) -> None:
        """The same for the connection's window, which the client may keep shut for all streams."""


class Output:
    """The sending state of one connection."""

    def __init__(self, site: Site, transport: Any, owner: Owner, floods: Floods) -> None:
        self._loop = site.loop
        self._high_water = site.settings.write_buffer_size
        self._transport = transport
        self._owner = owner
        self._floods = floods
        self.paused = False
        """Whether the transport holds more than its high-water mark."""
        self.gathering = False
        """Whether somebody who runs now will flush."""
        self.window = frames.DEFAULT_WINDOW
        self.initial_window = frames.DEFAULT_WINDOW
        self._parts: list[bytes | memoryview] = []
        self._size = 0
        self._scheduled = False
        self._levels: tuple[dict[int, SendingStream], ...] = tuple({} for _ in range(LEVELS))
        self._ready = 0
        self._starved: dict[int, SendingStream] = {}
        self.stalled = False
        """Whether streams have met the end of the connection's window and have not all gone on since."""
        self._sent = 0
        """Bytes of DATA from queues since the last flush."""
        self._table_said = False

    # ---- frames ----------------------------------------------------------------------------------

    def _write_frame(self, frame: bytes) -> None:
        """Put a frame into this turn's write, whatever waits."""
        self._parts.append(frame)
        self._size += len(frame)
        if not self.gathering and not self._scheduled:
            self._schedule()

    def headers(self, stream: SendingStream, block: bytes, ended: bool) -> None:
        """Write a field block on a stream: informational, an answer's head, or trailers."""
        if stream.queue or self.paused:
            self._enqueue(stream, block, _LAST_HEAD if ended else _HEAD)
            return
        self._write_frame(self._headers_frame(stream, block, ended))
        if ended:
            self._ended(stream)

    def _headers_frame(self, stream: SendingStream, block: bytes, ended: bool) -> bytes:
        if not self._table_said:
            self._table_said = True
            block = EMPTY_TABLE + block
        return frames.headers_frame(stream.id, block, END_STREAM if ended else 0)

    def data(self, stream: SendingStream, body: bytes, ended: bool) -> None:
        """Write a part of a body. Sets `stream.write_paused` when too much waits."""
        size = len(body)
        if not size and not ended:
            return
        if (
            not (stream.queue or self._ready or self.paused)
            and size <= _SMALL
            and size <= stream.window
            and size <= self.window
            and self._size < _WRITE_SIZE
        ):
            stream.window -= size
            self.window -= size
            self._floods.data_sent()
            self._write_frame(frame_head(size, frames.DATA, END_STREAM if ended else 0, stream.id) + body)
            if ended:
                self._ended(stream)
            return
        queue = stream.queue
        if not size and queue and queue[-1][1] == _DATA:
            queue[-1] = (queue[-1][0], _LAST_DATA)
            return
        self._enqueue(
            stream, body if size <= FRAME_SIZE else memoryview(body), _LAST_DATA if ended else _DATA
        )
        stream.queued += size
        if stream.queued > self._high_water:
            stream.write_paused = True

    def _ended(self, stream: SendingStream) -> None:
        stream.sending = False
        stream.end_written()

    def reset(self, stream_id: int, code: int) -> None:
        """Write RST_STREAM."""
        self._write_frame(frames.rst_stream_frame(stream_id, code))

    def settings(self, values: dict[int, int]) -> None:
        """Write our settings."""
        self._write_frame(frames.settings_frame(values))

    def acknowledge_settings(self) -> None:
        """Write that the client's settings are in force."""
        self._write_frame(frames.SETTINGS_ACK)

    def ping(self, payload: bytes, answer: bool) -> None:
        """Write a ping of eight bytes, or the answer to one."""
        self._write_frame(frames.ping_frame(payload, frames.ACK if answer else 0))

    def allow(self, stream_id: int, increment: int) -> None:
        """Let the client send `increment` bytes more, on a stream or (0) on the connection."""
        self._write_frame(frames.window_update_frame(stream_id, increment))

    def goaway(self, last_stream_id: int, code: int, reason: str = "") -> None:
        """Write that no stream above `last_stream_id` is served."""
        self._write_frame(frames.goaway_frame(last_stream_id, code, reason))

    # ---- the order -------------------------------------------------------------------------------

    def _enqueue(self, stream: SendingStream, payload: bytes | memoryview, kind: int) -> None:
        if stream.queue is None:
            stream.queue = deque()
        stream.queue.append((payload, kind))
        if len(stream.queue) == 1:
            self._make_ready(stream)

    def _make_ready(self, stream: SendingStream) -> None:
        level = self._levels[stream.priority.urgency]
        if stream.id not in level:
            level[stream.id] = stream
            self._ready += 1
        if not self.gathering and not self._scheduled and not self.paused:
            self._schedule()

    def _not_ready(self, stream: SendingStream) -> None:
        if self._levels[stream.priority.urgency].pop(stream.id, None) is not None:
            self._ready -= 1

    def forget(self, stream: SendingStream) -> None:
        """The stream is over: drop what waits."""
        if stream.queue:
            self._not_ready(stream)
            self._starved.pop(stream.id, None)
            stream.queue.clear()
            stream.queued = 0

    def prioritize(self, stream: SendingStream, priority: Priority) -> None:
        """Give a stream another place in the order."""
        ready = stream.id in self._levels[stream.priority.urgency]
        self._not_ready(stream)
        stream.priority = priority
        if ready:
            self._make_ready(stream)

    def _next(self) -> SendingStream:
        """The ready stream whose turn it is: the most urgent; among equals those that were served least
        recently, but of the sequential ones only the oldest (RFC 9218 section 10)."""
        level = next(level for level in self._levels if level)
        if len(level) > 1:
            oldest = min((stream.id for stream in level.values() if stream.priority.sequential), default=0)
            for stream in level.values():
                if stream.id == oldest or not stream.priority.sequential:
                    return stream
        return next(iter(level.values()))

    # ---- the write -------------------------------------------------------------------------------

    def _schedule(self) -> None:
        self._scheduled = True
        self._loop.call_soon(self._scheduled_flush)

    def _scheduled_flush(self) -> None:
        self._scheduled = False
        self.flush()

    def flush(self) -> None:
        """Write what this turn has gathered, and of the queues what windows and transport allow."""
        written = 0
        while self._ready and not self.paused and written < _TURN_SIZE:
            while self._ready and self._size < _WRITE_SIZE:
                self._serve(self._next())
            written += self._size
            self._write()
        self._write()
        if self._starved or self.stalled:
            self.stalled = bool(self._starved or self._ready)
            self._owner.stall(self._sent if self.stalled else None)
        self._sent = 0
        if self._ready and not self.paused and not self._scheduled:
            self._schedule()

    def _write(self) -> None:
        if self._parts:
            parts, self._parts = self._parts, []
            self._size = 0
            self._transport.write(b"".join(parts) if len(parts) > 1 else parts[0])

    def _serve(self, stream: SendingStream) -> None:
        """Write one DATA frame of a stream and the field blocks before it; then it is the next one's turn."""
        queue = stream.queue
        assert queue
        self._not_ready(stream)
        kind = _HEAD
        while queue and kind == _HEAD:
            payload, kind = queue[0]
            if kind >= _HEAD:
                queue.popleft()
                frame = self._headers_frame(stream, bytes(payload), kind == _LAST_HEAD)
                self._parts.append(frame)
                self._size += len(frame)
        sent = self._write_piece(stream, queue) if kind < _HEAD else 0
        if stream.stalled:
            stream.stalled = bool(queue)
            stream.stall(sent if queue else None)
        if queue:
            self._await_turn(stream, blocked=kind < _HEAD and not sent)
        if stream.write_paused and stream.queued <= self._high_water // 2:
            stream.write_paused = False
            stream.drained()
        if not queue and kind in (_LAST_DATA, _LAST_HEAD):
            self._ended(stream)

    def _write_piece(self, stream: SendingStream, queue: deque[tuple[bytes | memoryview, int]]) -> int:
        """Write as much of the first DATA in the queue as one frame and the windows hold; that size."""
        payload, kind = queue[0]
        size = max(min(len(payload), FRAME_SIZE, stream.window, self.window), 0)
        if size == len(payload):
            queue.popleft()
        elif not size:
            return 0
        else:
            queue[0] = (memoryview(payload)[size:], kind)
            payload = payload[:size]
            kind = _DATA
        stream.window -= size
        self.window -= size
        stream.queued -= size
        self._sent += size
        self._floods.data_sent()
        self._parts.append(frame_head(size, frames.DATA, END_STREAM if kind == _LAST_DATA else 0, stream.id))
        self._parts.append(payload)
        self._size += 9 + size
        return size

    def _await_turn(self, stream: SendingStream, blocked: bool) -> None:
        if not blocked:
            self._make_ready(stream)
        elif stream.window > 0:
            self._starved[stream.id] = stream
        elif not stream.stalled:
            stream.stalled = True
            stream.stall(0)

    # ---- windows ---------------------------------------------------------------------------------

    def open_window(self, stream: SendingStream | None, increment: int) -> None:
        """The client takes `increment` more bytes, on a stream or on the connection.

        Raises StreamReset or ConnectionFailed with FLOW_CONTROL_ERROR beyond 2^31-1 (RFC 9113 section 6.9.1).
        """
        if stream is None:
            self.window += increment
            if self.window > frames.LARGEST:
                raise ConnectionFailed(frames.FLOW_CONTROL_ERROR, "a window beyond 2^31-1")
            starved, self._starved = self._starved, {}
            for waiting in starved.values():
                self._make_ready(waiting)
            return
        if stream.window + increment > frames.LARGEST:
            raise StreamReset(frames.FLOW_CONTROL_ERROR, "a window beyond 2^31-1")
        self._change_window(stream, increment)

    def _change_window(self, stream: SendingStream, change: int) -> None:
        shut = stream.window <= 0
        stream.window += change
        if shut and stream.window > 0 and stream.queue and stream.id not in self._starved:
            self._make_ready(stream)

    def set_initial_window(self, size: int, streams: Any) -> None:
        """SETTINGS_INITIAL_WINDOW_SIZE changes the windows of all `streams` too, even to less than
        nothing (section 6.9.2).
        """
        change = size - self.initial_window
        self.initial_window = size
        for stream in list(streams):
            if stream.window + change > frames.LARGEST:
                raise ConnectionFailed(frames.FLOW_CONTROL_ERROR, "a window beyond 2^31-1")
            self._change_window(stream, change)
