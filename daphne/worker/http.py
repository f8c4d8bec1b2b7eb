"""HTTPRun: the application's run for one `http.request` message.

Made by the worker; calls the application with the scope and events that the message stands for, and turns
what it sends into replies. `http.response.start` waits for the first body event, so that a small response is
one message.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from daphne.errors import ApplicationError, ClientDisconnected
from daphne.layers import messages
from daphne.layers.interface import Message
from daphne.layers.message_keys import EXTRA
from daphne.layers.messages import Event
from daphne.layers.window import WINDOW
from daphne.streams.pages import PAGE_HEADERS, error_page
from daphne.worker.run import ApplicationRun, log

if TYPE_CHECKING:
    from daphne.worker.consume import Worker

REPLY_SIZE = 256 * 1024
"""Bytes of a body in one reply; longer events are split."""


class HTTPRun(ApplicationRun):
    """One request: waiting, started, trailing, complete."""

    __slots__ = ("_begun", "_body_told", "_start", "_steps", "_trailers", "body_channel")

    def __init__(self, worker: Worker, message: Message) -> None:
        super().__init__(worker, message)
        self.body_channel: str | None = message.get("body_channel")
        self._body_told = False
        self._start: Event | None = None
        self._trailers = False
        self._begun = False
        self._steps = _WAITING

    async def run(self) -> None:
        """Run the application; answer 500 for it, or cut the response, if it did not answer itself."""
        scope = messages.http_scope(self.first, self.worker.state)
        if self.body_channel is not None:
            self.worker.bodies.open(self.body_channel, self.body_piece)
        try:
            good = await self.call_application(scope)
            if good and self._steps is not _DONE and not self.gone:
                log.error("Application returned without a complete response to %s %r", *self._names())
            await self._finish()
        except asyncio.CancelledError:
            await self.reply_now({EXTRA: {"abort": True} if self._begun else {"handback": True}})
            raise
        finally:
            if self.body_channel is not None:
                self.worker.bodies.close(self.body_channel)

    async def _finish(self) -> None:
        if self._steps is _DONE or self.gone:
            return
        if self._begun:
            await self.reply_now({EXTRA: {"abort": True}})
            return
        start = {"status": 500, "headers": PAGE_HEADERS}
        with contextlib.suppress(ClientDisconnected):
            await self.reply(messages.response_reply(start, error_page(500), False))

    # What the application receives

    def body_piece(self, piece: Message) -> None:
        """Take a further part of a long body, from its channel."""
        if piece.get("closed"):
            self.disconnected()
            return
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
                event = self._events.popleft()
                if self.confirmations.done(len(event["body"])):
                    await self.confirm()
                return event
            if self.gone or self._steps is _DONE:
                return {"type": "http.disconnect"}
            await self.wait()

    # What it sends

    async def send(self, event: Event) -> None:
        """Take one event. Raises ApplicationError for one that is out of place, ClientDisconnected after the
        end."""
        step = self._steps.get(event["type"])
        if self.gone:
            raise ClientDisconnected("the client has disconnected")
        if step is None:
            raise ApplicationError(f"Unexpected event {event['type']!r} at this point of a response")
        await step(self, event)

    async def _started(self, event: Event) -> None:
        status = event.get("status")
        if type(status) is not int:
            raise ApplicationError(f"Status expected to be `int`, but got `{type(status)}`")
        self._trailers = bool(event.get("trailers", False))
        self._start = event
        self._steps = _STARTED

    async def _body(self, event: Event) -> None:
        body = event.get("body", b"")
        if type(body) is not bytes and not isinstance(body, bytes | bytearray | memoryview):
            raise ApplicationError(f"Body expected to be `bytes`, but got `{type(body)}`")
        more = bool(event.get("more_body", False))
        size = len(body)
        for at in range(0, size - REPLY_SIZE, REPLY_SIZE):
            await self._reply_body(bytes(body[at : at + REPLY_SIZE]), True)
        last = (size - 1) // REPLY_SIZE * REPLY_SIZE if size > REPLY_SIZE else 0
        content = body[last:] if last else body
        if not more:
            self._steps = _TRAILING if self._trailers else _DONE
        await self._reply_body(content if type(content) is bytes else bytes(content), more)
        if self._steps is _DONE:
            self.wake()

    async def _reply_body(self, content: bytes, more: bool) -> None:
        start, self._start = self._start, None
        reply = messages.response_reply(start, content, more)
        if start is not None and more and self.front_end is not None:
            # `daphne.take` may stand in line behind as many replies as fill the window, and who confirms them
            # must know whom to tell.
            reply[EXTRA]["worker"] = self.front_end.own_prefix
        self._begun = True
        await self.reply(
            reply, len(content) if more else None
        )  # nothing waits for the client to take the last

    async def _file(self, event: Event) -> None:
        """A file for the body; returns when the front end has sent it, or the client has gone."""
        if "http.response.pathsend" not in (self.first.get(EXTRA) or {}).get("extensions", "").split():
            raise ApplicationError("Unexpected event 'http.response.pathsend': the scope does not offer it")
        with open(event["path"], "rb"):
            pass  # what is wrong with it shall be raised here, where the application can see it
        assert self._start is not None
        reply = messages.file_reply(self._start, event["path"])
        self._start = None
        self._begun = True
        self._steps = _TRAILING if self._trailers else _DONE
        self.worker.say_takes([self])  # first, for it is the taker whom the front end tells
        await self.reply(reply, WINDOW)
        while self.window.full and not self.gone:
            await self.window.changed()
        self.wake()

    async def _trailed(self, event: Event) -> None:
        if not event.get("more_trailers", False):
            self._steps = _DONE
        await self.reply(messages.trailers_reply(event))
        self.wake()

    async def _hinted(self, event: Event) -> None:
        if self.front_end is not None:  # a classic one could make nothing of it
            await self.reply(messages.early_hints_reply(event))

    def _names(self) -> tuple[Any, Any]:
        return self.first["method"], self.first["path"]


_Step = Callable[[HTTPRun, Event], Awaitable[None]]

_WAITING: dict[str, _Step] = {
    "http.response.start": HTTPRun._started,
    "http.response.early_hint": HTTPRun._hinted,
}
_STARTED: dict[str, _Step] = {
    "http.response.body": HTTPRun._body,
    "http.response.pathsend": HTTPRun._file,
}
_TRAILING: dict[str, _Step] = {"http.response.trailers": HTTPRun._trailed}
_DONE: dict[str, _Step] = {}
