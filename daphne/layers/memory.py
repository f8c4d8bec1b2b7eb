"""`ChannelLayer`: a channel layer inside one process, for threads and event loops alike.

Called by the bridge, by workers in the same process and by tests; calls `mailboxes` with copies of messages.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from re import Pattern

from daphne import errors
from daphne.layers.copying import independent_copy, owned
from daphne.layers.interface import BATCH, BLOCKING_RECEIVE, MAX_MESSAGE_SIZE, Message
from daphne.layers.mailboxes import Mailboxes
from daphne.layers.names import (
    Capacities,
    checked_group,
    random_name,
    receiving_queue,
    receiving_queues,
    sending_queue,
    single_reader_channel,
)
from daphne.layers.receiving import receive


class ChannelLayer:
    """A channel layer in memory: the classic interface, and the asynchronous one of `interface.AsyncLayer`.

    `expiry` and `group_expiry` in seconds; `capacity` messages per channel, `channel_capacity` maps globs or
    compiled regular expressions to other capacities, the first match counts; `max_message_size` in bytes;
    `clock` returns seconds.
    """

    extensions = ("groups", "flush", "statistics")
    ChannelFull = errors.ChannelFull
    MessageTooLarge = errors.MessageTooLarge
    same_files = True

    def __init__(
        self,
        expiry: float = 60,
        group_expiry: float = 86400,
        capacity: int = 100,
        channel_capacity: Mapping[str | Pattern[str], int] | None = None,
        max_message_size: int = MAX_MESSAGE_SIZE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.expiry = expiry
        self.group_expiry = group_expiry
        self.capacity = capacity
        self.max_message_size = max_message_size
        self.client_prefix = random_name()
        self._boxes = Mailboxes(expiry, group_expiry, Capacities(capacity, channel_capacity), clock)

    def send(self, channel: str, message: Message) -> None:
        """Append a copy of `message` to `channel`. Raises ChannelFull, MessageTooLarge, TypeError."""
        name = sending_queue(channel)
        copy, size = independent_copy(message)
        if size > self.max_message_size:
            raise self._too_large(channel, size)
        self._boxes.put(name, channel, copy)

    def give(self, channel: str, message: Message) -> bool:
        """See `interface.PromptLayer`."""
        kept, size = owned(message)
        if size > self.max_message_size:
            raise self._too_large(channel, size)
        self._boxes.put(sending_queue(channel), channel, kept)
        return True

    def _too_large(self, channel: str, size: int) -> errors.MessageTooLarge:
        return errors.MessageTooLarge(
            f"{size} bytes for {channel}; the layer carries {self.max_message_size}"
        )

    def attend(self, prefix: str, take: Callable[[str, Message], None]) -> None:
        """See `interface.AttendedLayer`."""
        self._boxes.attend(receiving_queue(prefix), take, threading.get_ident())

    def forsake(self, prefix: str) -> None:
        """See `interface.AttendedLayer`."""
        self._boxes.forsake(prefix)

    def receive(self, channels: Sequence[str], block: bool = False) -> tuple[str | None, Message | None]:
        """`(channel, message)`, or `(None, None)` at once, or after some seconds with `block`."""
        names = receiving_queues(channels)
        taken = self._boxes.receive_blocking(names, BLOCKING_RECEIVE if block else 0)
        return taken[0] if taken else (None, None)

    async def send_async(self, channel: str, message: Message) -> None:
        """As `send`, which never waits."""
        self.send(channel, message)

    async def receive_batch(self, channels: Sequence[str], limit: int = BATCH) -> list[tuple[str, Message]]:
        """Wait for at least one message on `channels` and take up to `limit`; see `interface.AsyncLayer`."""
        return await receive(self._boxes, receiving_queues(channels), limit)

    def group_add(self, group: str, channel: str) -> None:
        """Make `channel` a member of `group` for `group_expiry` seconds."""
        sending_queue(channel)
        self._boxes.group_add(checked_group(group), channel)

    def group_discard(self, group: str, channel: str) -> None:
        """End a membership."""
        sending_queue(channel)
        self._boxes.group_discard(checked_group(group), channel)

    def group_channels(self, group: str) -> list[str]:
        """The members of `group`."""
        return self._boxes.group_channels(checked_group(group))

    def send_group(self, group: str, message: Message) -> None:
        """Send to every member that is not full. Raises MessageTooLarge."""
        for channel in self.group_channels(group):
            with suppress(errors.ChannelFull):  # the classic specification: group sends drop in silence
                self.send(channel, message)

    async def group_add_async(self, group: str, channel: str) -> None:
        """As `group_add`."""
        self.group_add(group, channel)

    async def group_discard_async(self, group: str, channel: str) -> None:
        """As `group_discard`."""
        self.group_discard(group, channel)

    async def send_group_async(self, group: str, message: Message) -> None:
        """As `send_group`."""
        self.send_group(group, message)

    def new_channel(self, pattern: str) -> str:
        """An unused single-reader name that begins with `pattern`, which ends with `?`."""
        return single_reader_channel(pattern)

    def flush(self) -> None:
        """Forget all messages, groups and statistics."""
        self._boxes.flush()

    async def flush_async(self) -> None:
        """As `flush`."""
        self.flush()

    async def close_async(self) -> None:
        """Nothing to let go of."""

    async def pending_async(self, channel: str) -> int:
        """See `interface.CountingLayer`."""
        return int(self._boxes.statistics(channel)["messages_pending"])

    def global_statistics(self) -> dict[str, float]:
        """Over all channels, since the start or the last flush: `messages_count`, `channel_full_count`,
        `messages_pending`."""
        return self._boxes.statistics(None)

    def channel_statistics(self, channel: str) -> dict[str, float]:
        """The same for one channel (a process-local one up to its `!`), and `messages_max_age` in seconds."""
        return self._boxes.statistics(channel)
