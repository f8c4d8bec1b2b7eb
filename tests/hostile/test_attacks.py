"""Attacks that want time, memory or attention (R3, R16 to R22, R31): what they get is bounded.

Each attack states that other clients are served meanwhile and how long they wait at worst, by how much
memory may grow, what the log says, and that nothing is left afterwards. DAPHNE_ATTACK_SCALE=10 attacks with
ten times as much. With DAPHNE_TEST_LATENCY=FILE a bystander asks all the while, its times go to that file, a
line for each attack (docs/security.rst has them), and their median must be less than doubled: for a machine
that does nothing else. What holds on any machine, that a flood gets one short turn at a time, is counted in
tests/protocols/test_turns.py.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import time
import zlib
from collections.abc import Iterator

import pytest
from hyperframe import frame as frames

from daphne.testing.frames import CLOSE, CONTINUATION, PING, PONG, TEXT, client_frame
from tests.hostile.bystander import Bystander, write_line
from tests.hostile.client import HANDSHAKE, MODES, PLAIN, Peer, Watched
from tests.hostile.http2 import Peer2
from tests.protocols.http2_client import request_fields
from tests.servers import DEADLINE, Process, serving

SCALE = int(os.environ.get("DAPHNE_ATTACK_SCALE", "1"))
LATENCY = os.environ.get("DAPHNE_TEST_LATENCY")
LONGEST_TURN = 0.25
"""CPU seconds in one turn of the server's loop: what an attack costs others at worst, if not on the clock."""
WORKED_OFF = 6 * DEADLINE if LATENCY else DEADLINE
"""Seconds for what a long flood has left in the kernel's buffers to be read, one short turn at a time."""
FILLED = 5 * DEADLINE
"""Seconds for a slow machine to fill the kernel's buffers with small answers, a few in a turn."""
MEGABYTE = 1 << 20
QUICK = (
    *(
        "--access-log",
        os.devnull,
        "--request-head-timeout",
        "1",
        "--min-body-rate",
        "1000",
        "--rate-grace",
        "1",
    ),
    *("--min-response-rate", "200000", "--application-close-timeout", "1"),
    *("--websocket-max-fragments", "64", "--websocket-max-message-size", "65536"),
    *("--ws-per-message-deflate", "--max-body-size", "1000000000"),
)
"""Deadlines that a test can wait for, and limits that are soon reached."""


@pytest.fixture(scope="module", params=MODES)
def quick(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    folder = tmp_path_factory.mktemp("quick")
    with serving(*QUICK, *MODES[request.param], folder=folder) as server:
        yield server


@pytest.fixture(scope="module")
def bystander(quick: Process) -> Iterator[Bystander | None]:
    if LATENCY is None:
        yield None
        return
    with Bystander(quick, quick.log.with_suffix(".times")) as bystander:
        yield bystander


@pytest.fixture
def watched(quick: Process, bystander: Bystander | None, request: pytest.FixtureRequest) -> Iterator[Watched]:
    """The server, which must serve others, and hold no more than before, when the attack is over."""
    watched = Watched(quick, others=bystander is not None)
    before = bystander.before() if bystander is not None else None
    begin = time.monotonic_ns()
    yield watched
    end = time.monotonic_ns()
    turn = watched.longest_turn()
    grown = watched.memory() - watched.memory_before
    watched.serves_others()
    watched.is_as_before(WORKED_OFF)
    assert turn < LONGEST_TURN, f"others had to wait for {turn} s"
    if LATENCY and bystander is not None and before is not None:
        during = bystander.between(begin, end)
        write_line(LATENCY, request.node.name, before, during, turn, grown)
        assert during.median < 2 * before.median


@contextlib.contextmanager
def peers(watched: Watched, number: int) -> Iterator[list[Peer]]:
    """So many connections at once."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(Peer(watched.address)) for _ in range(number)]


def pour(peer: Peer, piece: bytes, most: int) -> int:
    """Send `piece` again and again until the server takes no more for a while, or `most` bytes; how much
    went."""
    peer.socket.settimeout(0.5)
    sent = 0
    with contextlib.suppress(TimeoutError, ConnectionError):
        while sent < most:
            sent += peer.socket.send(piece)
    peer.socket.settimeout(DEADLINE)
    return sent


def exchange(all_peers: list[Peer], piece: bytes, seconds: float, most: int) -> int:
    """Send `piece` over and over on all connections, and read what comes, for so long or until `most` bytes
    are sent; how much went."""
    sent, deadline, poll = 0, time.monotonic() + seconds, select.poll()
    by_descriptor = {peer.socket.fileno(): peer.socket for peer in all_peers}
    left = dict.fromkeys(by_descriptor, b"")
    for descriptor in by_descriptor:
        poll.register(descriptor, select.POLLIN | select.POLLOUT)
    while time.monotonic() < deadline and sent < most:
        for descriptor, events in poll.poll(100):
            connection = by_descriptor[descriptor]
            if events & select.POLLIN:
                assert connection.recv(1 << 20, socket.MSG_DONTWAIT)
            if events & select.POLLOUT:
                whole = left[descriptor] or piece
                size = connection.send(whole, socket.MSG_DONTWAIT)
                sent, left[descriptor] = sent + size, whole[size:]
    return sent


# ---- slow peers ---------------------------------------------------------------------------------------


def drip(watched: Watched, start: bytes, limit: str) -> None:
    """Begin many requests and go on by a byte at a time until the server refuses them all."""
    with peers(watched, 100 * SCALE) as all_peers:
        for peer in all_peers:
            peer.send(start)
        watched.serves_others()
        for _ in range(15):
            for peer in all_peers:
                peer.send(b"x")
            time.sleep(0.1)
        watched.waits_for(f"Limit --{limit} reached")
        watched.serves_others()
        assert {peer.answer().status for peer in all_peers} == {408}
        assert all(peer.read_to_end() == b"" for peer in all_peers)
    watched.grew_by_less_than(8 * MEGABYTE * SCALE)


def test_slowloris_in_the_head(watched: Watched) -> None:
    drip(watched, b"GET / HTTP/1.1\r\nHost: ", "request-head-timeout")


def test_slowloris_in_the_body(watched: Watched) -> None:
    drip(watched, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n", "min-body-rate")


def all_are_cut(all_peers: list[Peer]) -> bool:
    """Whether the server resets every connection within the deadline, although its peer reads nothing: one
    that read would be told so late by a kernel that has room for a few bytes only."""
    poll, deadline = select.poll(), time.monotonic() + DEADLINE
    left = {peer.socket.fileno() for peer in all_peers}
    for descriptor in left:
        poll.register(descriptor, 0)
    while left and (rest := deadline - time.monotonic()) > 0:
        for descriptor, _ in poll.poll(rest * 1000):
            poll.unregister(descriptor)
            left.discard(descriptor)
    return not left


def test_slow_reading(watched: Watched) -> None:
    with peers(watched, 20 * SCALE) as all_peers:
        for peer in all_peers:
            peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            peer.send(b"GET /stream/100000000 HTTP/1.1\r\nHost: a\r\n\r\n")
        watched.serves_others()
        watched.waits_for("Limit --min-response-rate reached")
        # A piece of the application's, the transport's buffer and what is read ahead, for each.
        watched.grew_by_less_than((8 + 20) * MEGABYTE * SCALE)
        assert all_are_cut(all_peers)


def test_connections_that_say_nothing(watched: Watched) -> None:
    with peers(watched, 300 * SCALE) as all_peers:
        watched.serves_others()
        assert all(peer.read_to_end() == b"" for peer in all_peers)
        assert "Limit --request-head-timeout reached" in watched.said()
    watched.grew_by_less_than(8 * MEGABYTE * SCALE)


# ---- HTTP/1.1 -----------------------------------------------------------------------------------------


def test_a_flood_of_pipelined_requests(watched: Watched) -> None:
    with Peer(watched.address) as peer:
        sent = pour(peer, PLAIN * 1000, 20_000_000 * SCALE)
        watched.serves_others()
        assert sent < 20_000_000 * SCALE
        watched.grew_by_less_than(8 * MEGABYTE)
        watched.waits_for("Limit --min-response-rate reached", FILLED)


@pytest.mark.parametrize(
    ("bomb", "status", "limit"),
    [
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: " + b"a" * 10_000_000, 431, "max-header-size"),
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: a\r\n" * 100_000, 431, "max-header-size"),
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: a\r\n" * 1000 + b"\r\n", 431, "max-header-count"),
        (b"GET /" + b"a" * 10_000_000, 414, "max-request-line"),
    ],
    ids=["one field", "many fields", "many small fields", "target"],
)
def test_a_bomb_of_a_head(watched: Watched, bomb: bytes, status: int, limit: str) -> None:
    with peers(watched, 5 * SCALE) as all_peers:
        for peer in all_peers:
            pour(peer, bomb, len(bomb))
        watched.serves_others()
        watched.waits_for(f"Limit --{limit} reached")
        assert {peer.answer().status for peer in all_peers} == {status}
    watched.grew_by_less_than(16 * MEGABYTE)


def test_a_flood_of_chunk_extensions(watched: Watched) -> None:
    with Peer(watched.address) as peer:
        peer.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        pour(peer, b"1;" + b"a" * 4000 + b"\r\nx\r\n", 5_000_000 * SCALE)
        watched.serves_others()
        assert peer.answer().status == 400
    watched.grew_by_less_than(8 * MEGABYTE)


def test_a_flood_of_small_chunks(watched: Watched) -> None:
    with Peer(watched.address) as peer:
        peer.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        pour(peer, b"1\r\nx\r\n" * 10_000, 2 * MEGABYTE * SCALE)
        watched.serves_others()
    watched.grew_by_less_than(8 * MEGABYTE)


def test_a_body_that_nobody_reads(watched: Watched) -> None:
    with Peer(watched.address) as peer:
        peer.send(b"POST /unread HTTP/1.1\r\nHost: a\r\nContent-Length: 900000000\r\n\r\n")
        sent = pour(peer, b"x" * 65536, 30 * MEGABYTE * SCALE)
        assert sent < 20 * MEGABYTE * SCALE
        watched.serves_others()
        watched.grew_by_less_than(8 * MEGABYTE)


# ---- WebSocket ----------------------------------------------------------------------------------------


def test_a_flood_of_fragments(watched: Watched) -> None:
    with Peer(watched.address).upgrade() as peer:
        peer.send(client_frame(TEXT, b"a", final=False))
        pour(peer, client_frame(CONTINUATION, b"", final=False) * 100, MEGABYTE)
        frame = peer.frame()
        assert (frame.opcode, frame.close_code) == (CLOSE, 1008)
        watched.waits_for("Limit --websocket-max-fragments reached")
        watched.serves_others()
    watched.grew_by_less_than(8 * MEGABYTE)


def test_a_flood_of_pings(watched: Watched) -> None:
    with Peer(watched.address).upgrade() as peer:
        pour(peer, client_frame(PING, b"a" * 125) * 500, 20 * MEGABYTE * SCALE)
        watched.serves_others()
        watched.grew_by_less_than(8 * MEGABYTE)
        assert peer.frame().opcode == PONG


@pytest.mark.parametrize("path", [b"/unread", b"/"])
def test_a_flood_of_tiny_messages(watched: Watched, path: bytes) -> None:
    """To an application that does not read, and to one whose answers nobody reads."""
    with Peer(watched.address).upgrade(path) as peer:
        sent = pour(peer, client_frame(TEXT, b"a") * 1000, 60 * MEGABYTE * SCALE)
        assert sent < 60 * MEGABYTE * SCALE
        watched.serves_others()
        watched.grew_by_less_than(24 * MEGABYTE)


def test_a_socket_whose_messages_nobody_reads(watched: Watched) -> None:
    with Peer(watched.address).upgrade(b"/flood") as peer:
        watched.serves_others()
        watched.is_as_before()  # although the client is still there
        watched.waits_for("Limit --min-response-rate reached")
        watched.grew_by_less_than(16 * MEGABYTE)
        assert peer.socket.fileno() >= 0


def test_a_decompression_bomb(watched: Watched) -> None:
    packer = zlib.compressobj(wbits=-15)
    bomb = (packer.compress(bytes(50 * MEGABYTE)) + packer.flush(zlib.Z_SYNC_FLUSH))[:-4]
    lines = b"Sec-WebSocket-Extensions: permessage-deflate\r\n"
    with Peer(watched.address).upgrade(b"/", lines) as peer:
        peer.send(client_frame(TEXT, bomb, reserved=4))
        frame = peer.frame()
        assert (frame.opcode, frame.close_code) == (CLOSE, 1009)
        watched.waits_for("Limit --websocket-max-message-size reached")
        watched.serves_others()
    watched.grew_by_less_than(8 * MEGABYTE)


def test_a_message_that_is_too_large(watched: Watched) -> None:
    with Peer(watched.address).upgrade() as peer:
        peer.send(client_frame(TEXT, b"a" * 65537))
        assert peer.frame().close_code == 1009
        watched.waits_for("Limit --websocket-max-message-size reached")


# ---- within all limits ---------------------------------------------------------------------------------

FLOODS = {
    "requests": (PLAIN, PLAIN),
    "messages": (HANDSHAKE % (b"/", b""), client_frame(TEXT, b"a")),
    "pings": (HANDSHAKE % (b"/", b""), client_frame(PING, b"a")),
    "chunks": (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
}
"""What opens a flood that breaks no limit, and what it consists of."""


@pytest.mark.parametrize("connections", [1, 20])
@pytest.mark.parametrize("flood", FLOODS)
def test_a_flood_whose_answers_are_read(watched: Watched, flood: str, connections: int) -> None:
    """It goes on for as long as the attacker likes, and takes the time that others leave."""
    start, unit = FLOODS[flood]
    with peers(watched, connections) as all_peers:
        for peer in all_peers:
            peer.send(start)
        lasts, most = (1.5, 1 << 30) if LATENCY else (0.2, MEGABYTE)
        exchanged = exchange(all_peers, unit * 2000, lasts, most)
        watched.serves_others()
    assert exchanged > 2000 * len(unit)
    watched.grew_by_less_than((8 + connections) * MEGABYTE)


# ---- HTTP/2; in memory and with every kind of flood: tests/protocols/test_http2_limits.py -----------------


def test_rapid_reset(watched: Watched) -> None:
    """The requests wait for their body: from Python 3.12 on others may be answered before they are reset."""
    with Peer2(watched.address) as peer:
        for number in range(1, 1001, 2):
            head = peer.headers(number, request_fields("POST"), "END_HEADERS")
            peer.write(head, frames.RstStreamFrame(number, error_code=8))
        assert peer.goaway() == 11
        watched.waits_for("Limit --http2-max-resets-per-second reached")
        watched.serves_others()
    watched.grew_by_less_than(8 * MEGABYTE)


@pytest.mark.parametrize(
    "frame",
    [
        frames.PingFrame(0, opaque_data=b"12345678"),
        frames.SettingsFrame(),
        frames.DataFrame(1),
        frames.PriorityFrame(1, depends_on=3),
    ],
    ids=["PING", "SETTINGS", "empty DATA", "PRIORITY"],
)
def test_a_flood_of_frames(watched: Watched, frame: frames.Frame) -> None:
    with Peer2(watched.address) as peer:
        peer.write(peer.headers(1, request_fields("POST"), "END_HEADERS"))
        pour(peer, frame.serialize() * 1000, 20 * MEGABYTE)
        assert peer.goaway() == 11
        watched.waits_for("Limit --http2-max-frames-per-second reached")
        watched.serves_others()
    watched.grew_by_less_than(8 * MEGABYTE)


def test_a_flood_of_tiny_frames(watched: Watched) -> None:
    """They carry something, and so are within the limits: they are served, but in turns with others."""
    with Peer2(watched.address) as peer:
        peer.write(peer.headers(1, request_fields("POST", path="/unread"), "END_HEADERS"))
        pour(peer, frames.DataFrame(1, b"x").serialize() * 1000, 2 * MEGABYTE * SCALE)
        watched.serves_others()
    watched.grew_by_less_than(8 * MEGABYTE)
