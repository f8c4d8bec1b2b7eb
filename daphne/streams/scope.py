"""The ASGI scope: one function for HTTP and WebSocket, over every protocol.

Called by protocols/ for each request with the validated head and what is known of the connection.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote_to_bytes

from daphne.settings import Settings
from daphne.streams.forwarded import ForwardedNames, TrustedProxies, forwarded
from daphne.streams.head import PERCENT, RequestHead

Scope = dict[str, Any]

SPEC_VERSION = "2.5"
"""The version of the ASGI HTTP and WebSocket message formats that the streams speak."""

_HTTP_EXTENSIONS: dict[str, dict[str, Any]] = {
    "http.response.trailers": {},
    "http.response.early_hint": {},
    "http.response.pathsend": {},
}
_WEBSOCKET_EXTENSIONS: dict[str, dict[str, Any]] = {"websocket.http.response": {}}
_KEYS = (
    *("type", "asgi", "http_version", "method", "scheme", "path", "raw_path", "query_string", "root_path"),
    *("headers", "client", "server", "extensions"),
)
_PLAIN = {"ws": "http", "wss": "https", "http": "http", "https": "https"}


class ConnectionFacts:
    """What holds for every request of one connection."""

    __slots__ = ("client", "scope", "secure", "server", "tls", "trusted")

    def __init__(
        self,
        client: tuple[str, int] | None,
        server: tuple[str, int | None] | None,
        secure: bool,
        trusted: bool,
        tls: dict[str, Any] | None = None,
    ) -> None:
        self.client = client
        """The peer's (IP address, port); None on a unix socket."""
        self.server = server
        """Our own (address, port), or (path, None) on a unix socket."""
        self.secure = secure
        self.trusted = trusted
        """Whether the peer's forwarded headers and Daphne-Root-Path count."""
        self.tls = tls
        """The content of the ASGI `tls` extension, or None in clear text."""
        self.scope: Scope | None = None
        """What ScopeBuilder has prepared for this connection."""


class ScopeBuilder:
    """Makes scopes after the settings that bear on them. One per server."""

    def __init__(self, settings: Settings) -> None:
        self.trusted_proxies = TrustedProxies(settings.trusted_proxies)
        self.names: ForwardedNames | None = None
        if settings.proxy_headers:
            self.names = ForwardedNames(
                settings.proxy_headers_host, settings.proxy_headers_port, settings.proxy_headers_proto
            )
        self._empty: Scope = dict.fromkeys(_KEYS)
        self._empty["type"] = self._empty["scheme"] = "http"
        self._empty["root_path"] = settings.root_path
        self._complete = settings.scope_extensions
        self.state: dict[str, Any] | None = None
        """What the application put into lifespan's `state`; each scope gets a shallow copy (ASGI lifespan,
        "state")."""

    def build(self, kind: str, head: RequestHead, connection: ConnectionFacts) -> Scope:
        """The scope of `head`; `kind` is "http" or "websocket" (ASGI HTTP & WebSocket specification 2.5)."""
        if connection.scope is None:
            connection.scope = self._base(connection)
        raw_path = head.raw_path
        scope = connection.scope.copy()
        scope["asgi"] = {"version": "3.0", "spec_version": SPEC_VERSION}
        scope["http_version"] = head.http_version
        scope["method"] = head.method
        scope["path"] = (
            unquote_to_bytes(raw_path).decode("utf-8", "replace")
            if PERCENT in raw_path
            else raw_path.decode("ascii")
        )
        scope["raw_path"] = raw_path
        scope["query_string"] = head.query_string
        scope["headers"] = head.headers
        scope["extensions"] = _HTTP_EXTENSIONS.copy()
        if connection.trusted and (head.root_path is not None or self.names is not None):
            self._believe(scope, head)
        if kind == "websocket":
            _turn_into_websocket(scope, head)
        if not self._complete:
            _reduce_to_4x(scope)
            return scope
        if connection.tls is not None:
            scope["extensions"]["tls"] = connection.tls
        if self.state is not None:
            scope["state"] = self.state.copy()
        return scope

    def _base(self, connection: ConnectionFacts) -> Scope:
        """A scope of the connection with room for what differs from request to request."""
        base = self._empty.copy()
        if connection.secure:
            base["scheme"] = "https"
        base["client"] = connection.client
        base["server"] = connection.server
        return base

    def _believe(self, scope: Scope, head: RequestHead) -> None:
        """Let what a trusted peer says about client, scheme and root path stand in place of our own view."""
        if self.names is not None:
            client, scheme = forwarded(head.headers, self.names, self.trusted_proxies)
            if client is not None:
                scope["client"] = client
            if scheme is not None:
                scope["scheme"] = _PLAIN[scheme]
        if head.root_path is not None:
            scope["root_path"] = unquote_to_bytes(head.root_path).decode("utf-8", "replace")


def _turn_into_websocket(scope: Scope, head: RequestHead) -> None:
    del scope["method"]
    scope["type"] = "websocket"
    scope["scheme"] = "wss" if scope["scheme"] == "https" else "ws"
    scope["subprotocols"] = subprotocols(head)
    scope["extensions"] = _WEBSOCKET_EXTENSIONS.copy()


def subprotocols(head: RequestHead) -> list[str]:
    """The subprotocols that the client offers, in its order (RFC 6455 section 11.3.4)."""
    offered = [value for name, value in head.headers if name == b"sec-websocket-protocol"]
    return [
        item.strip(" \t")
        for value in offered
        for item in value.decode("latin-1").split(",")
        if item.strip(" \t")
    ]


def _reduce_to_4x(scope: Scope) -> None:
    """Leave the keys that daphne 4 gave, for test suites that compare scopes whole."""
    for key in ("client", "server"):
        scope[key] = list(scope[key]) if scope[key] and scope[key][1] is not None else None
    scope["asgi"] = {"version": "3.0"}
    del scope["extensions"]
    if scope["type"] == "websocket":
        del scope["http_version"]  # the scheme, which it did not give, disturbs nobody
