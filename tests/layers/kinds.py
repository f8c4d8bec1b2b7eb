"""Every kind of channel layer that the conformance suite runs over, and how one is opened.

Used by `test_conformance`. What a layer cannot do is listed here, with the reason.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from daphne.layers import local, memory
from daphne.layers.adapters import adapt
from daphne.layers.interface import AsyncLayer
from tests.layers import classic_layer
from tests.layers.redis_server import RedisServer

TIME_LIMIT = 90
"""Seconds for one scenario; machines that are busy with other things are slow."""

_prefixes = itertools.count()


@dataclass
class Ends:
    """The two ends of one layer, as two processes see it (the same object where a layer is one process)."""

    kind: str
    sender: AsyncLayer
    receiver: AsyncLayer


@asynccontextmanager
async def _memory(**options: Any) -> AsyncIterator[tuple[Any, Any]]:
    layer = memory.ChannelLayer(**options)
    yield layer, layer


@asynccontextmanager
async def _foreign(make: Callable[..., Any], **options: Any) -> AsyncIterator[tuple[Any, Any]]:
    layer = make(**options)
    yield adapt(layer), adapt(layer)


def _channels_in_memory(**options: Any) -> Any:
    from channels.layers import InMemoryChannelLayer

    return InMemoryChannelLayer(**options)


@functools.cache
def redis_server(number: int) -> RedisServer:
    """The test process's own server, ended with it."""
    return RedisServer().start()


def close_servers() -> None:
    for number in range(2):
        if redis_server.cache_info().currsize:
            redis_server(number).close()
    redis_server.cache_clear()


@asynccontextmanager
async def _local(ends: tuple[int, int], **options: Any) -> AsyncIterator[tuple[Any, Any]]:
    """`ends` says which of three processes' layers send and receive: the first of them is the broker."""
    with tempfile.TemporaryDirectory(prefix="daphne-local-") as directory:
        layers = [local.ChannelLayer(f"{directory}/socket", **options) for _ in range(3)]
        for layer in layers:
            await layer.flush_async()
        assert [layer.is_broker for layer in layers] == [True, False, False]
        yield layers[ends[0]], layers[ends[1]]
        for layer in reversed(layers):
            await layer.close_async()


@asynccontextmanager
async def _redis(hosts: int = 1, **options: Any) -> AsyncIterator[tuple[Any, Any]]:
    pytest.importorskip("hiredis")
    from daphne.layers import redis

    options["hosts"] = [redis_server(number).url for number in range(hosts)]
    options["prefix"] = f"asgi{next(_prefixes)}:"
    options["stats_prefix"] = f"meta-{options['prefix']}"
    yield redis.ChannelLayer(**options), redis.ChannelLayer(**options)


@asynccontextmanager
async def _channels_redis(**options: Any) -> AsyncIterator[tuple[Any, Any]]:
    from channels_redis.core import RedisChannelLayer

    prefix = f"channels{next(_prefixes)}:"
    layers = [RedisChannelLayer([redis_server(0).url], prefix=prefix, **options) for _ in range(2)]
    yield tuple(adapt(layer) for layer in layers)
    for layer in layers:
        await layer.close_pools()


KINDS: dict[str, Callable[..., Any]] = {
    "memory": _memory,
    "local, from the broker": functools.partial(_local, (0, 1)),
    "local, to the broker": functools.partial(_local, (1, 0)),
    "local, between others": functools.partial(_local, (1, 2)),
    "redis": _redis,
    "redis, two hosts": functools.partial(_redis, hosts=2),
    "redis, encrypted": functools.partial(_redis, symmetric_encryption_keys=["first key", "second"]),
    "classic polled": functools.partial(_foreign, classic_layer.ClassicLayer),
    "classic blocking": functools.partial(_foreign, classic_layer.ClassicWaitingLayer),
    "classic twisted": functools.partial(_foreign, classic_layer.ClassicTwistedLayer),
    "channels in memory": functools.partial(_foreign, _channels_in_memory),
    "channels_redis": _channels_redis,
}

OURS = [
    "memory",
    "local, from the broker",
    "local, to the broker",
    "local, between others",
    "redis",
    "redis, two hosts",
    "redis, encrypted",
]

_SPREAD = "channels that are not process-local are spread over the hosts: order and capacity hold on each"

CANNOT = {
    ("redis, two hosts", "test_a_channel_is_first_in_first_out"): _SPREAD,
    ("redis, two hosts", "test_a_full_channel_refuses_and_takes_again"): _SPREAD,
    ("redis, two hosts", "test_the_first_capacity_that_matches_counts"): _SPREAD,
    ("redis, two hosts", "test_groups_pass_over_full_members"): _SPREAD,
    (
        "channels in memory",
        "test_groups_reach_their_members",
    ): "it has a queue for each full name, so that its group sends never reach a process-local prefix",
}
"""(kind, name of the test): why that kind of layer cannot."""


def soon(kind: str) -> float:
    """A short expiry in seconds: some foreign layers count in whole seconds."""
    return 0.2 if kind in OURS else 1


def scenario(kinds: list[str] | None = None, **options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Run the coroutine function over each kind of layer, made with `options`, within `TIME_LIMIT`. An option
    that depends on the kind is a function of it."""

    def decorate(function: Callable[[Ends], Any]) -> Any:
        @pytest.mark.parametrize("kind", kinds or list(KINDS))
        def test(kind: str) -> None:
            if (kind, function.__name__) in CANNOT:
                pytest.skip(CANNOT[kind, function.__name__])
            made = {name: value(kind) if callable(value) else value for name, value in options.items()}
            asyncio.run(_run(function, kind, made))

        test.__name__ = function.__name__
        test.__doc__ = function.__doc__
        return test

    return decorate


async def _run(function: Callable[[Ends], Any], kind: str, options: dict[str, Any]) -> None:
    async with asyncio.timeout(TIME_LIMIT), KINDS[kind](**options) as (sender, receiver):
        try:
            await function(Ends(kind, sender, receiver))
        finally:
            for layer in {id(layer): layer for layer in (sender, receiver)}.values():
                await layer.close_async()
