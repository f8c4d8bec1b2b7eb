"""Serve inside a loop that runs already: `await daphne.serve(application)`.

Called by programs that have a loop of their own; calls daphne.service. Any number of servers may run in one
process, each in whichever loop and thread it was started.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.asyncioreactor import AsyncioSelectorReactor

from daphne.access import ActionLogger
from daphne.endpoints import endpoint_strings
from daphne.reactor import LoopReactor
from daphne.service import Service
from daphne.settings import Settings


async def serve(
    target: Any,
    settings: Settings | None = None,
    *,
    endpoints: Sequence[str] | None = None,
    action_logger: ActionLogger | None = None,
    shutdown_event: asyncio.Event | None = None,
    listening: Callable[[list[Any]], Any] | None = None,
) -> None:
    """Serve `target`, an ASGI application or a channel layer, until `shutdown_event`.

    Both stop gracefully, within `graceful_timeout` seconds. `endpoints` are Twisted endpoint strings, by
    default where `settings` say to listen; `listening` is called with the listening ports, whose `getHost()`
    is their address. No signal handlers are installed. Raises TargetError, LifespanError or EndpointError
    where it cannot start.
    """
    settings = settings or Settings()
    service = Service(target, settings, action_logger)
    strings = list(endpoints) if endpoints is not None else endpoint_strings(settings)
    await service.start(_reactor_for(asyncio.get_running_loop()), strings)
    try:
        if listening is not None:
            listening(service.ports)
        await (shutdown_event or asyncio.Event()).wait()
    finally:
        await service.stop()


def _reactor_for(loop: asyncio.AbstractEventLoop) -> Any:
    """Twisted's global reactor where it drives this loop, else one of our own that nobody else sees."""
    installed = sys.modules.get("twisted.internet.reactor")
    if isinstance(installed, AsyncioSelectorReactor) and installed._asyncioEventloop is loop:
        return installed
    return LoopReactor(loop)
