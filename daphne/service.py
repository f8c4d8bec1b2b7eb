"""Service: introduces an application, the protocols and the listeners to each other; starts and stops.

Called by daphne.server (the door with a reactor around it) and by everything that serves inside a running
loop. Calls application/, layers/, worker/, protocols/ and endpoints. Needs a running asyncio loop.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import random
from typing import Any

from asgiref.compatibility import guarantee_single_callable

from daphne.application.lifespan import Lifespan
from daphne.application.running import Application, Runner
from daphne.application.target import check_target, check_worker, is_channel_layer, load_target
from daphne.endpoints import listen
from daphne.errors import ConfigurationError, DaphneError
from daphne.protocols.site import ActionLogger, Site
from daphne.settings import Settings
from daphne.streams.signal import Signal
from daphne.tls_info import tls_info

logger = logging.getLogger("daphne.server")

WORKER_WITHOUT_LAYER = "a worker is only for a channel layer, and the target is an application"

_CLEAN_UP = 1.0
"""Seconds that cancelled applications have to clean up."""
_HAND_ON = 5.0
"""Seconds that a channel layer has to hand on what this process holds of it, and to close."""
_ACCEPT_AGAIN = 1.0
"""Seconds between two looks whether there are file descriptors for new connections."""
_CLOSES_A_SECOND = 100
"""WebSockets that a stopping server closes in a second: their clients shall not come back in one wave."""


class Service:
    """One target, served on any number of endpoints.

    `target` is a channel layer or an ASGI 2 or 3 application (TargetError otherwise). Use: `await
    start(reactor, endpoints)`, then `await stop()`.
    """

    def __init__(self, target: Any, settings: Settings, action_logger: ActionLogger | None = None) -> None:
        check_target(target)
        self.settings = settings
        self.ports: list[Any] = []
        """The listening ports, in the order of their endpoints."""
        self._target = target
        self._action_logger = action_logger
        self.site: Site | None = None
        self.runner: Runner | None = None
        self._lifespan: Lifespan | None = None
        self._layer: Any = None
        self._bridge: Any = None
        self._worker: Any = None
        self._worker_task: asyncio.Task[Any] | None = None
        self._stopping: asyncio.Task[None] | None = None
        self._retry: asyncio.TimerHandle | None = None
        """When accepting goes on that pauses for want of file descriptors."""

    async def start(self, reactor: Any, endpoints: list[str]) -> None:
        """Start the application, then listen on every endpoint string.

        Raises LifespanError or EndpointError; nothing is left listening then.
        """
        loop = asyncio.get_running_loop()
        application, settings, lifespan_mode = self._application()
        begin = None if self._bridge is None else self._bridge.begin
        self.runner = runner = Runner(application, loop, settings.application_close_timeout, begin)
        self.site = site = Site(
            settings,
            loop,
            start=runner.start,
            left=runner.client_left,
            action_logger=self._action_logger,
            tls_info=tls_info,
        )
        site.admission.full = self._pause_accepting
        site.admission.room = self._resume_accepting
        if not isinstance(loop, asyncio.BaseEventLoop):  # libuv is mute; asyncio itself says so and waits
            site.admission.short = self._pause_for_descriptors
        self._lifespan = Lifespan(application, lifespan_mode)
        try:
            await self._lifespan.startup()
            site.scopes.state = self._lifespan.state
            if self._worker is not None:
                await self._worker.start()
                self._worker_task = asyncio.ensure_future(self._worker.run())
            if settings.http2:
                logger.info("HTTP/2 support enabled")
            await self._listen(reactor, endpoints, site)
        except BaseException:
            await self.stop()
            raise

    async def _listen(self, reactor: Any, endpoints: list[str], site: Site) -> None:
        for endpoint in endpoints:
            logger.info("Configuring endpoint %s", endpoint)
            port = await listen(reactor, endpoint, site).asFuture(site.loop)
            self.ports.append(port)
            _say_listening(endpoint, port)

    def _application(self) -> tuple[Application, Settings, str]:
        """What runs once per stream, the settings of its streams, and the lifespan mode."""
        settings = self.settings
        if not is_channel_layer(self._target):
            if settings.worker is not None:
                raise ConfigurationError(WORKER_WITHOUT_LAYER)
            return guarantee_single_callable(self._target), settings, settings.lifespan
        from daphne.layers.adapters import adapt
        from daphne.layers.bridge import Bridge

        layer = self._layer = adapt(self._target, settings.force_sync, settings.channel_layer_socket)
        if settings.worker is not None:
            from daphne.worker import Worker

            worked = load_target(settings.worker)
            check_worker(settings.worker, worked)
            self._worker = Worker(
                layer,
                guarantee_single_callable(worked),
                lifespan=settings.lifespan,
                drain_timeout=settings.graceful_timeout,
                worker_timeout=settings.worker_timeout,
                close_timeout=settings.application_close_timeout,
            )
        # The bridge keeps the time limit itself: it knows what the workers were told and what they still owe.
        changes: dict[str, Any] = {"http_timeout": 0}
        if settings.websocket_timeout is None:  # then its channel leaves its groups, and would hear nothing
            changes["websocket_timeout"] = layer.group_expiry
        self._bridge = Bridge(layer, settings)
        return self._bridge, dataclasses.replace(settings, **changes), "on"

    def _pause_accepting(self) -> None:
        assert self.site is not None
        self.site.limit_fired("max_connections", "all peers together; new ones wait")
        self._pause_ports()

    def _pause_for_descriptors(self, descriptor: int) -> None:
        if self._retry is None:
            logger.error("File descriptors run out (%d are in use); new connections wait", descriptor)
            self._pause_ports()
            self._retry_soon()

    def _pause_ports(self) -> None:
        for port in self.ports:
            _call_one_of(port, "pauseAccepting", "stopReading")

    def _retry_soon(self) -> None:
        assert self.site is not None
        self._retry = self.site.loop.call_later(_ACCEPT_AGAIN, self._accept_again)

    def _accept_again(self) -> None:
        self._retry = None
        assert self.site is not None
        if not self.site.admission.is_full:
            self._resume_accepting()

    def _resume_accepting(self) -> None:
        if self._stopping is not None or self._retry is not None:
            return
        try:
            for port in self.ports:
                _call_one_of(port, "resumeAccepting", "startReading")
        except OSError as problem:  # it takes a descriptor
            logger.error("Cannot accept connections yet: %s", problem)
            self._retry_soon()

    async def stop(self) -> None:
        """Accept no more, let what is under way finish within `graceful_timeout` seconds, and end the
        application.

        May be called any number of times; all calls return when the one stop is done.
        """
        if self._stopping is None:
            self._stopping = asyncio.ensure_future(self._stop())
        await asyncio.shield(self._stopping)

    async def _stop(self) -> None:
        for port in self.ports:
            port.stopListening()
        if self._retry is not None:
            self._retry.cancel()
        if self.site is not None and self.runner is not None:
            self.site.draining = True
            try:
                async with asyncio.timeout(self.settings.graceful_timeout):
                    await self._drain(self.site, self.runner)
            except TimeoutError:
                logger.warning("Not all requests ended within --graceful-timeout")
            await self._end(self.site, self.runner)
        if self._worker is not None:
            await self._worker.drain()
        if self._lifespan is not None:
            await self._lifespan.shutdown(self.settings.graceful_timeout)
        if self._layer is not None:
            await self._close_layer()
        if self.site is not None and self.runner is not None:
            self.site.schedule.close()
            self.runner.close()

    async def _close_layer(self) -> None:
        """Nobody here uses it any longer, but others do: what it holds for them must not end with us."""
        try:
            async with asyncio.timeout(_HAND_ON):
                await self._layer.close_async()
        except TimeoutError:
            logger.warning("The channel layer did not close within %s seconds", _HAND_ON)
        except DaphneError as problem:
            logger.error("The channel layer did not close as it should: %s", problem)

    async def _drain(self, site: Site, runner: Runner) -> None:
        """Tell every connection to end, WebSockets one after the other; return when all have ended."""
        loop = asyncio.get_running_loop()
        changed = Signal(loop)
        site.admission.empty = runner.idle = changed.fire
        connections = list(site.connections)
        sockets = {connection for connection in connections if _is_socket(connection)}
        window = min(self.settings.drain_window, len(sockets) / _CLOSES_A_SECOND)
        for connection in connections:
            if connection in sockets:
                loop.call_later(random.uniform(0, window), connection.drain)
            else:
                connection.drain()
        while site.admission or runner.streams:
            await changed.waiter()

    async def _end(self, site: Site, runner: Runner) -> None:
        """Cut what has not ended by itself, and let cancelled applications clean up for a moment."""
        for connection in list(site.connections):
            connection.transport.abortConnection()
        tasks = runner.cancel_all()
        if tasks:
            logger.warning("Killed %d pending application instances", len(tasks))
            await asyncio.wait(tasks, timeout=_CLEAN_UP)

    def kill(self) -> None:
        """End at once: no grace for anybody."""
        if self._stopping is not None:
            self._stopping.cancel()
        if self.site is not None:
            for connection in list(self.site.connections):
                connection.transport.abortConnection()


def _is_socket(connection: Any) -> bool:
    stream = connection.stream
    return stream is not None and stream.kind == "websocket"


def _call_one_of(port: Any, *names: str) -> None:
    """Call the first of these methods that a port has: ours, or that of Twisted's own."""
    for name in names:
        if hasattr(port, name):
            getattr(port, name)()
            return


def _say_listening(endpoint: str, port: Any) -> None:
    host = port.getHost()
    if hasattr(host, "host"):
        logger.info("Listening on TCP address %s:%s", host.host, host.port)
    else:
        logger.info("Listening on endpoint %s", endpoint)
