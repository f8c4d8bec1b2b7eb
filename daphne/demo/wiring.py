"""The channel layer of the demonstration, which carries both its requests and its chat.

Called by `daphne.demo` (the target of the server) and by `room`; calls `daphne.layers`.

The environment variable DEMO_CHANNEL_LAYER chooses another layer than the one in this process's memory, so
that servers and workers can be several processes, on one machine or on many.
"""

from __future__ import annotations

import os

from daphne.errors import ConfigurationError
from daphne.layers.interface import AsyncLayer

VARIABLE = "DEMO_CHANNEL_LAYER"


def open_layer(name: str) -> AsyncLayer:
    """The layer called `memory`, `local`, `local:PATH` (of its socket), or by the URL of a Redis server.

    Nothing is connected yet. Raises ConfigurationError.
    """
    kind, _, place = name.partition(":")
    if kind == "memory":
        from daphne.layers import memory

        return memory.ChannelLayer()
    if kind == "local":
        from daphne.layers import local

        return local.ChannelLayer(path=place or None)
    if kind in ("redis", "rediss", "unix"):
        from daphne.layers import redis

        return redis.ChannelLayer(hosts=[name])
    raise ConfigurationError(
        f"{VARIABLE} is {name!r}, which is neither memory, local[:PATH] nor the URL of a Redis"
    )


channel_layer = open_layer(os.environ.get(VARIABLE, "memory"))
