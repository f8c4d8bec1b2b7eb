"""Where a Redis server is, and how a connection to it is opened: through redis-py.

Called by `redis_connection`; calls redis-py, which knows URLs, TLS, passwords and Sentinel. Imported lazily,
with the Redis layer.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from redis.asyncio import ConnectionPool
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from redis.asyncio.retry import Retry  # isort: skip

from daphne.errors import ConfigurationError

CONNECT_TIMEOUT = 5.0
"""Seconds for one attempt, and for each answer before the connection is open."""
SILENCE_LIMIT = 15
"""Seconds after which the kernel gives up a TCP connection whose other side no longer acknowledges."""

Entry = str | Sequence[Any] | Mapping[str, Any]
"""An URL, (host, port), or a dict: {"address": url, ...}, {"host": ..., "port": ..., ...} or
{"sentinels": [(host, port), ...], "master_name": ..., ...}, with any further arguments of redis-py."""


class Address:
    """One entry of `hosts`. ConfigurationError if it is none."""

    def __init__(self, entry: Entry, connection_kwargs: Mapping[str, Any] | None = None) -> None:
        if isinstance(entry, str):
            entry = {"address": entry}
        elif not isinstance(entry, Mapping):
            if len(entry) != 2:
                raise ConfigurationError(f"a Redis host is an URL, (host, port) or a dict, not {entry!r}")
            entry = {"host": entry[0], "port": int(entry[1])}
        self._arguments = {**entry, **(connection_kwargs or {})}
        self.name = self._name()
        try:
            self.pool().make_connection()
        except (ValueError, TypeError, RedisError) as error:
            raise ConfigurationError(f"the Redis host {self.name} is wrong: {error}") from error

    def pool(self) -> Any:
        """A source of unopened connections; one for each loop, because Sentinel's clients belong to one."""
        arguments = {
            "protocol": 2,
            "socket_connect_timeout": CONNECT_TIMEOUT,
            "socket_timeout": CONNECT_TIMEOUT,  # while redis-py has the connection: until it is open
            "retry": Retry(NoBackoff(), 0),
            **self._arguments,
        }
        if "sentinels" in arguments:
            make_sentinel: Any = Sentinel
            sentinel = make_sentinel(
                arguments.pop("sentinels"),
                sentinel_kwargs={
                    "socket_connect_timeout": CONNECT_TIMEOUT,
                    "socket_timeout": CONNECT_TIMEOUT,
                    **(arguments.pop("sentinel_kwargs", None) or {}),
                },
            )
            make_pool: Any = SentinelConnectionPool
            return make_pool(arguments.pop("master_name"), sentinel, **arguments)
        url = arguments.pop("address", None)
        return ConnectionPool.from_url(url, **arguments) if url else ConnectionPool(**arguments)

    def _name(self) -> str:
        """For the log: without user and password."""
        if "sentinels" in self._arguments:
            return f"master {self._arguments.get('master_name')}"
        if "address" in self._arguments:
            url = urlsplit(self._arguments["address"])
            return f"{url.scheme}://{url.netloc.rpartition('@')[2]}{url.path}"
        return f"{self._arguments.get('host')}:{self._arguments.get('port', 6379)}"


def notice_silence(transport_socket: Any) -> None:
    """Let the kernel end the connection when the server has vanished without a word, so that no timer of ours
    need look."""
    if transport_socket is None or transport_socket.family not in (socket.AF_INET, socket.AF_INET6):
        return
    for level, option, value in (
        (socket.SOL_SOCKET, "SO_KEEPALIVE", 1),
        (socket.IPPROTO_TCP, "TCP_KEEPIDLE", SILENCE_LIMIT),
        (socket.IPPROTO_TCP, "TCP_KEEPINTVL", 3),
        (socket.IPPROTO_TCP, "TCP_KEEPCNT", 3),
        (socket.IPPROTO_TCP, "TCP_USER_TIMEOUT", SILENCE_LIMIT * 1000),
    ):
        if hasattr(socket, option):
            transport_socket.setsockopt(level, getattr(socket, option), value)
