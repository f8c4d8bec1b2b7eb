"""The command `daphne`: what was written on the command line and in the environment becomes a running server.

Called as a console script, by `python -m daphne`, and by programs that use `CommandLineInterface` themselves;
calls `daphne.settings`, `daphne.config`, `daphne.application.target`, `daphne.endpoints`, `daphne.access` and
`daphne.server`.

Exit statuses: 0 after a clean stop; 1 when the target, an endpoint or the application's start-up fails; 2 for
a wrong option. For each thing that is wrong there is one line on standard error.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

from daphne import __version__
from daphne.access import AccessLogGenerator, ActionLogger, FormattedAccessLog, log_lines_to
from daphne.access_format import compile_format
from daphne.application.target import check_target, check_worker, is_channel_layer, load_target
from daphne.config import read_config
from daphne.endpoints import DEFAULT_HOST, DEFAULT_PORT, endpoint_strings
from daphne.errors import ConfigurationError, InvalidSettings, LifespanError
from daphne.flags import FlagParser, add_flags, given_flags
from daphne.logs import configure_logging, said_already
from daphne.server import Server
from daphne.service import WORKER_WITHOUT_LAYER
from daphne.settings import (
    COMMAND_LINE,
    ENVIRONMENT,
    LISTENERS,
    LOGGING,
    OPTIONS,
    Settings,
    environment_values,
    settings_from,
)

_FOR_THREADS = 2.0
"""Seconds that threads of the application have to end after the server has."""

_EPILOG = """
Every flag is also an environment variable: --http-timeout is DAPHNE_HTTP_TIMEOUT, --no-http2 is
DAPHNE_NO_HTTP2=1. A flag wins over its variable, a variable over the file. In a variable, the items of a
list have blanks between them. Sizes are bytes.
"""

logger = logging.getLogger(__name__)


class CommandLineInterface:
    """One run of the command. Programs subclass it, for another `server_class` or `load_asgi_app`."""

    description = "HTTP/1.1, HTTP/2 and WebSocket server for ASGI applications and channel layers"
    server_class = Server

    def __init__(self) -> None:
        self.parser = FlagParser(
            prog="daphne", usage="%(prog)s [options] target", description=self.description, epilog=_EPILOG
        )
        self.parser.add_argument(
            "target", nargs="?", help="module:attribute, a channel layer or an ASGI application"
        )
        self.parser.add_argument(
            "--config",
            metavar="FILE",
            help="TOML file with settings (default: [tool.daphne] in ./pyproject.toml, if it is there)",
        )
        self.parser.add_argument(
            "--check-config",
            action="store_true",
            help="say everything that is wrong with the settings and the target, and end",
        )
        self.parser.add_argument("--version", action="version", version=f"daphne {__version__}")
        actions = add_flags(self.parser)
        self.arg_proxy_host = actions["proxy_headers_host"]
        self.arg_proxy_port = actions["proxy_headers_port"]
        self.server: Any = None

    @classmethod
    def entrypoint(cls) -> None:
        """Run with the arguments of the process."""
        interface = cls()
        try:
            interface.run(sys.argv[1:])
        except argparse.ArgumentError as error:
            interface.parser.error(str(error))
        _leave_stuck_threads()

    def load_asgi_app(self, path: str) -> Any:
        """Give the object that is served for the target `path`; raises TargetError. Made to be overridden."""
        return load_target(path)

    def run(self, args: Sequence[str]) -> None:
        """Serve until the server stops.

        Raises SystemExit for what is wrong, with its status, after saying so on standard error;
        argparse.ArgumentError for the name of a proxy's header without --proxy-headers, as daphne 4 does.
        """
        namespace = self.parser.parse_args(args)
        try:
            if namespace.check_config:
                self._check(namespace)
                return
            target, settings = self._read(namespace)
            configure_logging(settings.verbosity, settings.log_fmt)
            self._serve(target, settings)
        except (ConfigurationError, LifespanError) as error:
            _fail(error)

    def _read(self, namespace: argparse.Namespace) -> tuple[str, Settings]:
        file, values = read_config(namespace.config)
        flags, target = self._flags(namespace)
        target = target or str(values.pop("target", "")) or None
        values.pop("target", None)
        variables = environment_values(os.environ)
        for action in (self.arg_proxy_host, self.arg_proxy_port):
            if action.dest in flags and "proxy_headers" not in {**_fields(values), **variables, **flags}:
                raise argparse.ArgumentError(action, "only together with --proxy-headers")
        settings = settings_from((file, values), (ENVIRONMENT, variables), (COMMAND_LINE, flags))
        if target is None:
            self.parser.error("the following arguments are required: target")
        return target, settings

    def _flags(self, namespace: argparse.Namespace) -> tuple[dict[str, Any], str | None]:
        """The settings among the flags, and the target."""
        target: str | None = namespace.target
        flags = given_flags(namespace)
        if "ws_protocols" in flags:
            found, flags["ws_protocols"] = _split_protocols(flags["ws_protocols"], target is None)
            target = target or found
        return flags, target

    def _check(self, namespace: argparse.Namespace) -> None:
        """Raise InvalidSettings with all that is wrong; say so where nothing is."""
        problems: list[str] = []
        settings = None
        try:
            settings = self._read(namespace)[1]
        except InvalidSettings as error:
            problems += error.problems
        target = self._flags(namespace)[1] or read_config(namespace.config)[1].get("target")
        problems += self._problems_of_targets(target, None if settings is None else settings.worker)
        if settings is not None and settings.access_log_format:
            format_given = settings.access_log_format
            problems += _problems_of(lambda: compile_format(format_given))
        if problems:
            raise InvalidSettings(problems)
        print("daphne: the settings and the target are in order")

    def _problems_of_targets(self, target: str | None, worker: str | None) -> list[str]:
        """What is wrong with each, and with both together."""
        if target is None:
            return ["there is no target"]
        sys.path.insert(0, ".")
        found: list[Any] = []

        def look_at_target() -> None:
            found.append(self.load_asgi_app(str(target)))
            check_target(found[0])

        problems = _problems_of(look_at_target)
        if worker is not None:
            problems += _problems_of(lambda: check_worker(worker, load_target(worker)))
            if found and not is_channel_layer(found[0]):
                problems.append(WORKER_WITHOUT_LAYER)
        return problems

    def _serve(self, path: str, settings: Settings) -> None:
        sys.path.insert(0, ".")
        application = self.load_asgi_app(path)
        endpoints = endpoint_strings(settings, DEFAULT_HOST, DEFAULT_PORT)
        kind = "channel layer" if is_channel_layer(application) else "application"
        root_path = settings.root_path
        if root_path and not (root_path.startswith("/") and not root_path.endswith("/")):
            logger.warning(
                "--root-path %s: applications expect a slash at its beginning, not its end", root_path
            )
        logger.info("Starting server at %s, %s %s.", ", ".join(endpoints), kind, path)
        self.server = self.server_class(
            application=application,
            endpoints=endpoints,
            action_logger=_action_logger(settings),
            **_server_arguments(settings),
        )
        self.server.run()
        if getattr(self.server, "abort_start", False):
            sys.exit(1)


def _problems_of(check: Callable[[], object]) -> list[str]:
    """What a check says that fails."""
    try:
        check()
    except ConfigurationError as error:
        return [str(error)]
    return []


def _fields(values: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of a file in the spelling of Python."""
    return {key.replace("-", "_"): value for key, value in values.items()}


def _split_protocols(lists: list[list[str]], find_target: bool) -> tuple[str | None, list[str]]:
    """The target among the words that --ws-protocol took, and the last list of subprotocols without it.

    A target has a colon, which no subprotocol may have (RFC 6455 section 4.1).
    """
    found = [word for words in lists for word in words if ":" in word] if find_target else []
    target = found[0] if found else None
    return target, [word for word in lists[-1] if word != target]


def _action_logger(settings: Settings) -> ActionLogger | None:
    path = settings.access_log or ("-" if settings.verbosity >= 1 else None)
    line = compile_format(settings.access_log_format) if settings.access_log_format else None
    if path is None:
        return None
    stream = log_lines_to(path, unless_configured=settings.access_log is None)
    if line is not None:
        return FormattedAccessLog(stream, line)
    return AccessLogGenerator(
        stream
    )  # looked up here at each call: programs put their own class in its place


def _server_arguments(settings: Settings) -> dict[str, Any]:
    """Every setting that is not used up here, by its name; the proxies' headers by daphne 4's."""
    arguments = {
        name: getattr(settings, name)
        for name, option in OPTIONS.items()
        if option.group not in (LISTENERS, LOGGING) and not name.startswith("proxy_headers")
    }
    trusted = settings.proxy_headers
    return arguments | {
        "verbosity": settings.verbosity,
        "proxy_forwarded_address_header": settings.proxy_headers_host if trusted else None,
        "proxy_forwarded_port_header": settings.proxy_headers_port if trusted else None,
        "proxy_forwarded_proto_header": settings.proxy_headers_proto if trusted else None,
    }


def _leave_stuck_threads() -> None:
    """Let the process end with status 0 even if application code hangs in a thread."""

    def leave() -> None:
        logger.warning(
            "Left without the threads that did not end: %s", ", ".join(map(str, threading.enumerate()))
        )
        logging.shutdown()
        os._exit(0)

    timer = threading.Timer(_FOR_THREADS, leave)
    timer.daemon = True
    timer.start()


def _fail(error: ConfigurationError | LifespanError) -> NoReturn:
    """Say what is wrong, unless the server has, and end; the traceback is in the log at verbosity 2."""
    logger.debug("The server could not start", exc_info=error)
    if said_already(error):
        sys.exit(error.exit_status)
    for problem in error.problems if isinstance(error, InvalidSettings) else [str(error)]:
        print("daphne: error:", " ".join(problem.split()), file=sys.stderr)
    sys.exit(error.exit_status)
