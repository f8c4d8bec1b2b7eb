"""What nearly all messages of a WebSocket over a channel layer take, either way: no waiting, and no task.

Base of `bridge_websocket`'s sockets, which have the coroutines and everything else; called by the stream
with what the client sends and by the inbox with what the worker replies, in the very call that brings it;
calls the frames, and the stream. Compiled (setup.py), for every message passes here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mypy_extensions import mypyc_attr

from daphne.errors import DaphneError
from daphne.layers.inbox import Inbox
from daphne.layers.kept_frames import KeptFrames
from daphne.layers.message_keys import EXTRA
from daphne.layers.passing import Passing
from daphne.streams.calls import stream_behind
from daphne.streams.websocket import WebSocketStream

if TYPE_CHECKING:
    from daphne.layers.bridge import Receive, Send


@mypyc_attr(allow_interpreted_subclasses=True)
class WebSocketConnection:
    """The part of a WebSocket's state that such messages need."""

    def __init__(self, receive: Receive, send: Send, inbox: Inbox, frames: KeptFrames) -> None:
        self.receive = receive
        self.send = send
        stream = stream_behind(receive)
        self.stream: WebSocketStream | None = stream if isinstance(stream, WebSocketStream) else None
        """Where messages come from and go to; None where something stands in between."""
        self.inbox = inbox
        inbox.attend(self.take_reply)
        self.frames = frames
        self.open = self.closing = False
        self.accepted = False
        """Whether the present worker has accepted; `open` is whether any has."""
        self.deaths = 0

    def take_message(self, content: str | bytes) -> bool:
        """Send one message of the client's to the worker; False if that takes waiting, of whatever kind."""
        try:
            return not self.frames.full and self.frames.add_now(content)
        except DaphneError:  # which the reading task finds again
            return False

    def take_reply(self, reply: Any) -> Any:
        """Pass a reply on to the client, if it is one plain message, as most are: None then, or what is to be
        awaited, as a `Passing`. Any other is returned as it is."""
        try:
            return _pass_on(self, reply)
        except Exception as problem:  # which the relaying task is told: no caller of this could help it
            return Passing(problem)

    def acknowledge(self, count: int) -> None:
        """Tell the worker that the client has `count` replies in all."""
        raise NotImplementedError


def _pass_on(connection: WebSocketConnection, reply: Any) -> Any:
    content = _plain_message(connection, reply)
    if content is None:
        return reply
    stream = connection.stream
    if stream is None:
        key = "text" if isinstance(content, str) else "bytes"
        return Passing(connection.send({"type": "websocket.send", key: content}), len(content))
    pending = stream.take_message(content)
    if pending is not None:
        return Passing(pending, len(content))
    if count := connection.inbox.passed_on(len(content)):
        connection.acknowledge(count)
    return None


def _plain_message(connection: WebSocketConnection, reply: Any) -> str | bytes | None:
    """The content of a reply of our own workers that is one message for the client, and a confirmation
    perhaps; None for any other."""
    if type(reply) is not dict or len(reply) != 2 or not connection.accepted or connection.closing:
        return None
    extra = reply.get(EXTRA)
    if extra is None:
        return None
    content = reply.get("text")
    if type(content) is not str:
        content = reply.get("bytes")
        if type(content) is not bytes:
            return None
    if extra:
        if len(extra) != 1 or "done" not in extra:
            return None
        connection.deaths = 0
        connection.frames.confirmed(extra["done"])
    plain: str | bytes = content
    return plain
