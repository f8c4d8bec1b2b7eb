"""Frames on the local layer's socket: MessagePack behind a length of four bytes.

Inherited by the broker's and the clients' ends of a connection; calls msgpack and `packing`.
"""

from __future__ import annotations

import asyncio
import logging
from abc import abstractmethod
from typing import Any, Final, cast

import msgpack
from mypy_extensions import mypyc_attr

from daphne.layers.packing import packed

LENGTH: Final = 4
"""The bytes of the length in front of each frame."""
DONE, FULL, FAILED, LEAVING, SENT, ATTENDED = 0, 1, 2, 3, 4, 5
"""The statuses of answers."""
UNASKED = 0
"""The number of answers that nobody asked for, and of requests that want none."""
VERSION = 3
"""Of these frames; told to each client that is let in."""
FRAME_LIMIT = 64 * 1024 * 1024
"""Bytes of the largest frame; whoever announces a larger one is cut off."""
LARGEST_MESSAGE = FRAME_LIMIT - 4 * 1024 * 1024
"""Bytes of the largest message: an answer may have others in front of it, and names."""

log = logging.getLogger("daphne.layers.local")


@mypyc_attr(allow_interpreted_subclasses=True)
class FrameProtocol:
    """One end of a connection, an `asyncio.Protocol` by its methods. What is written in one turn of the loop
    goes out in one write."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._received = bytearray()
        self._awaited = LENGTH
        """How many bytes must have come until there is a whole frame."""
        self._frames: list[bytes] = []
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop."""
        self._transport = cast(asyncio.Transport, transport)

    def pause_writing(self) -> None:
        """Called by the loop; requests and answers bound each other."""

    def resume_writing(self) -> None:
        """Called by the loop."""

    def eof_received(self) -> bool | None:
        """Called by the loop when the other end will send no more."""
        return None

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the loop."""

    def write_frame(self, fields: Any) -> None:
        """Send a frame, soon; nothing if the connection is closed."""
        self.write_parts([packed(fields)])

    def write_parts(self, parts: list[bytes]) -> None:
        """The same for a frame that is packed already, in parts."""
        if not self._frames:
            self._loop.call_soon(self.flush_frames)
        size = 0
        for part in parts:
            size += len(part)
        self._frames.append(size.to_bytes(LENGTH, "big"))
        self._frames += parts

    def flush_frames(self) -> None:
        """Send the frames of this turn now."""
        frames, self._frames = self._frames, []
        if frames and self._transport is not None and not self._transport.is_closing():
            self._transport.write(b"".join(frames))

    def data_received(self, data: bytes) -> None:
        """Called by the loop."""
        received = self._received
        if received:
            received += data
            if len(received) < self._awaited:
                return
            data = bytes(received)
            received.clear()
        read = self._read_frames(data)
        if read < len(data):
            self._received += data[read:]

    def _read_frames(self, data: bytes) -> int:
        """Take the frames that `data` has whole; how many bytes they are."""
        start = 0
        size = len(data)
        self._awaited = LENGTH
        while size - start >= LENGTH:
            body = start + LENGTH
            length = data[start] << 24 | data[start + 1] << 16 | data[start + 2] << 8 | data[start + 3]
            if length > FRAME_LIMIT:
                log.error("Cut off a peer that announced a frame of %d bytes", length)
                self.abort()
                return size
            if size - body < length:
                self._awaited = LENGTH + length
                break
            start = body + length
            self.frame_received(msgpack.unpackb(data[body:start], raw=False, use_list=False))
        return start

    @abstractmethod
    def frame_received(self, fields: Any) -> None:
        """Called with the fields of each frame."""

    def abort(self) -> None:
        """Close the connection at once."""
        if self._transport is not None:
            self._transport.abort()

    def close(self) -> None:
        """Close the connection after what has been written."""
        self.flush_frames()
        if self._transport is not None:
            self._transport.close()
