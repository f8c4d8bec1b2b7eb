"""What the deploy test runs: a channel layer named by the environment, and an application that echoes."""

from __future__ import annotations

import asyncio
import os
import random

_kind, _, _place = os.environ.get("DEPLOY_LAYER", "memory:").partition(":")
if _kind == "local":
    from daphne.layers.local import ChannelLayer

    channel_layer = ChannelLayer(_place)
elif _kind in ("redis", "encrypted"):
    from daphne.layers.redis import ChannelLayer as RedisChannelLayer

    channel_layer = RedisChannelLayer(
        hosts=_place.split(","), symmetric_encryption_keys=["a key"] if _kind == "encrypted" else None
    )


async def application(scope, receive, send):
    """HTTP: the process id, now and then after a while. WebSocket: each text back."""
    if scope["type"] == "http":
        await asyncio.sleep(random.choice((0, 0, 0.02)))
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": str(os.getpid()).encode()})
    elif scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        while (event := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": event["text"]})
    else:
        raise NotImplementedError(scope["type"])
