"""The server's own log: Python's logging to standard error, with Twisted's log in it.

Called by `daphne.cli` and the worker's command line (`configure_logging`), by the server
(`follow_twisted_log`, for those who start it without a command line) and by whoever would say again what the
log has said already (`said_already`); calls logging and Twisted's logger.
The access log is another matter: `daphne.access`.
"""

from __future__ import annotations

import logging
import sys
import warnings
from typing import Any, cast

from twisted.logger import (
    ILogObserver,
    LogEvent,
    LogLevel,
    formatEvent,
    globalLogBeginner,
    globalLogPublisher,
)

from daphne.errors import EndpointError

LEVELS = {0: logging.WARNING, 1: logging.INFO, 2: logging.DEBUG, 3: logging.DEBUG}
"""Verbosity to logging level; with 3 the server also switches on asyncio's debug mode."""

_TALKATIVE = ("hpack", "h2")  # a line for every header field
_TWISTED_LEVELS = {
    LogLevel.debug: logging.DEBUG,
    LogLevel.info: logging.INFO,
    LogLevel.warn: logging.WARNING,
    LogLevel.error: logging.ERROR,
    LogLevel.critical: logging.CRITICAL,
}
_log = logging.getLogger("daphne.server")


def configure_logging(verbosity: int, log_fmt: str) -> None:
    """Send the log to standard error, unless the root logger has handlers already."""
    logging.basicConfig(level=LEVELS[verbosity], format=log_fmt)
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.DEBUG if verbosity >= 3 else logging.INFO)
    follow_twisted_log(verbosity)


def follow_twisted_log(verbosity: int) -> None:
    """Hand what Twisted logs to the logger `daphne.server`: from warnings up, and all of it from verbosity 2.

    An error that nobody caught in a Deferred or in a protocol thus shows at every verbosity. May be called
    any number of times; the last verbosity holds.
    """
    _twisted_log.lowest = logging.WARNING if verbosity < 2 else logging.DEBUG
    if _twisted_log.begun:
        return
    _twisted_log.begun = True
    shown = warnings.showwarning
    # Beginning ends Twisted's own printing of critical events, and the buffer that it keeps for this moment.
    globalLogBeginner.beginLoggingTo([], discardBuffer=True, redirectStandardIO=False)
    warnings.showwarning = shown  # Python's warnings are none of Twisted's business here
    globalLogPublisher.addObserver(cast(ILogObserver, _twisted_log))


def said_already(error: Exception) -> bool:
    """Whether whoever looks at standard error has read there, in the server's log, what `error` says."""
    return isinstance(error, EndpointError) and shows_on_standard_error(_log)


def shows_on_standard_error(log: logging.Logger) -> bool:
    """Whether an error in `log` is seen by whoever looks at standard error."""
    if log.disabled or not log.isEnabledFor(logging.ERROR):
        return False
    if not log.hasHandlers():
        return True  # Python's last resort writes there
    asked: logging.Logger | None = log
    while asked is not None:
        if any(getattr(handler, "stream", None) is sys.stderr for handler in asked.handlers):
            return True
        asked = asked.parent if asked.propagate else None
    return False


class _TwistedLog:
    """A Twisted log observer that writes to `daphne.server`."""

    lowest = logging.WARNING
    begun = False

    def __call__(self, event: LogEvent) -> None:
        level = _TWISTED_LEVELS.get(event.get("log_level", LogLevel.info), logging.INFO)
        if level < self.lowest:
            return
        failure: Any = event.get("log_failure")
        cause = (failure.type, failure.value, failure.getTracebackObject()) if failure is not None else None
        _log.log(level, "%s", formatEvent(event), exc_info=cause)


_twisted_log = _TwistedLog()
