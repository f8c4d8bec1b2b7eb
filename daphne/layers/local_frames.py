"""Frames on the local layer's socket: MessagePack behind a length of four bytes.

Inherited by the broker's and the clients' ends of a connection; calls msgpack.
"""

from __future__ import annotations

import asyncio
import logging
from abc import abstractmethod
from typing import Any, cast

import msgpack

PREFIX = 4
"""Bytes of the length in front of each frame."""
FRAME_LIMIT = 64 * 1024 * 1024
"""Bytes of the largest frame; whoever announces a larger one is cut off."""

log = logging.getLogger("daphne.layers.local")


class FrameProtocol(asyncio.Protocol):
    """One end of a connection. What is written in one turn of the loop goes out in one write."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._received = bytearray()
        self._frames: list[bytes] = []
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop."""
        self._transport = cast(asyncio.Transport, transport)

    def write_frame(self, *fields: Any) -> None:
        """Send a frame, soon; nothing if the connection is closed."""
        body = msgpack.packb(fields, use_bin_type=True)
        self._frames += (len(body).to_bytes(PREFIX, "big"), body)
        if len(self._frames) == 2:
            self._loop.call_soon(self.flush_frames)

    def flush_frames(self) -> None:
        """Send the frames of this turn now."""
        frames, self._frames = self._frames, []
        if frames and self._transport is not None and not self._transport.is_closing():
            self._transport.write(b"".join(frames))

    def data_received(self, data: bytes) -> None:
        """Called by the loop."""
        received = self._received
        received += data
        start = 0
        while len(received) - start >= PREFIX:
            length = int.from_bytes(received[start : start + PREFIX], "big")
            if length > FRAME_LIMIT:
                log.error("Cut off a peer that announced a frame of %d bytes", length)
                self.abort()
                break
            end = start + PREFIX + length
            if len(received) < end:
                break
            with memoryview(received) as view:
                fields = msgpack.unpackb(view[start + PREFIX : end], raw=False, use_list=False)
            start = end
            self.frame_received(*fields)
        del received[:start]

    @abstractmethod
    def frame_received(self, *fields: Any) -> None:
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
