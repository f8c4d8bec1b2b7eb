"""daphne.protocols.http2_frames: what we write, read back by hyperframe."""

from __future__ import annotations

from typing import Any

import pytest
from hyperframe import frame as hyperframe

from daphne.protocols import http2_frames as frames


def parse(data: bytes) -> list[Any]:
    found = []
    while data:
        frame, size = hyperframe.Frame.parse_frame_header(memoryview(data[:9]))
        frame.parse_body(memoryview(data[9 : 9 + size]))
        found.append(frame)
        data = data[9 + size :]
    return found


@pytest.mark.parametrize(
    ("written", "kind", "values"),
    [
        (frames.rst_stream_frame(7, 8), hyperframe.RstStreamFrame, {"stream_id": 7, "error_code": 8}),
        (frames.settings_frame({3: 100, 8: 1}), hyperframe.SettingsFrame, {"settings": {3: 100, 8: 1}}),
        (frames.SETTINGS_ACK, hyperframe.SettingsFrame, {"settings": {}}),
        (frames.ping_frame(b"12345678"), hyperframe.PingFrame, {"opaque_data": b"12345678"}),
        (frames.window_update_frame(5, 1000), hyperframe.WindowUpdateFrame, {"window_increment": 1000}),
        (
            frames.goaway_frame(9, 11, "why"),
            hyperframe.GoAwayFrame,
            {"last_stream_id": 9, "error_code": 11, "additional_data": b"why"},
        ),
    ],
)
def test_frames(written: bytes, kind: type, values: dict[str, Any]) -> None:
    (frame,) = parse(written)
    assert type(frame) is kind
    assert {name: getattr(frame, name) for name in values} == values


def test_acknowledgements() -> None:
    assert set(parse(frames.SETTINGS_ACK)[0].flags) == {"ACK"}
    assert set(parse(frames.ping_frame(b"12345678", frames.ACK))[0].flags) == {"ACK"}
    assert not parse(frames.ping_frame(b"12345678"))[0].flags


@pytest.mark.parametrize("size", [0, 1, 16384, 16385, 32768, 40000])
@pytest.mark.parametrize("flags", [0, frames.END_STREAM])
def test_a_field_block_in_as_many_frames_as_it_takes(size: int, flags: int) -> None:
    block = bytes(range(256)) * 200
    first, *rest = parse(frames.headers_frame(3, block[:size], flags))
    assert type(first) is hyperframe.HeadersFrame
    assert ("END_STREAM" in first.flags) == bool(flags)
    assert b"".join(frame.data for frame in (first, *rest)) == block[:size]
    assert all(type(frame) is hyperframe.ContinuationFrame and frame.stream_id == 3 for frame in rest)
    assert ["END_HEADERS" in frame.flags for frame in (first, *rest)] == [False] * len(rest) + [True]
    assert all(len(frame.data) <= frames.FRAME_SIZE for frame in (first, *rest))
    assert len(rest) == max(0, (size - 1) // 16384)


def test_a_reason_is_short_and_ascii() -> None:
    assert len(frames.goaway_frame(0, 0, "ä" * 1000)) == 9 + 8 + 100
