"""A response that streams, and an upload that is counted while it streams in.

Called by `routes`; calls nothing but the server's `receive` and `send`.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
import time

from daphne.demo.asgi import Receive, Scope, Send, query, respond, respond_json

MOST_TICKS = 10_000
LONGEST_INTERVAL = 5.0


async def stream_ticks(scope: Scope, receive: Receive, send: Send) -> None:
    """Send `count` lines (1 to 10 000), one each `interval` seconds (0 to 5), until the client has enough.

    Each line is a JSON object: the number of the tick and the seconds since the first. `await send()` waits
    while the client does not read, so a slow reader slows the ticks and nothing piles up.
    """
    try:
        count, interval = _ticks_asked(scope)
    except ValueError:
        await respond(scope, send, 400, "text/plain", b"count is 1 to 10000, interval 0 to 5 seconds.\n")
        return
    headers = [
        (b"content-type", b"application/x-ndjson"),
        (b"cache-control", b"no-store"),
        (b"x-accel-buffering", b"no"),  # nginx would collect the ticks otherwise
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    if scope["method"] == "HEAD":
        await send({"type": "http.response.body"})
        return
    client_left = asyncio.create_task(_until_disconnect(receive))
    try:
        await _send_ticks(send, count, interval, client_left)
    except OSError:
        pass  # what send() raises once the client has gone: there is nobody left to tick for
    finally:
        client_left.cancel()


async def count_upload(scope: Scope, receive: Receive, send: Send) -> None:
    """Count and hash the body as it arrives, piece by piece; keep nothing; answer with the sums as JSON."""
    started = time.monotonic()
    digest, size, pieces, more = hashlib.sha256(), 0, 0, True
    while more:
        event = await receive()
        if event["type"] == "http.disconnect":
            return
        body = event.get("body", b"")
        more = event.get("more_body", False)
        if body:
            digest.update(body)
            size += len(body)
            pieces += 1
    seconds = round(time.monotonic() - started, 4)
    answer = {"bytes": size, "pieces": pieces, "seconds": seconds, "sha256": digest.hexdigest()}
    await respond_json(scope, send, 200, answer)


def _ticks_asked(scope: Scope) -> tuple[int, float]:
    fields = query(scope)
    count, interval = int(fields.get("count", "20")), float(fields.get("interval", "0.25"))
    if not 1 <= count <= MOST_TICKS or not math.isfinite(interval) or not 0 <= interval <= LONGEST_INTERVAL:
        raise ValueError("out of bounds")
    return count, interval


async def _send_ticks(send: Send, count: int, interval: float, client_left: asyncio.Task[None]) -> None:
    started = time.monotonic()
    for number in range(1, count + 1):
        if number > 1:
            await asyncio.wait({client_left}, timeout=interval)
        if client_left.done():
            return
        tick = {"tick": number, "of": count, "seconds": round(time.monotonic() - started, 3)}
        line = json.dumps(tick).encode("ascii") + b"\n"
        await send({"type": "http.response.body", "body": line, "more_body": number < count})


async def _until_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
