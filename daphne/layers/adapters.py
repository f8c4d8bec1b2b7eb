"""`adapt`: any object that is a channel layer by its shape, as an `interface.AsyncLayer`.

Called by the server, the bridge's owner and the worker; calls `classic` and `coroutines`, one for each
family of foreign layers. Nothing foreign is imported: the shape decides.
"""

from __future__ import annotations

import inspect
from typing import Any

from daphne.errors import ConfigurationError
from daphne.layers.classic import BlockingLayer, TwistedLayer
from daphne.layers.coroutines import CoroutineLayer
from daphne.layers.interface import AsyncLayer


def adapt(layer: Any, force_sync: bool = False, socket: str | None = None) -> AsyncLayer:
    """`layer` itself if it has the interface already, else an adapter for the one loop that uses it.

    The shapes: coroutine functions `send` and `receive(channel)` (Channels 2 to 4); `send`,
    `receive(channels, block=False)` and, unless `force_sync`, `receive_twisted(channels)` when `extensions`
    lists `twisted` (the classic specification). ConfigurationError for anything else, and for
    publish-subscribe layers, which hand every request to every worker. `socket` is a path for a local layer's
    socket, in place of its own; ConfigurationError for other layers.
    """
    kind = f"{type(layer).__module__}.{type(layer).__qualname__}"
    if any("pubsub" in base.__module__ for base in type(layer).__mro__):
        raise ConfigurationError(
            f"{kind} hands every message to every receiver, so that each worker would answer each request: "
            "use channels_redis.core.RedisChannelLayer or daphne.layers.redis.ChannelLayer"
        )
    if socket is not None:
        if not hasattr(layer, "use_socket"):
            raise ConfigurationError("--channel-layer-socket is for daphne.layers.local only")
        layer.use_socket(socket)
    if all(
        inspect.iscoroutinefunction(getattr(layer, name, None)) for name in ("send_async", "receive_batch")
    ):
        adapted: AsyncLayer = layer
        return adapted
    send, receive = getattr(layer, "send", None), getattr(layer, "receive", None)
    if not (callable(send) and callable(receive)):
        raise ConfigurationError(f"{kind} is not a channel layer: it lacks send or receive")
    if inspect.iscoroutinefunction(send) and inspect.iscoroutinefunction(receive):
        return CoroutineLayer(layer)
    if not force_sync and "twisted" in layer.extensions and callable(getattr(layer, "receive_twisted", None)):
        return TwistedLayer(layer)
    return BlockingLayer(layer)
