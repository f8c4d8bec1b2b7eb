"""The ASGI scope: one function for HTTP and WebSocket, over every protocol.

Called by protocols/ for each request with the validated head and what is known of the connection.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote_to_bytes

from daphne.settings import Settings
from daphne.streams.forwarded import ForwardedNames, TrustedProxies, forwarded
from daphne.streams.head import RequestHead

Scope = dict[str, Any]

SPEC_VERSION = "2.5"
"""The version of the ASGI HTTP and WebSocket message formats that the streams speak."""

_HTTP_EXTENSIONS: dict[str, dict[str, Any]] = {
    "http.response.trailers": {},
    "http.response.early_hint": {},
    "http.response.pathsend": {},
}
_WEBSOCKET_EXTENSIONS: dict[str, dict[str, Any]] = {"websocket.http.response": {}}
_PLAIN = {"ws": "http", "wss": "https", "http": "http", "https": "https"}


class ConnectionFacts:
    """What holds for every request of one connection."""

    __slots__ = ("client", "secure", "server", "tls", "trusted")

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


class ScopeBuilder:
    """Makes scopes after the settings that bear on them. One per server."""

    def __init__(self, settings: Settings) -> None:
        self.trusted_proxies = TrustedProxies(settings.trusted_proxies)
        self.names: ForwardedNames | None = None
        if settings.proxy_headers:
            self.names = ForwardedNames(
                settings.proxy_headers_host, settings.proxy_headers_port, settings.proxy_headers_proto
            )
        self._root_path = settings.root_path
        self._complete = settings.scope_extensions
        self.state: dict[str, Any] | None = None
        """What the application put into lifespan's `state`; each scope gets a shallow copy (ASGI lifespan,
        "state")."""

    def build(self, kind: str, head: RequestHead, connection: ConnectionFacts) -> Scope:
        """The scope of `head`: `kind` is "http" or "websocket" (ASGI HTTP & WebSocket specification 2.5)."""
        client, scheme = connection.client, None
        root_path = self._root_path
        if connection.trusted:
            if self.names is not None:
                forwarded_client, scheme = forwarded(head.headers, self.names, self.trusted_proxies)
                client = forwarded_client or client
            if head.root_path is not None:
                root_path = unquote_to_bytes(head.root_path).decode("utf-8", "replace")
        scheme = _PLAIN[scheme] if scheme else ("https" if connection.secure else "http")
        raw_path = head.raw_path
        scope: Scope = {
            "type": kind,
            "asgi": {"version": "3.0", "spec_version": SPEC_VERSION},
            "http_version": head.http_version,
            "scheme": scheme,
            "path": (
                unquote_to_bytes(raw_path).decode("utf-8", "replace")
                if b"%" in raw_path
                else raw_path.decode("ascii")
            ),
            "raw_path": raw_path,
            "query_string": head.query_string,
            "root_path": root_path,
            "headers": head.headers,
            "client": client,
            "server": connection.server,
        }
        if kind == "http":
            scope["method"] = head.method
            extensions = _HTTP_EXTENSIONS
        else:
            scope["scheme"] = "wss" if scheme == "https" else "ws"
            scope["subprotocols"] = subprotocols(head)
            extensions = _WEBSOCKET_EXTENSIONS
        if self._complete:
            scope["extensions"] = dict(extensions)
            if connection.tls is not None:
                scope["extensions"]["tls"] = connection.tls
            if self.state is not None:
                scope["state"] = self.state.copy()
        else:
            _reduce_to_4x(scope)
        return scope


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
    if scope["type"] == "websocket":
        del scope["http_version"], scope["scheme"]
