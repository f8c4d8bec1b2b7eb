"""The same small application in every framework that is installed; each module-level name is a target.

`GET /` says "plain"; `GET /stream` sends "0" to "4", a piece at a time; `POST /upload` says how many bytes
came; `GET /started` says whether the lifespan's start-up ran; the WebSocket at `/echo` sends text back.

Loaded by the server in a process of its own, one framework at a time: `make_NAME()` imports it.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

PIECES = [str(number) for number in range(5)]
state = {"started": False}


@contextlib.asynccontextmanager
async def lifespan(application: Any) -> Any:
    """For the frameworks that take a context manager."""
    state["started"] = True
    yield


async def pieces() -> Any:
    """The body of a streamed response."""
    for piece in PIECES:
        yield piece.encode()
        await asyncio.sleep(0)


def make_raw() -> Any:
    """ASGI itself."""

    async def application(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await receive()
            state["started"] = True
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.accept"})
            while (event := await receive())["type"] == "websocket.receive":
                await send({"type": "websocket.send", "text": event["text"]})
        else:
            await answer(scope["path"], receive, send)

    async def answer(path: str, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        if path == "/stream":
            async for piece in pieces():
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body"})
            return
        size, more = 0, path == "/upload"
        while more:
            event = await receive()
            size, more = size + len(event["body"]), event["more_body"]
        text = {"/": "plain", "/started": str(state["started"])}.get(path, str(size))
        await send({"type": "http.response.body", "body": text.encode()})

    return application


def make_double() -> Any:
    """The two-step callables of ASGI 2, as frameworks of that time make them."""
    single = make_raw()

    class Application:
        """An instance per connection."""

        def __init__(self, scope: Any) -> None:
            self.scope = scope

        async def __call__(self, receive: Any, send: Any) -> None:
            await single(self.scope, receive, send)

    return Application


def make_starlette() -> Any:
    """Starlette."""
    from starlette.applications import Starlette
    from starlette.responses import PlainTextResponse, StreamingResponse
    from starlette.routing import Route, WebSocketRoute

    async def plain(request: Any) -> Any:
        return PlainTextResponse("plain")

    async def started(request: Any) -> Any:
        return PlainTextResponse(str(state["started"]))

    async def stream(request: Any) -> Any:
        return StreamingResponse(pieces())

    async def upload(request: Any) -> Any:
        return PlainTextResponse(str(len(await request.body())))

    async def echo(socket: Any) -> None:
        await socket.accept()
        async for text in socket.iter_text():
            await socket.send_text(text)

    routes = [Route("/", plain), Route("/started", started), Route("/stream", stream)]
    routes += [Route("/upload", upload, methods=["POST"]), WebSocketRoute("/echo", echo)]  # type: ignore
    return Starlette(routes=routes, lifespan=lifespan)


def make_fastapi() -> Any:
    """FastAPI."""
    from fastapi import FastAPI, WebSocket
    from fastapi.responses import PlainTextResponse, StreamingResponse
    from starlette.requests import Request

    globals().update(Request=Request, WebSocket=WebSocket)  # for the annotations, which it looks up here
    application = FastAPI(lifespan=lifespan)

    @application.get("/", response_class=PlainTextResponse)
    def plain() -> str:
        return "plain"  # in a thread, as FastAPI runs plain functions

    @application.get("/started", response_class=PlainTextResponse)
    async def started() -> str:
        return str(state["started"])

    @application.get("/stream")
    async def stream() -> Any:
        return StreamingResponse(pieces())

    @application.post("/upload", response_class=PlainTextResponse)
    async def upload(request: Request) -> str:
        return str(len(await request.body()))

    @application.websocket("/echo")
    async def echo(socket: WebSocket) -> None:
        await socket.accept()
        async for text in socket.iter_text():
            await socket.send_text(text)

    return application


def make_litestar() -> Any:
    """Litestar."""
    from litestar import Litestar, MediaType, Request, get, post, websocket
    from litestar.connection import WebSocket
    from litestar.exceptions import WebSocketDisconnect
    from litestar.response import Stream

    globals().update(Request=Request, WebSocket=WebSocket, Stream=Stream)

    @get("/", media_type=MediaType.TEXT)
    async def plain() -> str:
        return "plain"

    @get("/started", media_type=MediaType.TEXT)
    async def started() -> str:
        return str(state["started"])

    @get("/stream")
    async def stream() -> Stream:
        return Stream(pieces())

    @post("/upload", media_type=MediaType.TEXT, status_code=200)
    async def upload(request: Request) -> str:
        return str(len(await request.body()))

    @websocket("/echo")
    async def echo(socket: WebSocket) -> None:
        await socket.accept()
        with contextlib.suppress(WebSocketDisconnect):
            while True:
                await socket.send_text(await socket.receive_text())

    handlers = [plain, started, stream, upload, echo]
    return Litestar(handlers, lifespan=[lifespan], request_max_body_size=None)


def make_quart() -> Any:
    """Quart."""
    from quart import Quart, request, websocket

    application = Quart(__name__)
    application.config["MAX_CONTENT_LENGTH"] = None

    @application.before_serving
    async def start() -> None:
        state["started"] = True

    @application.get("/")
    async def plain() -> str:
        return "plain"

    @application.get("/started")
    async def started() -> str:
        return str(state["started"])

    @application.get("/stream")
    async def stream() -> Any:
        return pieces()

    @application.post("/upload")
    async def upload() -> str:
        return str(len(await request.get_data()))

    @application.websocket("/echo")
    async def echo() -> None:
        while True:
            await websocket.send(await websocket.receive())

    return application


def make_channels() -> Any:
    """Django with Channels for WebSockets; it has no lifespan."""
    from channels.generic.websocket import WebsocketConsumer
    from channels.routing import ProtocolTypeRouter, URLRouter
    from django.urls import path

    class Echo(WebsocketConsumer):  # type: ignore[misc]
        """Sends text back, from a thread."""

        def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
            self.send(text_data=text_data)

    http = make_django()
    return ProtocolTypeRouter({"http": http, "websocket": URLRouter([path("echo", Echo.as_asgi())])})


def make_django() -> Any:
    """Django; it has neither lifespan nor WebSockets."""
    from django.conf import settings
    from django.core.asgi import get_asgi_application
    from django.http import HttpResponse, StreamingHttpResponse
    from django.urls import path

    urls = [
        path("", lambda request: HttpResponse("plain")),
        path("stream", lambda request: StreamingHttpResponse(pieces())),
        path("upload", lambda request: HttpResponse(str(len(request.body)))),
    ]
    settings.configure(
        SECRET_KEY="only for tests",
        ALLOWED_HOSTS=["*"],
        ROOT_URLCONF=type("Urls", (), {"urlpatterns": urls}),
        DATA_UPLOAD_MAX_MEMORY_SIZE=None,
    )
    return get_asgi_application()


def __getattr__(name: str) -> Any:
    maker = globals().get(f"make_{name}")
    if maker is None:
        raise AttributeError(name)
    return maker()
