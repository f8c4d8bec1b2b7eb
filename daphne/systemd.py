"""Tells the service manager how the server is: ready, stopping, and alive every so often.

Called by daphne.server; calls the datagram socket that systemd names in NOTIFY_SOCKET (sd_notify(3)). Without
that variable nothing is told to anybody.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Mapping

logger = logging.getLogger("daphne.server")


class ServiceManager:
    """The way to the process that started this one and wants to know how it is."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self._address = environ.get("NOTIFY_SOCKET", "")
        self._pause = watchdog_pause(environ) if self._address else 0.0

    def ready(self, endpoints: str) -> None:
        """The server listens on `endpoints`. From now on, signs of life where the manager watches for them.

        Call it with the loop running: the signs come from the loop, and stay away when it no longer turns.
        """
        self._tell(f"READY=1\nSTATUS=Listening on {endpoints}")
        if self._pause:
            self._give_sign(asyncio.get_running_loop())

    def stopping(self) -> None:
        """The server accepts no more and ends when what is under way has ended."""
        self._tell("STOPPING=1\nSTATUS=Stopping")

    def _give_sign(self, loop: asyncio.AbstractEventLoop) -> None:
        self._tell("WATCHDOG=1")
        if self._address:
            loop.call_later(self._pause, self._give_sign, loop)

    def _tell(self, state: str) -> None:
        """Send `state`; a manager that cannot be reached is given up with a warning."""
        if not self._address:
            return
        abstract = self._address.startswith("@")
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagrams:
                datagrams.setblocking(False)
                datagrams.connect("\0" + self._address[1:] if abstract else self._address)
                datagrams.send(state.encode("utf-8"))
        except BlockingIOError:
            logger.warning("The service manager does not read what it is told")
        except OSError as error:
            logger.warning("Cannot tell the service manager at %s anything: %s", self._address, error)
            self._address = ""


def watchdog_pause(environ: Mapping[str, str]) -> float:
    """Seconds between two signs of life, half of what the manager allows; 0 where it does not watch.

    WATCHDOG_USEC is in microseconds; WATCHDOG_PID, if given, names the process that is watched
    (sd_watchdog_enabled(3)).
    """
    allowed, watched = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", "")
    if not allowed.isdecimal() or (watched and watched != str(os.getpid())):
        return 0.0
    return int(allowed) / 2_000_000
