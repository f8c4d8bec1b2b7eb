"""What the reading half of HTTP/2 says to the connection, and what it needs to know of a stream.

Said by http2_reader, heard by http2.HTTP2Connection. This and the methods of http2_output.Output are all that
the rest knows of the wire: what stands behind them can be exchanged.
"""

from __future__ import annotations

from typing import Protocol

from daphne.errors import StreamReset
from daphne.streams.head import Headers


class ReadingStream(Protocol):
    """What the reader keeps in a stream."""

    receiving: bool
    """Whether the client has not ended its side."""
    credit: int
    """Bytes that the client may still send."""


class Events(Protocol):
    """What the reader tells the connection. `stream_id` is that of a live stream where a stream is not
    given.
    """

    def request_received(self, stream_id: int, fields: Headers, size: int, ended: bool) -> None:
        """A field block opens a stream. `size` is that of the whole header list, `fields` what was kept
        of it.
        """

    def body_received(self, stream_id: int, data: bytes, ended: bool) -> None:
        """A part of the body, without padding; its size is off the stream's credit already."""

    def trailers_received(self, stream_id: int, fields: Headers) -> None:
        """Trailers end the body."""

    def stream_failed(self, stream_id: int, error: StreamReset) -> None:
        """The client has broken a rule on a stream, which may be closed already."""

    def stream_reset(self, stream_id: int, code: int) -> None:
        """The client has ended a live stream."""

    def settings_received(self, values: dict[int, int]) -> None:
        """The client's settings, in force from now on; the reader has checked each."""

    def settings_acknowledged(self) -> None:
        """The client has taken note of our settings."""

    def window_opened(self, stream_id: int, increment: int) -> None:
        """The client takes `increment` more bytes, on a live stream or (0) on the connection."""

    def priority_received(self, stream_id: int, value: bytes) -> None:
        """The client gives a stream, perhaps one that is still to come, another priority (RFC 9218
        section 7).
        """

    def ping_received(self, payload: bytes) -> None:
        """A ping to answer."""

    def pong_received(self, payload: bytes) -> None:
        """The answer to our ping."""

    def goaway_received(self, code: int) -> None:
        """The client opens no more streams."""
