"""The demonstration's ASGI application: which path is answered by which function.

Called by the server, or by a worker, as `daphne.demo:application`; calls `page`, `transfers` and `chat`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from daphne.demo import page, transfers
from daphne.demo.asgi import Receive, Scope, Send, respond
from daphne.demo.chat import chat

Answer = Callable[[Scope, Receive, Send], Awaitable[None]]

READ = ("GET", "HEAD")
ROUTES: dict[str, tuple[tuple[str, ...], Answer]] = {
    "/": (READ, page.show),
    "/scope": (READ, page.show_scope),
    "/ticks": (READ, transfers.stream_ticks),
    "/upload": (("POST", "PUT"), transfers.count_upload),
    **{f"/{name}": (READ, page.show_asset) for name in page.ASSETS},
}


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """ASGI 3: one call per request, per WebSocket, and one for the lifespan."""
    if scope["type"] == "lifespan":
        await _live(receive, send)
    elif scope["type"] == "websocket":
        await _answer_websocket(scope, receive, send)
    elif scope["type"] == "http":
        await _answer_http(scope, receive, send)
    else:
        raise ValueError(f"the demonstration does not speak {scope['type']!r}")


def path_below_root(scope: Scope) -> str:
    """The path without `root_path`, which some servers leave in `path` and others do not."""
    path: str = scope["path"]
    root: str = scope.get("root_path", "").rstrip("/")
    if root and (path == root or path.startswith(root + "/")):
        return path[len(root) :]
    return path


async def _answer_http(scope: Scope, receive: Receive, send: Send) -> None:
    path = path_below_root(scope)
    if path == "":
        # The page's links are relative, so it has to be read below its directory.
        location = scope["root_path"].encode("utf-8") + b"/"
        await respond(scope, send, 307, "text/plain", b"", ((b"location", location),))
        return
    methods, answer = ROUTES.get(path, (None, None))
    if answer is None or methods is None:
        await respond(scope, send, 404, "text/plain", b"There is nothing here.\n")
    elif scope["method"] not in methods:
        allowed = ", ".join(methods).encode("ascii")
        await respond(scope, send, 405, "text/plain", b"Not with this method.\n", ((b"allow", allowed),))
    else:
        await answer(scope, receive, send)


async def _answer_websocket(scope: Scope, receive: Receive, send: Send) -> None:
    if path_below_root(scope) == "/chat":
        await chat(scope, receive, send)
    else:
        await send({"type": "websocket.close", "code": 4404, "reason": "There is nothing here."})


async def _live(receive: Receive, send: Send) -> None:
    """The lifespan protocol: the files are read before the first request asks for them."""
    while True:
        event = await receive()
        if event["type"] == "lifespan.startup":
            page.read_assets()
            await send({"type": "lifespan.startup.complete"})
        elif event["type"] == "lifespan.shutdown":
            await send({"type": "lifespan.shutdown.complete"})
            return
