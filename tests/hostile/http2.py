"""A client that writes any HTTP/2 frame over a real socket and looks at every frame that comes back.

Called by the tests of this folder; the one in memory, for everything that needs no socket, is
tests/protocols/http2_client.py, from which the frames come.
"""

from __future__ import annotations

from typing import Any

import hpack
from hyperframe import frame as frames

from tests.hostile.client import Peer
from tests.protocols.http2_client import PREFACE, Headers
from tests.servers import Address


class Peer2(Peer):
    """One connection, after its greeting."""

    def __init__(self, address: Address) -> None:
        super().__init__(address)
        self.encoder = hpack.Encoder()
        self._decoder = hpack.Decoder()
        self.write(PREFACE, frames.SettingsFrame(), frames.SettingsFrame(flags=["ACK"]))

    def write(self, *parts: Any) -> None:
        """Send frames, or bytes."""
        self.send(b"".join(part if isinstance(part, bytes) else part.serialize() for part in parts))

    def headers(self, stream_id: int, fields: Headers, *flags: str) -> frames.HeadersFrame:
        """A HEADERS frame; END_HEADERS and END_STREAM unless other `flags` are given."""
        frame = frames.HeadersFrame(stream_id, flags=flags or ("END_HEADERS", "END_STREAM"))
        frame.data = self.encoder.encode(fields)
        return frame

    def frame(self) -> Any:
        """The next frame of the server's. AssertionError if the connection ends before that."""
        while len(self.received) < 9 or len(self.received) < 9 + self._size():
            assert not self.ended, f"ended with {self.received!r}"
            self.read(len(self.received) + 1)
        frame, size = frames.Frame.parse_frame_header(memoryview(self.received[:9]))
        frame.parse_body(memoryview(self.received[9 : 9 + size]))
        self.received = self.received[9 + size :]
        return frame

    def _size(self) -> int:
        return int.from_bytes(self.received[:3], "big")

    def outcome(self, stream_id: int) -> int | str:
        """What became of a stream: the status of its answer, or the name of the error that ended it, or the
        connection with it."""
        status: int | str = 0
        while True:
            frame = self.frame()
            if isinstance(frame, frames.GoAwayFrame):
                return f"GOAWAY {frame.error_code}"
            if isinstance(frame, frames.HeadersFrame):
                head = dict(self._decoder.decode(frame.data, raw=True))
                if frame.stream_id == stream_id and head[b":status"] != b"100":
                    status = int(head[b":status"])
            if isinstance(frame, frames.RstStreamFrame) and frame.stream_id == stream_id:
                return status or f"RST_STREAM {frame.error_code}"
            if frame.stream_id == stream_id and "END_STREAM" in frame.flags:
                return status

    def goaway(self) -> int:
        """The code of the GOAWAY that ends the connection."""
        while True:
            frame = self.frame()
            if isinstance(frame, frames.GoAwayFrame):
                return int(frame.error_code)
