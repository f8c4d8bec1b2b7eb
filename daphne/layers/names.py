"""The rules for the names of channels and groups, new names, and the capacity that goes with a name.

Called by every layer, by the bridge and by the worker; calls nothing. The rules are those of the classic
channel-layer specification (ASGI version 1, "Channels and messages", "Capacity").
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterable, Mapping
from fnmatch import translate
from functools import lru_cache

NAME_LIMIT = 100
"""Names are shorter than this many characters."""

_CHANNEL = re.compile(r"[A-Za-z0-9_.-]+(?:[?!][A-Za-z0-9_.-]*)?", re.ASCII)
_GROUP = re.compile(r"[A-Za-z0-9_.-]+", re.ASCII)


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
