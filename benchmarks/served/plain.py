"""The application that every server runs: the same file, the same code path, whatever serves it.

Each path of `ROUTES` is one scenario of `benchmarks.scenarios`. Nothing is needed but the standard library,
so that the environments of old servers can run it too.
"""

import os

GREETING = b"Hello, world!"
PIECE = b"0123456789abcdef" * 4096
DOWNLOAD_PIECES = 1600
DOWNLOAD_BYTES = DOWNLOAD_PIECES * len(PIECE)

TEXT = (b"content-type", b"text/plain; charset=utf-8")
GREETING_START = {
    "type": "http.response.start",
    "status": 200,
    "headers": [TEXT, (b"content-length", b"%d" % len(GREETING))],
}
GREETING_BODY = {"type": "http.response.body", "body": GREETING}


async def application(scope, receive, send):
    if scope["type"] == "http":
        await ROUTES.get(scope["path"], missing)(scope, receive, send)
    elif scope["type"] == "websocket":
        await echo_messages(receive, send)
    elif scope["type"] == "lifespan":
        await live(receive, send)


async def greet(scope, receive, send):
    await send(GREETING_START)
    await send(GREETING_BODY)


async def echo_body(scope, receive, send):
    pieces = []
    while True:
        event = await receive()
        if event["type"] != "http.request":
            return
        pieces.append(event.get("body", b""))
        if not event.get("more_body", False):
            break
    await answer(send, b"".join(pieces))


async def count_body(scope, receive, send):
    counted = 0
    while True:
        event = await receive()
        if event["type"] != "http.request":
            return
        counted += len(event.get("body", b""))
        if not event.get("more_body", False):
            break
    await answer(send, b"%d" % counted)


async def download_pieces(scope, receive, send):
    await send(start(200, DOWNLOAD_BYTES))
    for _ in range(DOWNLOAD_PIECES):
        await send({"type": "http.response.body", "body": PIECE, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def download_path(scope, receive, send):
    if "http.response.pathsend" not in scope.get("extensions", {}):
        await answer(send, b"no pathsend here", status=501)
        return
    path = os.environ["BENCHMARK_DOWNLOAD"]
    await send(start(200, os.path.getsize(path)))
    await send({"type": "http.response.pathsend", "path": path})


async def missing(scope, receive, send):
    await answer(send, b"no such scenario", status=404)


def start(status, length):
    headers = [TEXT, (b"content-length", b"%d" % length)]
    return {"type": "http.response.start", "status": status, "headers": headers}


async def answer(send, body, status=200):
    await send(start(status, len(body)))
    await send({"type": "http.response.body", "body": body})


async def echo_messages(receive, send):
    while True:
        event = await receive()
        if event["type"] == "websocket.receive":
            text = event.get("text")
            if text is not None:
                await send({"type": "websocket.send", "text": text})
            else:
                await send({"type": "websocket.send", "bytes": event["bytes"]})
        elif event["type"] == "websocket.connect":
            await send({"type": "websocket.accept"})
        else:
            return


async def live(receive, send):
    while True:
        event = await receive()
        await send({"type": event["type"] + ".complete"})
        if event["type"] == "lifespan.shutdown":
            return


ROUTES = {
    "/": greet,
    "/echo": echo_body,
    "/count": count_body,
    "/download": download_pieces,
    "/pathsend": download_path,
}
