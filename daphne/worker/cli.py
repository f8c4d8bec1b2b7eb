"""The command `daphne-worker`: one worker process between a channel layer and an ASGI application.

Called as a console script and by `python -m daphne.worker`; calls `daphne.settings` for the options that it
shares with `daphne`, the adapters, and `Worker`, which it runs until a signal comes.

Exit statuses are those of `daphne`: 0 after a clean stop, 1 when a target or the start-up fails, and
2 for a wrong option. The first SIGTERM or SIGINT drains, a second ends at once.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from asgiref.compatibility import guarantee_single_callable

from daphne import __version__
from daphne.application.target import check_worker, is_channel_layer, load_target
from daphne.errors import ConfigurationError, InvalidSettings, LifespanError, TargetError
from daphne.flags import FlagParser, add_flags, given_flags
from daphne.layers.adapters import adapt
from daphne.logs import configure_logging
from daphne.options import Kind, Seconds, Whole, Words
from daphne.reactor import install
from daphne.settings import COMMAND_LINE, ENVIRONMENT, Settings, environment_values, settings_from
from daphne.worker.consume import Worker

log = logging.getLogger("daphne.worker")

SHARED = (
    *("lifespan", "uvloop", "verbosity", "log_fmt", "worker_timeout", "force_sync"),
    *("channel_layer_socket", "application_close_timeout"),
)
"""The settings of `daphne` that mean the same here, with the same flags and environment variables."""

OWN: Mapping[str, tuple[Kind, Any, str, str]] = {
    "concurrency": (Whole(1), 100, "N", "requests and WebSocket handshakes at a time"),
    "threads": (Whole(1), None, "N", "threads for the application's synchronous code"),
    "only_channels": (Words(), (), "GLOB", "take work only from channels that match; repeatable"),
    "exclude_channels": (Words(), (), "GLOB", "take no work from channels that match; repeatable"),
    "drain_timeout": (Seconds(), 30, "SECONDS", "time for requests and WebSockets to finish after SIGTERM"),
}
"""The options that only workers have: kind, default, what stands for the value in the help, help."""


def entrypoint() -> None:
    """Run with the arguments of the process."""
    run(sys.argv[1:])


def run(args: Sequence[str]) -> None:
    """Work until a signal comes. Raises SystemExit for what is wrong, after saying so on standard error."""
    namespace = _parser().parse_args(args)
    try:
        variables = _variables(SHARED)
        settings = settings_from((ENVIRONMENT, variables), (COMMAND_LINE, given_flags(namespace)))
        own = _own_options(namespace)
        configure_logging(settings.verbosity, settings.log_fmt)
        sys.path.insert(0, ".")
        _Process(namespace.channel_layer, namespace.application, settings, own).run()
    except (ConfigurationError, LifespanError) as error:
        log.debug("The worker could not start", exc_info=error)
        for problem in error.problems if isinstance(error, InvalidSettings) else [str(error)]:
            print("daphne-worker: error:", " ".join(problem.split()), file=sys.stderr)
        sys.exit(error.exit_status)


def _parser() -> argparse.ArgumentParser:
    parser = FlagParser(
        prog="daphne-worker", description="Run an ASGI application for what comes over a channel layer"
    )
    parser.add_argument("channel_layer", help="module:attribute of the channel layer")
    parser.add_argument("application", help="module:attribute of the ASGI application")
    parser.add_argument("--version", action="version", version=f"daphne {__version__}")
    group = parser.add_argument_group("Worker")
    for name, (kind, default, metavar, text) in OWN.items():
        action = "append" if isinstance(kind, Words) else "store"
        shown = f" (default: {default})" if default else ""
        flag = "--" + name.replace("_", "-")
        group.add_argument(flag, dest=name, action=action, metavar=metavar, help=text + shown)
    add_flags(parser, SHARED)
    return parser


def _variables(names: Sequence[str]) -> dict[str, str]:
    """The environment's values for the shared settings; those that only the server has are none of ours."""
    keys = {name.replace("-", "_") for name in names}
    return {
        key: value
        for key, value in environment_values(os.environ).items()
        if key.replace("-", "_").removeprefix("no_") in keys
    }


def _own_options(namespace: argparse.Namespace) -> dict[str, Any]:
    """Flag, environment variable (`DAPHNE_CONCURRENCY`), default: the first that is there."""
    values: dict[str, Any] = {}
    problems = []
    for name, (kind, default, _, _) in OWN.items():
        variable = "DAPHNE_" + name.upper()
        given, label = getattr(namespace, name), "--" + name.replace("_", "-")
        if given is None and os.environ.get(variable):
            given, label = os.environ[variable], variable
        try:
            values[name] = default if given is None else kind.read(given)
        except ValueError:
            problems.append(f"{label}: {given!r} is not allowed; it takes {kind.allowed}")
    if problems:
        raise InvalidSettings(problems)
    return values


class _Process:
    """The worker of this process, and what signals do to it."""

    def __init__(self, layer_path: str, application_path: str, settings: Settings, own: dict[str, Any]):
        layer = load_target(layer_path)
        if not is_channel_layer(layer):
            raise TargetError(f"{layer_path} is not a channel layer: it has no send, receive and extensions")
        application = load_target(application_path)
        check_worker(application_path, application)
        self._names = (layer_path, application_path)
        self._reactor: Any = install(settings.uvloop)
        self._loop: asyncio.AbstractEventLoop = self._reactor.loop
        threads = own.pop("threads")
        if threads is not None:
            self._loop.set_default_executor(ThreadPoolExecutor(max_workers=threads))
        self._layer = adapt(layer, settings.force_sync, settings.channel_layer_socket)
        self._worker = Worker(
            self._layer,
            guarantee_single_callable(application),
            lifespan=settings.lifespan,
            worker_timeout=settings.worker_timeout,
            close_timeout=settings.application_close_timeout,
            **own,
        )
        self._signalled = False
        self._starting: asyncio.Task[None] | None = None
        self._failure: BaseException | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def run(self) -> None:
        """Work until the worker has ended. Raises LifespanError, and whatever else ended it."""
        self._reactor.callWhenRunning(lambda: self._spawn(self._work()))
        self._reactor.run(installSignalHandlers=False)
        if self._failure is not None:
            raise self._failure

    async def _work(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._signal)
        try:
            self._starting = self._spawn(self._worker.start())
            await asyncio.wait([self._starting])
            if self._starting.cancelled():  # by a signal
                return
            self._starting.result()
            log.info(
                "Worker of %s takes work from %s over %s.", self._names[1], self._listing(), self._names[0]
            )
            await self._worker.run()
            await self._layer.close_async()
        except BaseException as error:
            # The reactor would go on without a worker; whoever called run() shall see this instead.
            self._failure = error
        finally:
            self._reactor.stop()

    def _listing(self) -> str:
        return ", ".join(self._worker.channels)

    def _signal(self) -> None:
        if self._signalled:
            log.warning("A second signal: the worker ends at once")
            self._reactor.stop()
            return
        self._signalled = True
        log.info("The worker takes no more work, and ends when what runs has ended")
        if self._starting is not None:
            self._starting.cancel()  # if it is still under way
        self._spawn(self._worker.drain())

    def _spawn(self, coroutine: Any) -> asyncio.Task[None]:
        task = self._loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
