"""The coroutines that an application calls on its stream, of either kind, as `receive` and `send`.

They stand apart from the streams (http, websocket), which are compiled (setup.py): coroutines that an
application sees are the interpreter's own.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from daphne.errors import ClientDisconnected
from daphne.streams.response import ResponseHead

if TYPE_CHECKING:
    from daphne.streams.http import Event, HTTPStream
    from daphne.streams.websocket import WebSocketStream


async def receive(stream: HTTPStream | WebSocketStream) -> Event:
    """The next ASGI event.

    HTTP: `http.request` until the body is complete, then `http.disconnect` once the exchange is over.
    WebSocket: `websocket.connect`, then `websocket.receive` per message, then `websocket.disconnect`.
    """
    while True:
        event = stream.next_event()
        if event is not None:
            return event
        await stream.something()


def stream_behind(called: Any) -> Any:
    """The stream whose own `receive` that is; None for one that something has been put around."""
    return called.__self__ if getattr(called, "__func__", None) is receive else None


async def send(stream: HTTPStream | WebSocketStream, event: Event) -> None:
    """Take one ASGI event from the application.

    Returns when the peer has room for more. Raises ApplicationError for an event that is wrong in itself
    or at this point (nothing of it has been written then), and ClientDisconnected once the client has
    gone.
    """
    pending = stream.take(event)
    if pending is not None:
        await pending


async def send_in_turn(stream: HTTPStream | WebSocketStream, event: Event) -> None:
    """Take an event of which others are in front (streams/writes.py)."""
    stream.in_line += 1
    try:
        await stream.writes.turn()
    finally:
        stream.in_line -= 1
    stream.in_turn = True
    try:
        pending = stream.take(event)
    finally:
        stream.in_turn = False
    if pending is not None:
        await pending


async def send_file(stream: HTTPStream, path: Any, head: ResponseHead) -> None:
    """`http.response.pathsend` (ASGI extension): the whole file is the body, and the last of it."""
    # Not a number, which `open` takes for a descriptor: the socket of some other connection, say.
    with open(os.fspath(path), "rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        if stream.begin_file(head, size):
            await stream.wire.respond_file(stream, file.fileno(), size)
            stream.sent = size
    if stream.disconnected:
        raise ClientDisconnected("the client has disconnected")
    stream.end_file()
