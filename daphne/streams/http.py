"""HTTPStream: one request and its response, as ASGI sees them.

Made by a protocol for each request, run by application/running.py, which calls the application with
`stream.scope, stream.receive, stream.send`. Calls its `Wire`: the protocol's side of the exchange.
The rules of the exchange stand in http_state.
"""

from __future__ import annotations

import os
from typing import Any, Protocol

from daphne.errors import ClientDisconnected
from daphne.streams.head import Headers
from daphne.streams.http_state import Event, HTTPState
from daphne.streams.response import ResponseHead
from daphne.streams.signal import Signal


class Wire(Protocol):
    """What a protocol offers to its stream. Every call is made on the loop's thread; none of them blocks."""

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


class HTTPStream(HTTPState):
    """One exchange; the application calls `receive` and `send`."""

    __slots__ = ()

    async def receive(self) -> Event:
        """The next ASGI event: `http.request` until the body is complete, then `http.disconnect` once the
        exchange is over.
        """
        while True:
            if not self._body_told and self._body_ready():
                return self._body_event()
            if self.disconnected or self.complete or self.half_closed:
                return {"type": "http.disconnect"}
            if not self._body_told:
                self._wire.body_wanted(self)
                if self._body_ready() or self.disconnected:
                    continue
            if self._arrival is None:
                self._arrival = Signal(self._loop)
            await self._arrival.wait()

    async def send(self, event: Event) -> None:
        """Take one ASGI event from the application.

        Returns when the peer has room for more. Raises ApplicationError for an event that is wrong in itself
        or at this point (nothing of it has been written then), and ClientDisconnected once the client has
        gone.
        """
        pending = self.take(event)
        if pending is not None:
            await pending

    async def send_file(self, path: Any, head: ResponseHead) -> None:
        """`http.response.pathsend` (ASGI extension): the whole file is the body, and the last of it."""
        with open(path, "rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            if self.begin_file(head, size):
                await self._wire.respond_file(self, file.fileno(), size)
                self.sent = size
        if self.disconnected:
            raise ClientDisconnected("the client has disconnected")
        self.end_file()
