"""One client of a local layer's broker, at the broker's end: its requests, and what is still to be answered.

Made by `local_broker` for each connection, whose docstring has the frames; calls the mailboxes, and the
broker for what concerns all clients. Compiled (setup.py), for every message of the layer passes here.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from daphne.errors import ChannelFull
from daphne.layers.local_frames import DONE, FAILED, FULL, LEAVING, SENT, UNASKED, FrameProtocol
from daphne.layers.mailboxes import Batch, Mailboxes, Waiter
from daphne.layers.names import local_prefix
from daphne.layers.packing import bytes_head, packed, packed_array, packed_number, text_head

if TYPE_CHECKING:
    from daphne.layers.local_broker import Broker

ENOUGH_BYTES = 1024 * 1024
"""An answer with messages ends when they have this size together."""


def packed_answer(number: int, batch: Batch) -> list[bytes]:
    """The frame `(number, DONE, batch)`; a message is not copied for it."""
    parts = [b"\x93", packed_number(number), packed_number(DONE), packed_array(len(batch))]
    for channel, body in batch:
        name = channel.encode()
        parts += [b"\x92", text_head(len(name)), name, bytes_head(len(body)), body]
    return parts


class Client(FrameProtocol):
    """One client of the broker: a loop of another process."""

    def __init__(self, broker: Broker, boxes: Mailboxes) -> None:
        super().__init__()
        self._broker = broker
        self._boxes = boxes
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
            self._boxes.stop_waiting(waiter)
        self._receives.clear()
        for prefix, gone in self._watches.values():
            self._broker.remove_watch(prefix, gone)
        self._broker.remove_client(self)

    def part(self) -> None:
        """Tell the client that the broker leaves, and end its receives."""
        for number in list(self._receives):
            self._cancel(number)
        self.write_frame((UNASKED, LEAVING, None))

    def frame_received(self, fields: Any) -> None:
        """Called with each request."""
        if fields[1] == "give":
            self._give(fields[2], fields[3])
            return
        if fields[1] == "send":
            self._send(fields[0], fields[2], fields[3])
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

    def _send(self, number: int, channel: str, body: bytes) -> None:
        try:
            self._boxes.put(local_prefix(channel), channel, body)
        except ChannelFull as error:
            self.write_frame((number, FULL, str(error)))
        else:
            if not self._sent:
                self._loop.call_soon(self.flush_frames)
            self._sent.append(number)

    def _give(self, channel: str, message: Any) -> None:
        name = local_prefix(channel)
        if not self._boxes.hand(name, channel, message):
            self._boxes.put(name, channel, packed(message), False)  # whoever attended it is ending

    def _perform(self, number: int, operation: str, arguments: tuple[Any, ...]) -> None:
        try:
            value = self._broker.perform(operation, arguments)
        except ChannelFull as error:
            self.write_frame((number, FULL, str(error)))
        except (KeyError, TypeError, ValueError) as error:  # a client of another version
            self.write_frame((number, FAILED, f"{operation}: {error}"))
        else:
            self.write_frame((number, DONE, value))

    def flush_frames(self) -> None:
        """Send the frames of this turn, and one for all sends of it."""
        if self._sent:
            sent, self._sent = self._sent, []
            self.write_frame((UNASKED, SENT, sent))
        super().flush_frames()

    def _receive(self, number: int, names: tuple[str, ...], limit: int) -> None:
        self._broker.claim(names, self)
        if batch := self._take(names, limit):
            self.write_parts(packed_answer(number, batch))
        elif self._broker.leaving:
            self.write_frame((number, DONE, ()))
        else:
            waiter = self._boxes.wait(names, partial(self._wake, number))
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
            self._boxes.stop_waiting(waiter)
            self.write_frame((number, DONE, ()))

    def _take(self, names: tuple[str, ...], limit: int) -> Batch:
        batch = self._boxes.take(names, limit)
        size = 0
        for count, (_, body) in enumerate(batch, 1):
            size += len(body)
            if size >= ENOUGH_BYTES and count < len(batch):
                self._boxes.put_back(batch[count:])
                return batch[:count]
        return batch

    def _gone(self, number: int) -> None:
        self._watches.pop(number, None)
        self.write_frame((number, DONE, None))

    def _unwatch(self, number: int) -> None:
        if number in self._watches:
            self._broker.remove_watch(*self._watches.pop(number))
            self.write_frame((number, DONE, None))
