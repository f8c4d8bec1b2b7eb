"""The broker of a local layer: the one process that holds the messages, and serves the others over a socket.

Called by the local layer of the process that holds the lock, directly; by other processes through frames:

    request  (number, operation, arguments...)      answer  (number, status, value)

Each request has one answer, but those to `send` that succeeded share one, and `give` has none. `receive` is
answered when there is something (or when it is cancelled, with nothing), `watch` when the owner of the prefix
has gone. Answers with the number 0 nobody asked for: the first says whether the client is let in, a later one
that the broker is about to leave (the client then ends its side, and attaches anew), others which sends are
done, and which prefixes are attended in the broker's process. What goes there is taken at once and never
refused, so that it needs no answer: `(0, "give", channel, message)`, with the message as it is, where `send`
has it packed. Calls `local_server`, `mailboxes`, `local_place`.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Any

from daphne.errors import ChannelFull
from daphne.layers.interface import BATCH
from daphne.layers.local_frames import ATTENDED, DONE, FAILED, UNASKED, VERSION
from daphne.layers.local_place import Place
from daphne.layers.local_server import Client
from daphne.layers.mailboxes import Batch, Closed, LoopEvent, Mailboxes, Take
from daphne.layers.names import local_prefix
from daphne.layers.receiving import receive

UNCLAIMED = 2.0
"""Seconds that a watched prefix may be without an owner before it counts as gone: its owner may be about to
attach to a new broker."""
PARTING_LIMIT = 2.0
"""Seconds that clients have to end their side when the broker leaves."""

log = logging.getLogger("daphne.layers.local")


class _Claim:
    """Who receives on a process-local prefix."""

    __slots__ = ("check_at", "owners", "used")

    def __init__(self, check_at: float) -> None:
        self.owners: set[object] = set()
        self.check_at = check_at
        """When to look whether anybody still does."""
        self.used = False
        """Whether another receive has begun since the last look."""


class Broker:
    """Messages and groups of the layer, the clients, and who receives on which process-local prefix."""

    def __init__(self, place: Place, boxes: Mailboxes) -> None:
        self.loop = asyncio.get_running_loop()
        self.boxes = boxes
        self.leaving = False
        self._thread = threading.get_ident()
        self._place = place
        self._clients: set[Client] = set()
        self._claims: OrderedDict[str, _Claim] = OrderedDict()  # the earliest `check_at` first
        self._claiming = threading.Lock()
        self._watches: dict[str, list[Callable[[], None]]] = {}
        self._local_watches: set[LoopEvent] = set()
        self._server: asyncio.Server | None = None
        self._parted = asyncio.Event()
        self._operations: dict[str, Callable[..., Any]] = {
            "send": self._send,
            "send_group": self._send_group,
            "take": boxes.take,
            "put_back": boxes.put_back,
            "group_add": boxes.group_add,
            "group_discard": boxes.group_discard,
            "group_channels": boxes.group_channels,
            "flush": boxes.flush,
            "statistics": boxes.statistics,
        }

    async def serve(self) -> None:
        """Take over what the last broker left, then let clients in. The caller holds the lock."""
        if left := self._place.take_over():
            self.boxes.load(*left)
        listener = self._place.listen()
        client: Any = partial(Client, self, self.boxes)
        self._server = await self.loop.create_unix_server(client, sock=listener)

    def attend(self, prefix: str, take: Take, thread: int, take_packed: Take) -> None:
        """What is sent to `prefix` goes there; see `Mailboxes.attend`. Clients may then give it."""
        self.boxes.attend(prefix, take, thread, take_packed)
        self._tell_attended_soon()

    def forsake(self, prefix: str) -> None:
        """End that."""
        self.boxes.forsake(prefix)
        self._tell_attended_soon()

    def _tell_attended_soon(self) -> None:
        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self._tell_attended)

    def _tell_attended(self) -> None:
        attended = self.boxes.attended(self._thread)
        for client in self._clients:
            client.write_frame((UNASKED, ATTENDED, attended))

    async def call(self, operation: str, *arguments: Any) -> Any:
        """Perform an operation for this process. Raises ChannelFull, Closed."""
        return self.perform(operation, arguments)

    async def receive(self, names: tuple[str, ...], limit: int = BATCH) -> Batch:
        """Wait for messages for this process. Raises Closed."""
        self.claim(names, self)
        return await receive(self.boxes, names, limit)

    async def watch(self, prefix: str) -> None:
        """Wait until the owner of `prefix` has gone. Raises Closed."""
        event = LoopEvent()
        self._local_watches.add(event)
        self.loop.call_soon_threadsafe(self.add_watch, prefix, event.set)
        try:
            await event.future
            if self.leaving:
                raise Closed("the broker leaves")
        finally:
            self._local_watches.discard(event)
            if not self.loop.is_closed():
                self.loop.call_soon_threadsafe(self.remove_watch, prefix, event.set)

    async def close(self) -> None:
        """Leave: answer what has been asked, keep what is held for the next broker, give the lock free."""
        self.leaving = True
        if self._server is not None:
            self._server.close()
            self._place.stop_listening()
        for client in list(self._clients):
            client.part()
        if self._clients:
            try:
                await asyncio.wait_for(self._parted.wait(), PARTING_LIMIT)
            except TimeoutError:
                log.warning("%d clients of the local layer did not part in time", len(self._clients))
        self._place.leave(self.boxes.close())
        for event in list(self._local_watches):
            event.set()
        self._place.unlock()
        for client in list(self._clients):
            client.close()

    # For the clients

    def perform(self, operation: str, arguments: tuple[Any, ...]) -> Any:
        """Look the operation up and do it."""
        return self._operations[operation](*arguments)

    def claim(self, names: tuple[str, ...], owner: object) -> None:
        """Remember who receives on process-local prefixes, in any thread."""
        for name in names:
            if name[-1] == "!":
                claim = self._claims.get(name)
                if claim is None or owner not in claim.owners:
                    with self._claiming:
                        self._add_claim(name, owner)
                else:
                    claim.used = True

    def _add_claim(self, name: str, owner: object) -> None:
        now = self.loop.time()
        for _ in range(2):
            self._drop_claim(now)
        claim = self._claims.get(name)
        if claim is None:
            claim = self._claims[name] = _Claim(now + self.boxes.expiry)
        claim.owners.add(owner)

    def _drop_claim(self, now: float) -> None:
        """Forget the first claim if nobody has received on its prefix for long, as on that of a connection
        which has ended: two at most for each new one. Whoever goes on to receive claims it again."""
        name = next(iter(self._claims), None)
        if name is None or self._claims[name].check_at > now:
            return
        claim = self._claims[name]
        if claim.used or name in self._watches or self.boxes.awaited(name):
            claim.used = False
            claim.check_at = now + self.boxes.expiry
            self._claims.move_to_end(name)
        else:
            del self._claims[name]

    def add_watch(self, prefix: str, gone: Callable[[], None]) -> None:
        """Call `gone` once nobody owns `prefix`."""
        self._watches.setdefault(prefix, []).append(gone)
        if prefix not in self._claims:
            self.loop.call_later(UNCLAIMED, self._check_watches, prefix)

    def remove_watch(self, prefix: str, gone: Callable[[], None]) -> None:
        """Do not call it."""
        watches = self._watches.get(prefix, [])
        if gone in watches:
            watches.remove(gone)
        if not watches:
            self._watches.pop(prefix, None)

    def add_client(self, client: Client, connection: Any) -> None:
        """A connection was accepted."""
        if not self._place.is_trusted(connection):
            log.error("Refused a process of another user on %s", self._place.path)
            client.write_frame((UNASKED, FAILED, "the broker serves other users"))
            client.close()
            return
        client.write_frame((UNASKED, DONE, VERSION))
        if attended := self.boxes.attended(self._thread):
            client.write_frame((UNASKED, ATTENDED, attended))
        self._clients.add(client)
        if self.leaving:
            client.part()

    def remove_client(self, client: Client) -> None:
        """A connection has ended, or its client will ask no more."""
        self._clients.discard(client)
        for prefix in self._abandoned_by(client):
            self._check_watches(prefix)
        self.client_parted()

    def _abandoned_by(self, client: Client) -> list[str]:
        """The prefixes that have no owner now that `client` has gone."""
        with self._claiming:
            claims = [(prefix, claim) for prefix, claim in self._claims.items() if client in claim.owners]
            for prefix, claim in claims:
                claim.owners.discard(client)
                if not claim.owners:
                    del self._claims[prefix]
        return [prefix for prefix, claim in claims if not claim.owners]

    def client_parted(self) -> None:
        """One client fewer to wait for."""
        if self.leaving and all(client.parted for client in self._clients):
            self._parted.set()

    def _check_watches(self, prefix: str) -> None:
        if prefix not in self._claims and not self.leaving:
            for gone in self._watches.pop(prefix, []):
                gone()

    def _send(self, channel: str, body: bytes) -> None:
        self.boxes.put(local_prefix(channel), channel, body)

    def _send_group(self, group: str, body: bytes) -> None:
        for channel in self.boxes.group_channels(group):
            try:
                self._send(channel, body)
            except ChannelFull:
                continue  # the classic specification: group sends drop in silence
