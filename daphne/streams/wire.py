"""What a protocol offers to a stream: its side of one HTTP exchange, of an opening handshake, of a WebSocket.

`Wire` and `HandshakeWire` are implemented by http1.HTTP1Connection and http2_exchange.Exchange and called by
http.HTTPStream and websocket.WebSocketStream; `Socket` by protocols/websocket.WebSocketConnection.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from daphne.streams.head import Headers
from daphne.streams.response import ResponseHead

if TYPE_CHECKING:
    from daphne.streams.http import HTTPStream
    from daphne.streams.websocket import WebSocketStream
    from daphne.streams.writes import Writes


class Wire(Protocol):
    """Every call is made on the loop's thread; none of them blocks."""

    write_paused: bool
    """Whether the peer takes less than was written; `send()` then waits in `writable()`."""

    @property
    def writes(self) -> Writes:
        """Where large pieces get in line."""

    def respond(self, stream: HTTPStream, head: ResponseHead, body: bytes, more: bool) -> None:
        """Write the head and the first part of the body; `more` says whether anything follows."""

    def respond_more(self, stream: HTTPStream, body: bytes, more: bool) -> None:
        """Write a further part of the body."""

    def respond_trailers(self, stream: HTTPStream, trailers: Headers) -> None:
        """End the response with trailer fields."""

    def early_hint(self, stream: HTTPStream, headers: Headers) -> None:
        """Write a 103 response (RFC 8297)."""

    async def respond_file(self, stream: HTTPStream, descriptor: int, size: int) -> None:
        """Write the first `size` bytes of an open file as body; return when they are on their way.

        Raises ClientDisconnected when the client leaves, ApplicationError when the file has shrunk.
        """

    async def writable(self, stream: HTTPStream) -> None:
        """Return once the peer has taken enough, or raise ClientDisconnected."""

    def body_wanted(self, stream: HTTPStream) -> None:
        """The application waits for body: read on, and say `100 Continue` if that is awaited."""

    def body_full(self, stream: HTTPStream) -> None:
        """The application has not taken what is there: read no more for now."""

    def cut(self, stream: HTTPStream) -> None:
        """End the exchange so that the client can tell that the response is not complete (R13)."""


class HandshakeWire(Protocol):
    """What a protocol offers to a WebSocket that is not accepted yet: an HTTP exchange so far."""

    write_paused: bool

    def respond(self, stream: Any, head: ResponseHead, body: bytes, more: bool) -> None:
        """Write a refusal's head and the first part of its body."""

    def respond_more(self, stream: Any, body: bytes, more: bool) -> None:
        """Write a further part of the refusal's body."""

    async def writable(self, stream: Any) -> None:
        """Return once the peer has taken enough."""

    def cut(self, stream: Any) -> None:
        """End the exchange so that the client can tell that the response is not complete."""

    def accept_websocket(self, stream: WebSocketStream, subprotocol: str | None, headers: Headers) -> Socket:
        """Complete the opening handshake. From now on the transport belongs to the socket."""


class Socket(Protocol):
    """The framing protocol of an accepted WebSocket, as the stream sees it."""

    write_paused: bool
    """Whether the peer takes less than was written."""

    @property
    def writes(self) -> Writes:
        """Where large messages get in line."""

    def send_message(self, payload: bytes, binary: bool) -> None:
        """Write one message."""

    def close(self, code: int, reason: bytes) -> None:
        """Write a close frame and await the peer's, for a time."""

    async def writable(self) -> None:
        """Return once the peer has taken enough, or raise ClientDisconnected."""

    def pause_reading(self) -> None:
        """Let the peer wait: the application has not taken what is there."""

    def resume_reading(self) -> None:
        """Read on."""
