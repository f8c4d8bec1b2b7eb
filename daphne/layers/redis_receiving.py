"""Receiving from Redis on one event loop: block for the first message, then take what else waits, at once.

Called by the Redis layer, once for each loop that uses it; calls `redis_connection` and `arrivals`.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import random
from collections.abc import Sequence
from typing import TypeVar

from daphne.errors import LayerError, LayerUnavailable
from daphne.layers.arrivals import Arrivals, Batch, Names, is_shared
from daphne.layers.names import local_prefix
from daphne.layers.redis_address import Address
from daphne.layers.redis_connection import ReplyError, Server
from daphne.layers.redis_format import WireFormat, is_pinned, ring_position
from daphne.layers.redis_scripts import PUT_BACK, TAKE

ENOUGH_BYTES = 1024 * 1024
"""A batch ends when its messages have this size together."""

S = TypeVar("S", list[tuple[int, Names]], Names)

log = logging.getLogger("daphne.layers.redis")


class LoopSide:
    """The layer's servers as one loop uses them, and its receives under way."""

    def __init__(self, addresses: Sequence[Address], wire: WireFormat) -> None:
        self.servers = [Server(address) for address in addresses]
        self._wire = wire
        self._turns = itertools.cycle(self.servers)
        self.arrivals = Arrivals(self._begin, self._split, self._put_back)

    def server_of(self, name: str) -> Server:
        """The server on which a message for the queue `name`, or a group of that name, belongs."""
        if len(self.servers) == 1:
            return self.servers[0]
        return self.servers[ring_position(name, len(self.servers))] if is_pinned(name) else next(self._turns)

    def server_of_group(self, group: str) -> Server:
        """The server that knows the group's members."""
        return self.servers[ring_position(group, len(self.servers))]

    async def take_now(self, names: Names, limit: int) -> Batch:
        """What waits at this moment, without waiting for more."""
        for index, part_names in _in_turn(self._split(names)):
            if batch := await take(self.servers[index], self._wire, _in_turn(part_names), limit):
                return batch
        return []

    async def close(self) -> None:
        """Give back what cancelled receives were about to get, and close the connections."""
        await self.arrivals.close()
        for server in self.servers:
            await server.close()

    def _split(self, names: Names) -> list[tuple[int, Names]]:
        """(server, names) of the receives that serve one call: on shared channels, one on each server."""
        hosts = len(self.servers)
        if hosts == 1:
            return [(0, names)]
        parts = [
            (index, tuple(n for n in names if not is_pinned(n) or ring_position(n, hosts) == index))
            for index in range(hosts)
        ]
        return [part for part in parts if part[1]]

    def _begin(self, part: tuple[int, Names], limit: int) -> _Fetch:
        index, names = part
        return _Fetch(self.servers[index], self._wire, names, limit)

    async def _put_back(self, batch: Batch) -> None:
        for channel, message in reversed(batch):
            name = local_prefix(channel)
            keys = [self._wire.queue(name), self._wire.new_body()]
            try:
                body = self._wire.pack(channel, message)
                await self.server_of(name).run(PUT_BACK, keys, [self._wire.expiry_ms, body])
            except LayerError as error:
                log.error("A message for %s could not be given back and is lost: %s", channel, error)


def _in_turn(sequence: S) -> S:
    """The same, beginning anywhere, so that what comes first does not starve the rest. At random: as many
    fetches begin together as there are servers, and by count each would always begin at the same name.
    """
    start = random.randrange(len(sequence))
    return sequence[start:] + sequence[:start]


async def take(
    server: Server, wire: WireFormat, names: Names, limit: int, popped: Sequence[int | str | bytes] = ()
) -> Batch:
    """Up to `limit` messages that wait on `names`, beginning with the one that BLPOP has popped: the number
    of its queue, and its key."""
    batch: Batch = []
    reply = await server.run(TAKE, [wire.queue(name) for name in names], [limit, ENOUGH_BYTES, *popped])
    for number, body in zip(reply[::2], reply[1::2], strict=True):
        try:
            batch.append(wire.unpack(names[number - 1], body))
        except LayerError as error:
            log.error("Dropped what nobody here can read: %s", error)
    return batch if batch or not reply else await take(server, wire, names, limit)


class _Fetch:
    """One receive under way on one server."""

    def __init__(self, server: Server, wire: WireFormat, names: Names, limit: int) -> None:
        self.shared = is_shared(names)
        self._server = server
        self._wire = wire
        self._names = _in_turn(names)
        self._limit = limit
        self._blocked_as = 0
        self._stopping: asyncio.Task[None] | None = None
        self.future = asyncio.ensure_future(self._receive())

    def stop(self) -> None:
        """End the blocking command; should it have a message already, that is put back."""
        if self._blocked_as == 0:
            self.future.cancel()  # still connecting
        elif self._stopping is None:
            self._stopping = asyncio.ensure_future(self._unblock())

    def go_on(self) -> None:
        """It ends all the same; the next one follows it."""

    end = stop

    async def _receive(self) -> Batch:
        keys = [self._wire.queue(name) for name in self._names]
        blocker = await self._server.blocker()
        self._blocked_as = blocker.client_id
        try:
            popped = await blocker.block("BLPOP", *keys, 0)
        except ReplyError:
            raise
        except LayerUnavailable:  # said by the server already; the next receive waits for it
            return []
        finally:
            self._server.release(blocker)
        if popped is None:
            return []
        queue, body = popped
        if self._stopping:
            await self._server.run(PUT_BACK, [queue, body], [self._wire.expiry_ms])
            return []
        return await self._take(keys.index(queue.decode()) + 1, body)

    async def _take(self, number: int, body: bytes) -> Batch:
        while True:
            try:
                return await take(self._server, self._wire, self._names, self._limit, (number, body))
            except LayerUnavailable:
                if self._server.commands is not None:
                    raise
                await self._server.up.wait()

    async def _unblock(self) -> None:
        """Until it has worked: the command may not have reached Redis when the first attempt does."""
        while not self.future.done():
            try:
                pipe = await self._server.pipe()
                if await pipe.submit("CLIENT", "UNBLOCK", self._blocked_as):
                    return
            except LayerUnavailable:
                return  # then the blocked connection is lost, too
            await asyncio.sleep(0.005)
