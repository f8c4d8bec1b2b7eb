"""Names of daphne 1.x and 4.x for WebSocket: `WebSocketFactory` and `WebSocketProtocol`, doors to today's.

Imported by old code and by daphne.http_protocol, whose `HTTPFactory` does the work: a WebSocket begins as a
request, on a connection of the same factory.
"""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import unquote, unquote_plus


class WebSocketProtocol:
    """A WebSocket that waits for replies, as `HTTPFactory.reply_protocols` gives it."""

    def __init__(self, main_factory: Any = None, reply_channel: str | None = None) -> None:
        self.main_factory = main_factory
        self.reply_channel = reply_channel
        self.socket_opened = time.time()

    def set_main_factory(self, main_factory: Any) -> None:
        """Say whose connection this is."""
        self.main_factory = main_factory

    def serverAccept(self) -> None:
        """Accept the handshake."""
        self._reply({"accept": True})

    def serverReject(self) -> None:
        """Refuse the handshake with 403."""
        self._reply({"accept": False})

    def serverSend(self, content: str | bytes, binary: bool = False) -> None:
        """Send one message; ValueError where text is not text or bytes are not bytes."""
        self._reply({"bytes" if binary else "text": content})

    def serverClose(self, code: int | bool = True) -> None:
        """Close with `code`; True is 1000."""
        self._reply({"close": code})

    def duration(self) -> float:
        """Seconds since the socket was asked for here."""
        return time.time() - self.socket_opened

    @classmethod
    def unquote(cls, value: bytes, plus_as_space: bool = False) -> str:
        """Percent-decode `value` as UTF-8."""
        text = value.decode("ascii")
        return unquote_plus(text) if plus_as_space else unquote(text)

    def _reply(self, message: dict[str, Any]) -> None:
        self.main_factory.dispatch_reply(self.reply_channel, message)


class WebSocketFactory:
    """What `HTTPFactory.ws_factory` is; its connections are those of its main factory (or server)."""

    def __init__(self, main_factory: Any, *args: Any, **kwargs: Any) -> None:
        self.main_factory = main_factory
        self.server = getattr(main_factory, "server", None) or main_factory

    def buildProtocol(self, addr: Any) -> Any:
        """A connection of the main factory, which takes the handshake."""
        return self.main_factory.buildProtocol(addr)

    def log_action(self, protocol: str, action: str, details: dict[str, Any]) -> None:
        """Hand an action to the action logger."""
        self.main_factory.log_action(protocol, action, details)
