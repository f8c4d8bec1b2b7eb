"""What nearly all replies to a WebSocket over a channel layer are: one message for the client of an open one.

Base of `bridge_websocket`'s sockets, which have the coroutines and everything else; calls the frames, which
the reply confirms, and the inbox. Compiled (setup.py), for every reply passes here.
"""

from __future__ import annotations

from typing import Any

from mypy_extensions import mypyc_attr

from daphne.layers.inbox import Inbox
from daphne.layers.kept_frames import KeptFrames
from daphne.layers.message_keys import EXTRA


@mypyc_attr(allow_interpreted_subclasses=True)
class WebSocketConnection:
    """The part of a WebSocket's state that such a reply needs."""

    def __init__(self, inbox: Inbox, frames: KeptFrames) -> None:
        self.inbox = inbox
        self.frames = frames
        self.open = self.closing = False
        self.accepted = False
        """Whether the present worker has accepted; `open` is whether any has."""
        self.deaths = 0

    def plain_message(self, reply: Any) -> dict[str, Any] | None:
        """The event of a reply of our own workers that is one message for the client, and a confirmation
        perhaps; None for any other."""
        if type(reply) is not dict or len(reply) != 2 or not self.accepted or self.closing:
            return None
        extra = reply.get(EXTRA)
        if extra is None:
            return None
        content, key = reply.get("text"), "text"
        if type(content) is not str:
            content, key = reply.get("bytes"), "bytes"
            if type(content) is not bytes:
                return None
        if extra:
            if len(extra) != 1 or "done" not in extra:
                return None
            self.deaths = 0
            self.frames.confirmed(extra["done"])
        return {"type": "websocket.send", key: content}


def size_of(event: Any) -> int:
    """How much a message has for the client."""
    text = event.get("text")
    return len(text if text is not None else event.get("bytes") or b"")
