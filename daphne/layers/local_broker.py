"""The broker of a local layer: the one process that holds the messages, and serves the others over a socket.

Called by the local layer of the process that holds the lock, directly; by other processes through frames:

    request  (number, operation, arguments...)      answer  (number, status, value)

Each request has one answer, but those to `send` that succeeded share one. `receive` is answered when there is
something (or when it is cancelled, with nothing), `watch` when the owner of the prefix has gone. Answers with
the number 0 nobody asked for: the first says whether the client is let in, a later one that the broker is
about to leave (the client then ends its side, and attaches anew), and others which sends are done. Calls
`mailboxes` and `local_place`.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

from daphne.errors import ChannelFull
from daphne.layers.interface import BATCH
from daphne.layers.local_frames import FrameProtocol
from daphne.layers.local_place import Place
from daphne.layers.mailboxes import Batch, Closed, LoopEvent, Mailboxes, Waiter
from daphne.layers.names import local_prefix

DONE, FULL, FAILED, LEAVING, SENT = 0, 1, 2, 3, 4
"""The statuses of answers."""
UNASKED = 0
"""The number of answers that nobody asked for."""
VERSION = 2
"""Of these frames; told to each client that is let in."""
ENOUGH_BYTES = 1024 * 1024
"""An answer with messages ends when they have this size together."""
UNCLAIMED = 2.0
"""Seconds that a watched prefix may be without an owner before it counts as gone: its owner may be about to
attach to a new broker."""
PARTING_LIMIT = 2.0
"""Seconds that clients have to end their side when the broker leaves."""

log = logging.getLogger("daphne.layers.local")


class Broker:
    """Messages and groups of the layer, the clients, and who receives on which process-local prefix."""

    def __init__(self, place: Place, boxes: Mailboxes) -> None:
        self.loop = asyncio.get_running_loop()
        self.boxes = boxes
        self.leaving = False
        self._place = place
        self._clients: set[_Client] = set()
        self._owners: dict[str, set[object]] = {}
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
        client: Any = partial(_Client, self)
        self._server = await self.loop.create_unix_server(client, sock=listener)

    async def call(self, operation: str, *arguments: Any) -> Any:
        """Perform an operation for this process. Raises ChannelFull, Closed."""
        return self.perform(operation, arguments)

    async def receive(self, names: tuple[str, ...], limit: int = BATCH) -> Batch:
        """Wait for messages for this process. Raises Closed."""
        self.claim(names, self)
        return await self.boxes.receive(names, limit)

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
        """Remember who receives on process-local prefixes."""
        for name in names:
            if name[-1] == "!":
                owners = self._owners.get(name)
                if owners is None:
                    self._owners[name] = {owner}
                else:
                    owners.add(owner)

    def add_watch(self, prefix: str, gone: Callable[[], None]) -> None:
        """Call `gone` once nobody owns `prefix`."""
        self._watches.setdefault(prefix, []).append(gone)
        if prefix not in self._owners:
            self.loop.call_later(UNCLAIMED, self._check_watches, prefix)

    def remove_watch(self, prefix: str, gone: Callable[[], None]) -> None:
        """Do not call it."""
        watches = self._watches.get(prefix, [])
        if gone in watches:
            watches.remove(gone)
        if not watches:
            self._watches.pop(prefix, None)

    def add_client(self, client: _Client, connection: Any) -> None:
        """A connection was accepted."""
        if not self._place.is_trusted(connection):
            log.error("Refused a process of another user on %s", self._place.path)
            client.write_frame(UNASKED, FAILED, "the broker serves other users")
            client.close()
            return
        client.write_frame(UNASKED, DONE, VERSION)
        self._clients.add(client)
        if self.leaving:
            client.part()

    def remove_client(self, client: _Client) -> None:
        """A connection has ended, or its client will ask no more."""
        self._clients.discard(client)
        for prefix in [prefix for prefix, owners in self._owners.items() if client in owners]:
            self._owners[prefix].discard(client)
            if not self._owners[prefix]:
                del self._owners[prefix]
                self._check_watches(prefix)
        self.client_parted()

    def client_parted(self) -> None:
        """One client fewer to wait for."""
        if self.leaving and all(client.parted for client in self._clients):
            self._parted.set()

    def _check_watches(self, prefix: str) -> None:
        if prefix not in self._owners and not self.leaving:
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


class _Client(FrameProtocol):
    """One client of the broker: a loop of another process."""

    def __init__(self, broker: Broker) -> None:
        super().__init__()
        self._broker = broker
        self._owner = threading.get_ident()
        self._receives: dict[int, tuple[tuple[str, ...], int, Waiter]] = {}
        self._watches: dict[int, tuple[str, Callable[[], None]]] = {}
        self._sent: list[int] = []
        """The numbers of sends that are done, and not answered yet."""
        self.parted = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop."""
        super().connection_made(transport)
        connection: socket.socket = transport.get_extra_info("socket")
        self._broker.add_client(self, connection)

    def eof_received(self) -> bool:
        """Called by the loop when the client will ask no more; answers may still go out."""
        self.parted = True
        self._broker.client_parted()
        return self._broker.leaving

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the loop; at once when the client's process dies."""
        self.parted = True
        for _, _, waiter in self._receives.values():
            self._broker.boxes.stop_waiting(waiter)
        self._receives.clear()
        for prefix, gone in self._watches.values():
            self._broker.remove_watch(prefix, gone)
        self._broker.remove_client(self)

    def part(self) -> None:
        """Tell the client that the broker leaves, and end its receives."""
        for number in list(self._receives):
            self._cancel(number)
        self.write_frame(UNASKED, LEAVING, None)

    def frame_received(self, *fields: Any) -> None:
        """Called with each request."""
        if fields[1] == "send":
            self._send(*fields)
            return
        number, operation, *arguments = fields
        if operation == "receive":
            self._receive(number, *arguments)
        elif operation == "cancel":
            self._cancel(*arguments)
        elif operation == "watch":
            gone = partial(self._gone, number)
            self._watches[number] = arguments[0], gone
            self._broker.add_watch(arguments[0], gone)
        elif operation == "unwatch":
            self._unwatch(*arguments)
        else:
            self._perform(number, operation, tuple(arguments))

    def _send(self, number: int, operation: str, channel: str, body: bytes) -> None:
        try:
            self._broker.boxes.put(local_prefix(channel), channel, body)
        except ChannelFull as error:
            self.write_frame(number, FULL, str(error))
        else:
            if not self._sent:
                self._loop.call_soon(self.flush_frames)
            self._sent.append(number)

    def _perform(self, number: int, operation: str, arguments: tuple[Any, ...]) -> None:
        try:
            value = self._broker.perform(operation, arguments)
        except ChannelFull as error:
            self.write_frame(number, FULL, str(error))
        except (KeyError, TypeError, ValueError) as error:  # a client of another version
            self.write_frame(number, FAILED, f"{operation}: {error}")
        else:
            self.write_frame(number, DONE, value)

    def flush_frames(self) -> None:
        """Send the frames of this turn, and one for all sends of it."""
        if self._sent:
            sent, self._sent = self._sent, []
            self.write_frame(UNASKED, SENT, sent)
        super().flush_frames()

    def _receive(self, number: int, names: tuple[str, ...], limit: int) -> None:
        self._broker.claim(names, self)
        if batch := self._take(names, limit):
            self.write_frame(number, DONE, batch)
        elif self._broker.leaving:
            self.write_frame(number, DONE, ())
        else:
            waiter = self._broker.boxes.wait(names, partial(self._wake, number))
            self._receives[number] = names, limit, waiter

    def _wake(self, number: int) -> None:
        """Called by whoever sends, in any thread, under the lock of the mailboxes."""
        if threading.get_ident() == self._owner:
            self._loop.call_soon(self._woken, number)
        else:
            self._loop.call_soon_threadsafe(self._woken, number)

    def _woken(self, number: int) -> None:
        if number in self._receives:
            names, limit, _ = self._receives.pop(number)
            self._receive(number, names, limit)

    def _cancel(self, number: int) -> None:
        if number in self._receives:
            _, _, waiter = self._receives.pop(number)
            self._broker.boxes.stop_waiting(waiter)
            self.write_frame(number, DONE, ())

    def _take(self, names: tuple[str, ...], limit: int) -> Batch:
        batch = self._broker.boxes.take(names, limit)
        size = 0
        for count, (_, body) in enumerate(batch, 1):
            size += len(body)
            if size >= ENOUGH_BYTES and count < len(batch):
                self._broker.boxes.put_back(batch[count:])
                return batch[:count]
        return batch

    def _gone(self, number: int) -> None:
        self._watches.pop(number, None)
        self.write_frame(number, DONE, None)

    def _unwatch(self, number: int) -> None:
        if number in self._watches:
            self._broker.remove_watch(*self._watches.pop(number))
            self.write_frame(number, DONE, None)
