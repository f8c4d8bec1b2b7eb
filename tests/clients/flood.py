"""An application that sends more than anybody reads, or reads nothing until it is told to.

Served by the processes that `test_unread` starts.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

PIECE = bytes(65536)

moved = 0
"""Bytes that the application has sent or received since the last exchange began."""
go = asyncio.Event()


async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """`/down/PIECES` sends; `/up` receives after `/go`; `/moved` tells how far that is."""
    if scope["type"] == "lifespan":
        raise NotImplementedError("no lifespan")
    way, _, count = scope["path"].lstrip("/").partition("/")
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
    await globals()[f"_{way}"](scope, receive, send, int(count or 0))


async def _down(scope: dict[str, Any], receive: Any, send: Any, pieces: int) -> None:
    global moved
    moved = 0
    is_http = scope["type"] == "http"
    if is_http:
        length = str(pieces * len(PIECE)).encode()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", length)]})
    for number in range(pieces):
        if is_http:
            await send({"type": "http.response.body", "body": PIECE, "more_body": number < pieces - 1})
        else:
            await send({"type": "websocket.send", "bytes": PIECE})
        moved += len(PIECE)


async def _up(scope: dict[str, Any], receive: Any, send: Any, _: int) -> None:
    global moved
    moved = 0
    await go.wait()
    event = await receive()
    while event["type"] not in ("websocket.disconnect", "http.disconnect"):
        moved += len(event.get("body") or event.get("bytes") or b"")
        if event["type"] == "http.request" and not event.get("more_body"):
            await _answer(send, moved)
            return
        if event.get("text") == "done":
            await send({"type": "websocket.send", "text": str(moved)})
        event = await receive()


async def _go(scope: dict[str, Any], receive: Any, send: Any, wanted: int) -> None:
    (go.set if wanted else go.clear)()
    await _answer(send, wanted)


async def _moved(scope: dict[str, Any], receive: Any, send: Any, _: int) -> None:
    await _answer(send, moved)


async def _answer(send: Any, value: int) -> None:
    body = json.dumps(value).encode()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})
