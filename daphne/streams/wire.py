"""What a protocol offers to a stream: its side of one HTTP exchange.

Implemented by http1_response.ResponseWriting and http2_exchange.Exchange; called by http.HTTPStream.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from daphne.streams.head import Headers
from daphne.streams.response import ResponseHead

if TYPE_CHECKING:
    from daphne.streams.http import HTTPStream


class Wire(Protocol):
    """Every call is made on the loop's thread; none of them blocks."""

    write_paused: bool
    """Whether the peer takes less than was written; `send()` then waits in `writable()`."""

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
