"""Limits on how many may come in (R21) and on what the system has left, in both directions (R40): who is one
too many waits or is refused, the log says so, and when there is room again the next is served.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from daphne.testing.frames import CLOSE, TEXT, client_frame, close_frame
from tests.hostile.client import LAST, MODES, PLAIN, Peer, Watched, statuses
from tests.servers import DEADLINE, LISTENING, Address, Process, daphne, serving

APPLICATION = MODES["application"]


@pytest.fixture
def many() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def served(peer: Peer) -> Peer:
    peer.send(PLAIN)
    assert peer.answer().status == 200
    return peer


def served_in_the_end(server: Process) -> None:
    """Somebody new gets an answer, as soon as there is room."""
    deadline = time.monotonic() + DEADLINE
    while statuses(server.address, LAST) != [200]:
        assert time.monotonic() < deadline


def test_max_connections(many: ExitStack, tmp_path: Path) -> None:
    with serving("--max-connections", "5", *APPLICATION, folder=tmp_path) as server:
        peers = [served(many.enter_context(Peer(server.address))) for _ in range(4)]
        assert "Limit --max-connections" not in server.output
        websocket = many.enter_context(Peer(server.address)).upgrade()
        server.wait_until(lambda: "Limit --max-connections reached" in server.output, "the log line")
        waiting = many.enter_context(Peer(server.address))
        waiting.send(PLAIN)
        assert served(peers[0])  # those who are in are served
        waiting.socket.settimeout(0.3)
        with pytest.raises(TimeoutError):
            waiting.answer()
        waiting.socket.settimeout(DEADLINE)
        websocket.reset()
        assert waiting.answer().status == 200


def test_max_connections_per_peer(many: ExitStack, tmp_path: Path) -> None:
    with serving("--max-connections-per-peer", "3", *APPLICATION, folder=tmp_path) as server:
        peers = [served(many.enter_context(Peer(server.address))) for _ in range(2)]
        many.enter_context(Peer(server.address)).upgrade()
        assert "Limit" not in server.output
        for _ in range(3):
            with Peer(server.address) as refused:
                refused.send(PLAIN)
                assert refused.read_to_end() == b""
        server.wait_until(lambda: "Limit --max-connections-per-peer reached" in server.output, "the log line")
        peers[0].reset()
        served_in_the_end(server)
        many.close()


def test_max_requests_per_connection(tmp_path: Path) -> None:
    with serving("--max-requests-per-connection", "3", *APPLICATION, folder=tmp_path) as server:
        assert statuses(server.address, PLAIN * 5) == [200] * 3


@pytest.mark.parametrize(("messages", "code"), [(50, 1000), (500, 1008)])
def test_messages_per_second(messages: int, code: int, tmp_path: Path) -> None:
    limit = ("--websocket-max-messages-per-second", "100")
    with serving(*limit, *APPLICATION, folder=tmp_path) as server, Peer(server.address).upgrade() as peer:
        peer.send(client_frame(TEXT, b"a") * messages + close_frame(1000))
        while (frame := peer.frame()).opcode != CLOSE:
            assert frame.payload == b"a"
        assert frame.close_code == code
        fired = "Limit --websocket-max-messages-per-second reached" in server.output
        assert fired == (code == 1008)


@pytest.mark.parametrize(("size", "status"), [(1000, 200), (1001, 413)])
@pytest.mark.parametrize("mode", MODES)
def test_max_body_size_is_judged_before_the_body_is_read(
    mode: str, size: int, status: int, tmp_path: Path
) -> None:
    with (
        serving("--max-body-size", "1000", *MODES[mode], folder=tmp_path) as server,
        Peer(server.address) as peer,
    ):
        peer.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n" % size)
        if status == 200:
            assert peer.read().startswith(b"HTTP/1.1 100 Continue")
            peer.send(b"x" * size)
        assert peer.answer().status == status


@pytest.mark.parametrize("uvloop", ["auto", "off"])
@pytest.mark.parametrize("held", [0, 45], ids=["by clients", "by others"])
def test_out_of_file_descriptors(many: ExitStack, uvloop: str, held: int, tmp_path: Path) -> None:
    """More clients than the process may have descriptors, although --max-connections allows them all."""
    starter = (
        "import os, resource, runpy, sys; resource.setrlimit(resource.RLIMIT_NOFILE, (80, 80));"
        f"held = [os.dup(0) for _ in range({held})];"
        "sys.argv[0] = 'daphne'; runpy.run_module('daphne', run_name='__main__')"
    )
    arguments = ("-b", "127.0.0.1", "-p", "0", "--max-connections", "10000", "--uvloop", uvloop, *APPLICATION)
    process = Process([sys.executable, "-c", starter, *arguments], tmp_path / "daphne.log")
    try:
        found = process.wait_for(LISTENING)
        process.address = Address(found[1], int(found[2]))
        first = served(Peer(process.address))
        peers = [many.enter_context(Peer(process.address)) for _ in range(100)]
        if not held:
            process.wait_until(lambda: "Limit --max-connections reached" in process.output, "the log line")
        else:
            line = "Cannot accept connections" if uvloop == "off" else "File descriptors run out"
            process.wait_until(lambda: line in process.output, "the log line")
        served(first)
        for peer in peers:
            peer.reset()
        served_in_the_end(process)
        assert process.output.count("\n") < 300  # one line in a while, not one a try
    finally:
        assert process.stop() == 0, process.output


def test_by_default_descriptors_are_never_used_up(many: ExitStack, tmp_path: Path) -> None:
    command = [
        "sh",
        "-c",
        'ulimit -n 120 && exec "$@"',
        "sh",
        *daphne("-b", "127.0.0.1", "-p", "0", *APPLICATION),
    ]
    process = Process(command, tmp_path / "daphne.log")
    try:
        found = process.wait_for(LISTENING)
        process.address = Address(found[1], int(found[2]))
        peers = [many.enter_context(Peer(process.address)) for _ in range(100)]
        process.wait_until(lambda: "Limit --max-connections reached" in process.output, "the log line")
        for peer in peers:
            peer.reset()
        served_in_the_end(process)
    finally:
        assert process.stop() == 0, process.output


def test_a_full_disk_under_the_access_log(tmp_path: Path) -> None:
    with serving("--access-log", "/dev/full", *APPLICATION, folder=tmp_path) as server:
        watched = Watched(server)
        assert statuses(server.address, PLAIN * 50 + LAST) == [200] * 51
        watched.is_as_before()
        assert server.output.count("The access log cannot be written (") == 1
