"""How many connections are let in, in all and from one peer.

Asked by site.Site for every accepted transport and told by the protocols when one is gone. When the server
is full its listeners pause: further clients wait in the kernel's queue, and nothing is accepted only to be
thrown away. They pause too when file descriptors run out because others than clients have them: the system
gives a new connection the lowest that is free, so its number says how many are in use. To ask for it costs
more than all the rest, so that one connection in a few is asked.
"""

from __future__ import annotations

import resource
from collections.abc import Callable
from typing import Any

_RESERVED_DESCRIPTORS = 64
"""File descriptors left for the application, the log and the layer, whatever `max_connections` says."""


_LAST_DESCRIPTORS = 16
"""How few may be left whoever has the others; when there are none, libuv turns clients away in silence."""


def _as_descriptors_allow() -> tuple[int, int, int]:
    """How many connections there may be, from which descriptor on too few are left (0 for no limit), and
    after how many connections to look at one: those between two looks take half of what is left at most.
    """
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return 0, 0, 1
    most = max(soft - max(_RESERVED_DESCRIPTORS, soft // 10), soft // 2, 1)
    few = min(_LAST_DESCRIPTORS, soft // 8)
    return most, soft - few, max(few // 2, 1)


def _descriptor_of(transport: Any) -> int:
    """The number of its socket; -1 for what has none."""
    handle = transport.getHandle() if hasattr(transport, "getHandle") else None
    return -1 if handle is None else int(handle.fileno())


class Admission:
    """Counts connections.

    `most` connections in all (0: as many as file descriptors allow, and never more than that),
    `most_per_peer` from one IP address (0: no limit). `full` is called when the last place is taken, `room`
    when one is free again.
    """

    def __init__(self, most: int, most_per_peer: int) -> None:
        allowed, self._last_descriptor, self._look_after = _as_descriptors_allow()
        self._unlooked = 0
        """Connections since a descriptor was looked at."""
        self._most = min((limit for limit in (most, allowed) if limit), default=0)
        self._most_per_peer = most_per_peer
        self._admitted: dict[Any, str | None] = {}
        self._per_peer: dict[str, int] = {}
        self.is_full = False
        self.full: Callable[[], None] = lambda: None
        self.room: Callable[[], None] = lambda: None
        self.short: Callable[[int], None] | None = None
        """Called when a connection has got a descriptor behind which few are left; None: nobody asks."""
        self.empty: Callable[[], None] = lambda: None
        """Called when the last connection is gone; set by a server that stops."""

    def __len__(self) -> int:
        return len(self._admitted)

    def peer_may_enter(self, host: str | None) -> bool:
        """Whether one more connection from `host` (None: a unix socket) is within `most_per_peer`."""
        return not self._most_per_peer or host is None or self._per_peer.get(host, 0) < self._most_per_peer

    def enter(self, transport: Any, host: str | None) -> None:
        """Count a connection."""
        self._admitted[transport] = host
        if self._most_per_peer and host is not None:
            self._per_peer[host] = self._per_peer.get(host, 0) + 1
        if self._most and len(self._admitted) >= self._most and not self.is_full:
            self.is_full = True
            self.full()
        if self.short is not None:
            self._look_at_descriptor(transport, self.short)

    def _look_at_descriptor(self, transport: Any, short: Callable[[int], None]) -> None:
        self._unlooked += 1
        if self._unlooked >= self._look_after:
            self._unlooked = 0
            descriptor = _descriptor_of(transport)
            if 0 < self._last_descriptor <= descriptor:
                short(descriptor)
                self._unlooked = self._look_after  # look at the next one, too

    def leave(self, transport: Any) -> None:
        """The connection is gone. Transports that were never counted (HTTP/2 streams) are passed over."""
        if transport not in self._admitted:
            return
        host = self._admitted.pop(transport)
        if self._most_per_peer and host is not None:
            self._per_peer[host] -= 1
            if not self._per_peer[host]:
                del self._per_peer[host]
        if self.is_full and len(self._admitted) < self._most:
            self.is_full = False
            self.room()
        if not self._admitted:
            self.empty()
