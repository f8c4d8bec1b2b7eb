"""A plain request over a channel layer: one without a body, which a worker answers soon and in one message.

Base of `bridge_http.HTTPRequest`, which adds what has to be waited for; called by the bridge (`begin`), by
the inbox with the reply, and by `unanswered`. Calls `messages`, the sender and the stream, and the runner
once something has to be waited for. Until then nothing here takes a task, a future or a turn of the loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

from mypy_extensions import mypyc_attr

from daphne.errors import ApplicationError
from daphne.layers import messages
from daphne.layers.interface import Message
from daphne.layers.message_keys import EXTRA
from daphne.layers.messages import Scope
from daphne.streams.http_state import HTTPState

if TYPE_CHECKING:
    from daphne.layers.bridge import Bridge, Receive, Send


class Runner(Protocol):
    """Who runs what serves the streams: `application.running.Runner`."""

    def go_on(self, stream: Any, rest: Callable[[], Awaitable[None]]) -> None:
        """Serve the rest of `stream` in a task."""

    def ended(self, stream: Any) -> None:
        """Nothing serves `stream` any more."""


@mypyc_attr(allow_interpreted_subclasses=True)
class PlainRequest:
    """The state of one request, and what becomes of a plain one."""

    def __init__(self, bridge: Bridge, scope: Scope, receive: Receive, send: Send) -> None:
        self.bridge = bridge
        self.scope = scope
        self.receive = receive
        self.send = send
        self.inbox = bridge.replies.open(bridge.replies.http_prefix)
        self.body = b""
        self.body_channel: str | None = None
        self.dispatched = self.complete = False
        self.classic = True
        """Whether nothing says yet that a worker of ours answers."""
        self.timer: asyncio.TimerHandle | None = None
        self.watcher: asyncio.Task[None] | None = None
        self.rest: Awaitable[Any] | None = None
        """What is left to be waited for of a response that has been passed on."""
        self._stream: HTTPState | None = None
        """While there is no task."""
        self._runner: Runner | None = None
        """None where all of it is in a task."""

    def serve(self) -> Coroutine[Any, Any, None]:
        """All of it, or the rest, in a task."""
        raise NotImplementedError

    def watch_client(self) -> Coroutine[Any, Any, None]:
        """Put into the inbox that the client has left, once it has."""
        raise NotImplementedError

    def arm(self, since: float) -> None:
        """The response has `http_timeout` seconds from the time `since`."""
        raise NotImplementedError

    def begin(self, stream: HTTPState, runner: Runner) -> None:
        """Ask the workers, whose reply `_take_reply` takes. What has to be waited for is left to `serve`."""
        self._runner = runner
        if self.offer():
            self._stream = stream
            stream.task = self
            self.inbox.taker = self._take_reply
            self.bridge.unanswered.add(self)
        else:
            runner.go_on(stream, self.serve)

    def offer(self) -> bool:
        """Send the request to the workers, if that takes no waiting; False leaves it to `serve`."""
        bridge = self.bridge
        self.dispatched = False
        with suppress(bridge.layer.MessageTooLarge):  # which `serve` finds again
            self.dispatched = bridge.sender.send_now("http.request", self.message())
        if self.dispatched:
            bridge.workers.offered(self.inbox)
        return self.dispatched

    def message(self) -> Message:
        """The request, for a worker."""
        extra = messages.scope_extra(self.scope, self.bridge.same_files)
        return messages.http_request(self.scope, self.inbox.name, self.body, self.body_channel, extra)

    def _take_reply(self, reply: Any) -> bool:
        """Pass on a reply that is all of the response, as most are. False leaves it to `serve`."""
        events = self._whole_response(reply)
        if events is None:
            self._go_on()
            return False
        stream = self._stream
        assert stream is not None
        self.bridge.workers.answered(self.inbox, self.classic)
        try:
            pending = stream.take(events[0])
            if pending is not None:
                pending.close()  # nothing of it is written yet, and the body will have to wait as well
            self.rest = stream.take(events[1])
            self.complete = True
        except Exception as problem:
            self.rest = _raise(problem)
        if self.rest is None:
            self._finish()
        else:
            self._go_on()
        return True

    def _whole_response(self, reply: Any) -> list[dict[str, Any]] | None:
        """The two events of a reply that is a whole response; None for any other."""
        if type(reply) is not dict or reply.get("more_content") or "request" in reply or reply.get(EXTRA):
            return None
        try:
            events = messages.response_events(reply, False)
        except ApplicationError:
            return None  # which `serve` finds again
        self.classic = EXTRA not in reply
        return events

    def quiet(self, asked_at: float) -> None:
        """Not answered at once: look out for the client's end, and see to the time limit."""
        if self._stream is not None:
            self._go_on()
        self.watcher = asyncio.get_running_loop().create_task(self.watch_client())
        self.arm(asked_at)

    def _go_on(self) -> None:
        """From here on there is something to wait for."""
        stream, self._stream = self._stream, None
        self.inbox.taker = None
        assert self._runner is not None
        self._runner.go_on(stream, self.serve)

    def _finish(self) -> None:
        stream, self._stream = self._stream, None
        farewell = self.end()
        assert self._runner is not None
        if farewell is None or self.bridge.sender.send_now(*farewell):
            self._runner.ended(stream)
        else:
            self.rest = self.bridge.sender.try_send(*farewell)
            self._runner.go_on(stream, self.serve)

    def cancel(self) -> None:
        """End it before there is a task to cancel, as that would."""
        if self._stream is not None:
            self._stream.application_failed()
            self._finish()

    def end(self) -> tuple[str, Message] | None:
        """Let go of everything; what is still to be sent, and where."""
        bridge = self.bridge
        bridge.unanswered.discard(self)
        if self.timer is not None:
            self.timer.cancel()
        if self.watcher is not None:
            self.watcher.cancel()
        worker = self.inbox.worker
        bridge.replies.close(self.inbox)
        bridge.workers.release(self.inbox)
        if not self.dispatched:
            return None
        self.dispatched = False  # this is said once
        if worker is not None:
            return None if self.complete else (worker.prefix + self.inbox.local, {"type": "http.disconnect"})
        if not self.classic:
            return None  # a worker of ours that has answered is told when it says that it took the request
        return "http.disconnect", messages.http_disconnect(self.scope, self.inbox.name)


async def _raise(problem: Exception) -> None:
    raise problem
