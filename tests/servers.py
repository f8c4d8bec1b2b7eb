"""Real servers for tests: starts `python -m daphne` as a process and says where it listens.

Called by tests that need sockets; calls the server through its command line only, as an operator does.

    with serving("daphne.demo:application", folder=tmp_path) as server:
        httpx.get(server.address.url("/"))

A server listens on a port that the system chooses, so that tests can run side by side. It is stopped with
SIGTERM at the end of the block, and that it then ends with status 0 is part of every test.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from tests.certificates import issue

ROOT = Path(__file__).parent.parent
DEADLINE = 60.0
"""Seconds after which a test gives up: what a slow machine with much else to do may need."""
T = TypeVar("T")
LISTENING = re.compile(r"Listening on TCP address \[?([0-9a-f.:]+?)\]?:(\d+)")

TARGETS: Mapping[str, tuple[str, ...]] = {
    "application": ("daphne.demo:application",),
    "channel-layer": ("--worker", "daphne.demo:application", "daphne.demo:channel_layer"),
}
"""The two ways in which a server reaches the demonstration, as command lines."""


@dataclass(frozen=True)
class Address:
    """Where a server listens: a host and a port, or the path of a unix socket."""

    host: str = "localhost"
    port: int = 0
    path: str | None = None
    secure: bool = False

    @property
    def authority(self) -> str:
        """Host and port as they stand in an address; for a unix socket only a name."""
        if self.path is not None:
            return self.host
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def url(self, path: str, scheme: str = "http") -> str:
        """The address of `path` on this server; `scheme` is `http` or `ws`, and gets an s over TLS."""
        return f"{scheme}{'s' * self.secure}://{self.authority}{path}"

    def connect(self, within: float = DEADLINE) -> socket.socket:
        """A new connection, with a deadline on everything it does."""
        if self.path is None:
            return socket.create_connection((self.host, self.port), within)
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(within)
        connection.connect(self.path)
        return connection

    def accepts(self) -> bool:
        """Whether something listens there now. An attempt in the moment in which a listener closes gets no
        answer, and the kernel would try again only after a second.
        """
        try:
            self.connect(0.4).close()
        except OSError:
            return False
        return True


class Process:
    """A process whose output goes to a file, which is what its tests wait for and look into."""

    def __init__(
        self,
        command: Sequence[str],
        log: Path,
        pass_fds: Sequence[int] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.log = log
        self.address = Address()
        with log.open("wb") as output:
            self.popen = subprocess.Popen(
                list(command),
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds=tuple(pass_fds),
                env={**os.environ, **(environment or {})},
            )

    @property
    def output(self) -> str:
        """Everything that it has written so far."""
        return self.log.read_text("utf-8", "replace")

    def wait_for(self, pattern: re.Pattern[str]) -> re.Match[str]:
        """The first match of `pattern` in what it writes. AssertionError when it ends or takes too long."""
        return self.wait_until(lambda: pattern.search(self.output), repr(pattern.pattern))

    def wait_until(self, condition: Callable[[], T | None], awaited: str, within: float = DEADLINE) -> T:
        """The first true value of `condition`. AssertionError after `within` seconds, or at its end."""
        deadline = time.monotonic() + within
        while not (value := condition()):
            assert self.popen.poll() is None, f"ended with status {self.popen.returncode}:\n{self.output}"
            assert time.monotonic() < deadline, f"waited in vain for {awaited}:\n{self.output}"
            time.sleep(0.02)
        return value

    def stop(self) -> int:
        """Ask it to end, and give its exit status; one that does not end in time is killed (status -9)."""
        if self.popen.poll() is None:
            self.popen.send_signal(signal.SIGTERM)
        try:
            return self.popen.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            return self.popen.wait()


def daphne(*arguments: str) -> list[str]:
    """The command line of a server with these arguments."""
    return [sys.executable, "-m", "daphne", *arguments]


def worker(*arguments: str) -> list[str]:
    """The command line of a worker with these arguments."""
    return [sys.executable, "-m", "daphne.worker", *arguments]


@contextlib.contextmanager
def running(
    command: Sequence[str],
    log: Path,
    pass_fds: Sequence[int] = (),
    environment: Mapping[str, str] | None = None,
) -> Iterator[Process]:
    """Run a command for the length of the block; it must end with status 0 when it is asked to end.

    `environment` is added to that of the tests.
    """
    process = Process(command, log, pass_fds, environment)
    try:
        yield process
    except BaseException:
        process.stop()
        raise
    status = process.stop()
    assert status == 0, f"ended with status {status}:\n{process.output}"


@contextlib.contextmanager
def serving(
    *arguments: str,
    folder: Path,
    host: str = "127.0.0.1",
    environment: Mapping[str, str] | None = None,
) -> Iterator[Process]:
    """Run a server on a port of its own on `host`; its `address` is known at the start of the block."""
    command = daphne("-b", host, "-p", "0", *arguments)
    with running(command, folder / "daphne.log", environment=environment) as process:
        found = process.wait_for(LISTENING)
        process.address = Address(found[1], int(found[2]))
        yield process


@contextlib.contextmanager
def serving_tls(*arguments: str, folder: Path) -> Iterator[Process]:
    """Run a server behind TLS, with a certificate of its own that nobody knows."""
    issued = issue(folder, "localhost", ("localhost",))
    endpoint = (
        f"ssl:port=0:interface=127.0.0.1:privateKey={issued.key_path}:certKey={issued.certificate_path}"
    )
    with running(daphne("-e", endpoint, *arguments), folder / "daphne.log") as process:
        found = process.wait_for(LISTENING)
        process.address = Address(found[1], int(found[2]), secure=True)
        yield process


@contextlib.contextmanager
def serving_on_unix_socket(*arguments: str, folder: Path) -> Iterator[Process]:
    """Run a server on a unix socket in `folder`."""
    address = Address(path=str(folder / "daphne.sock"))
    with running(daphne("-u", str(address.path), *arguments), folder / "daphne.log") as process:
        process.wait_until(address.accepts, f"the socket {address.path}")
        process.address = address
        yield process


@contextlib.contextmanager
def listening(family: socket.AddressFamily, folder: Path) -> Iterator[tuple[socket.socket, Address]]:
    """A listening socket, as a process supervisor opens it for the servers that it starts."""
    with socket.socket(family) as listener:
        if family == socket.AF_UNIX:
            address = Address(path=str(folder / "inherited.sock"))
            listener.bind(address.path or "")
        else:
            listener.bind(("::1" if family == socket.AF_INET6 else "127.0.0.1", 0))
            address = Address(*listener.getsockname()[:2])
        listener.listen(128)
        yield listener, address
