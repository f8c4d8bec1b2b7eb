"""What the attacked servers serve: an application that fails where it is told to and counts what is held.

Loaded by `python -m daphne` in the processes that tests/hostile starts, by itself or behind `channel_layer`.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import threading
import time
from typing import Any

from daphne.layers.memory import ChannelLayer
from daphne.protocols.site import Site
from daphne.service import Service

channel_layer = ChannelLayer()

HTTP_FAILURES = ("at once", "after the body", "after the start", "within the answer", "after the answer")
WEBSOCKET_FAILURES = ("at once", "after connect", "after accept", "after a message", "after close")
BODY = b"x" * 65536
_found: list[Site | Service] = []


class Broken(Exception):
    """What the application raises; its text must never reach a client."""


async def application(scope: Any, receive: Any, send: Any) -> None:
    """ASGI 3. The path says what to do: `/counts`, `/turn`, `/scope`, `/stream/BYTES`, `/unread`, `/outlive`,
    `/fail/POINT`, `/held/FILE` (until that exists), `/block/SECONDS`, `/hang`; anything else is an echo."""
    if scope["type"] == "lifespan":
        raise NotImplementedError("this application has no lifespan")
    what, _, argument = scope["path"][1:].partition("/")
    serve = _websocket if scope["type"] == "websocket" else _http
    if what == "scope":
        headers = [[name.decode("latin-1"), value.decode("latin-1")] for name, value in scope["headers"]]
        seen = {key: scope.get(key) for key in ("client", "scheme", "root_path", "path")}
        await _answer(send, json.dumps({**seen, "headers": headers}).encode())
        return
    await serve(what, argument, receive, send)


async def _http(what: str, argument: str, receive: Any, send: Any) -> None:
    if what == "counts":
        await _answer(send, json.dumps(counts()).encode())
    elif what == "turn":
        await _answer(send, b"%f" % longest_turn())
    elif what == "unread":
        await asyncio.sleep(1.5)
        await _answer(send, b"not read")
    elif what == "outlive":
        await asyncio.Event().wait()
    elif what == "stream":
        await _stream(send, int(argument))
    elif what == "hang":
        threading.Thread(target=threading.Event().wait, name="hanging").start()
        await _answer(send, b"a thread hangs")
    elif what == "held":
        while not os.path.exists(f"/{argument}"):
            await asyncio.sleep(0.01)
        await _answer(send, b"held")
    elif what == "block":
        time.sleep(float(argument))
        await _answer(send, b"blocked")
    else:
        await _echo(argument.replace("%20", " ") if what == "fail" else "", receive, send)


async def _echo(failure: str, receive: Any, send: Any) -> None:
    _fail_at("at once", failure)
    pieces = []
    while (event := await receive())["type"] == "http.request":
        pieces.append(event["body"])
        if not event["more_body"]:
            break
    body = b"".join(pieces)
    _fail_at("after the body", failure)
    await send({"type": "http.response.start", "status": 200})
    _fail_at("after the start", failure)
    await send({"type": "http.response.body", "body": body[: len(body) // 2], "more_body": True})
    _fail_at("within the answer", failure)
    await send({"type": "http.response.body", "body": body[len(body) // 2 :]})
    _fail_at("after the answer", failure)


async def _answer(send: Any, body: bytes) -> None:
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": body})


async def _stream(send: Any, size: int) -> None:
    await send({"type": "http.response.start", "status": 200})
    while size > 0:
        await send({"type": "http.response.body", "body": BODY[:size], "more_body": True})
        size -= len(BODY)
    await send({"type": "http.response.body"})


async def _websocket(what: str, argument: str, receive: Any, send: Any) -> None:
    failure = argument if what == "fail" else ""
    _fail_at("at once", failure)
    await receive()
    _fail_at("after connect", failure)
    await send({"type": "websocket.accept"})
    _fail_at("after accept", failure)
    if what == "unread":
        await asyncio.sleep(1.5)
        return
    if what == "outlive":
        await asyncio.Event().wait()
    while what == "flood":
        await send({"type": "websocket.send", "bytes": BODY})
    while (event := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": event.get("text"), "bytes": event.get("bytes")})
        _fail_at("after a message", failure)
        if failure == "after close":
            await send({"type": "websocket.close"})
            _fail_at("after close", failure)


def _fail_at(point: str, failure: str) -> None:
    if point == failure:
        raise Broken(f"secret: the application fails {point}")


def counts() -> dict[str, int]:
    """How many of everything the server in this process holds just now."""
    if not _found:
        gc.unfreeze()
        _found.extend(thing for thing in gc.get_objects() if isinstance(thing, Site | Service))
    sites = [thing for thing in _found if isinstance(thing, Site)]
    services = [thing for thing in _found if isinstance(thing, Service)]
    return {
        "connections": sum(len(site.connections) for site in sites),
        "admitted": sum(len(site.admission) for site in sites),
        "streams": sum(len(service.runner.streams) for service in services if service.runner),
        "tasks": len(asyncio.all_tasks()),
        "descriptors": len(os.listdir("/proc/self/fd")),
    }


_TICK = 0.01
_longest: list[float] = []


def longest_turn() -> float:
    """The most CPU seconds between two ticks of the loop's clock since this was last asked: how long others
    have to wait at worst, on a machine that does nothing else. The first call begins to look."""
    if not _longest:
        asyncio.get_running_loop().call_later(_TICK, _tick, time.thread_time())
        _longest.append(0.0)
    found, _longest[0] = _longest[0], 0.0
    return found


def _tick(before: float) -> None:
    now = time.thread_time()
    _longest[0] = max(_longest[0], now - before)
    asyncio.get_running_loop().call_later(_TICK, _tick, now)
