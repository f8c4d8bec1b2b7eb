"""Faults at every point (R13, R30, R32, R33): an exception, a client that goes after every byte; then clean
requests, and every count back where it was.

DAPHNE_LEAK_REQUESTS=100000 and DAPHNE_LEAK_WEBSOCKETS=10000 look longer for leaks.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from daphne.testing.frames import CLOSE, TEXT, client_frame, close_frame
from tests.hostile.client import HANDSHAKE, LAST, MODES, PLAIN, Peer, Watched, counts_once
from tests.hostile.target import HTTP_FAILURES, WEBSOCKET_FAILURES
from tests.servers import Process, serving

CLEAN_REQUESTS = 1000
LEAK_REQUESTS = int(os.environ.get("DAPHNE_LEAK_REQUESTS", "3000"))
LEAK_WEBSOCKETS = int(os.environ.get("DAPHNE_LEAK_WEBSOCKETS", "300"))
MEGABYTE = 1 << 20


def clean_requests(watched: Watched, number: int = CLEAN_REQUESTS) -> None:
    with Peer(watched.address) as peer:
        for at in range(0, number, 100):
            peer.send(PLAIN * min(100, number - at))
            assert {peer.answer().status for _ in range(min(100, number - at))} == {200}


def quoted(point: str) -> bytes:
    return point.replace(" ", "%20").encode()


def test_an_exception_at_every_point_of_a_request(plain: Process) -> None:
    watched = Watched(plain)
    for point in HTTP_FAILURES:
        with Peer(plain.address) as peer:
            peer.send(b"POST /fail/%b HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab" % quoted(point))
            if point in ("at once", "after the body", "after the start"):
                assert peer.answer().status == 500
            elif point == "within the answer":
                data = peer.read_to_end()
                assert data.startswith(b"HTTP/1.1 200")
                assert not data.endswith(b"0\r\n\r\n")  # the client can tell that it is not complete
            else:
                assert peer.answer().body == b"ab"
            assert b"secret" not in peer.received
    clean_requests(watched)
    watched.is_as_before()
    assert watched.said().count("Exception inside application") == len(HTTP_FAILURES)


def test_an_exception_at_every_point_of_a_websocket(plain: Process) -> None:
    watched = Watched(plain)
    for point in WEBSOCKET_FAILURES:
        with Peer(plain.address) as peer:
            peer.send(HANDSHAKE % (b"/fail/" + quoted(point), b""))
            if point in ("at once", "after connect"):
                assert peer.answer().status == 500
                continue
            assert peer.answer().status == 101
            peer.send(client_frame(TEXT, b"a"))
            while (frame := peer.frame()).opcode != CLOSE:
                assert frame.payload == b"a"
            assert frame.close_code == (1000 if point == "after close" else 1011)
            assert b"secret" not in frame.payload
            peer.send(close_frame())
    clean_requests(watched)
    watched.is_as_before()


@pytest.mark.parametrize(
    "script",
    [
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n" + LAST,
        HANDSHAKE % (b"/", b"") + client_frame(TEXT, b"abc") + close_frame(),
    ],
    ids=["request", "websocket"],
)
@pytest.mark.parametrize("ends", [True, False], ids=["reset", "closed"])
def test_a_client_that_goes_after_every_byte(plain: Process, script: bytes, ends: bool) -> None:
    watched = Watched(plain)
    for at in range(len(script) + 1):
        peer = Peer(plain.address)
        peer.send(script[:at])
        if ends:
            peer.reset()
        else:
            peer.socket.close()
    clean_requests(watched, 100)
    watched.is_as_before()


def test_nothing_is_left_of_many_requests_and_websockets(plain: Process) -> None:
    watched = Watched(plain)

    def some(requests: int, websockets: int) -> None:
        clean_requests(watched, requests)
        for _ in range(websockets):
            with Peer(plain.address).upgrade() as peer:
                peer.send(client_frame(TEXT, b"abc"))
                assert peer.frame().payload == b"abc"
                peer.send(close_frame())
                assert peer.frame().opcode == CLOSE

    some(1000, 100)  # caches and pools fill up once
    watched.is_as_before()
    before = watched.memory()
    some(LEAK_REQUESTS, LEAK_WEBSOCKETS)
    watched.is_as_before()
    assert watched.memory() - before < max(before // 100, MEGABYTE)


@pytest.mark.parametrize("ends", [True, False], ids=["reset", "closed"])
@pytest.mark.parametrize("mode", MODES)
def test_an_application_that_outlives_its_client_is_ended(mode: str, ends: bool, tmp_path: Path) -> None:
    with serving("--application-close-timeout", "0.2", *MODES[mode], folder=tmp_path) as server:
        watched = Watched(server)
        peer = Peer(server.address)
        peer.send(b"GET /outlive HTTP/1.1\r\nHost: a\r\n\r\n")
        counts_once(server.address, lambda now: now["streams"] == 2)
        if ends:
            peer.reset()
        else:
            peer.socket.close()
        with Peer(server.address).upgrade(b"/outlive"):
            pass
        watched.is_as_before()
        assert watched.said().count("took too long to shut down and was killed") == 2
