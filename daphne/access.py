"""The access log: one line for each request, and for each step in a WebSocket's life.

Made by `daphne.cli`, or by whoever starts a server from Python, and handed to the server as its *action
logger*: a callable `(protocol, action, details)`. Calls `daphne.access_format` for formats other than the
usual one.

    the server -> AccessLogGenerator or FormattedAccessLog -> a stream
    the command line's stream: LoggedLines -> logger `daphne.access` -> AccessLogOutput

`details` of `("http", "complete")` are `path` (the request target), `status`, `method`, `client`
("host:port" or None), `time_taken` (seconds), `size` (bytes of body), `http_version`, `scheme`,
`request_headers` and `response_headers` (lists of pairs of bytes). Those of `("websocket", action)`, with
the actions connecting, connected, rejected and disconnected, are `path`, `client`, `http_version` and
`request_headers`.
"""

from __future__ import annotations

import contextlib
import datetime
import functools
import io
import logging
import os
import re
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from daphne.errors import ConfigurationError

Details = Mapping[str, Any]
ActionLogger = Callable[[str, str, Details], None]

WEBSOCKET_VERBS = {
    "connecting": "WSCONNECTING",
    "connected": "WSCONNECT",
    "rejected": "WSREJECT",
    "disconnected": "WSDISCONNECT",
}
MONTHS = ("", "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
WARN_AGAIN_AFTER = 60.0
"""Seconds between two warnings that the log cannot be written."""

_UNSAFE = re.compile(r"[^\x20\x21\x23-\x5b\x5d-\x7e]")  # controls, quote, backslash and all beyond ASCII
_server_log = logging.getLogger("daphne.server")


class Writable(Protocol):
    """All that an access log needs of a stream."""

    def write(self, text: str, /) -> object:
        """Write one line, which ends with a newline."""


def escape(text: str) -> str:
    r"""`text` as it may stand in a log line: controls, quotes, backslashes and non-ASCII become \xNN."""
    return _UNSAFE.sub(_escape_one, text) if _UNSAFE.search(text) else text


class AccessLogGenerator:
    """Writes a line in a format like NCSA's for each action to `stream`; daphne's usual access log."""

    def __init__(self, stream: Writable) -> None:
        self.stream = stream

    def __call__(self, protocol: str, action: str, details: Details) -> None:
        """Log one action of the server; others than those in the module's docstring are passed over."""
        if protocol == "http" and action == "complete":
            self.write_entry(
                host=details["client"],
                date=datetime.datetime.now().replace(microsecond=0),
                request=f"{details['method']} {details['path']}",
                status=details["status"],
                length=details["size"],
            )
        elif protocol == "websocket" and action in WEBSOCKET_VERBS:
            self.write_entry(
                host=details["client"],
                date=datetime.datetime.now().replace(microsecond=0),
                request=f"{WEBSOCKET_VERBS[action]} {details['path']}",
            )

    def write_entry(
        self,
        host: str | None,
        date: datetime.datetime,
        request: str,
        status: int | None = None,
        length: int | None = None,
        ident: str | None = None,
        user: str | None = None,
    ) -> None:
        """Write one line; what is None or 0 is shown as `-`, but for `host`, which is shown as `None`."""
        self.stream.write(
            f"{escape(str(host))} {escape(ident or '-')} {escape(user or '-')} "
            f"[{_local_time(date)}] "
            f'"{escape(request)}" {status or "-"} {length or "-"}\n'
        )


class FormattedAccessLog:
    """Writes each action to `stream` in the format that `daphne.access_format` has compiled."""

    def __init__(self, stream: Writable, line: Callable[[str, str, Details], str]) -> None:
        self.stream = stream
        self._line = line

    def __call__(self, protocol: str, action: str, details: Details) -> None:
        """Log one action of the server."""
        if action == "complete" or action in WEBSOCKET_VERBS:
            self.stream.write(self._line(protocol, action, details) + "\n")


class LoggedLines(io.TextIOBase):
    """A stream that hands its lines to the logger `daphne.access`, at level INFO."""

    def __init__(self) -> None:
        self._logger = logging.getLogger("daphne.access")
        self._begun = ""  # a line that has no end yet

    def write(self, text: str, /) -> int:
        """Log the lines of `text`; what follows the last newline waits for the rest of its line."""
        *lines, self._begun = (self._begun + text).split("\n")
        logger = self._logger
        if lines and logger.isEnabledFor(logging.INFO):
            for line in lines:
                # Not logger.info(), which looks through the stack for its caller; nobody wants to know here.
                logger.handle(logger.makeRecord(logger.name, logging.INFO, "", 0, line, (), None))
        return len(text)


class AccessLogOutput(logging.Handler):
    """Writes the lines of the logger `daphne.access` to a file, or to standard output if `path` is `-`.

    The file is opened for appending. Each line is written at once. A line that cannot be written is lost,
    with a warning now and then: a full disk stops no request.
    """

    def __init__(self, path: str, clock: Callable[[], float] = time.monotonic) -> None:
        """Raises OSError if the file cannot be opened."""
        super().__init__()
        self.path = path
        self._clock = clock
        self._lost = 0
        self._warn_after = float("-inf")
        self._descriptor = -1 if path == "-" else _open(path)

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line."""
        try:
            self._write(record.getMessage() + "\n")
        except (OSError, ValueError) as error:  # ValueError: standard output is closed
            self._lost += 1
            self._warn(error)

    def reopen(self) -> None:
        """Open the file anew, after somebody has moved it away; if that fails, go on with the old one."""
        if self._descriptor < 0:
            return
        with self.lock or contextlib.nullcontext():
            try:
                new = _open(self.path)
            except OSError as error:
                _server_log.error("The access log cannot be reopened: %s", error)
                return
            os.close(self._descriptor)
            self._descriptor = new

    def close(self) -> None:
        """Close the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        super().close()

    def _write(self, line: str) -> None:
        if self.path == "-":
            sys.stdout.write(line)
            sys.stdout.flush()
            return
        data = line.encode("utf-8", "backslashreplace")
        while data:
            data = data[os.write(self._descriptor, data) :]

    def _warn(self, error: Exception) -> None:
        if self._clock() < self._warn_after:
            return
        self._warn_after = self._clock() + WARN_AGAIN_AFTER
        _server_log.warning("The access log cannot be written (%s); lines lost: %d", error, self._lost)


def log_lines_to(path: str, *, unless_configured: bool = False) -> LoggedLines:
    """Set up the logger `daphne.access` to write to `path`, `-` for standard output; give a stream into it.

    With `unless_configured` a logger to which the project has given handlers of its own is left as it is.
    Raises ConfigurationError if the file cannot be opened.
    """
    logger = logging.getLogger("daphne.access")
    for handler in [handler for handler in logger.handlers if isinstance(handler, AccessLogOutput)]:
        logger.removeHandler(handler)
        handler.close()
    if unless_configured and logger.handlers:
        return LoggedLines()
    try:
        logger.addHandler(AccessLogOutput(path))
    except OSError as error:
        raise ConfigurationError(f"--access-log: cannot open {path!r}: {error.strerror or error}") from None
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.disabled = False  # a project's dictConfig() disables all loggers that it does not name
    return LoggedLines()


def reopen() -> None:
    """Open the file of the access log anew; the server calls this on SIGUSR1."""
    for handler in logging.getLogger("daphne.access").handlers:
        if isinstance(handler, AccessLogOutput):
            handler.reopen()


@functools.lru_cache(maxsize=2)
def _local_time(date: datetime.datetime) -> str:
    return f"{date:%d}/{MONTHS[date.month]}/{date:%Y:%H:%M:%S}"  # %b would depend on the locale


def _open(path: str) -> int:
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)


def _escape_one(match: re.Match[str]) -> str:
    character = match.group()
    # Targets are one character a byte; beyond that, the bytes of UTF-8.
    data = character.encode("latin-1" if character <= "\xff" else "utf-8", "surrogatepass")
    return "".join(f"\\x{byte:02X}" for byte in data)
