"""daphne.reactor.tls_transport: what is done with records, honest and hostile, turn by turn of the loop."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.internet import error

from daphne.reactor import tls_transport
from daphne.reactor.certificates import CertificateFiles, TLSOptions
from daphne.testing import ClockLoop
from daphne.testing.connections import LARGEST_READ
from tests.certificates import Issued, issue
from tests.reactor.tls_memory import (
    ANSWERED_KEY_UPDATE,
    HANDSHAKE,
    KEY_UPDATE,
    RENEGOTIATION,
    Collects,
    MemoryTLSPort,
    OldRecords,
    Records,
    TLSClient,
)

VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]

ONE_PORT_FOR_ALL = settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


class Peers:
    """A port in memory and its clients."""

    def __init__(self, loop: asyncio.AbstractEventLoop, localhost: Issued, log: Path) -> None:
        self._localhost = localhost
        self._log = log
        files = CertificateFiles(str(localhost.both), str(localhost.both))
        self.options = TLSOptions(certificates=(files,))
        self.loop = loop
        self.port = MemoryTLSPort(loop, self.options)

    def context(self, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self._localhost.certificate_path))
        context.minimum_version = context.maximum_version = version
        context.keylog_filename = str(self._log)
        return context

    def client(self, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> TLSClient:
        """A client that has shaken hands."""
        client = TLSClient(self.port, self.context(version))
        client.shake_hands()
        client.take()
        return client

    def hostile(self) -> tuple[TLSClient, Records]:
        """A client and what makes records for it."""
        client = self.client()
        return client, Records(self._log)

    def hostile_and_old(self) -> tuple[TLSClient, OldRecords]:
        """The same over TLS 1.2."""
        client = self.client(ssl.TLSVersion.TLSv1_2)
        return client, OldRecords(self._log, client.greeting)


@pytest.fixture
def peers(localhost: Issued, tmp_path: Path) -> Iterator[Peers]:
    loop = asyncio.SelectorEventLoop()
    yield Peers(loop, localhost, tmp_path / "keys")
    loop.close()


def cut(data: bytes, lengths: list[int]) -> list[bytes]:
    """The data in pieces of these lengths, and the rest."""
    pieces, start = [], 0
    for length in lengths:
        pieces.append(data[start : start + length])
        start += length
    return [piece for piece in [*pieces, data[start:]] if piece]


LENGTHS = st.integers(1, 60) | st.integers(1, 16384) | st.just(16384)


@pytest.mark.parametrize("version", VERSIONS)
@given(
    records=st.lists(LENGTHS, min_size=1, max_size=40),
    segments=st.lists(LENGTHS | st.integers(1, LARGEST_READ), max_size=30),
    pauses=st.booleans(),
    ends=st.booleans(),
)
@ONE_PORT_FOR_ALL
def test_whatever_the_records_and_the_segments_the_data_arrives(
    peers: Peers,
    version: ssl.TLSVersion,
    records: list[int],
    segments: list[int],
    pauses: bool,
    ends: bool,
) -> None:
    client = peers.client(version)
    protocol, transport = client.protocol, client.transport
    paused: list[bool] = []

    def pause() -> None:
        assert not paused, "delivered while paused"
        paused.append(True)
        transport.pauseProducing()
        peers.loop.call_later(0, resume)

    def resume() -> None:
        paused.clear()
        transport.resumeProducing()

    if pauses:
        protocol.on_data = pause
    pieces = [bytes([number]) * length for number, length in enumerate(records)]
    stream = client.encrypted(*pieces)
    if ends:
        stream += client.goodbye()
    for segment in cut(stream, segments):
        client.send(segment)
    client.turn_until(lambda: protocol.lost if ends else len(protocol.data) >= sum(records))
    assert protocol.data == b"".join(pieces)
    assert not ends or protocol.lost.check(error.ConnectionDone)
    transport.abortConnection()
    client.turn()


@pytest.mark.parametrize("version", VERSIONS)
@given(
    writes=st.lists(LENGTHS | st.integers(1, 300_000) | st.just(0), min_size=1, max_size=8),
    together=st.booleans(),
)
@ONE_PORT_FOR_ALL
def test_whatever_is_written_arrives_in_full_records(
    peers: Peers, version: ssl.TLSVersion, writes: list[int], together: bool
) -> None:
    client = peers.client(version)
    pieces = [bytes([number]) * length for number, length in enumerate(writes)]
    kinds = [bytes, bytearray, memoryview]
    typed: list[Any] = [kinds[number % 3](piece) for number, piece in enumerate(pieces)]
    if together:
        client.transport.writeSequence(typed)
    else:
        for one in typed:
            client.transport.write(one)
    expected = b"".join(pieces)
    got, encrypted = b"", len(client.connection.received)
    while len(got) < len(expected):
        got += client.read()
    assert got == expected
    most_records = sum(length // 16384 + 1 for length in writes)
    assert encrypted - len(expected) <= most_records * 29
    client.transport.loseConnection()
    client.turn()
    assert client.read() == b""
    client.connection.close()
    client.turn_until(lambda: not client.transport.connected)


def test_a_small_write_is_one_write_to_the_socket(peers: Peers, monkeypatch: pytest.MonkeyPatch) -> None:
    client = peers.client()
    written: list[Any] = []
    monkeypatch.setattr(client.connection.server, "write", written.append)
    client.transport.write(b"head and body")
    assert len(written) == 1 and len(written[0]) == len(b"head and body") + 22


@pytest.mark.parametrize("length, count", [(4, 5000), (20_000, 40), (16384, 9), (16393, 9), (300_000, 3)])
def test_all_records_of_a_sequence_but_the_last_are_full(peers: Peers, length: int, count: int) -> None:
    client = peers.client()
    expected = b"".join(bytes([number % 256]) * length for number in range(count))
    client.transport.writeSequence([expected[at : at + length] for at in range(0, len(expected), length)])
    records = -(-len(expected) // 16384)
    assert len(client.connection.received) == len(expected) + records * 22
    assert b"".join(client.read() for _ in range(records)) == expected


@pytest.mark.parametrize("length, most_turns", [(1, 20), (1000, 4), (16384, 4)])
def test_a_turn_of_the_loop_takes_a_bounded_number_of_records(
    peers: Peers, length: int, most_turns: int
) -> None:
    client = peers.client()
    count = LARGEST_READ // (length + 22)
    client.send(client.encrypted(*[b"x" * length] * count))
    turns = client.turn_until(lambda: len(client.protocol.data) == length * count)
    assert turns <= most_turns
    assert max(map(len, client.protocol.pieces)) <= max(LARGEST_READ, 1) / (23 if length == 1 else 1)
    in_a_turn = max(map(len, client.protocol.pieces)) // length
    assert in_a_turn <= tls_transport.SLICE // 23 + 1


def test_small_records_take_turns_and_the_loop_reads_nothing_meanwhile(peers: Peers) -> None:
    client = peers.client()
    client.send(client.encrypted(*[b"x"] * 3000))
    client.send(client.encrypted(b"the last"))
    deliveries = []
    client.protocol.on_data = lambda: deliveries.append(client.connection.server.is_reading())
    client.turn_until(lambda: client.protocol.data.endswith(b"last"))
    assert len(deliveries) == 5
    assert deliveries == [True, False, False, False, True]
    assert client.connection.server.is_reading()


def test_what_is_left_waits_while_the_protocol_is_paused(peers: Peers) -> None:
    client = peers.client()
    client.send(client.encrypted(*[b"x"] * 3000))
    client.protocol.on_data = client.transport.pauseProducing
    client.turn_until(lambda: client.protocol.data)
    before = len(client.protocol.data)
    for _ in range(10):
        client.turn()
    assert len(client.protocol.data) == before < 3000
    client.protocol.on_data = lambda: None
    client.transport.resumeProducing()
    client.turn_until(lambda: len(client.protocol.data) == 3000)


def test_a_protocol_that_raises_in_a_later_turn_loses_its_connection(
    peers: Peers, caplog: pytest.LogCaptureFixture
) -> None:
    client = peers.client()
    protocol = client.protocol

    def fail_the_second_time() -> None:
        if len(protocol.pieces) == 2:
            raise LookupError("broken")

    protocol.on_data = fail_the_second_time
    client.send(client.encrypted(*[b"x"] * 3000))
    client.turn_until(lambda: protocol.lost)
    assert protocol.lost.check(error.ConnectionAborted)
    assert len(protocol.pieces) == 2
    assert [record.exc_info for record in caplog.records if "dataReceived" in record.message]


def test_a_key_update_is_answered_with_the_next_write(peers: Peers) -> None:
    client, records = peers.hostile()
    client.send(records.key_update(ANSWERED_KEY_UPDATE) + records.record(b"under "))
    client.send(records.record(b"new keys"))
    client.turn_until(lambda: client.protocol.data == b"under new keys")
    client.transport.write(b"mine too")
    assert len(client.connection.received) == 27 + 22 + len(b"mine too")
    assert client.read() == b"mine too"


@pytest.mark.parametrize("at_a_time", [1, 100, 5000])
@pytest.mark.parametrize("message", [KEY_UPDATE, ANSWERED_KEY_UPDATE])
def test_a_flood_of_key_updates_ends_the_connection(peers: Peers, message: bytes, at_a_time: int) -> None:
    client, records = peers.hostile()
    protocol = client.protocol
    for _ in range(5000 // at_a_time):
        client.send(b"".join(records.key_update(message) for _ in range(at_a_time)))
    client.turn_until(lambda: protocol.lost)
    assert protocol.lost.check(error.ConnectionLost)
    assert not protocol.pieces
    assert len(client.take()) <= 2 * tls_transport.SLICE


def test_key_updates_with_data_in_between_are_nobody_s_business(peers: Peers) -> None:
    client, records = peers.hostile()
    client.send(b"".join(records.key_update() + records.record(b"x") for _ in range(2000)))
    client.turn_until(lambda: len(client.protocol.data) == 2000)
    assert client.protocol.lost is None


def test_renegotiation_is_refused_and_the_connection_goes_on(peers: Peers) -> None:
    client, records = peers.hostile_and_old()
    for number in range(3):
        client.send(records.record(RENEGOTIATION, HANDSHAKE))
        if number == 1:
            client.send(records.record(RENEGOTIATION, HANDSHAKE) + records.record(b"x"))
        client.turn_until(lambda: len(client.connection.received) >= 31)
        client.take()
    client.send(records.record(b"y"))
    client.turn_until(lambda: client.protocol.data == b"xy")


def test_who_demands_answers_and_takes_none_loses_the_connection(peers: Peers) -> None:
    client, records = peers.hostile_and_old()
    protocol, transport = client.protocol, client.transport
    client.connection.stop_reading()
    transport.write(bytes(1 << 20))
    before = transport.unsentBytes()
    for _ in range(1000):
        client.send(records.record(RENEGOTIATION, HANDSHAKE) + records.record(b"x"))
        client.turn()
        assert transport.unsentBytes() <= before
    assert protocol.lost.check(error.ConnectionLost)
    assert 500 < len(protocol.data) < 600


def test_answers_that_had_to_wait_are_sent_when_there_is_room(peers: Peers) -> None:
    client, records = peers.hostile_and_old()
    client.connection.stop_reading()
    client.transport.write(bytes(1 << 20))
    client.send(records.record(RENEGOTIATION, HANDSHAKE))
    client.turn()
    unsent = client.transport.unsentBytes()
    client.connection.resume_reading()
    assert len(client.take()) == unsent + 31


def test_a_write_after_half_a_message_of_the_handshake_ends_the_connection(peers: Peers) -> None:
    """OpenSSL cannot encrypt before it has the other half, which may never come."""
    client, records = peers.hostile()
    protocol = client.protocol
    client.send(records.record(KEY_UPDATE[:4], HANDSHAKE))
    client.turn()
    client.turn()
    client.transport.write(b"x")
    client.transport.write(b"y")
    client.turn_until(lambda: protocol.lost)
    assert protocol.lost.check(error.ConnectionLost)


@pytest.mark.parametrize("unsent", [False, True])
def test_rubbish_is_answered_by_an_alert_and_by_none_that_would_have_to_wait(
    peers: Peers, unsent: bool, caplog: pytest.LogCaptureFixture
) -> None:
    client = peers.client()
    protocol = client.protocol
    if unsent:
        client.connection.stop_reading()
        client.transport.write(bytes(1 << 20))
    client.send(b"\x17\x03\x03\0\x20" + bytes(32))
    client.turn_until(lambda: protocol.lost)
    client.transport.write(b"too late")
    assert protocol.lost.check(error.ConnectionLost)
    if not unsent:
        with pytest.raises(ssl.SSLError, match="(?i)alert bad record mac"):
            client.read()
    assert not caplog.records


def test_data_in_front_of_the_goodbye_is_delivered_and_the_goodbye_is_answered(peers: Peers) -> None:
    client = peers.client()
    protocol = client.protocol
    client.send(client.encrypted(b"a", b"b") + client.goodbye())
    client.turn_until(lambda: protocol.lost)
    assert protocol.data == b"ab"
    assert protocol.lost.check(error.ConnectionDone)
    with pytest.raises(ssl.SSLZeroReturnError):
        client.read()


def test_after_our_goodbye_what_comes_is_dropped_until_the_peer_s(peers: Peers) -> None:
    client = peers.client()
    protocol = client.protocol
    client.transport.write(b"all")
    client.transport.loseConnection()
    client.transport.write(b"nothing more")
    for _ in range(5):
        client.send(client.encrypted(b"x" * 10000))
        client.turn()
    assert protocol.lost is None and not protocol.pieces
    assert client.read() == b"all" and client.read() == b""
    client.send(client.goodbye())
    client.turn_until(lambda: protocol.lost)
    assert protocol.lost.check(error.ConnectionDone)


def test_a_goodbye_that_waits_behind_what_is_left_is_found_after_ours(peers: Peers) -> None:
    client = peers.client()
    protocol = client.protocol
    protocol.on_data = client.transport.loseConnection
    client.send(client.encrypted(*[b"x"] * 3000) + client.goodbye())
    client.turn_until(lambda: protocol.lost)
    assert protocol.lost.check(error.ConnectionDone)
    assert len(protocol.pieces) == 1


@pytest.mark.parametrize("how", ["goodbye", "end of file"])
def test_a_peer_that_has_ended_and_takes_nothing_is_left(localhost: Issued, how: str, tmp_path: Path) -> None:
    loop = ClockLoop()
    client = Peers(loop, localhost, tmp_path / "keys").client()
    protocol = client.protocol
    client.connection.stop_reading()
    client.transport.write(bytes(1 << 20))
    if how == "goodbye":
        client.send(client.goodbye())
    else:
        client.connection.send_eof()
    while protocol.lost is None and client.transport.unsentBytes() > 900_000:
        client.connection.take(10_000)
        loop.advance(0.9 * tls_transport.SHUTDOWN_TIMEOUT)
    assert protocol.lost is None, "it took some in each timeout"
    loop.advance(2 * tls_transport.SHUTDOWN_TIMEOUT)
    assert protocol.lost.check(error.ConnectionLost)
    loop.close()


@pytest.mark.parametrize("version", VERSIONS)
def test_a_client_without_the_certificate_is_told_so(
    peers: Peers, tmp_path: Path, version: ssl.TLSVersion
) -> None:
    authority = issue(tmp_path, "authority")
    options = dataclasses.replace(peers.options, client_ca=str(authority.certificate_path))
    client = TLSClient(MemoryTLSPort(peers.loop, options), peers.context(version))
    reason = "certificate required" if version == ssl.TLSVersion.TLSv1_3 else "handshake failure"
    with pytest.raises((ssl.SSLError, AssertionError), match=f"(?i)alert {reason}"):
        _shake_hands_and_read(client)
    assert client.transport.protocol is None


def _shake_hands_and_read(client: TLSClient) -> None:
    connection = client.connection
    while not connection.ended:
        try:
            client.tls.do_handshake()
            client.send(client.encrypted())
            client.turn_until(lambda: connection.ended)
        except ssl.SSLWantReadError:
            client.send(client.encrypted())
            client.turn_until(lambda: connection.received or connection.ended)
            client.take()
    client.read()


@given(at=st.integers(0, 2500), change=st.integers(1, 255) | st.none(), size=st.integers(1, 3000))
@ONE_PORT_FOR_ALL
@pytest.mark.parametrize("version", VERSIONS)
def test_a_connection_that_is_cut_or_changed_anywhere_ends_quietly(
    peers: Peers,
    caplog: pytest.LogCaptureFixture,
    version: ssl.TLSVersion,
    at: int,
    change: int | None,
    size: int,
) -> None:
    """At any byte of what the client sends, the handshake included."""
    caplog.clear()
    client = TLSClient(peers.port, peers.context(version))
    transport, send = client.transport, client.connection.send
    sent = 0

    def send_until_then(data: bytes) -> None:
        nonlocal sent
        begin, sent = sent, sent + len(data)
        if begin <= at < sent:
            where = at - begin
            if change is None:
                send(data[:where])
                client.connection.close()
                return
            data = data[:where] + bytes([data[where] ^ change]) + data[where + 1 :]
        if change is not None or begin <= at:
            send(data)

    client.connection.send = send_until_then  # type: ignore[method-assign]
    try:
        client.shake_hands()
        client.send(client.encrypted(b"x" * size))
        client.send(client.goodbye())
    except (OSError, EOFError, AssertionError):
        pass  # the client's part of the trouble
    for _ in range(10):
        client.turn()
    client.connection.close()
    client.turn_until(lambda: transport.loop_transport._lost)
    client.turn()
    assert not transport.connected
    assert not [record for record in caplog.records if record.levelno > logging.DEBUG]
    assert not [handle for handle in peers.loop._scheduled if not handle.cancelled()]  # type: ignore[attr-defined]


def test_the_protocol_of_a_client_that_is_gone_can_do_anything(peers: Peers) -> None:
    peers.port.context.set_alpn_protocols(["h2"])
    context = peers.context()
    context.set_alpn_protocols(["h2"])
    client = TLSClient(peers.port, context)
    protocol = client.shake_hands()
    transport = client.transport
    assert isinstance(protocol, Collects)
    client.connection.reset()
    client.turn_until(lambda: protocol.lost)
    transport.write(b"x" * 100_000)
    transport.resumeProducing()
    transport.loseConnection()
    assert transport.ssl_object is None
    assert transport.negotiatedProtocol == b"h2"
    assert transport.getPeerCertificate() is None
