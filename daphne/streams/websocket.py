"""WebSocketStream: one WebSocket from the handshake to the close, as ASGI sees it.

Made by a protocol for each handshake (HTTP/1.1 Upgrade or HTTP/2 extended CONNECT), run by
application/running.py. Until the application accepts, it is an HTTP exchange with a `HandshakeWire`; from
then on it has a `Socket`, the framing protocol.

What may be sent when stands in the tables at the end: state -> {event type -> step}.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from types import MethodType
from typing import Any, Final

from daphne.errors import ApplicationError, ClientDisconnected
from daphne.streams import calls, closecodes
from daphne.streams.answers import check_accept, check_close, check_denial_status
from daphne.streams.deadlines import Deadline, Schedule
from daphne.streams.pages import PAGE_HEADERS, error_page
from daphne.streams.response import ResponseHead, check_body, check_response
from daphne.streams.scope import Scope
from daphne.streams.signal import MESSAGES_IN_A_ROW, Signal
from daphne.streams.wire import HandshakeWire, Socket
from daphne.streams.writes import LARGE, Writes

Event = dict[str, Any]
Pending = Coroutine[Any, Any, None]

_receive: Final = calls.receive
_send: Final = calls.send

_PER_MESSAGE = 32
"""What a queued message counts beside its length, so that a flood of tiny ones is bounded too."""


class WebSocketStream:
    """The state of one WebSocket.

    The protocol calls `message_received`, `socket_closed`, `client_left`; the application `receive` and
    `send`; the runner `application_returned` and `application_failed`.
    """

    kind = "websocket"

    def __init__(
        self,
        wire: HandshakeWire,
        scope: Scope,
        loop: asyncio.AbstractEventLoop,
        schedule: Schedule,
        *,
        subprotocols: tuple[str, ...],
        window: int,
        connect_timeout: float,
        log: Callable[[str, WebSocketStream], None],
    ) -> None:
        """`subprotocols`: the server's own choice where the application makes none. `window`: bytes of
        untaken messages before reading pauses. `connect_timeout`: seconds for the application to accept or
        refuse, 0 or less for no limit. `log` is told "connecting", "connected", "rejected" and
        "disconnected", once each.
        """
        self.scope = scope
        # The application may do to its scope what it likes; the server goes on by these.
        self.client: Any = scope["client"]
        self._offered = tuple(scope["subprotocols"])
        self.task: asyncio.Task[None] | None = None
        self.timer: Deadline | None = None
        self.response: ResponseHead | None = None
        self.sent = 0
        self.socket: Socket | None = None
        self.complete = False
        """Whether the handshake has been refused and the refusal written to its end."""
        self.disconnected = False
        self._reading_paused = False
        self._queued = 0
        self._calls = 0
        self.in_line = 0
        """Events that wait until it is their turn to be written."""
        self.in_turn = False
        """Whether the event that is being taken has waited."""
        self._told_connect = False
        self._close_event: Event | None = None
        self._arrival: Signal | None = None
        self._taker: Callable[[str | bytes], bool] | None = None
        self._wire: Any = wire
        """None once the handshake is accepted."""
        self._loop = loop
        self._subprotocols = subprotocols
        self._window = window
        self._log = log
        self._messages: deque[str | bytes] = deque()
        self._steps = _CONNECTING
        self._deadline: Deadline | None = None
        if connect_timeout > 0:
            self._deadline = Deadline(schedule, self._connect_timed_out)
            self._deadline.set(connect_timeout)
        log("connecting", self)

    # ---- from the wire ---------------------------------------------------------------------------

    def message_received(self, message: str | bytes) -> None:
        """Take one complete message: str for text, bytes for binary."""
        if self._steps is not _OPEN:
            return
        if self._taker is not None and not self._messages and self._is_awaited() and self._taker(message):
            return
        self._messages.append(message)
        self._queued += len(message) + _PER_MESSAGE
        if self._arrival is not None:
            self._arrival.fire()
        if self._queued > self._window and not self._reading_paused:
            self._reading_paused = True
            assert self.socket is not None
            self.socket.pause_reading()

    def attend(self, taker: Callable[[str | bytes], bool] | None) -> None:
        """Whenever the application awaits a message, offer the next one to `taker` first, in the call that
        brings it. What that takes (True) is not received; what it does not take is, and so is whatever comes
        before the application awaits a message again: the order stays.
        """
        self._taker = taker

    def _is_awaited(self) -> bool:
        return self._arrival is not None and self._arrival.awaited

    def socket_closed(self, code: int, reason: str) -> None:
        """The socket is closed, with the peer's close code, 1005 if it gave none, 1006 if it did not close
        (RFC 6455 7.1.5).
        """
        if not self.disconnected:
            self._end(code, reason)
            self._log("disconnected", self)

    def client_left(self) -> None:
        """The connection is gone before the handshake was complete."""
        self.socket_closed(closecodes.ABNORMAL, "")

    def client_half_closed(self) -> None:
        """A client that sends no more sends no frames either."""
        self.client_left()

    def body_received(self, data: bytes, complete: bool) -> None:
        """A handshake has no body; nothing to do."""

    # ---- receive ---------------------------------------------------------------------------------

    @property
    def receive(self) -> Callable[[], Coroutine[Any, Any, Event]]:
        """ASGI's `receive` (calls.receive)."""
        return MethodType(_receive, self)

    def next_event(self) -> Event | None:
        """The next event for the application; None if it has to await `something()` first."""
        if not self._told_connect:
            self._told_connect = True
            return {"type": "websocket.connect"}
        if self._messages:
            self._calls += 1
            if self._calls % MESSAGES_IN_A_ROW:
                return self._message_event(self._messages.popleft())
        elif self._close_event is not None:
            return self._close_event.copy()
        return None

    def something(self) -> Awaitable[None]:
        """Done when there may be an event: after a turn for others, or when something has arrived."""
        if self._messages:
            return asyncio.sleep(0)
        if self._arrival is None:
            self._arrival = Signal(self._loop)
        return self._arrival.waiter()

    def _message_event(self, message: str | bytes) -> Event:
        self._queued -= len(message) + _PER_MESSAGE
        if self._reading_paused and self._queued * 2 <= self._window:
            self._reading_paused = False
            if self.socket is not None and not self.disconnected:
                self.socket.resume_reading()
        if type(message) is str:
            return {"type": "websocket.receive", "text": message}
        return {"type": "websocket.receive", "bytes": message}

    # ---- send ------------------------------------------------------------------------------------

    @property
    def send(self) -> Callable[[Event], Pending]:
        """ASGI's `send` (calls.send)."""
        return MethodType(_send, self)

    def take(self, event: Event) -> Pending | None:
        """Take one event of the application's; what it has to wait for then, if anything.

        Raises ApplicationError or ClientDisconnected, as calls.send says.
        """
        if self.in_line and not (self.in_turn or self.disconnected):
            return calls.send_in_turn(self, event)
        step = self._steps.get(event["type"])
        if step is None or self.disconnected:
            raise self._refusal(event)
        return step(self, event)

    def _refusal(self, event: Event) -> Exception:
        if self.disconnected or self._steps is _CLOSED:
            return ClientDisconnected("the WebSocket is closed")
        return ApplicationError(f"Unexpected event {event['type']!r} {_WHERE[id(self._steps)]}")

    def _accept(self, event: Event) -> None:
        subprotocol, headers = check_accept(event, self._offered, self._subprotocols)
        self._stop_waiting()
        self._steps = _OPEN
        self._log("connected", self)
        wire, self._wire = self._wire, None
        # The socket may deliver early frames, or its end, before this returns.
        wire.accept_websocket(self, subprotocol, headers)

    @property
    def writes(self) -> Writes:
        """Where large messages get in line."""
        assert self.socket is not None
        return self.socket.writes

    def _send_message(self, event: Event) -> Pending | None:
        text, data = event.get("text"), event.get("bytes")
        socket = self.socket
        assert socket is not None
        if (text is None) == (data is None):
            raise ApplicationError("`websocket.send` takes exactly one of `text` and `bytes`")
        if text is not None:
            if not isinstance(text, str):
                raise ApplicationError(f"`text` expected to be `str`, but got `{type(text)}`")
            payload = text.encode("utf-8")
        else:
            if not isinstance(data, (bytes, bytearray, memoryview)):
                raise ApplicationError(f"`bytes` expected to be `bytes`, but got `{type(data)}`")
            payload = bytes(data)
        if len(payload) > LARGE and not self.writes.take(len(payload), self.in_turn):
            return calls.send_in_turn(self, event)
        return self._write(socket, payload, text is None)

    def take_message(self, content: str | bytes) -> Pending | None:
        """As `take`, for the event that sends one message: str for text, bytes for binary."""
        socket = self.socket
        if self._steps is _OPEN and socket is not None and not (self.in_line or self.disconnected):
            payload = content.encode("utf-8") if isinstance(content, str) else content
            if len(payload) <= LARGE:
                return self._write(socket, payload, not isinstance(content, str))
        return self.take({"type": "websocket.send", "text" if isinstance(content, str) else "bytes": content})

    def _write(self, socket: Socket, payload: bytes, binary: bool) -> Pending | None:
        socket.send_message(payload, binary)
        if socket.write_paused:
            return socket.writable()
        self._calls += 1
        return None if self._calls % MESSAGES_IN_A_ROW else asyncio.sleep(0)

    def _close(self, event: Event) -> None:
        code, reason = check_close(event)
        self._close_socket(code, reason)

    def _close_socket(self, code: int, reason: str) -> None:
        self._steps = _CLOSED
        if not self.disconnected:
            assert self.socket is not None
            self.socket.close(code, closecodes.reason_bytes(reason))

    def _reject(self, event: Event) -> None:
        self._refuse(403)

    def _deny(self, event: Event) -> None:
        """`websocket.http.response.start`: the application's own refusal (ASGI extension)."""
        status = check_denial_status(event.get("status"))
        self.response = check_response(status, event.get("headers") or ())
        self._steps = _DENYING

    def _deny_body(self, event: Event) -> Pending | None:
        body, more = check_body(event.get("body", b"")), bool(event.get("more_body", False))
        head = self.response
        assert head is not None
        total = self.sent + len(body)
        if head.content_length is not None and (
            total > head.content_length or (not more and total < head.content_length)
        ):
            raise ApplicationError(f"Body of {total} bytes for a Content-Length of {head.content_length}")
        begun = self._steps is _DENYING_BODY
        self._steps = _DENYING_BODY if more else _CLOSED
        self.sent = total
        self._stop_waiting()
        if not more:
            self._refused()
        if begun:
            self._wire.respond_more(self, body, more)
        else:
            self._wire.respond(self, head, body, more)
        return self._wire.writable(self) if self._wire.write_paused and more else None

    @property
    def begun(self) -> bool:
        """Whether bytes of a refusal have gone to the wire."""
        return self._steps is _DENYING_BODY or self.complete

    # ---- ends ------------------------------------------------------------------------------------

    def _refuse(self, status: int) -> None:
        """Refuse the handshake with the server's own page on a connection that stays."""
        body = error_page(status)
        head = check_response(status, [*PAGE_HEADERS, (b"content-length", b"%d" % len(body))])
        self.response = head
        self.sent = len(body)
        self._refused()
        self._wire.respond(self, head, body, False)

    def _refused(self) -> None:
        self._stop_waiting()
        self._steps = _CLOSED
        self.complete = True
        self._log("rejected", self)
        self._end(closecodes.ABNORMAL, "")
        self._log("disconnected", self)

    def _end(self, code: int, reason: str) -> None:
        self._stop_waiting()
        self.disconnected = True
        self._close_event = {"type": "websocket.disconnect", "code": code, "reason": reason}
        if self._arrival is not None:
            self._arrival.fire()

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.close()
            self._deadline = None

    def _connect_timed_out(self) -> None:
        if self._steps is _CONNECTING:
            self._refuse(403)
        else:
            self._cut()

    def answer(self, status: int, text: str | None = None) -> None:
        """End it from the server's side: refuse a handshake with `status`, close an open socket with 1011."""
        if self.disconnected:
            return
        if self._steps is _CONNECTING or self._steps is _DENYING:
            self._refuse(status)
        elif self._steps is _DENYING_BODY:
            self._cut()
        elif self._steps is _OPEN:
            self._close_socket(closecodes.INTERNAL_ERROR, "")

    def _cut(self) -> None:
        self._log("rejected", self)
        self._end(closecodes.ABNORMAL, "")
        self._wire.cut(self)
        self._log("disconnected", self)

    def close_with(self, code: int, reason: str = "") -> None:
        """Close an open socket, or refuse a handshake with 503, because the server says so (stop, limits)."""
        if self._steps is _OPEN:
            self._close_socket(code, reason)
        elif not self.disconnected:
            self.answer(503)

    def application_returned(self) -> bool:
        """The application is done: an open socket closes with 1000. False if it owed an answer to the
        handshake (500 then).
        """
        if self._steps is _OPEN and not self.disconnected:
            self._close_socket(closecodes.NORMAL, "")
            return True
        if self.disconnected or self._steps is _CLOSED:
            return True
        self.answer(500)
        return False

    def application_failed(self) -> None:
        """The application raised: 500 before the handshake is answered, close 1011 after it."""
        self.answer(500)


_Steps = dict[str, Callable[[WebSocketStream, Event], Pending | None]]

_CONNECTING: _Steps = {
    "websocket.accept": WebSocketStream._accept,
    "websocket.close": WebSocketStream._reject,
    "websocket.http.response.start": WebSocketStream._deny,
}
_DENYING: _Steps = {"websocket.http.response.body": WebSocketStream._deny_body}
_DENYING_BODY: _Steps = {"websocket.http.response.body": WebSocketStream._deny_body}
_OPEN: _Steps = {"websocket.send": WebSocketStream._send_message, "websocket.close": WebSocketStream._close}
_CLOSED: _Steps = {}

_WHERE = {
    id(_CONNECTING): "before the handshake is answered",
    id(_DENYING): "after 'websocket.http.response.start'",
    id(_DENYING_BODY): "within the refusal's body",
    id(_OPEN): "on an open WebSocket",
    id(_CLOSED): "on a closed WebSocket",
}
