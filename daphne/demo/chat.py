"""The chat: one WebSocket's conversation with the room.

Called by `routes`; calls `room`.

Lines are JSON objects in text frames. From the browser: `{"name": "Ann"}` or `{"say": "Hello"}`. To it:
`{"kind": "welcome" | "joined" | "left" | "renamed" | "said" | "trouble", "name": ..., "text": ...}`.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
from typing import Any

from daphne.demo.asgi import Event, Receive, Scope, Send
from daphne.demo.page import protocol
from daphne.demo.room import Guest, Room, room_of_this_loop
from daphne.errors import LayerError

LONGEST_NAME = 32
LONGEST_TEXT = 500
WORKER_RESTART = 1012

Closing = tuple[int, str]


async def chat(scope: Scope, receive: Receive, send: Send) -> None:
    """Serve one WebSocket from its connect event to its end.

    Where the scope extension `daphne.state` is offered, the connection may move to another worker. There the
    application is run anew with the extension `daphne.resume`, which holds what was saved here: the chat goes
    on under the same name, and nobody is greeted again.
    """
    if (await receive())["type"] != "websocket.connect":
        return
    extensions: dict[str, Any] = scope.get("extensions") or {}
    resume: dict[str, Any] | None = extensions.get("daphne.resume")
    saved: dict[str, Any] = (resume or {}).get("state") or {}
    guest = Guest(saved.get("name") or f"guest-{secrets.token_hex(2)}")
    conversation = Conversation(guest, room_of_this_loop(), receive, send, "daphne.state" in extensions)
    await send({"type": "websocket.accept"})
    await conversation.run(welcome=_welcome(scope, guest), resumed=resume is not None)


class Conversation:
    """What goes on between one guest and the room, both ways at once."""

    def __init__(self, guest: Guest, room: Room, receive: Receive, send: Send, keeps_state: bool) -> None:
        self.guest = guest
        self.room = room
        self.receive = receive
        self.send = send
        self.keeps_state = keeps_state
        self.moves_on = False
        """True once the connection goes to another worker, so that nobody is told that the guest left."""

    async def run(self, welcome: Event, resumed: bool) -> None:
        """Carry lines both ways until the client leaves, breaks the rules or falls behind."""
        try:
            await self.room.enter(self.guest)
        except LayerError:
            await self._close((1013, "The chat cannot be reached."))
            return
        try:
            if not resumed:
                self.guest.hear(welcome)
                await self._tell("joined")
                await self._save_name()
            closing = await self._until_the_end()
        finally:
            await self.room.leave(self.guest)
            if not self.moves_on:
                await self._tell("left")
        if self.moves_on:
            await self._deliver_rest()
        if closing:
            await self._close(closing)

    async def _until_the_end(self) -> Closing | None:
        parts = (self._listen(), self._deliver(), self._notice_slowness())
        tasks = {asyncio.create_task(part) for part in parts}
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            return next(iter(done)).result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _listen(self) -> Closing | None:
        while True:
            event = await self.receive()
            if event["type"] == "websocket.disconnect":
                self.moves_on = self.keeps_state and event.get("code") == WORKER_RESTART
                return None
            text = event.get("text")
            if text is None:
                return (1003, "The chat takes text.")
            try:
                line = json.loads(text)
                await self._take(line)
            except (ValueError, TypeError, LookupError, AttributeError):
                return (1008, 'The chat takes {"say": "..."} or {"name": "..."}.')

    async def _take(self, line: Any) -> None:
        """One line from the browser. Raises `ValueError` and its like for what the chat does not know."""
        if "say" in line:
            text = line["say"].strip()[:LONGEST_TEXT]
            if text:
                await self._tell("said", text)
        else:
            before, name = self.guest.name, line["name"].strip()[:LONGEST_NAME]
            if name and name != before:
                self.guest.name = name
                await self._save_name()
                await self._tell("renamed", before)

    async def _deliver(self) -> None:
        try:
            while True:
                line = await self.guest.outbox.get()
                await self.send({"type": "websocket.send", "text": json.dumps(line)})
        except OSError:
            return  # what send() raises once the client has gone

    async def _deliver_rest(self) -> None:
        """Send what has been heard already: what follows reaches the guest through the next worker."""
        while not self.guest.outbox.empty():
            await self.send({"type": "websocket.send", "text": json.dumps(self.guest.outbox.get_nowait())})

    async def _notice_slowness(self) -> Closing:
        await self.guest.too_slow.wait()
        return (1013, "You read slower than the others talk.")

    async def _tell(self, kind: str, text: str = "") -> None:
        try:
            await self.room.say({"kind": kind, "name": self.guest.name, "text": text})
        except LayerError as error:
            self.guest.hear({"kind": "trouble", "name": "", "text": f"Nobody heard that: {error}"})

    async def _close(self, closing: Closing) -> None:
        await self.send({"type": "websocket.close", "code": closing[0], "reason": closing[1]})

    async def _save_name(self) -> None:
        if self.keeps_state:
            await self.send({"type": "daphne.state", "state": {"name": self.guest.name}})


def _welcome(scope: Scope, guest: Guest) -> Event:
    how = f"WebSocket over {protocol(scope)}, {scope.get('scheme', 'ws')}"
    return {"kind": "welcome", "name": guest.name, "text": how, "process": os.getpid()}
