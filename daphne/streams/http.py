"""HTTPStream: one request and its response, as ASGI sees them.

Made by a protocol for each request, run by application/running.py, which calls the application with
`stream.scope, stream.receive, stream.send`. Calls its `Wire`, the protocol's side of the exchange.

What may be sent when stands in the tables at the end: state -> {event type -> step}.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from types import MethodType
from typing import Any, Final

from daphne.errors import ApplicationError, ClientDisconnected
from daphne.streams import calls
from daphne.streams.deadlines import Deadline
from daphne.streams.head import Headers
from daphne.streams.pages import PAGE_HEADERS, error_page
from daphne.streams.response import (
    ResponseHead,
    check_body,
    check_fields,
    check_plain_fields,
    check_response,
)
from daphne.streams.scope import Scope
from daphne.streams.signal import SENDS_IN_A_ROW, Signal
from daphne.streams.wire import Wire
from daphne.streams.writes import LARGE, Writes

Event = dict[str, Any]
Pending = Coroutine[Any, Any, None]

_receive: Final = calls.receive
_send: Final = calls.send

_MOST_PIECES = 256
"""Parts of a body that are kept apart until the application takes them."""


class HTTPStream:
    """The state of one exchange.

    The protocol calls `body_received`, `client_left` and `client_half_closed`; the runner calls
    `application_returned` and `application_failed`.
    """

    __slots__ = (
        "_arrival",
        "_body",
        "_body_complete",
        "_body_size",
        "_body_told",
        "_event_size",
        "_loop",
        "_sends",
        "_steps",
        "_trailer_fields",
        "_trailers_follow",
        "_window",
        "client",
        "complete",
        "disconnected",
        "half_closed",
        "head_only",
        "in_line",
        "in_turn",
        "response",
        "scope",
        "sent",
        "started_at",
        "task",
        "timer",
        "wire",
    )

    kind = "http"

    def __init__(
        self,
        wire: Wire,
        scope: Scope,
        loop: asyncio.AbstractEventLoop,
        body_complete: bool,
        window: int,
        event_size: int | None,
    ) -> None:
        """`window`: unread body bytes at which reading pauses. `event_size`: size of body events, or None."""
        self.scope = scope
        # The application may do to its scope what it likes; the server goes on by these.
        self.client: Any = scope["client"]
        self.head_only = scope["method"] == "HEAD"
        self.task: asyncio.Task[None] | None = None
        self.timer: Deadline | None = None
        """The time limit of the whole exchange, where there is one."""
        self.started_at = 0.0
        """When the request was there, on the site's clock, if the access log wants to know."""
        self.response: ResponseHead | None = None
        self.sent = 0
        """Body bytes that went to the wire, before any framing."""
        self.complete = False
        """Whether the response has been written to its end."""
        self.disconnected = False
        """Whether the client has gone (or was cut off)."""
        self.half_closed = False
        """Whether the client sends no more: `receive()` says disconnect, `send()` still works."""
        self.wire: Any = wire
        self._loop = loop
        self._body_complete = body_complete
        self._body_told = False
        self._body: deque[bytes] | None = None
        self._body_size = 0
        self._window = window
        self._event_size = event_size
        self._arrival: Signal | None = None
        self._sends = 0
        self.in_line = 0
        """Events that wait until it is their turn to be written."""
        self.in_turn = False
        """Whether the event that is being taken has waited."""
        self._trailers_follow = False
        self._trailer_fields: Headers = []
        self._steps = _WAITING

    # ---- the request body ------------------------------------------------------------------------

    def body_received(self, data: bytes, complete: bool) -> None:
        """Take a part of the request body from the wire; `complete` with the last one, which may be empty.

        After the response nobody is told of it: a body with a part missing must not pass for a whole one.
        """
        if self.complete or self.disconnected:
            return
        if data:
            if self._body is None:
                self._body = deque()
            self._body.append(data)
            self._body_size += len(data)
            if len(self._body) > _MOST_PIECES:
                self._join_pieces()
        self._body_complete = complete
        if self._arrival is not None:
            self._arrival.fire()
        if self._body_size > self._window and not complete:
            self.wire.body_full(self)

    def _join_pieces(self) -> None:
        """A client that sends a body byte by byte must not make us keep an object for each."""
        assert self._body is not None
        whole = b"".join(self._body)
        self._body.clear()
        self._body.append(whole)

    @property
    def unread(self) -> int:
        """Bytes of the request body that the application has not taken yet."""
        return self._body_size

    @property
    def receive(self) -> Callable[[], Coroutine[Any, Any, Event]]:
        """ASGI's `receive` (calls.receive)."""
        return MethodType(_receive, self)

    def next_event(self) -> Event | None:
        """The next event for the application; None if it has to await `something()` first."""
        if not self._body_told:
            if self._body_ready():
                return self._body_event()
            if not (self.disconnected or self.complete or self.half_closed):
                self.wire.body_wanted(self)  # which may bring the body, or the end
                if self._body_ready():
                    return self._body_event()
        if self.disconnected or self.complete or self.half_closed:
            return {"type": "http.disconnect"}
        return None

    def something(self) -> Awaitable[None]:
        """Done when there may be an event."""
        if self._arrival is None:
            self._arrival = Signal(self._loop)
        return self._arrival.waiter()

    def _body_ready(self) -> bool:
        if self._body_complete:
            return True
        if self.disconnected or self.complete:
            return False
        return self._body_size >= (self._event_size or 1)

    def _body_event(self) -> Event:
        size = self._event_size
        if size is not None and self._body_size >= size:
            body = self._take_exactly(size)
            # An exact multiple is followed by an empty last event, as daphne 4 did it.
            return {"type": "http.request", "body": body, "more_body": True}
        if self._body is None:
            body = b""
        elif len(self._body) == 1:
            body = self._body.pop()
        else:
            body = b"".join(self._body)
            self._body.clear()
        self._body_size = 0
        more = not self._body_complete
        self._body_told = not more
        return {"type": "http.request", "body": body, "more_body": more}

    def _take_exactly(self, size: int) -> bytes:
        assert self._body is not None
        whole = b"".join(self._body)
        self._body.clear()
        self._body.append(whole[size:])
        self._body_size = len(whole) - size
        return whole[:size]

    # ---- the response ----------------------------------------------------------------------------

    @property
    def send(self) -> Callable[[Event], Pending]:
        """ASGI's `send` (calls.send)."""
        return MethodType(_send, self)

    def take(self, event: Event) -> Pending | None:
        """Take one event of the application's; what it has to wait for then, if anything.

        Raises ApplicationError or ClientDisconnected, as calls.send says.
        """
        if self.in_line and not self.in_turn:
            return calls.send_in_turn(self, event)
        step = self._steps.get(event["type"])
        if step is None or self.disconnected:
            raise self._refusal(event)
        pending = step(self, event)
        if pending is None and self.wire.write_paused:
            pending = self.wire.writable(self)
        return pending

    def _refusal(self, event: Event) -> Exception:
        if self.disconnected:
            return ClientDisconnected("the client has disconnected")
        return ApplicationError(f"Unexpected event {event['type']!r} {_WHERE[id(self._steps)]}")

    def _start(self, event: Event) -> None:
        self.response = check_response(event.get("status"), event.get("headers") or ())
        if event.get("trailers"):
            self._trailers_follow = True
        self._steps = _STARTED

    def _body_of(self, event: Event, head: ResponseHead, more: bool) -> bytes:
        """The body of an event, checked and counted."""
        body = check_body(event.get("body", b""))
        sent = self.sent + len(body)
        if head.content_length is not None:
            self._check_length(head, sent, more)
        self.sent = sent
        return body

    def _first_body(self, event: Event) -> Pending | None:
        head = self.response
        assert head is not None
        more = bool(event.get("more_body", False))
        body = self._body_of(event, head, more)
        if len(body) > LARGE and self._must_wait(len(body)):
            return calls.send_in_turn(self, event)
        self._advance(more)
        self.wire.respond(self, head, body, more or self._trailers_follow)
        self._finished()
        return None

    def _more_body(self, event: Event) -> Pending | None:
        head = self.response
        assert head is not None
        more = bool(event.get("more_body", False))
        body = self._body_of(event, head, more)
        if len(body) > LARGE and self._must_wait(len(body)):
            return calls.send_in_turn(self, event)
        self._advance(more)
        self.wire.respond_more(self, body, more or self._trailers_follow)
        if not more:
            self._finished()
            return None
        self._sends += 1
        if self._sends % SENDS_IN_A_ROW or self.wire.write_paused:
            return None
        return asyncio.sleep(0)

    @property
    def writes(self) -> Writes:
        """Where large pieces get in line."""
        writes: Writes = self.wire.writes
        return writes

    def _must_wait(self, size: int) -> bool:
        """Whether others are in front of a piece of `size` bytes, which counts as not sent then."""
        if self.writes.take(size, self.in_turn):
            return False
        self.sent -= size
        self._sends = 0
        return True

    def _file(self, event: Event) -> Pending:
        head = self.response
        assert head is not None
        return calls.send_file(self, event["path"], head)

    def begin_file(self, head: ResponseHead, size: int) -> bool:
        """Write the head for a file of `size` bytes; whether its bytes are to follow."""
        if head.content_length is None and not head.bodiless:
            head.content_length = size
            head.add(b"content-length", b"%d" % size)
        if not head.bodiless:
            self._check_length(head, size, False)
        self._steps = _SENDING_FILE
        self.wire.respond(self, head, b"", True)
        return not (self.head_only or head.bodiless)

    def end_file(self) -> None:
        """All of the file is on its way."""
        self._advance(False)
        self.wire.respond_more(self, b"", self._trailers_follow)
        self._finished()

    def _trailers(self, event: Event) -> None:
        self._trailer_fields = [*self._trailer_fields, *check_plain_fields(event.get("headers") or ())]
        if not event.get("more_trailers", False):
            self._complete()
            self.wire.respond_trailers(self, self._trailer_fields)
            self._finished()

    def _early_hint(self, event: Event) -> None:
        links = [(b"link", link) for link in event.get("links") or ()]
        self.wire.early_hint(self, check_fields(links))

    def _advance(self, more: bool) -> None:
        if more:
            self._steps = _SENDING
        elif self._trailers_follow:
            self._steps = _TRAILING
        else:
            self._complete()

    def _complete(self) -> None:
        self._steps = _DONE
        self.complete = True

    def _finished(self) -> None:
        if self._arrival is not None:
            self._arrival.fire()

    def _check_length(self, head: ResponseHead, total: int, more: bool) -> None:
        """Never a byte more than Content-Length (RFC 9110 section 8.6), nor less in a complete response."""
        declared = head.content_length
        assert declared is not None
        if self.head_only or head.bodiless:
            return
        if total > declared:
            raise ApplicationError(f"Body of at least {total} bytes for a Content-Length of {declared}")
        if total < declared and not more:
            raise ApplicationError(f"Body of {total} bytes for a Content-Length of {declared}")

    @property
    def begun(self) -> bool:
        """Whether bytes of the final response have gone to the wire."""
        return self._steps is not _WAITING and self._steps is not _STARTED

    # ---- ends ------------------------------------------------------------------------------------

    def answer(self, status: int, text: str | None = None) -> None:
        """Answer with the server's own page if the response has not begun, or else cut it."""
        if self.complete or self.disconnected:
            return
        if self.begun:
            self.disconnected = True
            self.wire.cut(self)
        else:
            body = error_page(status, text)
            head = check_response(status, PAGE_HEADERS)
            head.content_length = len(body)
            head.add(b"content-length", b"%d" % len(body))
            self.response = head
            self.sent = len(body)
            self._complete()
            self.wire.respond(self, head, body, False)
        self._finished()

    def application_returned(self) -> bool:
        """The application is done. False if it owed a response; the client has been answered (500) or cut
        then, and also if the application was told that it has gone, for it may read on.
        """
        if self.complete or self.disconnected:
            return True
        self.answer(500)
        return self.half_closed

    def application_failed(self) -> None:
        """The application raised: 500 in the same turn, or a cut once the response has begun."""
        self.answer(500)

    def client_left(self) -> None:
        """The connection or the stream is gone: `receive()` says so, and `send()` raises from now on."""
        if not self.disconnected:
            self.disconnected = True
            self._finished()

    def client_half_closed(self) -> None:
        """The client sends no more but may still read (TCP half-close)."""
        self.half_closed = True
        self._finished()


_Steps = dict[str, Callable[[HTTPStream, Event], Pending | None]]

_WAITING: _Steps = {
    "http.response.start": HTTPStream._start,
    "http.response.early_hint": HTTPStream._early_hint,
}
_STARTED: _Steps = {"http.response.body": HTTPStream._first_body, "http.response.pathsend": HTTPStream._file}
_SENDING: _Steps = {"http.response.body": HTTPStream._more_body}
_SENDING_FILE: _Steps = {}
_TRAILING: _Steps = {"http.response.trailers": HTTPStream._trailers}
_DONE: _Steps = {}

_WHERE = {
    id(_WAITING): "before 'http.response.start'",
    id(_STARTED): "after 'http.response.start'",
    id(_SENDING): "within the response body",
    id(_SENDING_FILE): "while a file is being sent",
    id(_TRAILING): "where 'http.response.trailers' is due",
    id(_DONE): "after the response is complete",
}
