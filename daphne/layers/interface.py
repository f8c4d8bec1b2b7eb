"""What a channel layer is inside daphne: one asynchronous interface, and what it may offer beside that.

Called by every layer, by the bridge and by the worker; calls nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Any, Protocol, runtime_checkable

Message = dict[str, Any]
"""bytes, str, int of 64 bits, float, bool, None, lists (tuples count as lists) and dicts with str keys."""

LOCAL_KEY = "__asgi_channel__"
"""The reserved message key under which layers carry the full name of a process-local channel."""

BATCH = 100
"""How many messages `receive_batch` takes at most, unless told otherwise."""

BLOCKING_RECEIVE = 5.0
"""Seconds after which the classic `receive(channels, block=True)` returns empty-handed, as asgi_redis does:
its caller can then look whether it was asked to stop."""

MAX_MESSAGE_SIZE = 1024 * 1024 + 256 * 1024
"""Bytes that one message may have by default: a WebSocket message of 1 MiB and everything around it."""


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


class Gate(Protocol):
    """Where a layer whose messages are MessagePack takes them packed."""

    @property
    def is_open(self) -> bool:
        """Whether it takes any now."""

    def give_packed(self, queue: str, channel: str, body: bytes) -> bool:
        """As `PromptLayer.give`, for a message that is packed already. `queue` is `channel`, or of a
        process-local name what it has up to its `!`; neither is checked."""


@runtime_checkable
class PackedLayer(Protocol):
    """A layer that may have such a gate."""

    @property
    def gate(self) -> Gate:
        """It."""


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


def checked_message(message: Message) -> Message:
    """`message` itself. TypeError for what is no dict, or uses the layer's reserved key."""
    if not isinstance(message, dict):
        raise TypeError(f"a message is a dict, not {type(message).__name__}")
    if LOCAL_KEY in message:
        raise TypeError(f"the message key {LOCAL_KEY!r} is reserved for the layer")
    return message
