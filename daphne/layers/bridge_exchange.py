"""What a plain HTTP request over a channel layer takes, without the coroutines that wait: offer it, judge the
reply that is all of its response, let go of it.

Base of `bridge_http.HTTPRequest`, which has the coroutines and everything that is not plain; calls
`messages`, the sender, the inboxes and the offers. Compiled (setup.py), for every request passes here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol

from mypy_extensions import mypyc_attr

from daphne.errors import ApplicationError, MessageTooLarge
from daphne.layers import messages
from daphne.layers.inbox import Inbox, Inboxes
from daphne.layers.interface import Message
from daphne.layers.message_keys import EXTRA
from daphne.layers.messages_packed import packed_request
from daphne.layers.offers import Offers
from daphne.layers.passing import Passing
from daphne.layers.prompt import PromptSender
from daphne.layers.unanswered import Unanswered
from daphne.streams.http import HTTPStream

if TYPE_CHECKING:
    from daphne.layers.bridge import Bridge, Receive, Send
    from daphne.layers.messages import Event, Scope
    from daphne.layers.window import Window


Rest = Callable[[], Coroutine[Any, Any, None]]
"""What is to be run in a task."""

CLIENT_LEFT: Final = object()
"""In the place of a reply: nobody waits for one any longer."""


class Host(Protocol):
    """Where requests are served without a task (application/running)."""

    def wait(self, stream: Any, exchange: Any) -> None:
        """`exchange` serves `stream`, for now. If the client leaves, its `leave()` is to go on."""

    def go_on(self, stream: Any, rest: Rest) -> None:
        """`stream` needs a task after all, which runs `rest`."""

    def ended(self, stream: Any) -> None:
        """It has been served."""


class Desk:
    """What all requests of one bridge pass on their way."""

    def __init__(
        self, inboxes: Inboxes, sender: PromptSender, offers: Offers, chunk_size: int, same_files: bool
    ) -> None:
        self.inboxes = inboxes
        self.sender = sender
        self.offers = offers
        self.unanswered = Unanswered()
        self.chunk_size = chunk_size
        """Bytes of a body that go into one message."""
        self.same_files = same_files
        """Whether a worker may name a file for the body of a response."""


@mypyc_attr(allow_interpreted_subclasses=True)
class HTTPExchange:
    """The state of one request."""

    def __init__(self, bridge: Bridge, desk: Desk, scope: Scope, receive: Receive, send: Send) -> None:
        self.bridge = bridge
        self.desk = desk
        self.scope = scope
        self.receive = receive
        self.send = send
        self.stream: HTTPStream | None = None
        """Where the response goes to, while no task serves the request."""
        self.host: Host | None = None
        """Who can have a task for it."""
        self.inbox: Inbox = desk.inboxes.open_http()
        self.body = self.rest = b""
        self.body_ended = False
        self.body_channel: str | None = None
        self.upload_window: Window | None = None
        self.upload_parts = 0
        """How many parts of the body have been sent over its channel."""
        self.parts = 1
        """How many parts of the response have come, once it has begun."""
        self.dispatched = self.retried = self.started = self.trailers = self.complete = False
        self.classic = True
        """Whether nothing says yet that a worker of ours answers."""
        self.timer: asyncio.TimerHandle | None = None
        self.watcher: asyncio.Task[None] | None = None

    def serve_at_once(self, stream: HTTPStream, host: Host) -> Event | None:
        """Offer the request of `stream` to the workers, and answer it in the call that brings the reply.

        None if that takes no waiting, so that no task is needed unless something else comes than a whole
        response. Otherwise nothing has been done but to take the event that is returned.
        """
        event = stream.next_event()
        if event is None or not self.offer_whole(event):
            return event
        self.stream = stream
        self.host = host
        host.wait(stream, self)
        self.inbox.give_first(self._first_reply)
        return None

    def _first_reply(self, reply: Any) -> None:
        host, stream = self.host, self.stream
        assert host is not None and stream is not None
        try:
            left = _answer(self, stream, reply)
        except Exception as problem:  # which the task is told: whoever brings the reply could not help it
            left = Passing(problem)
        self.stream = self.host = None
        if left is not None:
            host.go_on(stream, partial(self.go_on, left))
        elif (farewell := self.end()) is None:
            host.ended(stream)
        else:
            host.go_on(stream, partial(self.say, farewell))

    def leave(self) -> Rest:
        """Nobody waits for the reply any longer."""
        self.inbox.give_first(None)
        self.stream = self.host = None
        return partial(self.go_on, CLIENT_LEFT)

    def go_on(self, reply: Any) -> Coroutine[Any, Any, None]:
        """Serve the request from its first reply on, or from what is under way of that."""
        raise NotImplementedError

    def say(self, farewell: tuple[str, Message]) -> Coroutine[Any, Any, None]:
        """Tell whoever has the request that it is over."""
        raise NotImplementedError

    def offer_whole(self, event: Event) -> bool:
        """Offer the request to the workers, if `event` has all of its body and that takes no waiting.

        False leaves it to be done in another way.
        """
        if event["type"] == "http.disconnect":
            return False
        self.body = event.get("body", b"")
        self.body_ended = not event.get("more_body")
        if not self.body_ended or len(self.body) > self.desk.chunk_size or not _offer(self):
            return False
        self.desk.unanswered.add(self)
        return True

    def message(self) -> Message:
        """`http.request`, as far as the body is known."""
        extra = messages.scope_extra(self.scope, self.desk.same_files)
        return messages.http_request(self.scope, self.inbox.name, self.body, self.body_channel, extra)

    def offer(self) -> bool:
        """Send the request to the workers, if that takes no waiting."""
        return _offer(self)

    def whole_response(self, reply: Any) -> list[dict[str, Any]] | None:
        """The two events of a reply that is all of a response, as most are; None for any other."""
        if self.started or type(reply) is not dict or reply.get("more_content") or "request" in reply:
            return None
        extra = reply.get(EXTRA)
        if extra:
            return None
        status, headers, content = reply.get("status"), reply.get("headers"), reply.get("content")
        if extra is not None and type(status) is int and type(content) is bytes and _are_pairs(headers):
            # The stream checks what the application of a worker of ours sends, as it does without a layer.
            events: list[dict[str, Any]] = [
                {"type": "http.response.start", "status": status, "headers": headers},
                {"type": "http.response.body", "body": content},
            ]
        else:
            try:
                events = messages.response_events(reply, False)
            except ApplicationError:  # which is found again
                return None
        self.classic = extra is None
        self.desk.offers.answered(self.inbox, self.classic)
        return events

    def quiet(self, asked_at: float) -> None:
        """Not answered at once."""
        raise NotImplementedError

    def end(self) -> tuple[str, Message] | None:
        """Let go of everything; what is still to be sent, and where."""
        desk, inbox = self.desk, self.inbox
        desk.unanswered.discard(self)
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        if self.watcher is not None:
            self.watcher.cancel()
            self.watcher = None  # it keeps the frame in which it was cancelled, and that keeps us
        worker = inbox.worker
        desk.inboxes.close(inbox)
        desk.offers.release(inbox)
        if not self.dispatched:
            return None
        if worker is not None:
            return None if self.complete else (worker.prefix + inbox.local, {"type": "http.disconnect"})
        # A worker of ours that has answered, and not yet said that it took the request, is told when it does.
        if self.classic:
            return "http.disconnect", messages.http_disconnect(self.scope, inbox.name)
        return None


def _answer(exchange: HTTPExchange, stream: HTTPStream, reply: Any) -> Any:
    """Answer with a reply that is all of a response, as most are: None then, or what is to be awaited. Any
    other is returned as it is."""
    if stream.in_line or stream.wire.write_paused:
        return reply
    events = exchange.whole_response(reply)
    if events is None:
        return reply
    stream.take(events[0])
    exchange.started = True
    pending = stream.take(events[1])
    if pending is not None:
        return Passing(pending)
    exchange.complete = True
    return None


def _are_pairs(headers: Any) -> bool:
    """Whether a layer has brought header fields as tuples, which the stream knows again."""
    return type(headers) in (tuple, list) and (not headers or type(headers[0]) is tuple)


def _offer(exchange: HTTPExchange) -> bool:
    # As a method it would be looked up in a class that is not compiled.
    desk, inbox = exchange.desk, exchange.inbox
    sender = desk.sender
    if sender.give is None:
        return False
    try:
        if sender.packs:
            body, rest, files = exchange.body, exchange.body_channel, desk.same_files
            request = packed_request(exchange.scope, inbox.name, body, rest, files)
            exchange.dispatched = sender.send_packed("http.request", "http.request", request)
        else:
            exchange.dispatched = sender.send_now("http.request", exchange.message())
    except (MessageTooLarge, LookupError, TypeError, ValueError):  # which is found again
        exchange.dispatched = False
    if exchange.dispatched:
        desk.offers.offered(inbox)
    return exchange.dispatched
