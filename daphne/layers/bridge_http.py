"""One HTTP request over a channel layer: the request to a worker, the worker's replies to the client.

Called by the bridge for every `http` scope; calls `messages` for what goes to and fro, the sender and the
inbox of its reply channel. A plain request costs neither a task nor a timer.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from daphne.errors import ApplicationError, ChannelFull, ClientDisconnected, LayerUnavailable
from daphne.layers import messages
from daphne.layers.bridge_exchange import CLIENT_LEFT, HTTPExchange
from daphne.layers.interface import Message
from daphne.layers.message_keys import EXTRA
from daphne.layers.messages import Event
from daphne.layers.passing import Passing
from daphne.layers.replies import BacklogFull, next_reply
from daphne.layers.window import WINDOW, Window
from daphne.layers.workers import Lost
from daphne.streams.pages import PAGE_HEADERS, error_page

log = logging.getLogger("daphne.http_protocol")

GATHER_TIME = 1.0
"""Seconds without a byte after which a body goes to a worker in parts, though it may be short: the client may
be waiting for the beginning of the response before it sends more."""

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
"""RFC 9110 section 9.2.1: what may be asked again when a worker died over it."""

QUEUE_FULL = "Request queue full."
TOO_SLOW = "Worker server failed to respond within time limit."
NO_LAYER = "The request could not be handed to a worker."
TOO_LARGE = "The request is larger than the channel layer carries."
BAD_REPLY = "HTTP processing error"
WORKER_LOST = "The worker was lost before it answered."

_TIME_IS_UP = object()


class HTTPRequest(HTTPExchange):
    """One request. `serve` returns when it is answered, cut, or its client has gone."""

    __slots__ = ()

    async def serve(self, event: Event | None = None) -> None:
        """From the body, of which `event` is the beginning if that has been received, to the last reply; then
        the end of everything that was begun for it."""
        try:
            event = event or await self.receive()
            if not self.offer_whole(event) and not await self._begin(event):
                return
            inbox = self.inbox
            while (reply := inbox.take_now()) is None:
                await inbox.arrival()
            whole = self.whole_response(reply)
            if whole is None:
                await self._relay(reply)
                return
            await self.send(whole[0])
            self.started = True
            await self.send(whole[1])
            self.complete = True
        except (ClientDisconnected, ApplicationError) as problem:
            self._not_sent(problem)
        finally:
            if (farewell := self.end()) is not None:
                await self.say(farewell)

    async def go_on(self, reply: Any) -> None:
        """See `HTTPExchange`: the first reply is not all of the response, or what it is takes waiting."""
        try:
            if type(reply) is not Passing:
                await self._relay(reply)
            elif (problem := await reply.over()) is None:
                self.complete = True
            else:
                self._not_sent(problem)
        except (ClientDisconnected, ApplicationError) as problem:
            self._not_sent(problem)
        finally:
            if (farewell := self.end()) is not None:
                await self.say(farewell)

    async def say(self, farewell: tuple[str, Message]) -> None:
        """See `HTTPExchange`."""
        await self.bridge.sender.try_send(*farewell)

    def _not_sent(self, problem: Exception) -> None:
        """The stream has written nothing of what was wrong, and ends what we leave."""
        if isinstance(problem, ClientDisconnected):
            log.debug("The client of %s has left", self.inbox.name)
        else:
            log.error("HTTP/WS send decode error: %s", problem)

    # To the worker

    async def _begin(self, event: Event) -> bool:
        """Offer a request that has to be waited for. False when the client left, or it had to be answered."""
        if event["type"] == "http.disconnect":
            return False
        if self.body_ended and len(self.body) <= self.desk.chunk_size:
            offered = await self._dispatch()
        else:
            offered = await self._gather_body(event) and (self.offer() or await self._dispatch())
        if offered:
            self._begin_watching()
        return offered

    async def _gather_body(self, event: Event) -> bool:
        """Read what goes into the first message of a body that may not fit into it; `event` is its beginning.
        False when the client left first."""
        parts = [event]
        size = len(event.get("body", b""))
        limit = self.bridge.settings.body_chunk_size
        while event.get("more_body") and size <= limit:
            try:
                async with asyncio.timeout(GATHER_TIME):
                    event = await self.receive()
            except TimeoutError:
                break
            parts.append(event)
            size += len(event.get("body", b""))
        if event["type"] == "http.disconnect":
            return False
        body = b"".join([part.get("body", b"") for part in parts])
        self.body, self.rest = (body, b"") if size <= limit else (body[:limit], body[limit:])
        self.body_ended = not event.get("more_body")
        if self.rest or not self.body_ended:
            self.body_channel = self.bridge.layer.new_channel(messages.BODY_PATTERN)
        return True

    async def _dispatch(self) -> bool:
        """Send it, waiting for room; False when it had to be answered instead."""
        bridge = self.bridge
        try:
            async with asyncio.timeout(bridge.http_timeout or None):  # a foreign layer may hang
                patience = bridge.settings.channel_full_timeout
                await bridge.sender.send("http.request", self.message(), patience)
        except ChannelFull:
            log.warning("The channel http.request is full; %s %s is answered 503", *self._names())
            await self._page(503, QUEUE_FULL)
        except (LayerUnavailable, TimeoutError) as problem:
            log.error("%s %s is answered 503: %s", *self._names(), problem or "the layer does not answer")
            await self._page(503, NO_LAYER)
        except bridge.layer.MessageTooLarge as problem:
            log.error("%s %s is answered 413: %s", *self._names(), problem)
            await self._page(413, TOO_LARGE)
        else:
            self.dispatched = True
            bridge.workers.offered(self.inbox)
        return self.dispatched

    async def _upload(self) -> None:
        """Send the rest of a long body over its channel, and then watch the client."""
        body, more = self.rest, not self.body_ended
        self.rest = b""
        if body:
            await self._upload_pieces(body, more)
        while more:
            event = await self.receive()
            if event["type"] == "http.disconnect":
                await self._upload_message(messages.body_closed(), 0)
                self.inbox.put(CLIENT_LEFT)
                return
            more = event.get("more_body", False)
            await self._upload_pieces(event.get("body", b""), more)
        await self._watch_client()

    async def _upload_pieces(self, body: bytes, more: bool) -> None:
        step = self.bridge.settings.body_chunk_size
        for start in range(0, len(body) or 1, step):
            piece = body[start : start + step]
            await self._upload_message(
                messages.body_chunk(piece, more or start + step < len(body), self.upload_parts), len(piece)
            )
            self.upload_parts += 1

    async def _upload_message(self, message: Message, size: int) -> None:
        """Classic consumers confirm nothing: for them the channel's capacity is the only window."""
        window = self.upload_window
        assert window is not None and self.body_channel is not None
        while window.full and self.inbox.worker is not None:
            await window.changed()
        await self.bridge.sender.send(self.body_channel, message, None, None)
        window.sent(size)
        self._arm(asyncio.get_running_loop().time())

    async def _watch_client(self) -> None:
        while (await self.receive())["type"] != "http.disconnect":
            pass
        self.inbox.put(CLIENT_LEFT)

    # Time

    def _begin_watching(self) -> None:
        if self.body_channel is not None:
            loop = asyncio.get_running_loop()
            self.upload_window = Window()
            self.watcher = loop.create_task(self._upload())
            self._arm(loop.time())
        else:
            self.desk.unanswered.add(self)

    def quiet(self, asked_at: float) -> None:
        """Not answered at once: look out for the client's end, and see to the time limit."""
        self.watcher = asyncio.get_running_loop().create_task(self._watch_client())
        self._arm(asked_at)

    def _arm(self, since: float) -> None:
        """The response has `http_timeout` seconds from the time `since`."""
        if self.timer is not None:
            self.timer.cancel()
        if self.bridge.http_timeout > 0:
            loop = asyncio.get_running_loop()
            self.timer = loop.call_at(since + self.bridge.http_timeout, self._time_is_up)

    def _time_is_up(self) -> None:
        self.inbox.put(_TIME_IS_UP)

    # From the worker

    async def _relay(self, reply: Any) -> None:
        """Pass the replies on, of which this is the first, until the response is complete or has to be given
        up."""
        while await self._take(reply) and not self.complete:
            reply = await next_reply(self.inbox)

    async def _take(self, reply: Any) -> bool:
        if type(reply) is dict:
            return await self._reply(reply)
        if type(reply) is Lost:
            return await self._lost()
        return await self._give_up(reply)

    async def _reply(self, reply: Message) -> bool:
        """Pass one reply on. False when nothing more can come of this request."""
        extra = reply.get(EXTRA)
        if extra:
            if "done" in extra:
                if self.upload_window is not None:
                    self.upload_window.confirm(extra["done"])
                return True
            if "handback" in extra:
                self.bridge.workers.release(self.inbox)
                return await self._lost()
            if "abort" in extra:
                return False
            if "worker" in extra:
                self.bridge.workers.taken(extra["worker"], self.inbox)
            if "part" in extra and extra["part"] != self.parts:
                return self._out_of_turn(extra["part"])
            self.parts += "part" in extra
            if "path" in extra:
                return await self._file(reply)
        elif "request" in reply and messages.is_server_push(reply):
            log.debug("A server push for %s is dropped", self.inbox.name)
            return True
        try:
            events = messages.response_events(reply, self.started)
        except ApplicationError as problem:
            return await self._bad_reply(reply, problem)
        if not self.started:
            self.classic = extra is None
            self.bridge.workers.answered(self.inbox, self.classic)
        for event in events:
            await self.send(event)
            self._passed_on(event)
        if not self.complete and "content" in reply:
            self.bridge.workers.confirm(self.inbox, len(reply["content"]))
        return True

    def _out_of_turn(self, part: int) -> bool:
        """A layer that fails may bring a part twice, for its sender could not know that it had arrived; or
        lose one."""
        if part < self.parts:
            return True
        log.error("The response to %s %s is cut: the layer lost a part of it", *self._names())
        return False

    async def _file(self, reply: Message) -> bool:
        """The worker names a file for the body. It waits until that has been sent, or cannot be."""
        try:
            if not self.bridge.same_files:
                raise ApplicationError("files go over a layer of one machine only")
            for event in messages.response_events(reply, self.started):
                await self.send(event)
                self._passed_on(event)
        except (ApplicationError, OSError) as problem:
            if isinstance(problem, ClientDisconnected):
                raise
            log.error("HTTP/WS send decode error: %s", problem)
            return False
        self.bridge.workers.confirm(self.inbox, WINDOW)
        return True

    def _passed_on(self, event: Event) -> None:
        kind = event["type"]
        if kind == "http.response.start":
            self.started = True
            self.trailers = bool(event.get("trailers"))
        elif kind == "http.response.body":
            self.complete = not (event["more_body"] or self.trailers)
        elif kind == messages.PATHSEND:
            self.complete = not self.trailers
        elif kind == "http.response.trailers":
            self.complete = not event["more_trailers"]

    async def _bad_reply(self, reply: Message, problem: Exception) -> bool:
        """Before the start the client gets a page; after it, a second status is passed over, and the rest
        ends it."""
        log.error("HTTP/WS send decode error: %s", problem)
        if not self.started:
            await self._page(500, BAD_REPLY)
            return False
        return "status" in reply

    # Ends

    async def _give_up(self, reason: object) -> bool:
        if isinstance(reason, BacklogFull):
            log.error("The response on %s is cut: %s", self.inbox.name, reason)
        elif reason is _TIME_IS_UP and not self.started:
            log.warning("%s %s is answered 503: no worker answered in time", *self._names())
            await self._page(503, TOO_SLOW)
        elif reason is _TIME_IS_UP:
            log.warning("The response to %s %s is cut: it took longer than --http-timeout", *self._names())
        return False

    async def _lost(self) -> bool:
        """The worker died or gave the request back: ask another if that can do no harm (RFC 9110 section
        9.2.2)."""
        if self.started:
            log.warning("The response to %s %s is cut: its worker was lost", *self._names())
            return False
        if self.retried or self.body_channel is not None or self.scope["method"] not in SAFE_METHODS:
            log.warning("%s %s is answered 502: its worker was lost", *self._names())
            await self._page(502, WORKER_LOST)
            return False
        while (later := self.inbox.take_now()) is not None:
            if later is CLIENT_LEFT or later is _TIME_IS_UP:
                return await self._give_up(later)
        self.retried = True
        self.bridge.replies.close(self.inbox)
        self.inbox = self.bridge.replies.inboxes.open_http()
        return self.offer() or await self._dispatch()

    async def _page(self, status: int, text: str) -> None:
        """Answer with a page of our own. A 503 closes the connection (classic specification, "WWW")."""
        page = error_page(status, text)
        headers = [*PAGE_HEADERS, (b"content-length", b"%d" % len(page))]
        if status == 503:
            headers.append((b"connection", b"close"))
        self.started = True
        await self.send({"type": "http.response.start", "status": status, "headers": headers})
        await self.send({"type": "http.response.body", "body": page})

    def _names(self) -> tuple[str, str]:
        return self.scope["method"], self.inbox.name
