"""The coroutines that an application calls on its WebSocketStream as `receive` and `send`.

They stand apart from the stream, which is compiled (setup.py): coroutines that an application sees are the
interpreter's own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from daphne.streams.websocket import Event, WebSocketStream


async def receive(stream: WebSocketStream) -> Event:
    """The next ASGI event: `websocket.connect`, then `websocket.receive` per message, then
    `websocket.disconnect`.
    """
    while True:
        event = stream.next_event()
        if event is not None:
            return event
        await stream.something()


async def send(stream: WebSocketStream, event: Event) -> None:
    """Take one ASGI event from the application.

    Returns when the peer has room for more. Raises ApplicationError for an event that is wrong in itself or
    at this point, and ClientDisconnected once the socket is closed.
    """
    pending = stream.take(event)
    if pending is not None:
        await pending


async def send_in_turn(stream: WebSocketStream, event: Event) -> None:
    """Take an event of which others are in front (streams/writes.py)."""
    assert stream.socket is not None
    stream.in_line += 1
    try:
        await stream.socket.writes.turn()
    finally:
        stream.in_line -= 1
    stream.in_turn = True
    try:
        pending = stream.take(event)
    finally:
        stream.in_turn = False
    if pending is not None:
        await pending
