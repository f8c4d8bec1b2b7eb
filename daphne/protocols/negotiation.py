"""The one resource that HTTP and WebSocket share: which protocol a connection speaks, and which stream a
request opens.

Called by http1 and http2 with each validated request head; makes the HTTPStream or WebSocketStream and has
the site run the application on it. The WebSocket handshake is judged here on the parsed head, for every wire.
"""

from __future__ import annotations

import binascii
import functools
import logging
from typing import TYPE_CHECKING

from daphne.errors import RequestRefused
from daphne.streams.deadlines import Deadline
from daphne.streams.head import RequestHead
from daphne.streams.http import HTTPStream
from daphne.streams.scope import ConnectionFacts
from daphne.streams.websocket import WebSocketStream
from daphne.streams.wire import HandshakeWire, Wire

if TYPE_CHECKING:
    from daphne.protocols.site import Site

logger = logging.getLogger("daphne.http_protocol")

HTTP2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""What a client sends first when it speaks HTTP/2 (RFC 9113 section 3.4)."""

WEBSOCKET_VERSION = b"13"


def wants_websocket(head: RequestHead) -> bool:
    """Whether a request asks to become a WebSocket (RFC 6455 section 4.2.1).

    HTTP/1.0 has no upgrade: its field is passed over (RFC 9110 section 7.8).
    """
    return b"websocket" in head.upgrade and head.http_version != "1.0"


def check_upgrade(head: RequestHead) -> bytes:
    """Judge the opening handshake of RFC 6455 section 4.2.1 on an HTTP/1.1 head; returns the client's key.

    Raises RequestRefused: 405 for another method than GET, 426 for another version than 13, 400 for the rest.
    """
    if head.method != "GET":
        raise RequestRefused(405, "a WebSocket handshake that is not GET", ((b"allow", b"GET"),))
    if b"upgrade" not in head.connection:
        raise RequestRefused(400, "Upgrade without the connection option")
    if head.content_length or head.chunked:
        raise RequestRefused(400, "a WebSocket handshake with a body")
    fields = handshake_fields(head)
    check_version(fields)
    key = fields.get(b"sec-websocket-key", b"")
    try:
        if len(binascii.a2b_base64(key, strict_mode=True)) != 16:
            raise RequestRefused(400, "Sec-WebSocket-Key is not 16 bytes")
    except binascii.Error:
        raise RequestRefused(400, "Sec-WebSocket-Key is not base64") from None
    return key


def handshake_fields(head: RequestHead) -> dict[bytes, bytes]:
    """The handshake's fields that may stand only once; raises RequestRefused(400) for a repeated one."""
    fields: dict[bytes, bytes] = {}
    for name, value in head.headers:
        if name in (b"sec-websocket-key", b"sec-websocket-version", b"origin"):
            if name in fields:
                raise RequestRefused(400, f"more than one {name.decode()} field")
            fields[name] = value
    return fields


def check_version(fields: dict[bytes, bytes]) -> None:
    """Raise RequestRefused(426) unless the client asks for version 13 (RFC 6455 section 4.4)."""
    version = fields.get(b"sec-websocket-version")
    if version is None:
        raise RequestRefused(
            400, "no Sec-WebSocket-Version", ((b"sec-websocket-version", WEBSOCKET_VERSION),)
        )
    if version != WEBSOCKET_VERSION:
        raise RequestRefused(
            426,
            "another WebSocket version than 13",
            (
                (b"sec-websocket-version", WEBSOCKET_VERSION),
                (b"upgrade", b"websocket"),
                (b"connection", b"upgrade, close"),
            ),
        )


def check_subprotocols(head: RequestHead) -> None:
    """Raise RequestRefused(400) unless the subprotocols are distinct words (RFC 6455 section 4.1 (10))."""
    offered = [
        item.strip(b" \t")
        for name, value in head.headers
        if name == b"sec-websocket-protocol"
        for item in value.split(b",")
    ]
    if not offered:
        return
    if len(set(offered)) != len(offered) or not all(_is_ascii_word(item) for item in offered):
        raise RequestRefused(400, "malformed Sec-WebSocket-Protocol")


def _is_ascii_word(item: bytes) -> bool:
    return bool(item) and item.isascii() and all(32 < code < 127 for code in item)


def check_scheme(head: RequestHead, facts: ConnectionFacts) -> None:
    """Raise RequestRefused(421) for an https address over a connection that is not secure, unless whoever
    sent it is trusted to have had one (RFC 9110 section 7.4).
    """
    if head.scheme == b"https" and not (facts.secure or facts.trusted):
        raise RequestRefused(421, "https without TLS from nobody that is trusted", limit="trusted_proxies")


def open_http(
    site: Site, wire: Wire, head: RequestHead, facts: ConnectionFacts, body_complete: bool
) -> HTTPStream:
    """The stream of a plain request; the caller starts it with `site.start(stream)`."""
    stream = HTTPStream(
        wire,
        site.scopes.build("http", head, facts),
        site.loop,
        body_complete,
        site.read_buffer_size,
        site.request_buffer_size,
    )
    if site.action_logger is not None:
        stream.started_at = site.clock()
    if site.http_timeout:
        stream.timer = Deadline(site.schedule, functools.partial(_time_out, site, stream))
        stream.timer.set(site.http_timeout)
    return stream


def _time_out(site: Site, stream: HTTPStream) -> None:
    """The response is not complete within `http_timeout`: 503, or a cut once it has begun."""
    if not stream.complete and not stream.disconnected:
        logger.warning("Application timed out while sending response")
        stream.answer(503, "Application failed to respond within time limit.")
        stream.client_left()
        site.left(stream)


def open_websocket(
    site: Site, wire: HandshakeWire, head: RequestHead, facts: ConnectionFacts
) -> WebSocketStream:
    """The stream of a checked WebSocket handshake; the caller starts it with `site.start(stream)`.

    Raises RequestRefused(400) for malformed subprotocols.
    """
    check_subprotocols(head)
    return WebSocketStream(
        wire,
        site.scopes.build("websocket", head, facts),
        site.loop,
        site.schedule,
        subprotocols=site.settings.ws_protocols,
        window=site.settings.websocket_max_queue,
        connect_timeout=site.connect_timeout,
        log=site.websocket_event,
    )


def offered_extensions(head: RequestHead) -> str:
    """The values of all Sec-WebSocket-Extensions fields, joined (RFC 6455 section 11.3.2)."""
    return ", ".join(
        value.decode("latin-1") for name, value in head.headers if name == b"sec-websocket-extensions"
    )
