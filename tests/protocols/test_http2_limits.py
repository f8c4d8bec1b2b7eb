"""HTTP/2's limits, attacked: each fires with the code and the log line that belong to it, and just below it
nothing happens.
"""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from hyperframe import frame as frames

from daphne.errors import ConnectionFailed
from daphne.protocols.http2_exchange import Exchange
from daphne.protocols.http2_limits import Bucket, Floods
from daphne.settings import Settings
from daphne.streams.http import HTTPStream
from daphne.testing import ClockLoop
from tests.layers.driver import let_go_of
from tests.protocols.bench import Bench, Told, answering, echo
from tests.protocols.http2_client import PREFACE, Client, RawClient, request_fields, setting

Serve = Callable[..., Bench]
PROTOCOL, CLOSED, REFUSED, CANCEL, CALM = 1, 5, 7, 8, 11
PING = frames.PingFrame(0, b"12345678").serialize()


def fired(caplog: pytest.LogCaptureFixture, limit: str) -> bool:
    """Whether the log names the limit and the peer."""
    return f"Limit --{limit} reached by ('127.0.0.1', 50000)" in caplog.text


# ---- the buckets -------------------------------------------------------------------------------------


def test_a_bucket_lets_a_burst_pass_and_then_its_rate() -> None:
    loop = ClockLoop()
    bucket = Bucket(loop, 10, "a_limit")
    for _ in range(10):
        bucket.take()
    with pytest.raises(ConnectionFailed) as caught:
        bucket.take()
    assert (caught.value.code, caught.value.limit) == (CALM, "a_limit")
    loop.advance(0.5)
    for _ in range(5):
        bucket.take()
    with pytest.raises(ConnectionFailed):
        bucket.take()
    loop.advance(100)
    for _ in range(10):
        bucket.take()
    with pytest.raises(ConnectionFailed):
        bucket.take()


def test_window_updates_that_answer_data_are_free() -> None:
    floods = Floods(ClockLoop(), Settings(http2_max_frames_per_second=5))
    for _ in range(1000):
        floods.data_sent()
        floods.window_update(1)
        floods.window_update(1)
        floods.window_update(1024)
    for _ in range(5):
        floods.window_update(1)
    with pytest.raises(ConnectionFailed):
        floods.window_update(1)


# ---- floods of frames --------------------------------------------------------------------------------

FLOODS = {
    "ping": PING,
    "pong": frames.PingFrame(0, b"12345678", flags=["ACK"]).serialize(),
    "settings": frames.SettingsFrame().serialize(),
    "settings of many values": frames.SettingsFrame(settings={4: 1000}).serialize() * 1,
    "acknowledgement": frames.SettingsFrame(flags=["ACK"]).serialize(),
    "priority": frames.PriorityFrame(5).serialize(),
    "priority of an idle stream": frames.PriorityFrame(1001).serialize(),
    "priority update": bytes.fromhex("000007100000000000") + b"\0\0\0\x01u=1",
    "empty data": frames.DataFrame(1).serialize(),
    "data of padding": frames.DataFrame(1, flags=["PADDED"], pad_length=10).serialize(),
    "unknown": bytes.fromhex("000000be0000000000"),
    "window of the connection": frames.WindowUpdateFrame(0, 1).serialize(),
    "window of a stream": frames.WindowUpdateFrame(1, 1).serialize(),
    "window of a closed stream": frames.WindowUpdateFrame(3, 1).serialize(),
    "reset of a closed stream": frames.RstStreamFrame(3, 8).serialize(),
    "goaway": frames.GoAwayFrame(0).serialize(),
}


@pytest.mark.parametrize("name", FLOODS)
def test_a_flood(serve: Serve, name: str, caplog: pytest.LogCaptureFixture) -> None:
    told = Told()
    bench = serve(told, http2_max_frames_per_second=50)
    client = RawClient(bench)
    client.send(client.headers(1, request_fields("POST"), "END_HEADERS"))
    client.send(client.headers(3, request_fields(), "END_HEADERS", "END_STREAM"))
    told.finish(1)
    bench.loop.advance(1)
    client.send(FLOODS[name] * 50)
    assert client.goaway is None
    client.send(FLOODS[name] * 4)  # the answer that it has got may be answered by two window updates
    assert client.goaway == CALM
    assert fired(caplog, "http2-max-frames-per-second")
    told.finish(0)
    bench.loop.advance(10)
    assert client.connection.ended


def test_other_connections_go_on(serve: Serve) -> None:
    bench = serve(answering(), http2_max_frames_per_second=50)
    good, bad = Client(bench), RawClient(bench)
    bad.send(PING * 60)
    assert bad.goaway == CALM
    assert good.fetch().status == 200


def test_pings_at_the_rate_are_answered_for_ever(serve: Serve) -> None:
    bench = serve(answering(), http2_max_frames_per_second=50, keep_alive_timeout=0)
    client = RawClient(bench)
    for _ in range(100):
        client.send(PING * 5)
        bench.loop.advance(0.1)
    assert client.goaway is None
    assert len([frame for frame in client.of(frames.PingFrame) if "ACK" in frame.flags]) == 500


def test_pings_of_a_client_that_reads_nothing(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    bench = serve(answering(b"x" * 200_000), http2_max_frames_per_second=100_000)
    client = RawClient(bench)
    client.send(setting(initial_window_size=1 << 30), frames.WindowUpdateFrame(0, 1 << 30))
    client.connection.stop_reading()
    client.send(client.headers(1, request_fields()))
    client.send(PING * 1000)
    assert len(client.connection.server._unsent) < 200_000
    client.send(PING)
    client.connection.resume_reading()
    bench.loop.settle()
    client.take()
    assert client.goaway == CALM
    assert fired(caplog, "http2-max-frames-per-second")


# ---- resets ------------------------------------------------------------------------------------------


def test_rapid_reset(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    calls = 0

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        nonlocal calls
        calls += 1
        await receive()
        await receive()

    bench = serve(slow, http2_max_resets_per_second=20)
    client = RawClient(bench)
    for index in range(1000):
        stream_id = 2 * index + 1
        client.connection.send(client.headers(stream_id, request_fields()).serialize())
        client.connection.send(frames.RstStreamFrame(stream_id, CANCEL).serialize())
    bench.loop.settle()
    client.take()
    assert client.goaway == CALM
    assert calls <= 21
    assert fired(caplog, "http2-max-resets-per-second")


def test_resets_at_the_rate_are_no_attack(serve: Serve) -> None:
    async def slow(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await receive()

    bench = serve(slow, http2_max_resets_per_second=20)
    client = RawClient(bench)
    for index in range(200):
        stream_id = 2 * index + 1
        client.send(client.headers(stream_id, request_fields()), frames.RstStreamFrame(stream_id, CANCEL))
        bench.loop.advance(0.05)
    assert client.goaway is None


MADE_TO_RESET: dict[str, Any] = {
    "a window update of nothing": lambda client, stream: [
        client.headers(stream, request_fields(), "END_HEADERS"),
        frames.WindowUpdateFrame(stream, 0),
    ],
    "a window that overflows": lambda client, stream: [
        client.headers(stream, request_fields(), "END_HEADERS"),
        frames.WindowUpdateFrame(stream, (1 << 31) - 1),
    ],
    "data after the end": lambda client, stream: [
        client.headers(stream, request_fields()),
        frames.DataFrame(stream, b"x"),
    ],
    "headers after the end": lambda client, stream: [
        client.headers(stream, request_fields()),
        client.headers(stream, request_fields()),
    ],
    "a malformed priority": lambda client, stream: [
        client.headers(stream, request_fields(), "END_HEADERS"),
        bytes.fromhex("0000040200") + stream.to_bytes(4, "big") + b"1234",
    ],
    "malformed headers": lambda client, stream: [client.headers(stream, request_fields(path=""))],
    "a body of another length": lambda client, stream: [
        client.headers(stream, request_fields(headers=[(b"content-length", b"1")]), "END_HEADERS"),
        frames.DataFrame(stream, b"xx"),
    ],
}


@pytest.mark.parametrize("name", MADE_TO_RESET)
def test_made_you_reset(serve: Serve, name: str, caplog: pytest.LogCaptureFixture) -> None:
    async def slow(scope: Any, receive: Any, send: Any) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    bench = serve(slow, http2_max_resets_per_second=20)
    client = RawClient(bench)
    for index in range(20):
        client.send(*MADE_TO_RESET[name](client, 2 * index + 1))
    assert client.goaway is None
    assert len(client.resets) == 20
    client.send(*MADE_TO_RESET[name](client, 41))
    assert client.goaway == CALM
    assert fired(caplog, "http2-max-resets-per-second")


def test_applications_that_run_on_after_a_reset_take_places(serve: Serve) -> None:
    told = Told()
    bench = serve(told, http2_max_concurrent_streams=10)
    client = RawClient(bench)
    for index in range(20):
        stream_id = 2 * index + 1
        client.send(client.headers(stream_id, request_fields()))
        client.send(frames.RstStreamFrame(stream_id, CANCEL))
    assert len(told.scopes) == 10
    assert client.resets == {2 * index + 1: REFUSED for index in range(10, 20)}
    for index in range(10):
        told.finish(index)
    bench.loop.settle()
    client.send(client.headers(41, request_fields()))
    assert len(told.scopes) == 11
    told.finish()


def test_streams_that_have_ended_are_let_go_of_at_once(serve: Serve) -> None:
    """A connection may last for days: what its streams held does not wait for its end, nor the collector."""
    told = Told()
    bench = serve(told, http2_max_concurrent_streams=10)
    client = RawClient(bench)
    with let_go_of(Exchange, HTTPStream, asyncio.Task):
        for index in range(5):
            stream_id = 2 * index + 1
            client.send(client.headers(stream_id, request_fields("POST"), "END_HEADERS"))
            client.send(frames.DataFrame(stream_id, b"body"))
            client.send(frames.RstStreamFrame(stream_id, CANCEL))
            told.finish()
        bench.loop.settle()
        assert len(told.scopes) == 5
        for kept in (told.scopes, told.receives, told.sends, told.ends):
            kept.clear()


# ---- streams -----------------------------------------------------------------------------------------


def test_concurrent_streams(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    told = Told()
    bench = serve(told, http2_max_concurrent_streams=3)
    client = RawClient(bench)
    (settings, *_) = client.of(frames.SettingsFrame)
    assert settings.settings[frames.SettingsFrame.MAX_CONCURRENT_STREAMS] == 3
    for stream_id in (1, 3, 5, 7):
        client.send(client.headers(stream_id, request_fields()))
    assert client.resets == {7: REFUSED}
    assert len(told.scopes) == 3
    assert fired(caplog, "http2-max-concurrent-streams")
    told.finish(0)
    bench.loop.settle()
    client.send(client.headers(9, request_fields()))
    assert len(told.scopes) == 4
    for index in range(1, 4):
        told.finish(index)


def test_streams_beyond_the_limit_for_ever(serve: Serve) -> None:
    told = Told()
    bench = serve(told, http2_max_concurrent_streams=1, http2_max_resets_per_second=20)
    client = RawClient(bench)
    for index in range(100):
        client.send(client.headers(2 * index + 1, request_fields()))
        if client.goaway is not None:
            break
    assert client.goaway == CALM
    assert len(client.resets) == 20
    told.finish()


def test_a_client_that_has_not_seen_the_limit_yet_is_forgiven(serve: Serve) -> None:
    told = Told()
    bench = serve(told, http2_max_concurrent_streams=1, http2_max_resets_per_second=1)
    client = RawClient(bench, greet=False)
    client.send(PREFACE, frames.SettingsFrame())
    for stream_id in range(1, 101, 2):
        client.send(client.headers(stream_id, request_fields()))
    assert client.goaway is None
    assert len(client.resets) == 49
    told.finish()


# ---- header lists ------------------------------------------------------------------------------------


def test_header_list_size(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    bench = serve(answering(), http2_max_header_list_size=2000)
    client = RawClient(bench)
    client.send(client.headers(1, request_fields(headers=[(b"x", b"y" * 1700)])))
    client.send(client.headers(3, request_fields(headers=[(b"x", b"y" * 2000)])))
    client.send(client.headers(5, request_fields()))
    assert client.statuses() == {1: 200, 3: 431, 5: 200}
    assert fired(caplog, "http2-max-header-list-size")


def test_header_count(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    bench = serve(answering())
    client = RawClient(bench)
    client.send(client.headers(1, request_fields(headers=[(b"x%d" % index, b"") for index in range(128)])))
    client.send(client.headers(3, request_fields(headers=[(b"x%d" % index, b"") for index in range(129)])))
    assert client.statuses() == {1: 200, 3: 431}
    assert fired(caplog, "max-header-count")


def in_pieces(client: RawClient, stream_id: int, count: int) -> bytes:
    """A request whose field block comes in HEADERS and `count` CONTINUATION frames."""
    block = client.encoder.encode(request_fields(headers=[(b"x", b"y" * 100)]))
    size = len(block) // (count + 1) + 1
    pieces = [block[at * size : (at + 1) * size] for at in range(count + 1)]
    first = client.headers(stream_id, [], "END_STREAM", block=pieces[0]).serialize()
    rest = [frames.ContinuationFrame(stream_id, piece) for piece in pieces[1:]]
    rest[-1].flags.add("END_HEADERS")
    return first + b"".join(frame.serialize() for frame in rest)


def test_continuation_frames(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    client = RawClient(serve(answering()))
    client.send(in_pieces(client, 1, 16))
    assert client.statuses() == {1: 200}
    client.send(in_pieces(client, 3, 17))
    assert client.goaway == CALM
    assert fired(caplog, "http2-max-continuation-frames")


def test_continuation_frames_that_are_empty(serve: Serve) -> None:
    client = RawClient(serve(answering()))
    client.send(client.headers(1, [], "END_STREAM", block=b""))
    client.send(frames.ContinuationFrame(1).serialize() * 17)
    assert client.goaway == CALM


def test_a_field_block_of_any_size(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    client = RawClient(serve(answering(), http2_max_continuation_frames=1000))
    client.send(client.headers(1, [], "END_STREAM", block=b"x" * 16384))
    for _ in range(10):
        client.send(frames.ContinuationFrame(1, b"x" * 16384))
    assert client.goaway == CALM
    assert fired(caplog, "http2-max-header-list-size")


def test_a_bomb_of_references(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    """A few bytes that stand for megabytes (CVE-2016-6581): what they stand for is never made."""
    bench = serve(answering())
    client = RawClient(bench)
    client.send(client.headers(1, request_fields(headers=[(b"x", b"y" * 4000)])))
    bomb = client.headers(3, [], "END_HEADERS", "END_STREAM", block=b"\xbe" * 16384)  # stands for 66 MB
    tracemalloc.start()
    try:
        client.send(bomb)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()
    assert client.goaway == CALM
    assert fired(caplog, "http2-max-header-list-size")


def test_a_table_larger_than_allowed(serve: Serve) -> None:
    client = RawClient(serve(answering()))
    client.send(client.headers(1, [], "END_HEADERS", "END_STREAM", block=b"\x3f\xff\xff\x03\x82"))
    assert client.goaway == 9


# ---- bodies ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("sent", "ended"), [(b"12345678901", False), (b"123", True)])
def test_a_body_that_differs_from_its_length(serve: Serve, sent: bytes, ended: bool) -> None:
    client = RawClient(serve(echo))
    fields = request_fields("POST", headers=[(b"content-length", b"10")])
    client.send(client.headers(1, fields, "END_HEADERS"))
    client.send(frames.DataFrame(1, sent, flags=["END_STREAM"] if ended else []))
    assert client.resets == {1: PROTOCOL}


def test_a_head_that_ends_with_a_length(serve: Serve) -> None:
    told = Told()
    client = RawClient(serve(told))
    client.send(client.headers(1, request_fields("POST", headers=[(b"content-length", b"10")])))
    client.send(client.headers(3, request_fields("POST", headers=[(b"content-length", b"0")])))
    assert client.resets == {1: PROTOCOL}
    assert len(told.scopes) == 1
    told.finish()


def test_more_than_the_connections_window(serve: Serve) -> None:
    told = Told()
    bench = serve(told, http2_connection_window=65535, http2_stream_window=1 << 20)
    client = RawClient(bench)
    client.send(client.headers(1, request_fields("POST"), "END_HEADERS"))
    # One read, so that the window cannot be opened in between.
    client.send(frames.DataFrame(1, b"x" * 16384).serialize() * 5)
    assert client.goaway == 3
    told.finish()


def test_bytes_that_are_no_frames(serve: Serve) -> None:
    client = RawClient(serve(answering()))
    client.send(b"\xff" * 100)
    assert client.goaway == 6


def test_a_body_in_drops_is_not_kept_as_drops(serve: Serve) -> None:
    told = Told()
    client = RawClient(serve(told))
    client.send(client.headers(1, request_fields("POST"), "END_HEADERS"))
    drops = frames.DataFrame(1, b"xy").serialize() * 1000
    tracemalloc.start()
    try:
        for _ in range(40):
            client.send(drops)
        assert tracemalloc.get_traced_memory()[0] < 500_000  # for 80 KB; 40,000 objects would take 1.6 MB
    finally:
        tracemalloc.stop()
    assert client.goaway is None
    client.connection.close()
    client.bench.loop.settle()
    told.finish()


def test_priorities_of_streams_that_never_come(serve: Serve) -> None:
    bench = serve(answering(), http2_max_frames_per_second=10_000)
    client = RawClient(bench)
    for stream_id in range(101, 4101, 2):
        payload = stream_id.to_bytes(4, "big") + b"u=1"
        client.send(bytes.fromhex("000007100000000000") + payload)
    (connection,) = bench.server.service.site.connections
    assert len(connection._priorities) == 100
    client.send(client.headers(4101, request_fields()))
    client.send(bytes.fromhex("000007100000000000") + (4103).to_bytes(4, "big") + b"u=1")
    assert connection._priorities == {4103: b"u=1"}


def test_memory_stays_flat_under_attack(serve: Serve) -> None:
    async def slow(scope: Any, receive: Any, send: Any) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    bench = serve(slow, http2_max_resets_per_second=10_000, http2_max_frames_per_second=100_000)
    client = RawClient(bench)

    def attack(start: int) -> None:
        for index in range(start, start + 500):
            stream_id = 2 * index + 1
            parts = client.headers(stream_id, request_fields(path=f"/{index}")), PING
            client.send(*parts, frames.RstStreamFrame(stream_id, CANCEL))
            bench.loop.advance(0.01)
        client.frames.clear()

    attack(0)
    attack(500)
    tracemalloc.start()
    try:
        attack(1000)
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        attack(1500)
        attack(2000)
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] - before < 200_000
    finally:
        tracemalloc.stop()


def test_a_flood_of_tiny_frames_leaves_others_their_turn(serve: Serve) -> None:
    """However many are read at once; and nothing of what they carry is lost."""
    bench = serve(echo)
    client = RawClient(bench)
    parts = [client.headers(1, request_fields("POST"), "END_HEADERS"), *[frames.DataFrame(1, b"x")] * 1000]
    parts.append(frames.DataFrame(1, b"y", flags=["END_STREAM"]))
    client.connection.send(b"".join(part.serialize() for part in parts))
    turns = 0
    while not client.connection.received.endswith(b"y") and turns < 100:
        bench.loop._turn()
        turns += 1
    assert 8 <= turns < 100
    client.take()
    assert b"".join(frame.data for frame in client.of(frames.DataFrame)).endswith(b" " + b"x" * 1000 + b"y")
    assert client.goaway is None
