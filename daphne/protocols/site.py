"""Site: the one factory of a port, and what all its connections share.

Made by the service, given to every endpoint. Builds a connection per accepted transport; connections call it
to run the application, to log, and for what is made once for all (the Date field, trusted peers, limits).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any

from twisted.internet.address import UNIXAddress
from twisted.internet.interfaces import IAddress, IProtocolFactory, IProtocolNegotiationFactory
from zope.interface import classImplements

from daphne.errors import RequestRefused
from daphne.protocols.admission import Admission
from daphne.protocols.http1 import HTTP1Connection
from daphne.protocols.http1_head import HeadParser
from daphne.protocols.standard import StandardFields
from daphne.protocols.turns import Turns
from daphne.protocols.websocket_handshake import WebSocketFactory
from daphne.settings import Settings
from daphne.streams.deadlines import Schedule
from daphne.streams.http import HTTPStream
from daphne.streams.response import BODILESS
from daphne.streams.scope import ConnectionFacts, ScopeBuilder
from daphne.streams.websocket import WebSocketStream
from daphne.streams.writes import Writes

logger = logging.getLogger("daphne.http_protocol")

Stream = HTTPStream | WebSocketStream
_LONGEST = 2**63 - 1
"""Bytes of a frame (RFC 6455 section 5.2)."""

DEFAULT_WEBSOCKET_TIMEOUT = 86400
"""Seconds of a WebSocket's life in front of an application, where nothing else is set."""

ActionLogger = Callable[[str, str, dict[str, Any]], Any]


class Site:
    """The HTTP/1.1, HTTP/2 and WebSocket factory.

    `start` runs the application on a stream; `left` is told when a stream's client has gone; `action_logger`
    is the access log, or None; `tls_info` gives the content of the ASGI `tls` extension for a transport, or
    None in clear text.
    """

    def __init__(
        self,
        settings: Settings,
        loop: asyncio.AbstractEventLoop,
        *,
        start: Callable[[Stream], None],
        left: Callable[[Stream], None],
        action_logger: ActionLogger | None = None,
        tls_info: Callable[[Any], dict[str, Any] | None] = lambda transport: None,
    ) -> None:
        self.settings = settings
        # What every request reads of them, where compiled code finds it at once.
        self.http_timeout = settings.http_timeout
        self.keep_alive_timeout = settings.keep_alive_timeout
        self.websocket_timeout: float = (
            DEFAULT_WEBSOCKET_TIMEOUT if settings.websocket_timeout is None else settings.websocket_timeout
        )
        self.max_requests = settings.max_requests_per_connection
        self.read_buffer_size = settings.read_buffer_size
        self.request_buffer_size = settings.request_buffer_size
        limits = (settings.websocket_connect_timeout, settings.websocket_handshake_timeout)
        self.connect_timeout: float = min([limit for limit in limits if limit > 0], default=0.0)
        """Seconds that an application has to answer an opening handshake; 0 for no limit."""
        sizes = (settings.websocket_max_frame_size, settings.websocket_max_message_size)
        self.longest_message = min([size for size in sizes if size > 0], default=_LONGEST)
        """Bytes of a WebSocket message in one frame that breaks neither limit."""
        self.loop: Any = loop
        self.clock: Any = loop.time if isinstance(loop, asyncio.BaseEventLoop) else time.monotonic
        """For the access log: uvloop's own counts milliseconds."""
        self.schedule = Schedule(loop)
        self.start = start
        self.left = left
        self.action_logger = action_logger
        self.scopes = ScopeBuilder(settings)
        self.head_parser = HeadParser(settings)
        self.standard = StandardFields(settings)
        self.small_head = min(settings.max_request_line, settings.max_header_size)
        """Bytes of a request head that breaks neither limit."""
        self.admission = Admission(settings.max_connections, settings.max_connections_per_peer)
        self.turns = Turns(loop)
        self.writes = Writes(loop)
        self.between_frames = memoryview(bytearray(32768))
        """Where transports that read into memory read to between two large WebSocket frames: one for all,
        since what is read is taken at once."""
        self.connections: set[Any] = set()
        """Every live connection, whatever it speaks."""
        self.draining = False
        self._tls_info = tls_info
        self._websocket_factory: WebSocketFactory | None = None
        self._limits_fired: dict[tuple[str, int], tuple[float, int]] = {}

    def buildProtocol(self, addr: IAddress | None) -> HTTP1Connection | None:
        """A connection, HTTP/1.1 until its first bytes say otherwise; None for a peer that has too many."""
        return self.connectionFrom(getattr(addr, "host", None))

    def connectionFrom(self, host: str | None) -> HTTP1Connection | None:
        """The same for whoever knows the peer's IP address, or None for a unix socket."""
        if not self.admission.peer_may_enter(host):
            self.limit_fired("max_connections_per_peer", host)
            return None
        return HTTP1Connection(self, host)

    def doStart(self) -> None:
        """A port begins to listen (Twisted's IProtocolFactory); nothing to do."""

    def doStop(self) -> None:
        """A port listens no more; nothing to do."""

    @property
    def websocket_factory(self) -> WebSocketFactory:
        """Autobahn's options for this site, made when the first WebSocket comes."""
        if self._websocket_factory is None:
            self._websocket_factory = WebSocketFactory(self)
        return self._websocket_factory

    def http2_connection(self) -> Any:
        """The protocol for a connection that turns out to speak HTTP/2."""
        from daphne.protocols.http2 import HTTP2Connection

        return HTTP2Connection(self)

    def acceptableProtocols(self) -> list[bytes]:
        """What TLS offers by ALPN, best first (RFC 7301)."""
        return [b"h2", b"http/1.1"] if self.settings.http2 else [b"http/1.1"]

    def facts(self, transport: Any) -> ConnectionFacts:
        """Who is at either end of `transport`, and whether it is secure and trusted."""
        client, server = _addresses(transport)
        tls = self._tls_info(transport)
        return ConnectionFacts(
            client=client,
            server=server,
            secure=tls is not None,
            trusted=self.scopes.trusted_proxies.trusts(client and client[0]),
            tls=tls,
        )

    def log_http(self, stream: HTTPStream, target: bytes) -> None:
        """One line in the access log for a response that is complete."""
        if self.action_logger is not None:
            scope, response = stream.scope, stream.response
            bodiless = response is None or response.status in BODILESS or stream.head_only
            self.log_response(
                target=target.decode("latin-1"),
                method=scope.get("method", "GET"),
                client=stream.client,
                status=response.status if response is not None else 0,
                size=0 if bodiless else stream.sent,
                time_taken=self.clock() - stream.started_at,
                http_version=scope.get("http_version", "1.1"),
                scheme=scope.get("scheme", "http"),
                request_headers=scope.get("headers", []),
                response_headers=response.headers if response is not None else [],
            )

    def log_response(self, *, target: str, client: Any, **details: Any) -> None:
        """One line in the access log for a response, also for one that the server gave by itself."""
        self._log("http", "complete", {"path": target, "client": _address(client), **details})

    def log_refusal(self, refusal: RequestRefused, facts: ConnectionFacts) -> None:
        """Note a request that the server refused by itself: in the access log, and which limit fired."""
        if refusal.limit:
            self.limit_fired(refusal.limit, facts.client)
        else:
            logger.debug(
                "Refused a request from %s with %s: %s", facts.client, refusal.status, refusal.reason
            )
        self.log_response(
            target="-",
            method="-",
            client=facts.client,
            status=refusal.status,
            size=0,
            time_taken=0.0,
            http_version="-",
            scheme="https" if facts.secure else "http",
            request_headers=[],
            response_headers=[],
        )

    def limit_fired(self, limit: str, peer: Any, level: int = logging.WARNING) -> None:
        """Say in the log which limit fired for whom, once a second at most, so that nobody fills the log."""
        now = self.loop.time()
        at, unsaid = self._limits_fired.get((limit, level), (-1.0, 0))
        if now - at < 1.0:
            self._limits_fired[limit, level] = (at, unsaid + 1)
            return
        self._limits_fired[limit, level] = (now, 0)
        more = f" ({unsaid} more since the last such line)" if unsaid else ""
        logger.log(level, "Limit --%s reached by %s%s", limit.replace("_", "-"), peer, more)

    def closed_idle(self, used: bool, peer: Any) -> None:
        """Note a connection that is closed since it has been idle: daily business once it has been `used`;
        if it has not, no surprise either (browsers connect in advance), unlike a request that does not end.
        """
        if used:
            self.limit_fired("keep_alive_timeout", peer, logging.DEBUG)
        elif not self.draining:
            self.limit_fired("request_head_timeout", peer, logging.INFO)

    def websocket_event(self, action: str, stream: WebSocketStream) -> None:
        """Note what became of a WebSocket: "connecting", "connected", "rejected" or "disconnected"."""
        if self.action_logger is not None:
            scope = stream.scope
            details = {
                "path": scope.get("raw_path", b"-").decode("latin-1"),
                "client": _address(stream.client),
                "http_version": scope.get("http_version", "1.1"),
                "request_headers": scope.get("headers", []),
            }
            self._log("websocket", action, details)
        if action == "disconnected":
            self.left(stream)

    def _log(self, protocol: str, action: str, details: dict[str, Any]) -> None:
        if self.action_logger is None:
            return
        try:
            self.action_logger(protocol, action, details)
        except Exception:
            # A log that fails must not take the connection with it.
            logger.exception("The access log failed")


def _addresses(transport: Any) -> tuple[tuple[str, int] | None, tuple[str, int | None]]:
    """The client's and our own end of `transport`, as they stand in a scope."""
    names = getattr(transport, "socketNames", None)
    if names is not None:
        client, server = names()
        if type(client) is type(server) is tuple and len(client) == len(server) == 2:
            return client, server  # IPv4: nearly every connection, and there is nothing to convert
    peer, host = transport.getPeer(), transport.getHost()
    return (
        None if isinstance(peer, UNIXAddress) else (peer.host, peer.port),
        (_unix_path(host), None) if isinstance(host, UNIXAddress) else (host.host, host.port),
    )


def _address(client: Any) -> str | None:
    """The client of a scope, which is a list in those of daphne 4, as text."""
    return f"{client[0]}:{client[1]}" if client is not None else None


def _unix_path(address: UNIXAddress) -> str:
    name: Any = address.name
    return name.decode("utf-8", "surrogateescape") if isinstance(name, bytes) else (name or "")


classImplements(Site, IProtocolFactory, IProtocolNegotiationFactory)
