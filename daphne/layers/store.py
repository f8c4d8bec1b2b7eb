"""Queues and groups of one process: capacity, expiry, membership. No thread, no loop, no clock of its own.

Called by `mailboxes`, under its lock; calls nothing. Sending and receiving take the same time whatever the
number of channels; `now` is in seconds on any steady clock.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Sequence
from typing import Any

from daphne.errors import ChannelFull
from daphne.layers.names import Capacities, local_prefix

COUNTED = 4096
"""Names that have statistics of their own, unless more than that many are of shared channels."""


class _Queue:
    __slots__ = ("capacity", "check_at", "entries")

    def __init__(self, capacity: int, check_at: float) -> None:
        self.capacity = capacity
        self.check_at = check_at
        self.entries: deque[tuple[float, str, Any]] = deque()
        """(deadline, full channel name, message), the oldest first."""


class Store:
    """What a memory layer holds. `messages_count` and `full_count` count per queue; `messages_total` and
    `full_total` count all."""

    def __init__(self, expiry: float, group_expiry: float, capacities: Capacities) -> None:
        self.expiry = expiry
        self.group_expiry = group_expiry
        self.capacities = capacities
        self.messages_count: dict[str, int] = {}
        self.full_count: dict[str, int] = {}
        self.flush()

    def flush(self) -> None:
        """Forget everything."""
        self._queues: OrderedDict[str, _Queue] = OrderedDict()  # not empty; the earliest `check_at` first
        self._groups: dict[str, dict[str, float]] = {}
        self._groups_of: dict[str, set[str]] = {}
        self._turn = 0
        self.messages_total = self.full_total = 0
        self.messages_count.clear()
        self.full_count.clear()

    def put(self, name: str, channel: str, message: Any, now: float, bounded: bool = True) -> None:
        """Append `message` to the queue `name`. Raises ChannelFull, if it is `bounded`."""
        queue = self._queues.get(name)
        if queue is None:
            self._drop_due(now)
            queue = self._queues[name] = _Queue(self.capacities.of(name), now + self.expiry)
        elif bounded and len(queue.entries) >= queue.capacity:
            self._expire(queue, now)
            if len(queue.entries) >= queue.capacity:
                self.full_total += 1
                if "?" not in name:
                    self.full_count[name] = self.full_count.get(name, 0) + 1
                raise ChannelFull(f"{name} holds {queue.capacity} messages")
        queue.entries.append((now + self.expiry, channel, message))
        self.count_messages(name, 1)

    def count_messages(self, name: str, count: int) -> None:
        """Count so many more messages for the queue `name`."""
        self.messages_total += count
        if "?" in name:  # each of those has a name of its own, and would be remembered for ever
            return
        counts = self.messages_count
        if name not in counts and len(counts) >= COUNTED and name[-1] == "!":
            self._forget_counts()
        counts[name] = counts.get(name, 0) + count

    def _forget_counts(self) -> None:
        """Processes come and go, and their names with them: forget the older half of what was counted of
        process-local names."""
        counts = self.messages_count
        names = [name for name in counts if name[-1] == "!"]
        for name in names[: len(names) // 2 + 1]:
            del counts[name]
        for name in [name for name in self.full_count if name[-1] == "!" and name not in counts]:
            del self.full_count[name]

    def put_back(self, channel: str, message: Any, now: float) -> None:
        """Give back a message that was taken in vain: to the front, whatever the capacity."""
        name = local_prefix(channel)
        queue = self._queues.get(name)
        if queue is None:
            queue = self._queues[name] = _Queue(self.capacities.of(name), now + self.expiry)
        queue.entries.appendleft((now + self.expiry, channel, message))

    def take(self, names: Sequence[str], limit: int, now: float) -> list[tuple[str, Any]]:
        """Up to `limit` messages from the queues `names`, which take turns at being first."""
        if len(names) > 1:
            self._turn = turn = (self._turn + 1) % len(names)
            names = [*names[turn:], *names[:turn]]
        taken: list[tuple[str, Any]] = []
        for name in names:
            queue = self._queues.get(name)
            if queue is None:
                continue
            entries = queue.entries
            while entries and len(taken) < limit:
                deadline, channel, message = entries.popleft()
                if deadline > now:
                    taken.append((channel, message))
                else:
                    self._leave_groups(channel)
            if not entries:
                del self._queues[name]
        return taken

    def holds(self, name: str) -> bool:
        """Whether the queue has messages (which may have expired)."""
        return name in self._queues

    def pending(self, name: str | None = None) -> int:
        """How many messages wait in one queue, or in all."""
        if name is None:
            return sum(len(queue.entries) for queue in self._queues.values())
        return len(self._queues[name].entries) if name in self._queues else 0

    def oldest(self, name: str, now: float) -> float:
        """The age in seconds of the oldest message in the queue; 0 when there is none."""
        return now + self.expiry - self._queues[name].entries[0][0] if name in self._queues else 0.0

    def group_add(self, group: str, channel: str, now: float) -> None:
        """Membership begins, or begins anew."""
        self._groups.setdefault(group, {})[channel] = now + self.group_expiry
        self._groups_of.setdefault(channel, set()).add(group)

    def group_discard(self, group: str, channel: str) -> None:
        """Membership ends, if there was one."""
        members = self._groups.get(group, {})
        if members.pop(channel, None) is None:
            return
        if not members:
            del self._groups[group]
        groups = self._groups_of[channel]
        groups.discard(group)
        if not groups:
            del self._groups_of[channel]

    def group_channels(self, group: str, now: float) -> list[str]:
        """The members whose membership has not expired."""
        members = self._groups.get(group, {})
        for channel in [channel for channel, until in members.items() if until <= now]:
            self.group_discard(group, channel)
        return list(self._groups.get(group, ()))

    def dump(self, now: float) -> dict[str, Any]:
        """All messages and memberships, with the seconds they have left, oldest first."""
        return {
            "messages": [
                (channel, message, deadline - now)
                for queue in self._queues.values()
                for deadline, channel, message in queue.entries
            ],
            "groups": [
                (group, channel, until - now)
                for group, members in self._groups.items()
                for channel, until in members.items()
            ],
        }

    def load(self, dumped: dict[str, Any], now: float) -> None:
        """Go on with what was dumped at the time that is `now` on this clock."""
        for channel, message, left in dumped["messages"]:
            name = local_prefix(channel)
            queue = self._queues.setdefault(name, _Queue(self.capacities.of(name), now + self.expiry))
            queue.entries.append((now + left, channel, message))
        for group, channel, left in dumped["groups"]:
            self.group_add(group, channel, now + left - self.group_expiry)

    def _leave_groups(self, channel: str) -> None:
        """A process-local channel whose messages expire has lost its process (classic specification,
        "Groups"): without this, groups would send to closed connections for a day."""
        if "!" in channel:
            for group in list(self._groups_of.get(channel, ())):
                self.group_discard(group, channel)

    def _drop_due(self, now: float) -> None:
        """Let go of expired messages in queues that nobody reads: two queues at most for each new one."""
        for _ in range(2):
            name = next(iter(self._queues), None)
            if name is None or self._queues[name].check_at > now:
                return
            queue = self._queues[name]
            self._expire(queue, now)
            if queue.entries:
                queue.check_at = now + self.expiry
                self._queues.move_to_end(name)
            else:
                del self._queues[name]

    def _expire(self, queue: _Queue, now: float) -> None:
        while queue.entries and queue.entries[0][0] <= now:
            self._leave_groups(queue.entries.popleft()[1])
