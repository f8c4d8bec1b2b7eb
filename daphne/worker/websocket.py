"""WebSocketRun: the application's run for one `websocket.connect` message.

Made by the worker; calls the application with the scope and events that the connection stands for, and turns
what it sends into replies. When the worker drains, the run hands its connection back to the front end, which
gives it to another worker: the application sees a disconnect with 1012, and may finish.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from daphne.errors import ApplicationError, ClientDisconnected
from daphne.layers import messages_websocket
from daphne.layers.interface import Message
from daphne.layers.message_keys import EXTRA
from daphne.layers.messages import Event
from daphne.layers.sending import Abandoned
from daphne.streams import closecodes
from daphne.streams.answers import check_accept, check_close, check_denial_status
from daphne.streams.pages import PAGE_HEADERS, error_page
from daphne.streams.response import check_body, check_fields
from daphne.worker.run import ApplicationRun, log

if TYPE_CHECKING:
    from daphne.worker.consume import Worker

STATE_SIZE = 64 * 1024
"""Bytes of JSON that a state may have which one worker leaves to the next."""

RESTART_REASON = "worker restart"


class WebSocketRun(ApplicationRun):
    """One WebSocket: connecting, open, denying, closed."""

    __slots__ = (
        *(
            "_close_event",
            "_connect_told",
            "_delivered",
            "_denial",
            "_draining",
            "_heard",
            "_in_hand",
            "_loss",
            "_offered",
            "_steps",
        ),
    )

    def __init__(self, worker: Worker, message: Message) -> None:
        super().__init__(worker, message)
        self._connect_told = False
        self._close_event: Event | None = None
        self._heard = 0
        """The order of the last message that came."""
        self._delivered = 0
        """The order of the last message that the application received."""
        self._in_hand = -1
        """The size of the message that it has not come back from; -1 when there is none."""
        self._loss: dict[str, str] = {"action": "resume"}
        self._denial: Event | None = None
        self._draining = False
        self._steps = _CONNECTING
        self._offered: tuple[str, ...] = ()
        """The subprotocols that the client offers."""

    async def run(self) -> None:
        """Run the application; then hand the connection over, or close it."""
        scope = messages_websocket.websocket_scope(self.first, self.worker.state)
        self._offered = tuple(scope["subprotocols"])
        if self.front_end is not None:
            scope["extensions"]["daphne.state"] = {"max_size": STATE_SIZE}
            scope["extensions"]["daphne.worker_loss"] = self._loss
            resume = (self.first.get(EXTRA) or {}).get("resume")
            if resume is not None:
                state = None if resume["state"] is None else json.loads(resume["state"])
                scope["extensions"]["daphne.resume"] = {**resume, "state": state}
        good = False
        try:
            await self.worker.application(scope, self.receive, self.send)
            good = True
        except (Exception, SystemExit, asyncio.CancelledError) as error:  # as for a request
            good = self.is_good_end(error)
        finally:
            await self._finish(good)

    async def _finish(self, good: bool) -> None:
        """Every way out of a run leads here, that of a cancelled one too."""
        if self.gone or self._steps is _CLOSED:
            return
        if self._draining:
            await self._hand_over()
        elif self._steps is _OPEN:
            code = closecodes.NORMAL if good else closecodes.INTERNAL_ERROR
            await self.last_word(messages_websocket.close_reply(code, ""))
        elif self._steps is _DENYING:
            await self.last_word(messages_websocket.denial_reply(None, b"", False))
        else:
            if good:
                log.error("Application returned without an answer to WebSocket %r", self.first["path"])
            await self._refuse()

    async def _refuse(self) -> None:
        extra = self.first.get(EXTRA) or {}
        if "websocket.http.response" in extra.get("extensions", "").split():
            start = {"status": 500, "headers": list(PAGE_HEADERS)}
            await self.last_word(messages_websocket.denial_reply(start, error_page(500), False))
        else:
            await self.last_word({"close": True})

    # When the worker ends

    def drain(self) -> None:
        """Give the connection to another worker, once the application has seen what it is to see."""
        if self.gone or self._close_event is not None or self._steps in (_CLOSED, _DENYING):
            return
        self._draining = self.front_end is not None
        self._events.clear()  # the front end has kept them, and sends them to the next worker
        self._close_event = {
            "type": "websocket.disconnect",
            "code": closecodes.SERVICE_RESTART,
            "reason": RESTART_REASON,
        }
        self.window.wake()
        self.wake()

    async def _hand_over(self) -> None:
        """Past the window: this is nothing that the client would have to take first."""
        handover = {EXTRA: {"handover": {"received": self._delivered}, **self._news()}}
        with contextlib.suppress(Abandoned):
            await self.worker.sender.send(self.reply_channel, handover, None, None)

    def _news(self) -> Message:
        """What the front end is to know for the next worker."""
        return {"on_loss": self._loss["action"]} if self._loss["action"] != "resume" else {}

    # What the application receives

    def heard(self, message: Message) -> None:
        """`websocket.receive` and `websocket.disconnect`."""
        if message["type"] == "websocket.receive":
            # What came before comes again where the layer took it and could not say so to the front end.
            if self._close_event is None and message["order"] > self._heard:
                self._heard = message["order"]
                self._events.append(message)
                self.wake()
            return
        self._close_event = {
            "type": "websocket.disconnect",
            "code": message["code"],
            "reason": message.get("reason", ""),
        }
        self.disconnected()

    def front_end_lost(self) -> None:
        """The client has gone with its front end."""
        self._close_event = {"type": "websocket.disconnect", "code": closecodes.ABNORMAL, "reason": ""}
        self._events.clear()
        self.disconnected()

    async def receive(self) -> Event:
        """`websocket.connect`, then `websocket.receive` per message, then `websocket.disconnect`."""
        if not self._connect_told:
            self._connect_told = True
            return {"type": "websocket.connect"}
        if self._in_hand >= 0:
            due = self.confirmations.done(self._in_hand)
            self._in_hand = -1
            if due:
                await self.confirm()
        while True:
            if self._events:
                return self._deliver(self._events.pop(0))
            if self._close_event is not None:
                return dict(self._close_event)
            await self.wait()

    def _deliver(self, message: Event) -> Event:
        if missing := message["order"] - self._delivered - 1:
            # A layer that fails may lose what it held. The front end need not keep it, nor leave room for it.
            log.warning("WebSocket %s: the layer lost %d messages of its client", self.reply_channel, missing)
            self.confirmations.done_count += missing
        self._delivered = message["order"]
        key = "text" if "text" in message else "bytes"
        self._in_hand = len(message[key])
        return {"type": "websocket.receive", key: message[key]}

    # What it sends

    async def send(self, event: Event) -> None:
        """Take one event. Raises ApplicationError for one that is out of place, ClientDisconnected after the
        end."""
        step = self._steps.get(event["type"])
        if self.gone:
            raise ClientDisconnected("the WebSocket is closed")
        if step is None:
            if self._steps is _CLOSED:
                raise ClientDisconnected("the WebSocket is closed")
            raise ApplicationError(f"Unexpected event {event['type']!r} at this point of a WebSocket")
        await step(self, event)

    async def _accept(self, event: Event) -> None:
        reply = messages_websocket.accept_reply(*check_accept(event, self._offered, ()))
        reply[EXTRA].update(self._news())
        if self.front_end is not None:
            reply[EXTRA]["worker"] = self.front_end.own_prefix
        self._steps = _OPEN
        self.worker.no_longer_busy(self)
        await self.reply(reply)

    async def _send_message(self, event: Event) -> None:
        text, data = event.get("text"), event.get("bytes")
        if (text is None) == (data is None):
            raise ApplicationError("`websocket.send` takes exactly one of `text` and `bytes`")
        if text is not None and not isinstance(text, str):
            raise ApplicationError(f"`text` expected to be `str`, but got `{type(text)}`")
        if (
            data is not None
            and type(data) is not bytes
            and not isinstance(data, bytes | bytearray | memoryview)
        ):
            raise ApplicationError(f"`bytes` expected to be `bytes`, but got `{type(data)}`")
        reply = messages_websocket.send_reply(event)
        if self.confirmations.unsaid:
            reply[EXTRA]["done"] = self.confirmations.done_count
            self.confirmations.said(self.confirmations.done_count)
        await self.reply(reply, len(text if text is not None else data or b""))

    def unsure(self, message: Message, count: int) -> None:
        """See `ApplicationRun`. Only such messages are numbered, for it would cost something with each."""
        if self.front_end is not None:
            message[EXTRA]["sent"] = count

    async def confirm(self) -> None:
        """See `ApplicationRun`. Where nothing more may be sent, how much has been is said, too: should a
        layer that failed have lost all of it, the client would never take any."""
        if self.window.full and self.front_end is not None and not self.gone:
            count = self.window.sent_count
            await self.worker.sender.try_send(self.reply_channel, {EXTRA: {"sent": count}})
        await super().confirm()

    async def _close(self, event: Event) -> None:
        code, reason = check_close(event)
        if self._draining:
            return  # an application's last word to a connection that it has lost already; the client keeps it
        self._steps = _CLOSED
        await self.reply(messages_websocket.close_reply(code, reason))

    async def _reject(self, event: Event) -> None:
        code = event.get("code")  # which no client sees, so that it is no error whatever it is
        code = int(code) if isinstance(code, int) and closecodes.may_be_sent(code) else True
        self._steps = _CLOSED
        await self.reply({"close": code})

    async def _deny(self, event: Event) -> None:
        self._denial = {
            "status": check_denial_status(event.get("status")),
            "headers": check_fields(event.get("headers") or ()),
        }
        self._steps = _DENYING

    async def _deny_body(self, event: Event) -> None:
        content = check_body(event.get("body", b""))
        start, self._denial = self._denial, None
        more = bool(event.get("more_body", False))
        self._steps = _DENYING if more else _CLOSED
        await self.reply(messages_websocket.denial_reply(start, content, more))

    async def _save_state(self, event: Event) -> None:
        """`daphne.state`: what the next worker finds in `scope["extensions"]["daphne.resume"]["state"]`."""
        state = event.get("state")
        try:
            encoded = json.dumps(state, allow_nan=False)
        except (TypeError, ValueError, RecursionError) as problem:
            raise ApplicationError(f"`state` is not what JSON can hold: {problem}") from problem
        if len(encoded) > STATE_SIZE:
            raise ApplicationError(f"`state` has {len(encoded)} bytes as JSON; {STATE_SIZE} are allowed")
        if self.front_end is not None:
            # As text, for no layer carries all that JSON can hold: large numbers, single surrogates.
            await self.reply({EXTRA: {"state": encoded}})


_Step = Callable[[WebSocketRun, Event], Awaitable[None]]

_CONNECTING: dict[str, _Step] = {
    "websocket.accept": WebSocketRun._accept,
    "websocket.close": WebSocketRun._reject,
    "websocket.http.response.start": WebSocketRun._deny,
    "daphne.state": WebSocketRun._save_state,
}
_DENYING: dict[str, _Step] = {"websocket.http.response.body": WebSocketRun._deny_body}
_OPEN: dict[str, _Step] = {
    "websocket.send": WebSocketRun._send_message,
    "websocket.close": WebSocketRun._close,
    "daphne.state": WebSocketRun._save_state,
}
_CLOSED: dict[str, _Step] = {}
