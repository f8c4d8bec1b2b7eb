"""`ChannelLayer`: a channel layer on Redis, in the wire format of classic layers (asgi_redis 1.x).

Called by the bridge, by workers and by users' code; calls `redis_receiving`, and `redis_format` for what goes
over the wire. Workers of the classic era may be at the other end. Needs the packages redis and hiredis.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from re import Pattern
from typing import TYPE_CHECKING, Any

from daphne.errors import ChannelFull, ConfigurationError
from daphne.layers.arrivals import Batch
from daphne.layers.blocking import BlockingDoor
from daphne.layers.interface import BATCH, MAX_MESSAGE_SIZE, Message
from daphne.layers.names import Capacities, checked_group, receiving_queues, sending_queue
from daphne.layers.redis_format import WireFormat
from daphne.layers.redis_scripts import FLUSH, MEMBERS, OLDEST, SEND

if TYPE_CHECKING:
    from daphne.layers.redis_address import Entry
    from daphne.layers.redis_receiving import LoopSide


class ChannelLayer(BlockingDoor):
    """A channel layer on one or several Redis servers, for any number of processes and machines.

    `hosts`: each an URL (`redis://`, `rediss://`, `unix://`, with user, password, database), a pair (host,
    port), or a dict of redis-py's arguments, with `address` for an URL or `sentinels` and `master_name` for a
    Sentinel; `connection_kwargs` adds to each. `expiry` and `group_expiry` in seconds; `capacity` and
    `channel_capacity` as in `memory.ChannelLayer`; `max_message_size` in bytes. The first of
    `symmetric_encryption_keys` encrypts, any of them decrypts. Raises ConfigurationError.
    """

    def __init__(
        self,
        expiry: float = 60,
        hosts: Sequence[Entry] | None = None,
        prefix: str = "asgi:",
        group_expiry: float = 86400,
        capacity: int = 100,
        channel_capacity: Mapping[str | Pattern[str], int] | None = None,
        symmetric_encryption_keys: Sequence[str | bytes] | None = None,
        stats_prefix: str = "asgi-meta:",
        connection_kwargs: Mapping[str, Any] | None = None,
        max_message_size: int = MAX_MESSAGE_SIZE,
    ) -> None:
        super().__init__()
        try:
            from daphne.layers import redis_address, redis_receiving
        except ImportError as error:
            raise ConfigurationError(
                f"the Redis layer needs the packages redis and hiredis (pip install 'daphne[redis]'): {error}"
            ) from error
        if isinstance(hosts, (str, bytes)):
            raise ConfigurationError("hosts is a list of Redis servers, even if there is only one")
        entries = hosts or [("localhost", 6379)]
        self._make_side = redis_receiving.LoopSide
        self.expiry = expiry
        self.group_expiry = group_expiry
        self.capacity = capacity
        self._capacities = Capacities(capacity, channel_capacity)
        self._addresses = [redis_address.Address(entry, connection_kwargs) for entry in entries]
        self._wire = WireFormat(
            prefix, stats_prefix, symmetric_encryption_keys or (), expiry, max_message_size
        )

    def begin_anew(self) -> None:
        """Called once more in a forked child."""
        super().begin_anew()
        self.abandon(getattr(self, "_sides", None))
        self._sides: dict[asyncio.AbstractEventLoop, LoopSide] = {}

    async def send_async(self, channel: str, message: Message) -> None:
        """See `interface.AsyncLayer`."""
        name = sending_queue(channel)
        wire = self._wire
        body = wire.pack(channel, message)
        sent = (
            await self._side()
            .server_of(name)
            .run(
                SEND,
                [wire.queue(name), wire.new_body()],
                [body, wire.expiry_ms, self._capacities.of(name), wire.count(name), wire.global_count],
            )
        )
        if not sent:
            raise ChannelFull(f"{name} holds {self._capacities.of(name)} messages")

    async def receive_batch(self, channels: Sequence[str], limit: int = BATCH) -> Batch:
        """See `interface.AsyncLayer`. Waits for Redis, too, while it cannot be reached."""
        return await self._side().arrivals.receive(tuple(receiving_queues(channels)), limit)

    async def take_now(self, channels: Sequence[str], limit: int) -> Batch:
        """What waits on `channels` at this moment, up to `limit` messages."""
        return await self._side().take_now(tuple(receiving_queues(channels)), limit)

    async def group_add_async(self, group: str, channel: str) -> None:
        """See `interface.AsyncLayer`."""
        key = self._wire.group(checked_group(group))
        sending_queue(channel)
        pipe = await self._side().server_of_group(group).pipe()
        added = pipe.submit("ZADD", key, time.time(), channel)
        kept = pipe.submit("PEXPIRE", key, int(self.group_expiry * 1000))
        await asyncio.gather(added, kept)

    async def group_discard_async(self, group: str, channel: str) -> None:
        """See `interface.AsyncLayer`."""
        key = self._wire.group(checked_group(group))
        sending_queue(channel)
        await (await self._side().server_of_group(group).pipe()).submit("ZREM", key, channel)

    async def group_channels_async(self, group: str) -> list[str]:
        """The members of `group`."""
        key = self._wire.group(checked_group(group))
        oldest = time.time() - self.group_expiry
        members = await self._side().server_of_group(group).run(MEMBERS, [key], [oldest])
        return [member.decode() for member in members]

    async def send_group_async(self, group: str, message: Message) -> None:
        """See `interface.AsyncLayer`. All members' messages go out in one write to each server."""
        self._wire.pack("", message)  # refuses it, even if the group is empty
        sends = [self.send_async(channel, message) for channel in await self.group_channels_async(group)]
        for outcome in await asyncio.gather(*sends, return_exceptions=True):
            if isinstance(outcome, BaseException) and not isinstance(outcome, ChannelFull):
                raise outcome

    async def flush_async(self) -> None:
        """See `interface.AsyncLayer`. Statistics go, too."""
        patterns = [_literally(prefix) + "*" for prefix in (self._wire.prefix, self._wire.stats_prefix)]
        for server in self._side().servers:
            await server.run(FLUSH, [], patterns)

    async def statistics_async(self, channel: str | None) -> dict[str, float]:
        """Of one channel (a process-local one up to its `!`), or of all; summed over all servers."""
        count = self._wire.global_count if channel is None else self._wire.count(channel)
        totals: dict[str, float] = {"messages_count": 0, "channel_full_count": 0}
        for server in self._side().servers:
            pipe = await server.pipe()
            for name, value in zip(
                totals, await pipe.submit("MGET", *(count + n for n in totals)), strict=True
            ):
                totals[name] += int(value or 0)
        return totals if channel is None else {**totals, **await self._queue_statistics(channel)}

    async def pending_async(self, channel: str) -> int:
        """See `interface.CountingLayer`. Summed over all servers."""
        return int((await self._queue_statistics(channel))["messages_pending"])

    async def close_async(self) -> None:
        """Give back what cancelled receives were about to get; close this loop's connections."""
        side = self._sides.pop(asyncio.get_running_loop(), None)
        if side is not None:
            await side.close()

    async def _queue_statistics(self, channel: str) -> dict[str, float]:
        pending, age = 0, 0.0
        for server in self._side().servers:
            length, left_ms = await server.run(OLDEST, [self._wire.queue(channel)], [])
            pending += length
            if left_ms >= 0:
                age = max(age, self.expiry - left_ms / 1000)
        return {"messages_pending": pending, "messages_max_age": age}

    def _side(self) -> LoopSide:
        loop = asyncio.get_running_loop()
        if loop not in self._sides:
            for closed in [loop for loop in self._sides if loop.is_closed()]:
                del self._sides[closed]
            self.close_with_loop()
            self._sides[loop] = self._make_side(self._addresses, self._wire)
        return self._sides[loop]


def _literally(text: str) -> str:
    """A pattern for Redis that matches just this text."""
    return "".join("\\" + char if char in "*?[]^\\" else char for char in text)
