"""HTTPRun: the application's run for one `http.request` message.

Made by the worker; calls the application with the scope and events that the message stands for.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from daphne.errors import ClientDisconnected
from daphne.layers import messages
from daphne.layers.interface import Message
from daphne.layers.message_keys import EXTRA
from daphne.layers.messages import Event
from daphne.streams.pages import PAGE_HEADERS, error_page
from daphne.worker.http_replies import HTTPReplies
from daphne.worker.run import log

if TYPE_CHECKING:
    from daphne.worker.consume import Worker


class HTTPRun(HTTPReplies):
    """One request: what the application receives, and its end. `http_replies` has what it sends."""

    __slots__ = ("_body_parts", "_body_told", "_hole", "body_channel")

    def __init__(self, worker: Worker, message: Message) -> None:
        super().__init__(worker, message)
        self.body_channel: str | None = message.get("body_channel")
        self._body_told = False
        self._body_parts = 0
        """How many parts have come over the body's channel."""
        self._hole = False
        """Whether the layer has lost one."""

    async def run(self) -> None:
        """Run the application; answer 500 for it, or cut the response, if it did not answer itself."""
        scope = messages.http_scope(self.first, self.worker.state)
        if self.body_channel is not None:
            self.worker.bodies.open(self.body_channel, self.body_piece)
        try:
            try:
                await self.worker.application(scope, self.receive, self.send)
                good = True
            except (Exception, SystemExit, asyncio.CancelledError) as error:
                # SystemExit too: one request must not end the worker for all others.
                good = self.is_good_end(error)
            if good and not self.done and not self.gone:
                log.error("Application returned without a complete response to %s %r", *self._names())
            await self._finish()
        except asyncio.CancelledError:
            await self.last_word({EXTRA: {"abort": True} if self.begun else {"handback": True}})
            raise
        finally:
            if self.body_channel is not None:
                self.worker.bodies.close(self.body_channel)

    async def _finish(self) -> None:
        if self._hole and not self.done:
            answer = {"abort": True} if self.begun else {"handback": True}
            await self.worker.sender.try_send(self.reply_channel, {EXTRA: answer})
            return
        if self.gone or (self.done and not self.too_large):
            return
        if self.begun:
            await self.last_word({EXTRA: {"abort": True}})
            return
        start = {"status": 500, "headers": list(PAGE_HEADERS)}
        with contextlib.suppress(ClientDisconnected):
            await self.reply(messages.response_reply(start, error_page(500), False))

    # What the application receives

    def body_piece(self, piece: Message) -> None:
        """Take a further part of a long body, from its channel."""
        if piece.get("closed"):
            self.disconnected()
            return
        part = (piece.get(EXTRA) or {}).get("part", self._body_parts)
        if part < self._body_parts or self._hole:  # a failing layer brought it twice
            return
        if part > self._body_parts:
            log.error("The layer lost a part of the body of %s %r", *self._names())
            self._hole = True
            self.disconnected()
            return
        self._body_parts += 1
        more = bool(piece.get("more_content", False))
        self._events.append(messages.request_event(piece.get("content", b""), more))
        self.wake()

    def heard(self, message: Message) -> None:
        """`http.disconnect` is all that the front end says beside confirmations."""
        if message["type"] == "http.disconnect":
            self.disconnected()

    async def receive(self) -> Event:
        """`http.request` until the body is complete, then `http.disconnect` once the exchange is over."""
        if not self._body_told:
            self._body_told = True
            return messages.request_event(self.first.get("body", b""), self.body_channel is not None)
        while True:
            if self._events:
                event = self._events.pop(0)
                if self.confirmations.done(len(event["body"])):
                    await self.confirm()
                return event
            if self.gone or self.done:
                return {"type": "http.disconnect"}
            await self.wait()

    def _names(self) -> tuple[Any, Any]:
        return self.first["method"], self.first["path"]

    async def send(self, event: Event) -> None:
        """Take one event. Raises ApplicationError for one that is out of place, ClientDisconnected after the
        end."""
        pending = self.take(event)
        if pending is not None:
            await pending
