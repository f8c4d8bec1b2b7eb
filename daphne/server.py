"""Server: the door with the keyword arguments of daphne 1.x and 4.x, and a Twisted reactor around a Service.

Called by daphne.cli, by Django's runserver and by programs of both eras. Here old names and defaults become
today's `Settings`; everything else is daphne.service's.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

from twisted.internet import defer

from daphne.endpoints import build_endpoint_description_strings
from daphne.errors import ConfigurationError, EndpointError
from daphne.logs import follow_twisted_log
from daphne.protocols.site import DEFAULT_WEBSOCKET_TIMEOUT, ActionLogger
from daphne.reactor import be_the_default, install
from daphne.service import Service
from daphne.settings import LISTENERS, OPTIONS, Settings
from daphne.stall import StallWatch, print_stacks
from daphne.streams.response import check_fields
from daphne.systemd import ServiceManager

logger = logging.getLogger("daphne.server")

be_the_default()

_OF_4X = {
    "date_header": False,
    "auto_content_length": False,
    "strict_host": False,
    "scope_extensions": False,
    "lifespan": "off",
    "request_buffer_size": 8192,
    "websocket_connect_timeout": 20,
    "max_header_count": 500,
}
"""What daphne 4's Server did, where today's defaults differ."""

_POSITIONS_OF_4X = (
    "endpoints signal_handlers action_logger http_timeout request_buffer_size websocket_timeout "
    "websocket_connect_timeout ping_interval ping_timeout root_path proxy_forwarded_address_header "
    "proxy_forwarded_port_header proxy_forwarded_proto_header verbosity websocket_handshake_timeout "
    "websocket_max_message_size websocket_max_frame_size application_close_timeout ready_callable server_name"
)
_POSITIONS_OF_1X = (
    "host port endpoints unix_socket file_descriptor signal_handlers action_logger http_timeout "
    "websocket_timeout websocket_connect_timeout ping_interval ping_timeout ws_protocols root_path "
    "proxy_forwarded_address_header proxy_forwarded_port_header proxy_forwarded_proto_header force_sync "
    "verbosity websocket_handshake_timeout"
)
"""What arguments without names are, after the target."""


class Server:
    """A server that `run()` runs until it is stopped.

    `application` (or `channel_layer`, as daphne 1.x called it) is the target; `endpoints` are Twisted
    endpoint strings. Every further keyword is a setting by its name, or one of the old names below; those
    that are not given have daphne 4's defaults. Arguments without names are those of daphne 4 if the second
    is a list, else those of daphne 1. Until `run()`, a setting may also be changed as an attribute.
    """

    def __init__(self, application: Any = None, *arguments: Any, **named: Any) -> None:
        self._take(application, **_named(arguments), **named)

    def _take(
        self,
        application: Any,
        *,
        host: str | None = None,
        port: int | str | None = None,
        endpoints: Sequence[str] | None = None,
        unix_socket: str | None = None,
        file_descriptor: int | None = None,
        signal_handlers: bool = True,
        action_logger: ActionLogger | None = None,
        channel_layer: Any = None,
        ready_callable: Callable[[], Any] | None = None,
        listening_callable: Callable[[], Any] | None = None,
        proxy_forwarded_address_header: str | None = None,
        proxy_forwarded_port_header: str | None = None,
        proxy_forwarded_proto_header: str | None = None,
        **options: Any,
    ) -> None:
        self.application = application if channel_layer is None else channel_layer
        self.channel_layer = self.application
        self.endpoints = list(endpoints or ())
        if host or port or unix_socket or file_descriptor is not None:
            warnings.warn(
                "host, port, unix_socket and file_descriptor: use endpoints", DeprecationWarning, stacklevel=2
            )
            self.endpoints += build_endpoint_description_strings(
                host=host, port=port, unix_socket=unix_socket, file_descriptor=file_descriptor
            )
            self.endpoints.sort()
        if not self.endpoints:
            if channel_layer is not None:
                raise UserWarning("No endpoints. This server will not listen on anything.")  # daphne 1.x
            logger.error("No endpoints. This server will not listen on anything.")
            sys.exit(1)
        self.signal_handlers = signal_handlers
        self.action_logger = action_logger
        self.ready_callable = ready_callable
        self.listening_callable = listening_callable
        self.proxy_forwarded_address_header = proxy_forwarded_address_header
        self.proxy_forwarded_port_header = proxy_forwarded_port_header
        self.proxy_forwarded_proto_header = proxy_forwarded_proto_header
        unknown = sorted(set(options) - set(Settings.__dataclass_fields__))
        if unknown:
            raise TypeError(f"Server() got an unexpected keyword argument {unknown[0]!r}")
        self.options = {**_OF_4X, **options}
        if self.options.get("websocket_timeout") is None:
            expiry = getattr(self.application, "group_expiry", DEFAULT_WEBSOCKET_TIMEOUT)
            self.options["websocket_timeout"] = expiry
        self.listeners: list[defer.Deferred[Any]] = []
        """A fired Deferred per endpoint, whose result is the listening port."""
        self.listening_addresses: list[tuple[str, int]] = []
        """(host, port) of every TCP listener."""
        self.abort_start = False
        self._service_manager = ServiceManager()
        self._failure: Exception | None = None
        self._signalled = False
        self._starting: asyncio.Task[None] | None = None
        self._stopping: asyncio.Task[None] | None = None

    def __getattr__(self, name: str) -> Any:
        if name in Settings.__dataclass_fields__:
            options = self.__dict__.get("options", {})
            return options.get(name, Settings.__dataclass_fields__[name].default)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def _settings(self) -> Settings:
        options = dict(self.options)
        for name, value in vars(self).items():
            if name in OPTIONS and OPTIONS[name].group != LISTENERS:
                options[name] = value  # set on the server since it was made
        if self.proxy_forwarded_address_header or self.proxy_forwarded_proto_header:
            options["proxy_headers"] = True
            options["proxy_headers_host"] = self.proxy_forwarded_address_header or ""
            options["proxy_headers_port"] = self.proxy_forwarded_port_header or ""
            options["proxy_headers_proto"] = self.proxy_forwarded_proto_header or ""
        for name in ("ws_protocols", "trusted_proxies"):
            if name in options and not isinstance(options[name], str):
                options[name] = tuple(options[name] or ())
        return Settings(**options)

    def run(self) -> None:
        """Serve until `stop()` or a signal. Raises ConfigurationError or LifespanError if it cannot start."""
        settings = self._settings()
        follow_twisted_log(settings.verbosity)
        self.reactor = cast(Any, install(settings.uvloop))
        logs = self.action_logger is not None or self.log_action != self._own_log_action
        self.service = Service(self.application, settings, self.log_action if logs else None)
        loop = self.reactor.loop
        _set_threads(loop)
        loop.set_debug(settings.verbosity >= 3)
        if self.ready_callable is not None:
            self.ready_callable()
        self.reactor.callWhenRunning(self._start_soon)
        watch = StallWatch(loop, settings.stall_timeout) if settings.stall_timeout else None
        if watch is not None:
            self.reactor.callWhenRunning(watch.start)
        self.reactor.run(installSignalHandlers=False)
        if watch is not None:
            watch.stop()
        if self._failure is not None:
            raise self._failure

    def _start_soon(self) -> None:
        self._starting = asyncio.ensure_future(self._start(), loop=self.reactor.loop)

    async def _start(self) -> None:
        if self.signal_handlers and threading.current_thread() is threading.main_thread():
            self._handle_signals()
        try:
            await self.service.start(self.reactor, self.endpoints)
        except EndpointError as error:
            self.listen_error(error)
            self._fail(error)
        except Exception as error:
            # The reactor would go on without listeners; whoever called run() shall see this instead.
            self._fail(error)
        else:
            for port in self.service.ports:
                self.listeners.append(defer.succeed(port))
                self.listen_success(port)
            self._service_manager.ready(", ".join(self.endpoints))
            # What has been loaded by now stays: the collector need not look at it again and again.
            gc.collect()
            gc.freeze()
            if self.listening_callable is not None:
                self.listening_callable()

    def listen_success(self, port: Any) -> None:
        """Note where a listening port listens; subclasses of daphne 4's Server look at it, too."""
        host = port.getHost()
        if hasattr(host, "host"):
            self.listening_addresses.append((host.host, host.port))

    def listen_error(self, failure: Any) -> None:
        """Say that the server cannot listen, and why."""
        logger.error("Listen failure: %s", failure)

    @property
    def http_factory(self) -> Any:
        """The factory of every port, while it runs; WebSockets come in by the same one."""
        return self.service.site

    factory = ws_factory = http_factory

    @property
    def connections(self) -> set[Any]:
        """The open connections."""
        return cast("set[Any]", self.http_factory.connections)

    def kill_all_applications(self) -> None:
        """Cancel whatever runs for a request or a WebSocket."""
        runner = self.service.runner
        tasks = runner.cancel_all() if runner is not None else ()
        if tasks:
            logger.warning("Killed %d pending application instances", len(tasks))

    @staticmethod
    def check_headers_type(message: dict[str, Any]) -> None:
        """Raise ValueError unless the headers of an event are pairs of bytes."""
        check_fields(message.get("headers") or ())

    def log_action(self, protocol: str, action: str, details: dict[str, Any]) -> None:
        """Hand what happened to the action logger; subclasses do something else with it."""
        if self.action_logger is not None:
            self.action_logger(protocol, action, details)

    _own_log_action = log_action

    def _fail(self, error: Exception) -> None:
        self._failure = error
        self.abort_start = True
        self.reactor.stop()

    def _handle_signals(self) -> None:
        loop = self.reactor.loop
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._signal)
        loop.add_signal_handler(signal.SIGUSR1, _reopen_logs)
        loop.add_signal_handler(signal.SIGHUP, self._reload_certificates)
        # Not through the loop: this is for when it does not turn.
        signal.signal(signal.SIGQUIT, lambda number, frame: print_stacks(loop))

    def _reload_certificates(self) -> None:
        """SIGHUP: new connections get the certificates that the files hold now, old ones keep theirs."""
        for port in self.service.ports:
            if hasattr(port, "reloadCertificates") and port.reloadCertificates():
                logger.info("Reloaded the certificates of %s:%s", port.getHost().host, port.getHost().port)

    def _signal(self) -> None:
        """The first signal stops gracefully, the second at once."""
        if self._signalled:
            self.service.kill()
            self._stop_reactor()
        self._signalled = True
        self.stop()

    def stop(self) -> None:
        """Stop gracefully. From another thread call it with `reactor.callFromThread`."""
        if self._stopping is None:
            self._stopping = asyncio.ensure_future(self._stop(), loop=self.reactor.loop)

    async def _stop(self) -> None:
        self._service_manager.stopping()
        if self._starting is not None:
            self._starting.cancel()  # if it is still under way
            await asyncio.wait([self._starting])
        try:
            await self.service.stop()
        finally:
            self._stop_reactor()

    def _stop_reactor(self) -> None:
        if self.reactor.running:
            self.reactor.stop()


def _named(arguments: Sequence[Any]) -> dict[str, Any]:
    """The names that arguments without any had in daphne 4 or daphne 1."""
    of_4x = bool(arguments) and isinstance(arguments[0], list | tuple)
    names = (_POSITIONS_OF_4X if of_4x else _POSITIONS_OF_1X).split()
    if len(arguments) > len(names):
        raise TypeError(f"Server() takes at most {len(names) + 1} arguments without names")
    return dict(zip(names, arguments, strict=False))


def __getattr__(name: str) -> Any:
    if name == "twisted_loop":
        # Made when it is asked for: importing this module starts nothing.
        return install().loop
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _reopen_logs() -> None:
    from daphne import access

    access.reopen()


def _set_threads(loop: asyncio.AbstractEventLoop) -> None:
    """ASGI_THREADS: threads of the loop's default executor, where applications' synchronous code runs."""
    threads = os.environ.get("ASGI_THREADS")
    if not threads:
        return
    if not threads.isdecimal() or not int(threads):
        raise ConfigurationError(
            f"ASGI_THREADS: {threads!r} is not allowed; it takes a whole number, 1 or more"
        )
    loop.set_default_executor(ThreadPoolExecutor(max_workers=int(threads)))
