"""What a channel layer is inside daphne: one asynchronous interface, the rules for names, and capacities.

Called by every layer, by the bridge and by the worker; calls nothing. The rules are those of the classic
channel-layer specification (ASGI version 1, "Channels and messages", "Capacity").
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from fnmatch import translate
from functools import lru_cache
from typing import Any, Protocol, runtime_checkable

Message = dict[str, Any]
"""bytes, str, int of 64 bits, float, bool, None, lists (tuples count as lists) and dicts with str keys."""

LOCAL_KEY = "__asgi_channel__"
"""The reserved message key under which layers carry the full name of a process-local channel."""

NAME_LIMIT = 100
"""Names are shorter than this many characters."""

BATCH = 100
"""How many messages `receive_batch` takes at most, unless told otherwise."""

BLOCKING_RECEIVE = 5.0
"""Seconds after which the classic `receive(channels, block=True)` returns empty-handed, as asgi_redis does:
its caller can then look whether it was asked to stop."""

MAX_MESSAGE_SIZE = 1024 * 1024 + 256 * 1024
"""Bytes that one message may have by default: a WebSocket message of 1 MiB and everything around it."""

_CHANNEL = re.compile(r"[A-Za-z0-9_.-]+(?:[?!][A-Za-z0-9_.-]*)?", re.ASCII)
_GROUP = re.compile(r"[A-Za-z0-9_.-]+", re.ASCII)


@runtime_checkable
class AsyncLayer(Protocol):
    """The one interface through which daphne talks to a layer. `adapters.adapt` gives it to any layer."""

    @property
    def extensions(self) -> Collection[str]:
        """Names such as `groups`, `flush`, `statistics`."""

    @property
    def expiry(self) -> float:
        """Seconds after which a message that nobody took is gone."""

    @property
    def group_expiry(self) -> float:
        """Seconds after which a channel leaves a group that it was not added to again."""

    @property
    def client_prefix(self) -> str:
        """The random name of this process on this layer, for its process-local channels: they are called
        `<kind>.<client_prefix>!<id>`, for instance `http.response.<client_prefix>!<id>`."""

    @property
    def ChannelFull(self) -> type[Exception]:
        """`errors.ChannelFull`, where classic callers look for it."""

    @property
    def MessageTooLarge(self) -> type[Exception]:
        """`errors.MessageTooLarge`, where classic callers look for it."""

    async def send_async(self, channel: str, message: Message) -> None:
        """Put `message`, which the caller may change afterwards, at the end of `channel`, or raise at once.

        Raises `errors.ChannelFull`, `errors.MessageTooLarge`, `errors.LayerUnavailable`, or TypeError for a
        name or a message that is against the rules.
        """

    async def receive_batch(self, channels: Sequence[str], limit: int = BATCH) -> list[tuple[str, Message]]:
        """Wait for at least one message on any of `channels`, and take up to `limit`.

        Each channel is first in, first out, and each message goes to one receiver. Cancelling loses
        nothing: what was on its way stays for the next receiver. Process-local channels are named up to
        their `!`; the full name comes back with each message. Our own layers wait through an outage; others
        raise `errors.LayerUnavailable`, after which it may be tried again, in a while.
        """

    async def group_add_async(self, group: str, channel: str) -> None:
        """Make `channel` a member of `group` for `group_expiry` seconds from now."""

    async def group_discard_async(self, group: str, channel: str) -> None:
        """End that membership, if there is one."""

    async def send_group_async(self, group: str, message: Message) -> None:
        """Send `message` to every member of `group`, passing over those that are full."""

    async def flush_async(self) -> None:
        """Forget all messages and groups."""

    async def close_async(self) -> None:
        """Give back what cancelled receives still had on its way, then let go of sockets and threads."""

    def new_channel(self, pattern: str) -> str:
        """An unused name that begins with `pattern`, which ends with `?`."""


@runtime_checkable
class WatchingLayer(Protocol):
    """What a layer offers in addition when it notices at once that another process has gone."""

    def watch_async(self, prefix: str) -> Awaitable[None]:
        """Returns once nobody receives on the process-local `prefix` (ending with `!`) any more.

        A prefix that nobody has received on yet is given a moment before it counts as gone. Cancel it to
        stop watching.
        """


@runtime_checkable
class PromptLayer(Protocol):
    """A layer that can often send without being waited for."""

    def give(self, channel: str, message: Message) -> bool:
        """As `send_async`, but at once and without a copy: the caller made `message` and keeps no part.

        False when nothing was done, because it cannot be done at once.
        """


@runtime_checkable
class CountingLayer(Protocol):
    """A layer that can say what waits in it."""

    async def pending_async(self, channel: str) -> int:
        """How many messages wait in `channel` at this moment. Raises `errors.LayerUnavailable`."""


@runtime_checkable
class NearLayer(Protocol):
    """A layer that may know its processes to be on one machine."""

    @property
    def same_files(self) -> bool:
        """Whether all of them may be taken to see the same files, with the same rights."""


@runtime_checkable
class AttendedLayer(Protocol):
    """A layer that can hand over a message in the very call that sends it."""

    def attend(self, prefix: str, take: Callable[[str, Message], None]) -> None:
        """Until `forsake`, the layer may give what is sent to the process-local `prefix` to `take`, with its
        full name, instead of through `receive_batch`: in order, on the running loop's thread, and perhaps
        within the sender's call. Its owner receives on it as ever, for what comes in another way."""

    def forsake(self, prefix: str) -> None:
        """The prefix is no longer attended."""


def local_prefix(channel: str) -> str:
    """The queue in which messages for `channel` wait: the name up to its `!`, or else the whole name."""
    return channel[: channel.find("!") + 1] or channel


def sending_queue(channel: str) -> str:
    """The queue for a message sent to `channel`. TypeError for what is no full channel name."""
    if type(channel) is str and "!" in channel and len(channel) < NAME_LIMIT:
        # Each connection has such a name: only what they have in common is worth remembering.
        prefix, _, local = channel.partition("!")
        if local.isalnum() and local.isascii():
            return receiving_queue(prefix + "!")
    return _sending_queue(channel)


@lru_cache(maxsize=4096)
def _sending_queue(channel: str) -> str:
    if not isinstance(channel, str) or len(channel) >= NAME_LIMIT or not _CHANNEL.fullmatch(channel):
        raise TypeError(f"not a channel name: {channel!r:.120} ({_RULES})")
    if channel[-1] in "!?":
        raise TypeError(f"cannot send to {channel!r}: the part after the {channel[-1]!r} is missing")
    return local_prefix(channel)


@lru_cache(maxsize=4096)
def receiving_queue(channel: str) -> str:
    """The queue to receive `channel` from. TypeError unless it is a name that can be received on."""
    if not isinstance(channel, str) or len(channel) >= NAME_LIMIT or not _CHANNEL.fullmatch(channel):
        raise TypeError(f"not a channel name: {channel!r:.120} ({_RULES})")
    if channel[-1] == "?":
        raise TypeError(f"cannot receive on {channel!r}: the part after the '?' is missing")
    if "!" in channel and channel[-1] != "!":
        raise TypeError(f"cannot receive on {channel!r}: process-local channels are received up to their '!'")
    return channel


@lru_cache(maxsize=4096)
def checked_group(group: str) -> str:
    """`group` itself. TypeError for what is no group name."""
    if not isinstance(group, str) or len(group) >= NAME_LIMIT or not _GROUP.fullmatch(group):
        raise TypeError(f"not a group name: {group!r:.120} ({_RULES}, and no marker)")
    return group


_RULES = f"ASCII letters, digits, '-', '_', '.', one '!' or '?', fewer than {NAME_LIMIT} characters"


def checked_message(message: Message) -> Message:
    """`message` itself. TypeError for what is no dict, or uses the layer's reserved key."""
    if not isinstance(message, dict):
        raise TypeError(f"a message is a dict, not {type(message).__name__}")
    if LOCAL_KEY in message:
        raise TypeError(f"the message key {LOCAL_KEY!r} is reserved for the layer")
    return message


def random_name() -> str:
    """Twelve letters and digits that no other process will draw."""
    try:
        return _drawn.pop()
    except IndexError:  # the system is asked for many at a time
        digits = secrets.token_hex(6 * _DRAW)
        _drawn.extend([digits[at : at + 12] for at in range(0, len(digits), 12)])
        return _drawn.pop()


_DRAW = 256
_drawn: list[str] = []
os.register_at_fork(after_in_child=_drawn.clear)


def single_reader_channel(pattern: str) -> str:
    """A new name for `new_channel(pattern)`; TypeError unless the pattern ends with `?`."""
    if not isinstance(pattern, str) or not pattern.endswith("?"):
        raise TypeError(f"new_channel takes a pattern that ends with '?', not {pattern!r}")
    channel = pattern + random_name()
    sending_queue(channel)
    return channel


class Capacities:
    """How many messages each channel holds: the first glob or compiled regular expression that matches."""

    def __init__(
        self, default: int, channel_capacity: Mapping[str | re.Pattern[str], int] | None = None
    ) -> None:
        self.default = default
        self._patterns = [
            (re.compile(translate(pattern)) if isinstance(pattern, str) else pattern, capacity)
            for pattern, capacity in (channel_capacity or {}).items()
        ]
        self._of = lru_cache(maxsize=4096)(self._match)

    def of(self, queue: str) -> int:
        """The capacity of `queue` (a process-local name only up to its `!`)."""
        return self._of(queue) if self._patterns else self.default

    def _match(self, queue: str) -> int:
        matches = (capacity for pattern, capacity in self._patterns if pattern.match(queue))
        return next(matches, self.default)


def receiving_queues(channels: Iterable[str]) -> list[str]:
    """`receiving_queue` of each. TypeError also for a bare string or for no channels at all."""
    if isinstance(channels, str):
        raise TypeError("receive takes a list of channel names, not one name")
    queues = [receiving_queue(channel) for channel in channels]
    if not queues:
        raise TypeError("receive takes at least one channel name")
    return queues
