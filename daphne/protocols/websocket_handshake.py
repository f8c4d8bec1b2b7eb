"""The opening of a WebSocket: the answer to the client's key, what is compressed, and Autobahn's factory.

Called by site (which has one factory), and by http1 and http2 when the application accepts; makes the
AutobahnConnection that takes over.
"""

from __future__ import annotations

import binascii
import hashlib
from typing import TYPE_CHECKING, Any

from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from autobahn.websocket.compress import (
    PERMESSAGE_COMPRESSION_EXTENSION,
    PerMessageDeflateOffer,
    PerMessageDeflateOfferAccept,
)

from daphne.protocols.websocket_autobahn import AutobahnConnection
from daphne.streams.websocket import WebSocketStream

if TYPE_CHECKING:
    from daphne.protocols.site import Site

_MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def handshake_accept(key: bytes) -> bytes:
    """The value of Sec-WebSocket-Accept for the client's key (RFC 6455 section 4.2.2, point 5.4)."""
    return binascii.b2a_base64(hashlib.sha1(key + _MAGIC).digest(), newline=False)


class WebSocketFactory(WebSocketServerFactory):  # type: ignore[misc]
    """Autobahn's factory: the options that its protocols read. One per site."""

    def __init__(self, site: Site) -> None:
        # The reactor is only asked for so that Autobahn does not import the global one.
        super().__init__(server=site.settings.server_name, reactor=site.loop)
        settings = site.settings
        self.site = site
        self.setProtocolOptions(
            versions=[13],
            failByDrop=True,
            utf8validateIncoming=True,
            maxFramePayloadSize=settings.websocket_max_frame_size,
            maxMessagePayloadSize=settings.websocket_max_message_size,
            openHandshakeTimeout=0,
            closeHandshakeTimeout=0,
        )
        # The protocol's options and its start values, once for all connections instead of in each.
        attributes = {name: getattr(self, name) for name in WebSocketServerProtocol.CONFIG_ATTRS}
        del attributes["perMessageCompressionAccept"]  # `_negotiate` accepts
        self.connection_class: type[AutobahnConnection] = type(
            "WebSocketConnection",
            (AutobahnConnection,),
            {"__slots__": (), "factory": self, **attributes},
        )


def _accept_deflate(offers: list[Any]) -> Any:
    """Accept the first permessage-deflate offer, without context takeover (RFC 7692 section 7.1.1)."""
    for offer in offers:
        if isinstance(offer, PerMessageDeflateOffer):
            return PerMessageDeflateOfferAccept(
                offer,
                request_no_context_takeover=offer.accept_no_context_takeover,
                no_context_takeover=True,
                window_bits=offer.request_max_window_bits or None,
            )
    return None


def open_socket(site: Site, stream: WebSocketStream, extensions: str) -> AutobahnConnection:
    """The framing protocol for an accepted handshake; `extensions` is what the client offered.

    The caller writes `handshake_fields` in its answer and then gives the socket its transport with
    `makeConnection`.
    """
    connection = site.websocket_factory.connection_class(site, stream)
    if extensions and site.settings.ws_per_message_deflate:
        _negotiate(connection, extensions)
    return connection


def _negotiate(connection: AutobahnConnection, extensions: str) -> None:
    """Choose among the offered extensions; a malformed one is passed over (RFC 7692 section 5.1)."""
    offers = []
    for name, parameters in connection._parseExtensionsHeader(extensions):
        known = PERMESSAGE_COMPRESSION_EXTENSION.get(name)
        if known is not None:
            try:
                offers.append(known["Offer"].parse(parameters))
            except Exception:  # Autobahn raises no narrower class for a malformed offer
                continue
    accept = _accept_deflate(offers)
    if accept is not None:
        extension = PERMESSAGE_COMPRESSION_EXTENSION[accept.EXTENSION_NAME]
        connection.compress_with(
            extension["PMCE"].create_from_offer_accept(True, accept), accept.get_extension_string()
        )
