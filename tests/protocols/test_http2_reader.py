"""daphne.protocols.http2_reader: every rule about frames and streams, with the code that RFC 9113 names for
it; and the same bytes given to h2's server machine.
"""

from __future__ import annotations

from typing import Any

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import hpack
import pytest
from hyperframe import frame as frames
from hypothesis import given, settings
from hypothesis import strategies as st

from daphne.errors import ConnectionFailed, StreamReset
from daphne.protocols.http2_head import check_trailers, read_head
from daphne.protocols.http2_limits import Floods
from daphne.protocols.http2_reader import FrameReader
from daphne.settings import Settings

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HELLO = PREFACE + frames.SettingsFrame().serialize()
GET = [(b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"a"), (b":path", b"/")]
NO, PROTOCOL, INTERNAL, FLOW, TIMEOUT, CLOSED, SIZE, REFUSED, CANCEL, COMPRESSION, CONNECT, CALM = range(12)


class Stream:
    def __init__(self, receiving: bool, credit: int) -> None:
        self.receiving = receiving
        self.credit = credit


class Clock:
    """All that the limits need of a loop."""

    def time(self) -> float:
        return 0.0


class Heard:
    """Hears the reader's events, and keeps streams as the connection does."""

    def __init__(self, **options: Any) -> None:
        self.settings = Settings(**options)
        self.streams: dict[int, Any] = {}
        self.events: list[tuple[Any, ...]] = []
        floods = Floods(Clock(), self.settings)  # type: ignore[arg-type]
        self.reader = FrameReader(self.settings, self.streams, self, floods)
        self.encoder = hpack.Encoder()

    def close(self, stream_id: int, under_way: bool) -> None:
        del self.streams[stream_id]
        self.reader.forget(stream_id, under_way)

    def answer(self, stream_id: int) -> None:
        """End our side of a stream; what is left of the request is not wanted."""
        self.close(stream_id, self.streams[stream_id].receiving)

    def request_received(self, stream_id: int, fields: Any, size: int, ended: bool) -> None:
        self.events.append(("request", stream_id, fields, ended))
        self.streams[stream_id] = Stream(not ended, self.settings.http2_stream_window)
        read_head(fields, size, self.settings)

    def body_received(self, stream_id: int, data: bytes, ended: bool) -> None:
        self.events.append(("body", stream_id, data, ended))

    def trailers_received(self, stream_id: int, fields: Any) -> None:
        check_trailers(fields)
        self.events.append(("trailers", stream_id, fields))

    def stream_failed(self, stream_id: int, error: StreamReset) -> None:
        self.events.append(("failed", stream_id, error.code))
        if stream_id in self.streams:
            self.close(stream_id, True)

    def stream_reset(self, stream_id: int, code: int) -> None:
        self.events.append(("reset", stream_id, code))
        self.close(stream_id, False)

    def settings_received(self, values: dict[int, int]) -> None:
        self.events.append(("settings", values))

    def settings_acknowledged(self) -> None:
        self.events.append(("acknowledged",))

    def window_opened(self, stream_id: int, increment: int) -> None:
        self.events.append(("window", stream_id, increment))

    def priority_received(self, stream_id: int, value: bytes) -> None:
        self.events.append(("priority", stream_id, value))

    def ping_received(self, payload: bytes) -> None:
        self.events.append(("ping", payload))

    def pong_received(self, payload: bytes) -> None:
        self.events.append(("pong", payload))

    def goaway_received(self, code: int) -> None:
        self.events.append(("goaway", code))

    def send(self, *parts: Any) -> list[tuple[Any, ...]]:
        """Give frames or bytes to the reader; the events since the last call."""
        data = b"".join(part if isinstance(part, bytes) else part.serialize() for part in parts)
        self.events.clear()
        self.reader.receive(data)
        return list(self.events)

    def headers(self, stream_id: int, *flags: str, fields: Any = GET) -> frames.HeadersFrame:
        frame = frames.HeadersFrame(stream_id, flags=flags)
        frame.data = self.encoder.encode(fields)
        return frame


@pytest.fixture
def heard() -> Heard:
    heard = Heard()
    heard.send(HELLO)
    return heard


def raw(kind: int, flags: int, stream_id: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream_id.to_bytes(4, "big") + payload


END, ALL = "END_STREAM", "END_HEADERS"
DATA_1 = frames.DataFrame(1, b"x")


# ---- what is right -----------------------------------------------------------------------------------


def test_a_request_with_body_and_trailers(heard: Heard) -> None:
    assert heard.send(heard.headers(1, ALL)) == [("request", 1, GET, False)]
    assert heard.send(DATA_1) == [("body", 1, b"x", False)]
    assert heard.send(heard.headers(1, ALL, END, fields=[(b"x", b"y")])) == [("trailers", 1, [(b"x", b"y")])]


@pytest.mark.parametrize("size", [1, 3, 9, 10, 11, 50])
def test_frames_however_they_are_split(size: int) -> None:
    heard = Heard()
    data = HELLO + b"".join(
        frame.serialize() for frame in (heard.headers(1, ALL), frames.DataFrame(1, b"x" * 40), DATA_1)
    )
    for at in range(0, len(data), size):
        heard.reader.receive(data[at : at + size])
    assert [event[0] for event in heard.events] == ["settings", "request", "body", "body"]


def test_padding_and_old_priorities_are_taken_off(heard: Heard) -> None:
    frame = heard.headers(1, ALL, "PADDED", "PRIORITY")
    frame.pad_length, frame.depends_on, frame.stream_weight = 7, 3, 5
    assert heard.send(frame) == [("request", 1, GET, False)]
    data = frames.DataFrame(1, b"body", flags=["PADDED", END], pad_length=200)
    assert heard.send(data) == [("body", 1, b"body", True)]


def test_padding_counts_in_both_windows(heard: Heard) -> None:
    before = heard.reader.credit
    heard.send(heard.headers(1, ALL), frames.DataFrame(1, b"body", flags=["PADDED"], pad_length=200))
    assert heard.reader.credit == before - 205
    assert heard.streams[1].credit == heard.settings.http2_stream_window - 205


def test_a_field_block_in_pieces(heard: Heard) -> None:
    block = hpack.Encoder().encode([*GET, (b"x", b"y" * 100)])
    pieces = [
        raw(0x1, 0x1, 1, block[:10]),
        raw(0x9, 0, 1, block[10:20]),
        raw(0x9, 0, 1, b""),
        raw(0x9, 0x4, 1, block[20:]),
    ]
    assert heard.send(*pieces[:3]) == []
    assert heard.reader.unfinished == (0x9, 1)
    assert heard.send(pieces[3]) == [("request", 1, [*GET, (b"x", b"y" * 100)], True)]
    assert heard.reader.unfinished is None


def test_what_is_under_way_is_known(heard: Heard) -> None:
    heard.send(heard.headers(1, ALL))
    heard.send(frames.DataFrame(1, b"x" * 100).serialize()[:50])
    assert heard.reader.unfinished == (0x0, 1)


@pytest.mark.parametrize(
    ("frame", "event"),
    [
        (frames.PingFrame(0, b"12345678"), ("ping", b"12345678")),
        (frames.PingFrame(0, b"12345678", flags=["ACK"]), ("pong", b"12345678")),
        (frames.SettingsFrame(flags=["ACK"]), ("acknowledged",)),
        (frames.SettingsFrame(settings={4: 100, 99: 5}), ("settings", {4: 100, 99: 5})),
        (frames.WindowUpdateFrame(0, 7), ("window", 0, 7)),
        (frames.WindowUpdateFrame(1, 7), ("window", 1, 7)),
        (frames.RstStreamFrame(1, 8), ("reset", 1, 8)),
        (frames.GoAwayFrame(0, 1, 2, b"bye"), ("goaway", 2)),
        (raw(0x10, 0, 0, (1).to_bytes(4, "big") + b"u=0"), ("priority", 1, b"u=0")),
        (raw(0x10, 0, 0, (9).to_bytes(4, "big") + b"u=0"), ("priority", 9, b"u=0")),
        (frames.PriorityFrame(1), None),
        (frames.PriorityFrame(77), None),
        (raw(0xBE, 0xFF, 1, b"unknown"), None),
        (raw(0x6, 0xFE, 0, b"12345678"), ("ping", b"12345678")),  # flags that mean nothing
    ],
)
def test_frames_that_say_something(heard: Heard, frame: Any, event: Any) -> None:
    heard.send(heard.headers(1, ALL))
    assert heard.send(frame) == ([event] if event else [])


@pytest.mark.parametrize(
    "frame", [frames.WindowUpdateFrame(1, 7), frames.RstStreamFrame(1, 8), frames.PriorityFrame(1)]
)
def test_frames_that_may_still_come_for_a_closed_stream(heard: Heard, frame: Any) -> None:
    heard.send(heard.headers(1, ALL, END))
    heard.answer(1)
    assert heard.send(frame) == []


def test_frames_under_way_when_we_reset_a_stream(heard: Heard) -> None:
    heard.send(heard.headers(1, ALL))
    heard.answer(1)
    before = heard.reader.credit
    trailers = heard.headers(1, ALL, END, fields=[(b"x", b"in the table")])
    assert heard.send(DATA_1, frames.WindowUpdateFrame(1, 7), trailers) == []
    assert heard.reader.credit == before - 1  # it counts for the connection
    request = heard.headers(3, ALL, END, fields=[*GET, (b"x", b"in the table")])
    assert len(request.data) < 10  # refers to what the lost trailers left in the table
    assert heard.send(request)[0][2][-1] == (b"x", b"in the table")
    with pytest.raises(ConnectionFailed) as caught:
        heard.send(DATA_1)  # after the end that was under way
    assert caught.value.code == CLOSED


def test_a_connection_window_that_is_used_up_just_so() -> None:
    heard = Heard(http2_connection_window=65535, http2_stream_window=70000)
    heard.send(HELLO, heard.headers(1, ALL))
    for size in (16384, 16384, 16384, 16383):
        heard.send(frames.DataFrame(1, b"x" * size))
    assert heard.reader.credit == 0
    with pytest.raises(ConnectionFailed) as caught:
        heard.send(DATA_1)
    assert caught.value.code == FLOW


# ---- what ends a stream ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("opening", "frame", "code"),
    [
        ([ALL, END], DATA_1, CLOSED),
        ([ALL], frames.WindowUpdateFrame(1, 0), PROTOCOL),
        ([ALL], raw(0x2, 0, 1, b"1234"), SIZE),
    ],
)
def test_a_rule_of_a_stream(heard: Heard, opening: list[str], frame: Any, code: int) -> None:
    heard.send(heard.headers(1, *opening))
    assert heard.send(frame) == [("failed", 1, code)]
    assert heard.send(heard.headers(3, ALL, END))  # the connection goes on


def test_headers_after_the_end(heard: Heard) -> None:
    heard.send(heard.headers(1, ALL, END))
    assert heard.send(heard.headers(1, ALL, END)) == [("failed", 1, CLOSED)]


def test_trailers_that_do_not_end_the_stream(heard: Heard) -> None:
    heard.send(heard.headers(1, ALL))
    assert heard.send(heard.headers(1, ALL)) == [("failed", 1, PROTOCOL)]


def test_more_data_than_the_streams_window() -> None:
    heard = Heard(http2_stream_window=65535)
    heard.send(HELLO, heard.headers(1, ALL))
    for size in (16384, 16384, 16384, 16383):
        assert heard.send(frames.DataFrame(1, b"x" * size))[0][0] == "body"
    assert heard.send(DATA_1) == [("failed", 1, FLOW)]


# ---- what ends the connection ------------------------------------------------------------------------

BLOCK = hpack.Encoder().encode(GET)


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (frames.DataFrame(3, b"x"), PROTOCOL),  # idle
        (raw(0x0, 0, 0, b"x"), PROTOCOL),
        (raw(0x0, 0x8, 1, b"\x05abcd"), PROTOCOL),
        (raw(0x0, 0x8, 1, b""), SIZE),
        (raw(0x0, 0, 1, b"x" * 16385), SIZE),
        (raw(0x1, 0x5, 0, BLOCK), PROTOCOL),
        (raw(0x1, 0x5, 2, BLOCK), PROTOCOL),
        (raw(0x1, 0xD, 3, b"\xff" + BLOCK), PROTOCOL),
        (raw(0x1, 0x25, 3, b"123"), SIZE),
        (raw(0x1, 0x5, 3, b"\x80"), COMPRESSION),
        (raw(0x1, 0x1, 3, BLOCK) + frames.PingFrame(0, b"12345678").serialize(), PROTOCOL),
        (raw(0x1, 0x1, 3, BLOCK) + raw(0xBE, 0, 3, b""), PROTOCOL),
        (raw(0x1, 0x1, 3, BLOCK) + raw(0x9, 0x4, 5, b""), PROTOCOL),
        (raw(0x1, 0x1, 3, BLOCK) + raw(0x1, 0x4, 3, b""), PROTOCOL),
        (raw(0x9, 0x4, 1, b""), PROTOCOL),
        (raw(0x2, 0, 0, b"12345"), PROTOCOL),
        (raw(0x2, 0, 7, b"1234"), SIZE),
        (raw(0x3, 0, 0, b"1234"), PROTOCOL),
        (raw(0x3, 0, 3, b"1234"), PROTOCOL),
        (raw(0x3, 0, 1, b"123"), SIZE),
        (raw(0x4, 0, 1, b""), PROTOCOL),
        (raw(0x4, 0, 0, b"12345"), SIZE),
        (raw(0x4, 0x1, 0, b"123456"), SIZE),
        (frames.SettingsFrame(settings={2: 2}), PROTOCOL),
        (frames.SettingsFrame(settings={4: 1 << 31}), FLOW),
        (frames.SettingsFrame(settings={5: 16383}), PROTOCOL),
        (frames.SettingsFrame(settings={5: 1 << 24}), PROTOCOL),
        (frames.SettingsFrame(settings={8: 2}), PROTOCOL),
        (frames.SettingsFrame(settings={9: 2}), PROTOCOL),
        (raw(0x5, 0x4, 1, (2).to_bytes(4, "big") + BLOCK), PROTOCOL),
        (raw(0x6, 0, 1, b"12345678"), PROTOCOL),
        (raw(0x6, 0, 0, b"1234567"), SIZE),
        (raw(0x7, 0, 1, b"12345678"), PROTOCOL),
        (raw(0x7, 0, 0, b"1234567"), SIZE),
        (raw(0x8, 0, 1, b"123"), SIZE),
        (raw(0x8, 0, 0, b"\0\0\0\0"), PROTOCOL),
        (raw(0x8, 0, 3, b"\0\0\0\1"), PROTOCOL),
        (raw(0x1, 0x5, 3, BLOCK) + raw(0x8, 0, 2, b"\0\0\0\1"), PROTOCOL),
        (raw(0x1, 0x5, 3, BLOCK) + raw(0x3, 0, 2, b"\0\0\0\1"), PROTOCOL),
        (raw(0x1, 0x5, 3, BLOCK) + raw(0x0, 0, 2, b"x"), PROTOCOL),
        (raw(0x10, 0, 1, b"\0\0\0\1u=1"), PROTOCOL),
        (raw(0x10, 0, 0, b"\0\0\0"), SIZE),
        (raw(0x10, 0, 0, b"\0\0\0\0u=1"), PROTOCOL),
    ],
    ids=lambda value: value.hex()[:40] if isinstance(value, bytes) else None,
)
def test_a_rule_of_the_connection(heard: Heard, frame: Any, code: int) -> None:
    heard.send(heard.headers(1, ALL))
    with pytest.raises(ConnectionFailed) as caught:
        heard.send(frame)
    assert caught.value.code == code


@pytest.mark.parametrize(
    "first", [frames.PingFrame(0, b"12345678"), frames.SettingsFrame(flags=["ACK"]), raw(0x1, 0x5, 1, BLOCK)]
)
def test_settings_must_come_first(first: Any) -> None:
    with pytest.raises(ConnectionFailed) as caught:
        Heard().send(PREFACE, first)
    assert caught.value.code == PROTOCOL


@pytest.mark.parametrize("preface", [b"PRI * HTTP/2.0\r\n\r\nSN", b"GET / HTTP/1.1\r\n"])
def test_another_preface(preface: bytes) -> None:
    with pytest.raises(ConnectionFailed) as caught:
        Heard().send(preface)
    assert caught.value.code == PROTOCOL


@pytest.mark.parametrize(("frame", "code"), [("headers", CLOSED), ("data", CLOSED), ("older", PROTOCOL)])
def test_frames_on_a_stream_that_has_ended(heard: Heard, frame: str, code: int) -> None:
    heard.send(heard.headers(3, ALL, END))
    heard.answer(3)
    late = {
        "headers": heard.headers(3, ALL, END),
        "data": frames.DataFrame(3, b"x"),
        "older": heard.headers(1, ALL, END),
    }
    with pytest.raises(ConnectionFailed) as caught:
        heard.send(late[frame])
    assert caught.value.code == code


def test_closed_streams_are_forgotten_in_the_end(heard: Heard) -> None:
    for stream_id in range(1, 6001, 2):
        heard.send(heard.headers(stream_id, ALL, END))
        heard.answer(stream_id)
    assert len(heard.reader._closed) == 1000


# ---- the same bytes for h2 ---------------------------------------------------------------------------


class Other:
    """h2's server machine with the same settings; its streams are answered when ours are."""

    def __init__(self) -> None:
        self.machine = h2.connection.H2Connection(
            h2.config.H2Configuration(client_side=False, header_encoding=None)
        )
        self.machine.initiate_connection()

    def send(self, data: bytes) -> list[tuple[Any, ...]]:
        events = []
        for event in self.machine.receive_data(data):
            match event:
                case h2.events.RequestReceived():
                    fields = [(bytes(name), bytes(value)) for name, value in event.headers]
                    events.append(("request", event.stream_id, fields, event.stream_ended is not None))
                case h2.events.DataReceived():
                    self.machine.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                    ended = event.stream_ended is not None
                    events.append(("body", event.stream_id, event.data, ended))
                case h2.events.TrailersReceived():
                    fields = [(bytes(name), bytes(value)) for name, value in event.headers]
                    events.append(("trailers", event.stream_id, fields))
                case h2.events.StreamReset(remote_reset=True):
                    events.append(("reset", event.stream_id, int(event.error_code)))
                case h2.events.WindowUpdated():
                    events.append(("window", event.stream_id, event.delta))
                case h2.events.PingReceived():
                    events.append(("ping", event.ping_data))
        return events


FRAME_KINDS = st.sampled_from(
    ["headers", "headers", "headers", "data", "data", "trailers", "reset", "window", "ping", "priority"]
)
STEPS = st.tuples(
    FRAME_KINDS,
    st.sampled_from([1, 3, 5, 7, 9, 0, 2]),
    st.booleans(),
    st.integers(0, 200),
    st.integers(0, 2),
)


def step_bytes(encoder: hpack.Encoder, kind: str, stream_id: int, ended: bool, size: int) -> bytes:
    flags = 0x1 if ended else 0
    if kind == "headers":
        return raw(0x1, flags | 0x4, stream_id, encoder.encode([*GET, (b"n", b"%d" % size)]))
    if kind == "trailers":
        return raw(0x1, flags | 0x4, stream_id, encoder.encode([(b"t", b"%d" % size)]))
    if kind == "data":
        return raw(0x0, flags, stream_id, b"x" * size)
    if kind == "reset":
        return raw(0x3, 0, stream_id, (size % 14).to_bytes(4, "big"))
    if kind == "window":
        return raw(0x8, 0, stream_id, (size + 1).to_bytes(4, "big"))
    if kind == "priority":
        return raw(0x2, 0, stream_id, b"\0\0\0\x0b\x10")
    return raw(0x6, 0, 0, b"%08d" % size)


@settings(max_examples=300)
@given(st.lists(STEPS, max_size=30))
def test_h2_takes_the_same_bytes_for_the_same(steps: list[Any]) -> None:
    """As long as h2 finds no fault, both hear the same; when it does, so do we, and the other way round."""
    heard, other = Heard(), Other()
    heard.send(HELLO)
    other.send(HELLO)
    encoder = hpack.Encoder()
    for kind, stream_id, ended, size, _ in steps:
        data = step_bytes(encoder, kind, stream_id, ended, size)
        try:
            ours: Any = heard.send(data)
        except ConnectionFailed as failure:
            ours = failure
        try:
            theirs: Any = other.send(data)
        except h2.exceptions.ProtocolError as failure:
            theirs = failure
        if kind == "reset" and (stream_id > heard.reader.highest or stream_id == 2):
            assert isinstance(ours, ConnectionFailed)  # RFC 9113 section 6.4, which h2 does not check
            return
        fault = isinstance(ours, Exception) or any(event[0] == "failed" for event in ours)
        answered = _answered(other)
        assert fault == (isinstance(theirs, Exception) or answered), (kind, stream_id, ours, theirs)
        if fault:
            return  # h2 ends the connection for some of what RFC 9113 lets end with the stream
        assert [event for event in ours if event[0] != "settings"] == theirs


def _answered(other: Other) -> bool:
    """Whether h2 has found fault without raising: it resets the stream by itself."""
    out = other.machine.data_to_send()
    while len(out) >= 9:
        if out[3] == 0x3:
            return True
        out = out[9 + int.from_bytes(out[:3], "big") :]
    return False
