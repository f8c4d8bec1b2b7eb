"""What the application of an `http.request` sends, as replies.

Base of `http.HTTPRun`, which adds the coroutines that the application calls: they stay out of this module,
which is compiled (setup.py). Calls `messages` and, through its own base, the sender. `http.response.start`
waits for the first body event, so that a small response is one message.

What may be sent when stands in the tables at the end: state -> {event type -> step}.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from os import fspath
from typing import TYPE_CHECKING, Any

from daphne.errors import ApplicationError, ClientDisconnected
from daphne.layers import messages
from daphne.layers.interface import Message
from daphne.layers.message_keys import EXTRA
from daphne.layers.messages import Event
from daphne.layers.window import WINDOW
from daphne.streams.response import check_body, check_fields, check_plain_fields, check_status
from daphne.worker.run import ApplicationRun

if TYPE_CHECKING:
    from daphne.worker.consume import Worker

REPLY_SIZE = 256 * 1024
"""Bytes of a body in one reply; longer events are split."""

Pending = Coroutine[Any, Any, None]


class HTTPReplies(ApplicationRun):
    """One response: waiting, started, sending, trailing, done."""

    __slots__ = ("_parts", "_start", "_steps", "_trailers", "begun")

    def __init__(self, worker: Worker, message: Message) -> None:
        super().__init__(worker, message)
        self.begun = False
        """Whether the front end has been sent a part of the response."""
        self._parts = 0
        """How many parts of the response have been sent."""
        self._start: Event | None = None
        self._trailers = False
        self._steps = _WAITING

    @property
    def done(self) -> bool:
        """Whether all of the response has been sent."""
        return self._steps is _DONE

    def take(self, event: Event) -> Pending | None:
        """Take one event; what it has to wait for then, if anything. Raises as `send` says."""
        step = self._steps.get(event["type"])
        if self.gone:
            raise ClientDisconnected("the client has disconnected")
        if step is None:
            raise ApplicationError(f"Unexpected event {event['type']!r} at this point of a response")
        return step(self, event)

    def _started(self, event: Event) -> None:
        # Judged here, where the application can see it, and not only when the reply has left the worker.
        self._start = {
            "status": check_status(event.get("status")),
            "headers": check_fields(event.get("headers") or ()),
        }
        self._trailers = self._start["trailers"] = bool(event.get("trailers", False))
        self._steps = _STARTED

    def _body(self, event: Event) -> Pending | None:
        body = check_body(event.get("body", b""))
        more = bool(event.get("more_body", False))
        if len(body) > REPLY_SIZE:
            return self._split(body, more)
        return self._piece(body, more)

    async def _split(self, body: bytes, more: bool) -> None:
        last = (len(body) - 1) // REPLY_SIZE * REPLY_SIZE
        for at in range(0, last, REPLY_SIZE):
            if (pending := self._piece(body[at : at + REPLY_SIZE], True)) is not None:
                await pending
        if (pending := self._piece(body[last:], more)) is not None:
            await pending

    def _piece(self, content: bytes, more: bool) -> Pending | None:
        start, self._start = self._start, None
        if more:
            self._steps = _SENDING
        else:
            self._steps = _TRAILING if self._trailers else _DONE
            self.wake()
        reply = self._numbered(messages.response_reply(start, content, more))
        if start is not None and more and self.front_end is not None:
            # `daphne.take` may stand in line behind as many replies as fill the window, and who confirms them
            # must know whom to tell.
            reply[EXTRA]["worker"] = self.front_end.own_prefix
        self.begun = True
        size = len(content) if more else -1  # nothing waits for the client to take the last
        return None if self.reply_now(reply, size) else self.reply(reply, size)

    def _numbered(self, reply: Message) -> Message:
        """All but the first say how many came before, for a layer that fails may lose some or bring some
        twice."""
        if self._parts:
            reply[EXTRA]["part"] = self._parts
        self._parts += 1
        return reply

    async def _file(self, event: Event) -> None:
        """A file for the body; returns when the front end has sent it, or the client has gone."""
        if "http.response.pathsend" not in (self.first.get(EXTRA) or {}).get("extensions", "").split():
            raise ApplicationError("Unexpected event 'http.response.pathsend': the scope does not offer it")
        path = fspath(event["path"])
        with open(path, "rb"):
            pass  # what is wrong with it shall be raised here, where the application can see it
        assert self._start is not None
        reply = messages.file_reply(self._start, path)
        self._start = None
        self._parts = 1
        self.begun = True
        self._steps = _TRAILING if self._trailers else _DONE
        self.worker.say_takes([self])  # first, for it is the taker whom the front end tells
        await self.reply(reply, WINDOW)
        while self.window.full and not self.gone:
            await self.window.changed()
        self.wake()

    async def _trailed(self, event: Event) -> None:
        fields = check_plain_fields(event.get("headers") or ())
        more = bool(event.get("more_trailers", False))
        if not more:
            self._steps = _DONE
        await self.reply(self._numbered(messages.trailers_reply(fields, more)))
        self.wake()

    async def _hinted(self, event: Event) -> None:
        links = [value for _, value in check_fields((b"link", link) for link in event.get("links") or ())]
        if self.front_end is not None:  # a classic one could make nothing of it
            await self.reply(messages.early_hints_reply(links))


_Steps = dict[str, Callable[[HTTPReplies, Event], Pending | None]]

_WAITING: _Steps = {
    "http.response.start": HTTPReplies._started,
    "http.response.early_hint": HTTPReplies._hinted,
}
_STARTED: _Steps = {
    "http.response.body": HTTPReplies._body,
    "http.response.pathsend": HTTPReplies._file,
}
_SENDING: _Steps = {"http.response.body": HTTPReplies._body}
_TRAILING: _Steps = {"http.response.trailers": HTTPReplies._trailed}
_DONE: _Steps = {}
