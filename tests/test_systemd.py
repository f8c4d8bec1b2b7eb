"""What the service manager is told, by a real server to a socket that stands for systemd's."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from daphne.systemd import ServiceManager, watchdog_pause
from tests.servers import DEADLINE, TARGETS, serving


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """The socket that systemd would read, and what NOTIFY_SOCKET says of it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.settimeout(DEADLINE)
        if request.param == "path":
            name = str(tmp_path / "notify")
            receiver.bind(name)
        else:
            name = "@" + tmp_path.name + str(os.getpid())
            receiver.bind("\0" + name[1:])
        yield receiver, name


@pytest.mark.parametrize("target", TARGETS)
def test_a_server_says_ready_alive_and_stopping(
    manager: tuple[socket.socket, str], target: str, tmp_path: Path
) -> None:
    receiver, name = manager
    environment = {"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "100000"}
    with serving(*TARGETS[target], folder=tmp_path, environment=environment) as server:
        assert receiver.recv(4096).startswith(b"READY=1\nSTATUS=Listening on tcp:")
        assert server.address.accepts()
        assert [receiver.recv(4096) for _ in range(3)] == [b"WATCHDOG=1"] * 3
    told = receiver.recv(4096)
    while told == b"WATCHDOG=1":
        told = receiver.recv(4096)
    assert told == b"STOPPING=1\nSTATUS=Stopping"


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({}, 0),
        ({"WATCHDOG_USEC": "30000000"}, 15),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 15),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, 0),
        ({"WATCHDOG_USEC": "soon"}, 0),
        ({"WATCHDOG_USEC": "0"}, 0),
    ],
)
def test_signs_come_twice_as_often_as_asked(environ: dict[str, str], seconds: float) -> None:
    assert watchdog_pause(environ) == seconds


def test_nobody_is_told_where_nobody_asks(caplog: pytest.LogCaptureFixture) -> None:
    silent = ServiceManager({"WATCHDOG_USEC": "1000"})
    silent.ready("tcp:8000")
    silent.stopping()
    assert caplog.records == []


def test_a_manager_that_is_gone_is_given_up(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def tell() -> None:
        lost = ServiceManager({"NOTIFY_SOCKET": str(tmp_path / "nothing"), "WATCHDOG_USEC": "1000"})
        lost.ready("tcp:8000")
        await asyncio.sleep(0.05)
        lost.stopping()

    asyncio.run(tell())
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


def test_a_manager_that_does_not_read_delays_nobody(
    manager: tuple[socket.socket, str], caplog: pytest.LogCaptureFixture
) -> None:
    telling = ServiceManager({"NOTIFY_SOCKET": manager[1]})
    for _ in range(2000):
        telling.stopping()
        if caplog.records:
            break
    assert "does not read" in caplog.text
