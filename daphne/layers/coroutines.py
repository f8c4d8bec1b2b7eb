"""The adapter for layers of Channels 2 to 4: coroutine functions, one channel for each `receive`.

Called by `adapters.adapt`; calls the foreign layer (`channels.layers.InMemoryChannelLayer`,
`channels_redis.core.RedisChannelLayer`). A receive per channel is under way from the first call on.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from daphne.errors import LayerError
from daphne.layers.arrivals import Batch, Fetch, Names, TaskFetch
from daphne.layers.foreign import ForeignLayer
from daphne.layers.interface import Message, checked_message
from daphne.layers.names import checked_group, sending_queue

log = logging.getLogger("daphne.layers")

_FULL_NAME = "__daphne_channel__"
"""The message key under which a full process-local name travels through a layer that keeps a queue for each
full name and so cannot receive by prefix."""


class CoroutineLayer(ForeignLayer):
    """A layer in the style of Channels 2 to 4."""

    def __init__(self, layer: Any) -> None:
        super().__init__(layer)
        self._notes = _keep_apart_what_is_in_flight(layer, self.client_prefix)
        self._shared: set[str] = set()
        """The channels that others receive on, too, and that this process has received on."""
        self._receives_prefixes = hasattr(layer, "receive_single")

    async def send_async(self, channel: str, message: Message) -> None:
        """See `interface.AsyncLayer`."""
        checked_message(message)
        queue = sending_queue(channel)
        if queue != channel and not self._receives_prefixes:
            channel, message = queue, {**message, _FULL_NAME: channel}
        with self._translated_errors():
            await self.layer.send(channel, message)

    async def group_add_async(self, group: str, channel: str) -> None:
        """See `interface.AsyncLayer`."""
        checked_group(group)
        if sending_queue(channel) != channel and not self._receives_prefixes:
            raise LayerError(f"{type(self.layer).__name__} cannot have process-local channels in groups")
        with self._translated_errors():
            await self.layer.group_add(group, channel)

    async def group_discard_async(self, group: str, channel: str) -> None:
        """See `interface.AsyncLayer`."""
        with self._translated_errors():
            await self.layer.group_discard(group, channel)

    async def send_group_async(self, group: str, message: Message) -> None:
        """See `interface.AsyncLayer`."""
        checked_message(message)
        with self._translated_errors():
            await self.layer.group_send(group, message)

    async def flush_async(self) -> None:
        """See `interface.AsyncLayer`."""
        with self._translated_errors():
            await self.layer.flush()

    async def close_async(self) -> None:
        """See `interface.AsyncLayer`. What a receive was about to bring when it was ended is noted; nobody
        else would put it back."""
        await super().close_async()
        if self._notes is not None:
            for name in self._shared:
                try:
                    with self._translated_errors():
                        await self._put_back_noted(self.layer.prefix + name, self._notes)
                except LayerError as error:
                    log.error("What was on its way from %s could not be given back: %s", name, error)

    async def _put_back_noted(self, key: str, notes: Callable[[str], str]) -> None:
        for index in range(self.layer.ring_size):
            await self.layer.connection(index).eval(_PUT_BACK, 2, key, notes(key))

    def _split(self, names: Names) -> list[Names]:
        return [(name,) for name in names]

    def _begin(self, names: Names, limit: int) -> Fetch:
        self._shared.update(name for name in names if "!" not in name)
        return TaskFetch(self._receive(names[0]), names)

    async def _receive(self, name: str) -> Batch:
        with self._translated_errors():
            if self._receives_prefixes:
                channel, message = await self.layer.receive_single(name)
                if isinstance(channel, list):  # channels_redis sends once to a process for all its members
                    return [(member, dict(message)) for member in channel]
                return [(channel, message)]
            message = await self.layer.receive(name)
            return [(message.pop(_FULL_NAME, name), message)]


_PUT_BACK = """
local noted = redis.call('ZRANGE', KEYS[2], 0, -1, 'WITHSCORES')
for i = 1, #noted, 2 do
    redis.call('ZADD', KEYS[1], noted[i + 1], noted[i])
end
redis.call('DEL', KEYS[2])
"""


def _keep_apart_what_is_in_flight(layer: Any, process: str) -> Callable[[str], str] | None:
    """channels_redis notes what it has taken beside the queue until it has got it, and puts what it finds
    noted back into the queue before each receive: on a channel that several processes receive on, what others
    have just taken, so that two workers answer one request. With a note of its own, each process puts back
    what is its own. Returns what names the note on what was taken from the queue with a key; None for other
    layers."""
    name_of_notes = getattr(layer, "_backup_channel_name", None)
    if name_of_notes is None:
        return None

    def own_notes(key: str) -> str:
        name: str = name_of_notes(key)
        return name if "!" in key else f"{name}.{process}"

    layer._backup_channel_name = own_notes
    return own_notes
