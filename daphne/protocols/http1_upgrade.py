"""Connections that do not stay HTTP/1: they turn out to speak HTTP/2, or become a WebSocket.

Inherited by http1.HTTP1Connection; calls negotiation to open the WebSocket's stream, and the successor.
"""

from __future__ import annotations

from typing import Any

from daphne.errors import RequestRefused
from daphne.protocols import negotiation
from daphne.protocols.http1_life import ConnectionLife
from daphne.protocols.websocket_handshake import handshake_accept, open_socket
from daphne.streams.head import Headers, RequestHead
from daphne.streams.response import check_response
from daphne.streams.websocket import WebSocketStream
from daphne.streams.wire import Socket

_MOST_DETOURS = 4
"""Pieces of data that make the detour; a successor gets the transport with the last of them,"""
_LARGEST_DETOUR = 4096
"""or with one of more bytes than these."""


class Upgrading(ConnectionLife):
    """How another protocol takes the connection over."""

    __slots__ = ()

    def _become_http2(self, data: bytes) -> None:
        self._close_deadlines()
        self.site.connections.discard(self)
        self._hand_over(self.site.http2_connection())
        self._successor.dataReceived(data)
        if self.site.draining:
            self._successor.drain()

    def _begin_websocket(self, head: RequestHead, rest: bytes) -> None:
        """Open the stream of a handshake; `rest` is frames that came early and wait for the answer to it."""
        assert self.facts is not None
        if self._input_ended:
            raise RequestRefused(400, "a WebSocket handshake from a client that sends no more")
        self._websocket_key = negotiation.check_upgrade(head)
        stream = negotiation.open_websocket(self.site, self, head, self.facts)
        self.stream = stream
        self._hold(rest)
        self.site.start(stream)

    def accept_websocket(self, stream: WebSocketStream, subprotocol: str | None, headers: Headers) -> Socket:
        """Complete the opening handshake (RFC 6455 section 4.2.2); the transport is the socket's then."""
        socket = open_socket(self.site, stream, negotiation.offered_extensions(self.request))
        own = check_response(200, headers)
        own.status = 101
        lines = [*self.head_lines(own, "1.1"), b"Upgrade: WebSocket", b"Connection: Upgrade"]
        if subprotocol is not None:
            lines.append(b"Sec-WebSocket-Protocol: " + subprotocol.encode("latin-1"))
        lines += [b"%b: %b" % field for field in socket.handshake_fields]
        lines.append(b"Sec-WebSocket-Accept: " + handshake_accept(self._websocket_key))
        self.transport.write(b"\r\n".join([*lines, b"", b""]))
        self.stream = None
        self._close_deadlines()
        early, self._held = self._held, b""
        self.site.connections.discard(self)
        stream.socket = socket
        self._hand_over(socket)
        if self._body_paused:
            self._resume_reading()
        if early:
            socket.dataReceived(early)
        if self.site.draining:
            self.site.loop.call_soon(socket.drain)
        return socket

    def _hand_over(self, successor: Any) -> None:
        """Give the connection to another protocol, for good."""
        self._successor = successor
        self.transport.unregisterProducer()
        successor.makeConnection(self.transport)

    def _pass_on(self, data: bytes) -> None:
        """Give bytes to the successor. After a while of that the transport does it without the detour through
        this object, if it lets itself be handed over: not at once, since the loop then stops reading and
        starts again, which takes it system calls, and many connections do not last.
        """
        self._detours += 1
        if self._detours == _MOST_DETOURS or len(data) > _LARGEST_DETOUR:
            for attribute in ("protocol", "wrappedProtocol"):
                if getattr(self.transport, attribute, None) is self:
                    setattr(self.transport, attribute, self._successor)
                    break
        self._successor.dataReceived(data)
