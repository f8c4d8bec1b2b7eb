"""Names of daphne 1.x and 4.x for HTTP: `HTTPFactory` and `WebRequest`, doors over today's protocols.

Imported by old code only; calls daphne.protocols and the bridge. What daphne 1.x's own callers did with a
factory and no reactor (a message is on the layer when `dataReceived` returns, a reply on the wire when
`dispatch_reply` returns) is done here and nowhere else: a private loop is turned by hand.
"""

from __future__ import annotations

import asyncio
import logging
import time
import weakref
from typing import Any
from urllib.parse import unquote, unquote_plus

from daphne.application.running import Runner
from daphne.errors import ChannelFull, MessageTooLarge
from daphne.layers.bridge import Bridge
from daphne.layers.messages import response_events
from daphne.layers.messages_websocket import websocket_events
from daphne.layers.names import random_name
from daphne.layers.unanswered import QUIET_TIME
from daphne.protocols.site import ActionLogger, Site
from daphne.settings import Settings
from daphne.streams.forwarded import ForwardedNames
from daphne.streams.pages import error_page
from daphne.ws_protocol import WebSocketFactory, WebSocketProtocol

logger = logging.getLogger(__name__)

_TURNS = 30
"""Turns of the loop after which everything that waits for nothing outside has been done."""


class HTTPFactory:
    """The factory of a port: over a channel layer (daphne 1.x), or that of a running `Server` (daphne 4).

    `send_channel` is the prefix of the reply channels' names, which ends in `!`; over a layer it is needed
    (AssertionError). The three `proxy_forwarded_..._header` may be set at any time.
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
        self.server = channel_layer if _is_server(channel_layer) else None
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
        self.ws_factory = WebSocketFactory(self)
        if self.server is not None:
            return
        if not send_channel:
            raise AssertionError("send_channel is needed: the prefix of the reply channels")
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
            channel_full_timeout=0,
            trusted_proxies=("*",),
        )
        self._turned = _TurnedSite(channel_layer, send_channel, settings, action_logger)

    def acceptableProtocols(self) -> list[bytes]:
        """What TLS offers by ALPN."""
        return self._site().acceptableProtocols()

    def buildProtocol(self, addr: Any) -> Any:
        """A connection; over a layer, its bytes have had their effect when `dataReceived` returns."""
        if self.server is not None:
            return self._site().buildProtocol(addr)
        return _TurnedProtocol(self, self._site().buildProtocol(None))

    def make_send_channel(self) -> str:
        """A fresh name under `send_channel`."""
        return f"{self.send_channel}{random_name()}"

    @property
    def reply_protocols(self) -> dict[str, WebRequest | WebSocketProtocol]:
        """What waits for replies, by the names of the reply channels."""
        return {name: self._door(name, kind) for name, kind in self._turned.waiting().items()}

    def reply_channels(self) -> list[str]:
        """The names of the reply channels in use."""
        return list(self._turned.waiting())

    def dispatch_reply(self, channel: str, message: dict[str, Any]) -> None:
        """Act on a consumer's reply: it is on the wire when this returns. ValueError for a wrong one."""
        self._turned.reply(channel, message)

    def log_action(self, protocol: str, action: str, details: dict[str, Any]) -> None:
        """Hand an action to the action logger."""
        if self.action_logger is not None:
            self.action_logger(protocol, action, details)

    def check_timeouts(self) -> None:
        """Let every deadline that has passed have its effect."""
        self._turned.turn()

    def _site(self) -> Site:
        if self.server is not None:
            site: Site = self.server.service.site
            return site
        # Old code sets these after construction.
        if self.proxy_forwarded_address_header:
            self._turned.site.scopes.names = ForwardedNames(
                self.proxy_forwarded_address_header,
                self.proxy_forwarded_port_header or "",
                self.proxy_forwarded_proto_header or "",
            )
        return self._turned.site

    def _door(self, channel: str, kind: str) -> WebRequest | WebSocketProtocol:
        if kind == "websocket":
            return WebSocketProtocol(self, channel)
        request = WebRequest(None)
        request.factory, request.reply_channel = self, channel
        return request


def _is_server(target: Any) -> bool:
    from daphne.server import Server

    return isinstance(target, Server)


class _TurnedSite:
    """A site over a layer, on a loop that runs only inside of calls; ended when nobody knows it any more."""

    def __init__(
        self, layer: Any, send_channel: str, settings: Settings, action_logger: ActionLogger | None
    ) -> None:
        self._loop = _HandTurnedLoop()
        self._kinds: dict[str, str] = {}
        self._answered: set[str] = set()
        direct: Any = _DirectLayer(layer, self._kinds)
        self._bridge = Bridge(direct, settings)
        inboxes = self._bridge.replies.inboxes
        inboxes.http_prefix = inboxes.websocket_prefix = send_channel
        runner = Runner(self._bridge, self._loop, settings.application_close_timeout)
        self.site = Site(
            settings, self._loop, start=runner.start, left=runner.client_left, action_logger=action_logger
        )
        # These must not be collected with this object: their tasks have to end in their loop.
        weakref.finalize(self, _end, self._loop, runner, self._bridge)

    def waiting(self) -> dict[str, str]:
        """The reply channels in use, and whether "http" or "websocket" waits there."""
        for channel in [name for name in self._kinds if self._bridge.replies.find(name) is None]:
            del self._kinds[channel]
            self._answered.discard(channel)
        return dict(self._kinds)

    def reply(self, channel: str, message: dict[str, Any]) -> None:
        """Give a reply to what waits for it; ValueError for what cannot be one."""
        kind = self.waiting().get(channel)
        inbox = self._bridge.replies.find(channel)
        if kind is None or inbox is None:
            logger.debug("Message on unknown channel %r - discarding", channel)
            return
        answered = channel in self._answered
        if kind == "http":
            response_events(message, answered)
        else:
            websocket_events(message, connecting=not answered)
        self._answered.add(channel)
        inbox.put(message)
        self.turn()

    def turn(self) -> None:
        """Turn the loop until nothing is left to do at once."""
        _turn(self._loop)

    def client_left(self) -> None:
        """Let the bridge look for clients that have left, as it does for requests that waited a while."""
        self._loop.ahead += 2 * QUIET_TIME
        self.turn()


class _HandTurnedLoop(asyncio.SelectorEventLoop):
    """A loop whose time can be put forward."""

    ahead = 0.0

    def time(self) -> float:
        return super().time() + self.ahead


def _turn(loop: asyncio.AbstractEventLoop) -> None:
    left = _TURNS

    def step() -> None:
        nonlocal left
        left -= 1
        if left:
            loop.call_soon(step)
        else:
            loop.stop()

    loop.call_soon(step)
    # The caller may itself run in a loop, and asyncio allows one at a time in a thread.
    outer = asyncio._get_running_loop()
    asyncio._set_running_loop(None)
    try:
        loop.run_forever()
    finally:
        asyncio._set_running_loop(outer)


def _end(loop: asyncio.AbstractEventLoop, *owners: object) -> None:
    for task in asyncio.all_tasks(loop):
        task.cancel()
    _turn(loop)
    loop.close()


class _TurnedProtocol:
    """A connection of the factory; turns the factory's loop after everything that happens to it."""

    def __init__(self, factory: HTTPFactory, connection: Any) -> None:
        self.factory = factory
        self._connection = connection

    def makeConnection(self, transport: Any) -> None:
        """Begin on `transport`."""
        self._then_turn(self._connection.makeConnection, transport)

    def dataReceived(self, data: bytes) -> None:
        """Take bytes; their message is on the layer when this returns."""
        self._then_turn(self._connection.dataReceived, data)

    def connectionLost(self, reason: Any) -> None:
        """The transport is gone."""
        self._then_turn(self._connection.connectionLost, reason)
        self.factory._turned.client_left()

    def _then_turn(self, do: Any, argument: Any) -> None:
        self.factory._site()
        do(argument)
        self.factory.check_timeouts()


class _DirectLayer:
    """A classic channel layer as the bridge wants one: called at once, on this thread. `kinds` notes which
    reply channels are whose; the replies themselves come another way."""

    client_prefix = ""

    def __init__(self, layer: Any, kinds: dict[str, str]) -> None:
        self._layer = layer
        self._kinds = kinds
        self.extensions = getattr(layer, "extensions", ())
        self.expiry = getattr(layer, "expiry", 60)
        self.group_expiry = getattr(layer, "group_expiry", 86400)
        self.ChannelFull = getattr(layer, "ChannelFull", ChannelFull)
        self.MessageTooLarge = getattr(layer, "MessageTooLarge", MessageTooLarge)

    def new_channel(self, pattern: str) -> str:
        """A name from the layer."""
        return str(self._layer.new_channel(pattern))

    async def send_async(self, channel: str, message: dict[str, Any]) -> None:
        """Send as the layer does, without the key that daphne 1.x did not know."""
        if channel in ("http.request", "websocket.connect"):
            self._kinds[message["reply_channel"]] = channel.split(".")[0]
        self._layer.send(channel, {key: value for key, value in message.items() if key != "daphne"})

    async def receive_batch(self, channels: Any) -> list[Any]:
        """Wait for ever: `dispatch_reply` brings the replies."""
        await asyncio.get_running_loop().create_future()
        return []

    async def close_async(self) -> None:
        """Nothing to close."""


class WebRequest:
    """A request that waits for its response, as `HTTPFactory.reply_protocols` gives it."""

    error_template = error_page(500).decode("ascii")

    def __init__(self, channel: Any, queued: Any = None) -> None:
        self.channel = channel
        self.factory: Any = getattr(channel, "factory", None)
        self.server = getattr(self.factory, "server", None)
        self.reply_channel: str | None = None
        self.client_addr = None
        self.server_addr = None
        self.request_start = time.time()

    def serverResponse(self, message: dict[str, Any]) -> None:
        """Write a response, or a part of it; ValueError for a wrong message."""
        self.factory.dispatch_reply(self.reply_channel, message)

    def basic_error(self, status: int, status_text: bytes, body: str) -> None:
        """Answer with an error page of `body`, a sentence."""
        headers = [(b"Content-Type", b"text/html; charset=utf-8")]
        self.serverResponse({"status": status, "headers": headers, "content": error_page(status, body)})

    def duration(self) -> float:
        """Seconds since the request was asked for here."""
        return time.time() - self.request_start

    @classmethod
    def unquote(cls, value: bytes, plus_as_space: bool = False) -> str:
        """Percent-decode `value` as UTF-8."""
        text = value.decode("ascii")
        return unquote_plus(text) if plus_as_space else unquote(text)
