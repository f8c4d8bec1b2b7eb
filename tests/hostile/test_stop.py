"""How a server ends (R34): SIGTERM and SIGINT alike finish what is under way, in time whatever hangs.

What is on its way when the server stops, and how another takes over: tests/clients/test_restart.py.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hyperframe import frame as frames

from daphne.testing.frames import CLOSE, close_frame
from tests.hostile.client import MODES, Peer, counts_once
from tests.hostile.http2 import Peer2
from tests.protocols.http2_client import request_fields
from tests.servers import DEADLINE, LISTENING, Address, Process, daphne

Start = Callable[..., Process]
HELD = b"GET /held%b HTTP/1.1\r\nHost: a\r\n\r\n"
"""The answer comes once the file is there whose path is filled in."""


@pytest.fixture(params=MODES)
def start(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Start]:
    """Start a server with these flags; one that still runs at the end is killed."""
    started: list[Process] = []

    def begin(*flags: str, target: tuple[str, ...] = MODES[request.param]) -> Process:
        process = Process(daphne("-b", "127.0.0.1", "-p", "0", *flags, *target), tmp_path / "daphne.log")
        started.append(process)
        found = process.wait_for(LISTENING)
        process.address = Address(found[1], int(found[2]))
        return process

    yield begin
    for process in started:
        if process.popen.poll() is None:
            process.popen.kill()
        process.popen.wait()


def under_way(server: Process, number: int) -> None:
    """Return once so many requests have reached the application."""
    counts_once(server.address, lambda now: now["streams"] >= number + 1)


def has_stopped_listening(server: Process) -> None:
    """Return once the server has taken the first signal."""
    server.wait_until(lambda: not server.address.accepts(), "the port to be closed")


def ends(server: Process, within: float = DEADLINE) -> None:
    """The process ends by itself, with status 0."""
    assert server.popen.wait(within) == 0, server.output


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_requests_finish_and_say_that_the_connection_ends(start: Start, number: int, tmp_path: Path) -> None:
    server, go_on = start(), tmp_path / "go_on"
    with Peer(server.address) as peer, Peer2(server.address) as second:
        peer.send(HELD % bytes(go_on))
        second.write(second.headers(1, request_fields(path=f"/held{go_on}")))
        under_way(server, 2)
        server.popen.send_signal(number)
        assert isinstance(second.frame(), frames.SettingsFrame)
        has_stopped_listening(server)
        go_on.touch()
        answer = peer.answer()
        assert (answer.status, answer.body) == (200, b"held")
        assert answer.header(b"connection") == b"close"
        assert peer.read_to_end() == b""
        said = []
        while not (said and said[-1].stream_id == 1 and "END_STREAM" in said[-1].flags):
            said.append(second.frame())
        assert any(isinstance(frame, frames.GoAwayFrame) and frame.error_code == 0 for frame in said)
        ends(server)


def test_websockets_are_closed_with_1001_one_after_the_other(start: Start) -> None:
    server = start("--drain-window", "0.5")
    peers = [Peer(server.address).upgrade() for _ in range(20)]
    server.popen.send_signal(signal.SIGTERM)
    for peer in peers:
        frame = peer.frame()
        assert (frame.opcode, frame.close_code) == (CLOSE, 1001)
        peer.send(close_frame(1001))
        assert peer.read_to_end() == b""
    ends(server)


def test_one_stuck_connection_does_not_delay_the_others(start: Start, tmp_path: Path) -> None:
    go_on = tmp_path / "go_on"
    server = start("--graceful-timeout", "3", "--application-close-timeout", "0.5")
    with Peer(server.address) as stuck, Peer(server.address) as other:
        stuck.send(b"GET /outlive HTTP/1.1\r\nHost: a\r\n\r\n")
        other.send(HELD % bytes(go_on))
        under_way(server, 2)
        server.popen.send_signal(signal.SIGTERM)
        has_stopped_listening(server)
        go_on.touch()
        assert other.answer().status == 200
        assert other.read_to_end() == b""
        assert server.popen.poll() is None  # it still waits for the stuck one
        stuck.read_to_end()
        ends(server)
        assert "Not all requests ended within --graceful-timeout" in server.output


def test_a_second_signal_ends_at_once(start: Start) -> None:
    server = start("--graceful-timeout", "1000")
    with Peer(server.address) as stuck:
        stuck.send(b"GET /outlive HTTP/1.1\r\nHost: a\r\n\r\n")
        under_way(server, 1)
        server.popen.send_signal(signal.SIGTERM)
        has_stopped_listening(server)
        server.popen.send_signal(signal.SIGTERM)
        assert server.popen.wait(DEADLINE) is not None
        assert stuck.read_to_end() == b""


def test_a_thread_that_hangs_keeps_nobody_alive(start: Start) -> None:
    server = start()
    with Peer(server.address) as peer:
        peer.send(b"GET /hang HTTP/1.1\r\nHost: a\r\n\r\n")
        assert peer.answer().status == 200
    server.popen.send_signal(signal.SIGTERM)
    ends(server)


def test_sigquit_prints_every_stack_and_the_server_goes_on(start: Start, tmp_path: Path) -> None:
    server, go_on = start(), tmp_path / "go_on"
    with Peer(server.address) as peer:
        peer.send(HELD % bytes(go_on))
        under_way(server, 1)
        server.popen.send_signal(signal.SIGQUIT)
        server.wait_for(re.compile(r"daphne: stacks at(?s:.*)target\.py"))
        go_on.touch()
        assert peer.answer().status == 200
    assert server.stop() == 0


def test_a_loop_that_stands_still_is_reported(start: Start) -> None:
    server = start("--stall-timeout", "0.3")
    with Peer(server.address) as peer:
        peer.send(b"GET /block/1.5 HTTP/1.1\r\nHost: a\r\n\r\n")
        assert peer.answer().status == 200
    _, *reports = server.output.split("The loop has not turned for 0.3 s")
    # Once, however long; a machine with much else to do may have let it stand still before and after.
    assert sum(bool(re.search(r"target\.py\", line \d+ in _http", report)) for report in reports) == 1
    assert server.stop() == 0
