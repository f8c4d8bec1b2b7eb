"""Where the server listens: endpoint strings, and what went wrong with one in a line.

Called by `daphne.service` and the doors; calls Twisted's `serverFromString`, which knows every endpoint
plugin.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NoReturn

from twisted.internet import defer, interfaces
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError
from twisted.python.failure import Failure

import twisted.plugins
from daphne.errors import EndpointError
from daphne.reactor.listeners import BACKLOG
from daphne.settings import Settings

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 8000
UNIX_SOCKET_MODE = 0o666

TAKES_BACKLOG = ("tcp", "tcp6", "unix")


def build_endpoint_description_strings(
    host: str | None = None,
    port: int | str | None = None,
    unix_socket: str | None = None,
    file_descriptor: int | None = None,
    unix_socket_mode: int | None = None,
) -> list[str]:
    """The endpoint strings for these, in this order: TCP, unix socket, descriptor.

    `host` may be an IPv6 address with or without brackets; port 0 lets the system choose. Raises ValueError
    when only one of host and port is given.
    """
    strings = []
    if host and port is not None:
        strings.append(f"tcp:port={int(port)}:interface={_escaped(host.strip('[]'))}")
    elif host or port is not None:
        raise ValueError("host and port must be given together")
    if unix_socket:
        mode = "" if unix_socket_mode in (None, UNIX_SOCKET_MODE) else f":mode={unix_socket_mode:o}"
        strings.append(f"unix:{_escaped(unix_socket)}{mode}")
    if file_descriptor is not None:
        strings.append(f"fd:fileno={int(file_descriptor)}")
    return strings


def endpoint_strings(
    settings: Settings, default_host: str = DEFAULT_HOST, default_port: int = DEFAULT_PORT
) -> list[str]:
    """Where these settings say to listen, sorted: TCP on the default address where they say nothing."""
    host, port = settings.host or None, settings.port
    if not (host or settings.unix_socket or settings.endpoints) and port is settings.file_descriptor is None:
        host, port = default_host, default_port
    elif host and port is None:
        port = default_port
    elif port is not None and not host:
        host = default_host
    built = build_endpoint_description_strings(
        host=host,
        port=port,
        unix_socket=settings.unix_socket or None,
        file_descriptor=settings.file_descriptor,
        unix_socket_mode=settings.unix_socket_mode,
    )
    return sorted([*settings.endpoints, *built])


def _escaped(value: str) -> str:
    """Keep what means something in an endpoint string from meaning it."""
    return re.sub(r"([\\:=])", r"\\\1", value)


def _find_own_plugins() -> None:
    """Let Twisted find `fd:` and `https:` in a checkout that is installed with `pip install -e`, too.

    It looks in a folder of each entry of sys.path, and such an installation has no entry there.
    """
    beside = Path(__file__).resolve().parents[1] / "twisted" / "plugins"
    if beside not in map(Path.resolve, map(Path, twisted.plugins.__path__)):
        twisted.plugins.__path__.append(str(beside))


def listen(reactor: Any, description: str, factory: Any) -> defer.Deferred[interfaces.IListeningPort]:
    """Listen on an endpoint string; fails with EndpointError, whose text is one line with the string in it.

    `ssl:` is served by our own `https:`, which knows its parameters and more, also inside of `haproxy:`.
    """

    def explain(failure: Failure) -> NoReturn:
        text = " ".join(_reason(description, failure.value).split())
        raise EndpointError(f"Cannot listen on {description}: {text}") from failure.value

    def parse_and_listen() -> Any:
        _find_own_plugins()
        return serverFromString(reactor, _as_served(description)).listen(factory)

    # Any plugin may raise anything, and for the operator it is always the endpoint that cannot be used.
    port: defer.Deferred[Any] = defer.maybeDeferred(parse_and_listen)
    return port.addErrback(explain)


def _as_served(description: str) -> str:
    description = re.sub(r"^((?:haproxy:)?)ssl(:|$)", r"\1https\2", description)
    kind, *parameters = re.split(r"(?<!\\):", description)
    unnamed = [parameter for parameter in parameters if "=" not in parameter]
    has_backlog = any(parameter.startswith("backlog=") for parameter in parameters)
    if kind in TAKES_BACKLOG and len(unnamed) < 2 and not has_backlog:
        return f"{description}:backlog={BACKLOG}"
    return description


def _reason(description: str, problem: BaseException | None) -> str:
    if isinstance(problem, CannotListenError):
        problem = problem.socketError
    if isinstance(problem, EndpointError | ValueError | OverflowError):
        return str(problem)
    if isinstance(problem, OSError):
        text = problem.strerror or str(problem)
        return f"{text}: {problem.filename}" if problem.filename else text
    if isinstance(problem, TypeError):
        # The text begins with the name of a function of Twisted or of the plugin.
        return f"its parameters are wrong: {str(problem).partition('() ')[2] or problem}"
    if isinstance(problem, LookupError) and description.startswith("systemd:"):
        return "systemd has handed down no such socket"
    return f"{type(problem).__name__}: {problem}"
