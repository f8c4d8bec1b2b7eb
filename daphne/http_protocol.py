"""Names of daphne 1.x and 4.x for HTTP: `HTTPFactory` and `WebRequest`, doors over today's protocols.

Imported by old code only. What daphne 1.x's own callers did with a factory and no reactor (a message is on the layer when `dataReceived`
returns, a reply on the wire when `dispatch_reply` returns) stands here, in `HTTPFactory`, and nowhere else: it turns a private loop by hand.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any
from urllib.parse import unquote, unquote_plus

from daphne.application.running import Runner
from daphne.errors import ChannelFull, MessageTooLarge
from daphne.layers.bridge import Bridge
from daphne.layers.messages import response_events, websocket_events
from daphne.protocols.site import ActionLogger, Site
from daphne.settings import Settings
from daphne.streams.forwarded import ForwardedNames
from daphne.streams.pages import error_page

logger = logging.getLogger(__name__)

_TURNS = 30
"""Turns of the loop after which everything that waits for nothing outside has been done."""


class _DirectLayer:
    """A classic channel layer as the bridge wants one, called at once and on this thread. Replies come another way."""

    client_prefix = ""

    def __init__(self, layer: Any) -> None:
        self._layer = layer
        self.extensions = getattr(layer, "extensions", ())
        self.expiry = getattr(layer, "expiry", 60)
        self.group_expiry = getattr(layer, "group_expiry", 86400)
        self.ChannelFull = getattr(layer, "ChannelFull", ChannelFull)
        self.MessageTooLarge = getattr(layer, "MessageTooLarge", MessageTooLarge)

    def new_channel(self, pattern: str) -> str:
        """A name from the layer."""
        return str(self._layer.new_channel(pattern))

    async def send_async(self, channel: str, message: dict[str, Any]) -> None:
        """Send as the layer does, without the keys that daphne 1.x did not know."""
        self._layer.send(channel, {key: value for key, value in message.items() if key != "daphne"})

    async def receive_batch(self, channels: Any) -> list[Any]:
        """Wait for ever: `dispatch_reply` brings the replies."""
        await asyncio.get_running_loop().create_future()
        return []

    async def close_async(self) -> None:
        """Nothing to close."""


class HTTPFactory:
    """The factory of a port, over a channel layer or (daphne 4) a server.

    `send_channel` is the prefix of the reply channels' names, which ends in `!`.
    """

    def __init__(
        self,
        channel_layer: Any,
        action_logger: ActionLogger | None = None,
        send_channel: str | None = None,
        timeout: float = 120,
        websocket_timeout: float = 86400,
        ping_interval: float = 20,
        ping_timeout: float = 30,
        ws_protocols: Any = None,
        root_path: str = "",
        websocket_connect_timeout: float = 30,
        proxy_forwarded_address_header: str | None = None,
        proxy_forwarded_port_header: str | None = None,
        proxy_forwarded_proto_header: str | None = None,
        websocket_handshake_timeout: float = 5,
    ) -> None:
        if not send_channel:
            raise AssertionError("send_channel is needed: the prefix of the reply channels")
        self.channel_layer = channel_layer
        self.action_logger = action_logger
        self.send_channel = send_channel
        self.timeout = timeout
        self.websocket_timeout = websocket_timeout
        self.websocket_connect_timeout = websocket_connect_timeout
        self.ping_interval = ping_interval
        self.root_path = root_path
        self.proxy_forwarded_address_header = proxy_forwarded_address_header
        self.proxy_forwarded_port_header = proxy_forwarded_port_header
        self.proxy_forwarded_proto_header = proxy_forwarded_proto_header
        settings = Settings(
            http_timeout=timeout,
            websocket_timeout=websocket_timeout,
            websocket_connect_timeout=websocket_connect_timeout,
            websocket_handshake_timeout=websocket_handshake_timeout,
            ping_interval=ping_interval,
            ping_timeout=ping_timeout,
            ws_protocols=tuple(ws_protocols or ()),
            root_path=root_path,
            date_header=False,
            auto_content_length=False,
            strict_host=False,
        )
        self._loop = asyncio.SelectorEventLoop()
        self._bridge = Bridge(_DirectLayer(channel_layer), settings)
        self._bridge.replies.http_prefix = self._bridge.replies.websocket_prefix = send_channel
        runner = Runner(self._bridge, self._loop, settings.application_close_timeout)
        self._site = Site(
            settings, self._loop, start=runner.start, left=runner.client_left, action_logger=action_logger
        )
        self._answered: set[str] = set()

    def acceptableProtocols(self) -> list[bytes]:
        """What TLS offers by ALPN."""
        return self._site.acceptableProtocols()

    def buildProtocol(self, addr: Any) -> _TurnedProtocol:
        """A connection whose bytes have had their effect when `dataReceived` returns."""
        return _TurnedProtocol(self, self._site.buildProtocol(None))

    def make_send_channel(self) -> str:
        """A fresh name under `send_channel`."""
        from daphne.layers.interface import random_name

        return self.send_channel + random_name()

    @property
    def reply_protocols(self) -> dict[str, Any]:
        """What waits for replies, by the names of the reply channels."""
        return dict(self._bridge.replies._inboxes)

    def reply_channels(self) -> list[str]:
        """The names of the reply channels in use."""
        return list(self.reply_protocols)

    def dispatch_reply(self, channel: str, message: dict[str, Any]) -> None:
        """Act on a consumer's reply: it is on the wire when this returns. Raises ValueError for a wrong message."""
        inbox = self._bridge.replies.find(channel)
        if inbox is None:
            logger.debug("Message on unknown channel %r - discarding", channel)
            return
        if "status" in message or "content" in message or "more_content" in message:
            response_events(message, channel in self._answered)
        else:
            websocket_events(message, connecting=channel not in self._answered)
        self._answered.add(channel)
        inbox.put(message)
        self.turn()

    def log_action(self, protocol: str, action: str, details: dict[str, Any]) -> None:
        """Hand an action to the action logger."""
        if self.action_logger is not None:
            self.action_logger(protocol, action, details)

    def check_timeouts(self) -> None:
        """Let every deadline that has passed have its effect."""
        self.turn()

    def turn(self) -> None:
        """Turn the private loop until nothing is left to do at once."""
        self._read_proxy_headers()
        for _ in range(_TURNS):
            self._loop.call_soon(self._loop.stop)
            self._loop.run_forever()

    def _read_proxy_headers(self) -> None:
        # Old code sets these after construction.
        if self.proxy_forwarded_address_header:
            self._site.scopes.names = ForwardedNames(
                self.proxy_forwarded_address_header,
                self.proxy_forwarded_port_header,
                self.proxy_forwarded_proto_header,
            )


class _TurnedProtocol:
    """A connection of the factory; turns the factory's loop after everything that happens to it."""

    def __init__(self, factory: HTTPFactory, connection: Any) -> None:
        self.factory = factory
        self._connection = connection

    def makeConnection(self, transport: Any) -> None:
        """Begin on `transport`."""
        self._connection.makeConnection(transport)
        self.factory.turn()

    def dataReceived(self, data: bytes) -> None:
        """Take bytes; their message is on the layer when this returns."""
        self.factory._read_proxy_headers()
        self._connection.dataReceived(data)
        self.factory.turn()

    def connectionLost(self, reason: Any) -> None:
        """The transport is gone."""
        self._connection.connectionLost(reason)
        self.factory.turn()


class WebRequest:
    """A request in the time of twisted.web; kept for its helpers."""

    error_template = error_page(500).decode("ascii")

    def __init__(self, channel: Any, queued: Any = None) -> None:
        self.channel = channel
        self.factory = getattr(channel, "factory", None)
        self.server = getattr(self.factory, "server", None)

    @classmethod
    def unquote(cls, value: bytes, plus_as_space: bool = False) -> str:
        """Percent-decode `value` as UTF-8."""
        text = value.decode("ascii")
        return unquote_plus(text) if plus_as_space else unquote(text)
