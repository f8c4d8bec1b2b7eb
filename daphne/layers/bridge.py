"""The bridge: an ASGI 3 application that reaches the real application through a channel layer.

Made by the server when its target is a channel layer, and then called like any application, once per stream;
calls `bridge_http` and `bridge_websocket`, which do the work. Its lifespan starts and stops the reply reader.

    bridge = Bridge(adapt(layer), settings)
    await bridge(scope, receive, send)
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from daphne.layers.bridge_exchange import Desk, Host, Rest
from daphne.layers.bridge_http import HTTPRequest
from daphne.layers.bridge_websocket import serve_websocket
from daphne.layers.interface import AsyncLayer, NearLayer
from daphne.layers.messages import Event, Scope
from daphne.layers.replies import Replies
from daphne.layers.sending import LineSender
from daphne.layers.workers import Workers
from daphne.settings import Settings
from daphne.streams.http import HTTPStream

Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]

DEFAULT_HTTP_TIMEOUT = 120.0
"""Seconds for a response when `--http-timeout` is not given: workers may be away, and clients must not
hang."""


class Bridge:
    """What all streams of one process share: the layer, the replies, the workers that are known."""

    def __init__(self, layer: AsyncLayer, settings: Settings) -> None:
        self.layer = layer
        self.settings = settings
        self.http_timeout = (
            DEFAULT_HTTP_TIMEOUT if settings.http_timeout is None else float(settings.http_timeout)
        )
        self.same_files = isinstance(layer, NearLayer) and layer.same_files
        """Whether a worker may name a file for the body of a response."""
        self.sender = LineSender(layer)
        self.replies = Replies(layer, self._worker_said)
        self.workers = Workers(layer, self.sender, float(settings.worker_timeout), self.replies.find)
        inboxes, offers = self.replies.inboxes, self.workers.offers
        self.begin = self._begin if self.sender.prompt.give is not None else None
        """See application/running. Not over a layer that has to be waited for in any case."""
        self.desk = Desk(inboxes, self.sender.prompt, offers, settings.body_chunk_size, self.same_files)

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """ASGI 3. Raises nothing but what `receive` and `send` raise, and ValueError for another kind of
        scope."""
        kind = scope["type"]
        if kind == "http":
            return HTTPRequest(self, self.desk, scope, receive, send).serve()
        if kind == "websocket":
            return serve_websocket(self, scope, receive, send)
        if kind == "lifespan":
            return self._lifespan(receive, send)
        raise ValueError(f"a channel layer has no messages for {kind!r}")

    def _begin(self, stream: HTTPStream, host: Host) -> Rest | None:
        """Serve the request of `stream` as if called with its scope, but without a task for as long as none
        is needed: None then. Else what is to be run in one."""
        request = HTTPRequest(self, self.desk, stream.scope, stream.receive, stream.send)
        event = request.serve_at_once(stream, host)
        return None if request.dispatched else partial(request.serve, event)

    async def start(self) -> None:
        """Begin to read replies."""
        self.replies.start()

    async def stop(self) -> None:
        """End what `start` began."""
        self.desk.unanswered.close()
        await self.workers.stop()
        await self.replies.stop()

    def _worker_said(self, channel: str, message: Event) -> None:
        self.workers.said(channel, dict(message))

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        await self.start()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self.stop()
        await send({"type": "lifespan.shutdown.complete"})
