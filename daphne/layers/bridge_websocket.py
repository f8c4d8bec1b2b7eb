"""One WebSocket over a channel layer: its client's messages to a worker, the replies to the client.

Called by the bridge for every `websocket` scope; calls `messages` for what goes to and fro, `kept_frames` and
`frames` for the way to the worker, and the inbox of the reply channel for the way back. One task reads the
client, one the replies; most messages pass without waking either (`bridge_connection`).

The connection outlives its worker: when that hands it over or dies, a fresh `websocket.connect` with `resume`
goes out, the next worker's accept is absorbed, and the client notices nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from daphne.errors import ApplicationError, ChannelFull, ClientDisconnected, LayerUnavailable
from daphne.layers import messages, messages_websocket
from daphne.layers.bridge_connection import WebSocketConnection
from daphne.layers.frames import FrameFlow
from daphne.layers.interface import Message
from daphne.layers.kept_frames import KeptFrames
from daphne.layers.message_keys import EXTRA
from daphne.layers.messages import Event, Scope
from daphne.layers.passing import Passing
from daphne.layers.replies import BacklogFull
from daphne.layers.workers import Lost
from daphne.streams import closecodes
from daphne.streams.pages import PAGE_HEADERS, error_page

if TYPE_CHECKING:
    from daphne.layers.bridge import Bridge, Receive, Send

log = logging.getLogger("daphne.ws_protocol")

RESUME_PATIENCE = 300.0
"""Seconds for which an open WebSocket without a worker is kept; then it is closed with 1012."""

DEATHS = 3
"""Workers that may die one after the other over a connection, without having worked off one of its
messages."""

QUEUE_FULL = "Connection queue at capacity"
NO_LAYER = "The connection could not be handed to a worker."

_CLIENT_LEFT = object()
_NOT_TAKEN = object()


def serve_websocket(bridge: Bridge, scope: Scope, receive: Receive, send: Send) -> Coroutine[Any, Any, None]:
    """Serve the WebSocket of `scope`. Returns when it is closed or refused, or its client has gone."""
    return _Socket(bridge, scope, receive, send).serve()


class _Socket(WebSocketConnection):
    """The state of one WebSocket: connecting, open (`open`), closing (`closing`)."""

    def __init__(self, bridge: Bridge, scope: Scope, receive: Receive, send: Send) -> None:
        frames = KeptFrames(bridge.sender.prompt, bridge.sender.abandon)
        super().__init__(receive, send, bridge.replies.inboxes.open_websocket(), frames)
        self.flow = FrameFlow(bridge, scope, frames)
        self.bridge = bridge
        self.scope = scope
        self.connection = self.inbox.local
        self.subprotocol: str | None = None
        self.state: str | None = None
        """As JSON."""
        self.on_loss = bridge.settings.on_worker_loss
        self.resumed_count = 0
        self.dispatched = False
        self.left: Event | None = None
        self.tasks: list[asyncio.Task[None]] = []
        self.timer: asyncio.TimerHandle | None = None
        self.give_up_at = 0.0

    async def serve(self) -> None:
        """From connect to disconnect, and then the end of everything that was begun for it."""
        try:
            await self.receive()  # websocket.connect
            if await self._dispatch():
                if self.stream is not None:
                    self.stream.attend(self.take_message)
                self._spawn(self._read_client())
                await self._relay()
        finally:
            await self._end()

    # To the worker

    async def _dispatch(self) -> bool:
        """Offer the connection to the workers; False when it had to be refused instead."""
        bridge = self.bridge
        extra = messages.scope_extra(self.scope, self.bridge.same_files)
        patience: float = bridge.settings.channel_full_timeout
        outage = 0.0
        if self.open:
            extra["resume"] = {
                "connection": self.connection,
                "count": self.resumed_count,
                "state": self.state,
            }
            patience = outage = RESUME_PATIENCE
        message = messages_websocket.websocket_connect(self.scope, self.inbox.name, extra)
        try:
            await bridge.sender.send("websocket.connect", message, patience, outage)
        except ChannelFull:
            log.warning("WebSocket force closed for %s due to connect backpressure", self.inbox.name)
            await self._refuse(503, QUEUE_FULL)
        except (LayerUnavailable, bridge.layer.MessageTooLarge) as problem:
            log.error("WebSocket force closed for %s: %s", self.inbox.name, problem)
            await self._refuse(503, NO_LAYER)
        else:
            self.dispatched = True
            bridge.workers.offered(self.inbox)
            return True
        return False

    async def _read_client(self) -> None:
        try:
            while (event := await self.receive())["type"] != "websocket.disconnect":
                content = _content_of(event)
                if self.frames.full:
                    await self.flow.room()
                if not self.frames.add_now(content):
                    await self.flow.add(content)
        except ChannelFull:
            log.warning("WebSocket force closed for %s due to receive backpressure", self.inbox.name)
            event = await self._close_and_wait(closecodes.TRY_AGAIN_LATER)
        except self.bridge.layer.MessageTooLarge as problem:
            log.error("WebSocket force closed for %s: %s", self.inbox.name, problem)
            event = await self._close_and_wait(closecodes.TOO_BIG)
        self.left = event
        self.inbox.put(_CLIENT_LEFT)

    async def _close_and_wait(self, code: int) -> Event:
        """Close from our side; what the client still sends is dropped. Returns `websocket.disconnect`."""
        await self._close(code)
        while (event := await self.receive())["type"] != "websocket.disconnect":
            pass
        return event  # type: ignore[no-any-return]

    async def _flow(self) -> None:
        """Send the new worker what was kept for it."""
        try:
            await self.flow.flow()
        except (ChannelFull, self.bridge.layer.MessageTooLarge) as problem:
            log.warning("WebSocket force closed for %s: %s", self.inbox.name, problem)
            await self._close(closecodes.TRY_AGAIN_LATER)
        if self.left is not None:
            self.inbox.put(_CLIENT_LEFT)

    # From the worker

    async def _relay(self) -> None:
        """Pass the replies on until the client has gone."""
        while True:
            while (reply := self.inbox.take_now()) is None:
                await self.inbox.arrival()
            reply = self.take_reply(reply)
            going_on = True
            if type(reply) is Passing:
                await self._pass(reply)
            elif type(reply) is dict:
                going_on = await self._reply(reply)
            elif type(reply) is Lost:
                going_on = await self._lost(reply)
            elif reply is _NOT_TAKEN:
                going_on = await self._not_taken()
            elif type(reply) is BacklogFull:
                log.error("WebSocket force closed for %s: %s", self.inbox.name, reply)
                going_on = await self._close(closecodes.TRY_AGAIN_LATER)
            elif reply is _CLIENT_LEFT:  # what it sent before goes to the next worker if there is none now
                going_on = self.open and not self.accepted and not self.closing and self.frames.waiting
            if not going_on:
                return

    async def _reply(self, reply: Message) -> bool:
        extra = reply.get(EXTRA)
        if extra:
            if "done" in extra:
                self.deaths = 0
                self.frames.confirmed(extra["done"])
            if len(extra) > ("done" in extra):
                if "worker" in extra:
                    self.bridge.workers.taken(extra["worker"], self.inbox)
                self.state = extra.get("state", self.state)
                self.on_loss = extra.get("on_loss", self.on_loss)
                if "handover" in extra:
                    self.frames.handed_over(extra["handover"]["received"])
                    return await self._resume("its worker is ending")
                if "denial" in extra:
                    return await self._deny(extra["denial"])
            if ("sent" in extra and self._has_come(extra["sent"])) or len(reply) == 1:
                return True
        if self.closing:
            return True
        try:
            events = messages_websocket.websocket_events(reply, not self.accepted)
        except ApplicationError as problem:
            log.error("HTTP/WS send decode error: %s", problem)
            return True
        try:
            for event in events:
                await self._pass_on(event, reply)
        except ApplicationError as problem:
            log.error("HTTP/WS send decode error: %s", problem)
            return self.open  # an unanswered handshake is answered by the stream
        return True

    def _has_come(self, sent: int) -> bool:
        """Whether a reply has come before: its worker could not know, and sent it again."""
        missing = self.inbox.lacks(sent)
        if missing > 0 and not self.closing:
            log.warning("WebSocket %s: the layer lost %d messages for its client", self.inbox.name, missing)
            self.bridge.workers.acknowledge(self.inbox, sent)
        return missing < 0

    async def _pass(self, passing: Passing) -> None:
        """Wait until a message is with the client."""
        problem = await passing.over()
        if isinstance(problem, ClientDisconnected):
            log.debug("The client of %s has left", self.inbox.name)
        elif problem is not None:
            log.error("HTTP/WS send decode error: %s", problem)
        self.bridge.workers.confirm(self.inbox, passing.size)

    def acknowledge(self, count: int) -> None:
        """Tell the worker that the client has `count` replies in all."""
        self.bridge.workers.acknowledge(self.inbox, count)

    async def _pass_on(self, event: Event, reply: Message) -> None:
        kind = event["type"]
        if kind == "websocket.send":
            try:
                await self._send(event)
            finally:  # what was refused counts, too: the worker has sent it
                self.bridge.workers.confirm(self.inbox, len(_content_of(event)))
        elif kind == "websocket.accept":
            await self._accept(event, EXTRA not in reply)
        elif not self.open:
            await self._refuse(403)
        elif self.accepted:
            await self._close(event["code"], event.get("reason"))
        else:  # the next worker does not want a connection that the client believes to have
            code = reply.get("close")
            refused = code is True or code is None or code == closecodes.NORMAL
            await self._close(closecodes.SERVICE_RESTART if refused else int(code or 0))

    async def _accept(self, event: Event, classic: bool) -> None:
        if not self.open:
            await self._send(event)
            self.open = True
            self.subprotocol = event.get("subprotocol")
        elif event.get("subprotocol") != self.subprotocol:
            log.warning("WebSocket %s closed: the next worker chose another subprotocol", self.inbox.name)
            await self._close(closecodes.SERVICE_RESTART)
            return
        self.accepted = True
        self.bridge.workers.answered(self.inbox, classic)
        self._stop_timer()
        self.frames.open_to(self.inbox)
        if self.frames.waiting or self.left is not None:
            self._spawn(self._flow())

    async def _deny(self, denial: Message) -> bool:
        if self.open:
            return await self._close(closecodes.SERVICE_RESTART)
        try:
            for event in messages_websocket.denial_events(denial):
                await self._send(event)
        except ApplicationError as problem:
            log.error("HTTP/WS send decode error: %s", problem)
            return False  # the stream answers what we leave unanswered
        return True

    # When the worker goes

    async def _lost(self, loss: Lost) -> bool:
        """The worker died. What it may have worked off is not sent again, and each such message is logged."""
        self.deaths += 1
        for order in self.frames.lost(loss.untaken):
            log.warning(
                "WebSocket %s: message %d was with the worker that died; "
                "it is lost unless it had been worked off",
                *(self.inbox.name, order),
            )
        return await self._resume("its worker died")

    async def _resume(self, why: str) -> bool:
        """Look for another worker, or end the connection where that is not wanted. False when nothing is left
        to do."""
        if self.closing:
            return True
        self.accepted = False
        if self.left is not None and not self.frames.waiting:
            return False
        if self.deaths > DEATHS or (self.open and self.on_loss == "close"):
            log.info("WebSocket %s is closed with 1012: %s", self.inbox.name, why)
            return await self._refuse(503, NO_LAYER)
        log.debug("WebSocket %s goes to another worker: %s", self.inbox.name, why)
        self.resumed_count += self.open
        self.give_up_at = asyncio.get_running_loop().time() + RESUME_PATIENCE
        return await self._offer_again()

    async def _offer_again(self) -> bool:
        """Over another reply channel, so that nothing the old worker may still say is taken for the new
        one's."""
        replies = self.bridge.replies
        self.bridge.workers.release(self.inbox)
        replies.close(self.inbox)
        self.inbox.attend(None)
        self.inbox = replies.inboxes.open_websocket()
        self.inbox.attend(self.take_reply)
        if await self._dispatch() and self.open:
            self._stop_timer()
            loop = asyncio.get_running_loop()
            self.timer = loop.call_later(self.bridge.layer.expiry, self.inbox.put, _NOT_TAKEN)
        if self.left is not None:
            self.inbox.put(_CLIENT_LEFT)
        return True

    async def _not_taken(self) -> bool:
        """By now the layer has forgotten an offer that nobody took: make it again, up to a time."""
        loop = asyncio.get_running_loop()
        if self.accepted or self.closing:
            return True
        if loop.time() >= self.give_up_at:
            log.warning("WebSocket %s is closed with 1012: no worker took it over", self.inbox.name)
            await self._close(closecodes.SERVICE_RESTART)
            return self.left is None
        if self.inbox.worker is None:
            return await self._offer_again()
        self.timer = loop.call_later(self.bridge.layer.expiry, self.inbox.put, _NOT_TAKEN)
        return True

    # To the client, and ends

    async def _send(self, event: Event) -> None:
        """What is sent after the client has gone is dropped; the reading task notices it, and ends the
        relay."""
        try:
            await self.send(event)
        except ClientDisconnected:
            log.debug("The client of %s has left", self.inbox.name)

    async def _close(self, code: int, reason: str | None = None) -> bool:
        """Close the open WebSocket; then only the client's end is waited for."""
        if not self.open:
            return await self._refuse(503, NO_LAYER)
        if not self.closing:
            self.closing = True
            event: Event = {"type": "websocket.close", "code": code}
            if reason:
                event["reason"] = reason
            await self._send(event)
        return True

    async def _refuse(self, status: int, text: str = "") -> bool:
        """Refuse the handshake with `status`; close with 1012 what is open already."""
        if self.open:
            return await self._close(closecodes.SERVICE_RESTART)
        self.closing = True
        if status == 403 or "websocket.http.response" not in (self.scope.get("extensions") or {}):
            await self._send({"type": "websocket.close"})
            return True
        page = error_page(status, text)
        headers = [*PAGE_HEADERS, (b"content-length", b"%d" % len(page))]
        await self._send({"type": "websocket.http.response.start", "status": status, "headers": headers})
        await self._send({"type": "websocket.http.response.body", "body": page})
        return True

    def _stop_timer(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        self.tasks.append(asyncio.get_running_loop().create_task(coroutine))

    async def _end(self) -> None:
        """Let the worker, or whichever classic consumer has the connection, know of its end."""
        self._stop_timer()
        for task in self.tasks:
            task.cancel()
        self.tasks.clear()  # they keep the frames in which they were cancelled, and those keep us
        bridge, inbox, worker = self.bridge, self.inbox, self.inbox.worker
        bridge.replies.close(inbox)
        inbox.attend(None)
        while (reply := inbox.take_now()) is not None:
            if type(reply) is Passing:
                reply.forget()
        if self.stream is not None:
            self.stream.attend(None)
        bridge.workers.release(inbox)
        if not self.dispatched:
            return
        code = self.left["code"] if self.left is not None else closecodes.ABNORMAL
        order = self.frames.order + 1
        if worker is not None:
            reason = self.left.get("reason", "") if self.left is not None else ""
            message = {"type": "websocket.disconnect", "order": order, "code": code, "reason": reason}
            bridge.workers.tell_later(worker, inbox.local, message)
        else:
            known = None if code == closecodes.NO_STATUS else code
            message = messages_websocket.websocket_disconnect(self.scope, inbox.name, order, known)
            await bridge.sender.try_send("websocket.disconnect", message)


def _content_of(event: Event) -> str | bytes:
    """What a `websocket.receive` or `websocket.send` carries."""
    text: str | None = event.get("text")
    return text if text is not None else bytes(event["bytes"])
