"""daphne.protocols.websocket_reader: reading frames. The short path and Autobahn's parser behind it read what
Autobahn alone reads: the same messages, the same failures and the same close codes, however the bytes are
split and wherever they are received to."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import pytest
from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from daphne.protocols import websocket_large
from daphne.testing.frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    Frame,
    client_frame,
    close_frame,
)
from daphne.testing.sockets import handshake
from tests.protocols.bench import Bench
from tests.protocols.open_socket import Open, Serve, sent_frames

MOST_IN_FRAME, MOST_IN_MESSAGE = 1000, 1500
Outcome = tuple[list[str | bytes], tuple[Any, ...] | None]
"""The messages, and how it ended: ("failed", code), ("closed", code, reason) or None while it is open."""


class Deaf(StringTransport):
    """Autobahn unregisters producers that it never registered."""

    def unregisterProducer(self) -> None:
        pass


class Alone(WebSocketServerProtocol):  # type: ignore[misc]
    """Autobahn by itself; what it makes of the bytes."""

    def onOpen(self) -> None:
        self.messages: list[str | bytes] = []
        self.end: tuple[Any, ...] | None = None

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        if self.end is None:
            self.messages.append(bytes(payload) if isBinary else payload.decode())

    def onCloseFrame(self, code: int | None, reasonRaw: bytes | None) -> Any:
        result = super().onCloseFrame(code, reasonRaw)
        self.end = self.end or ("closed", 1005 if code is None else code, (reasonRaw or b"").decode())
        return result

    def _fail_connection(self, code: int = 1001, reason: str = "") -> None:
        self.end = self.end or ("failed", code)
        super()._fail_connection(code, reason)


def by_autobahn(pieces: list[bytes]) -> Outcome:
    factory = WebSocketServerFactory(reactor=Clock())
    factory.protocol = Alone
    factory.setProtocolOptions(
        failByDrop=False,
        openHandshakeTimeout=0,
        closeHandshakeTimeout=0,
        maxFramePayloadSize=MOST_IN_FRAME,
        maxMessagePayloadSize=MOST_IN_MESSAGE,
    )
    protocol = factory.buildProtocol(None)
    protocol.makeConnection(Deaf())
    protocol.dataReceived(handshake("/", []))
    for piece in pieces:
        if protocol.end is None:
            protocol.dataReceived(piece)
    return protocol.messages, protocol.end


class Listener:
    """An application that accepts and remembers every event."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.events.clear()
        await receive()
        await send({"type": "websocket.accept"})
        while not self.events or self.events[-1]["type"] == "websocket.receive":
            self.events.append(await receive())


class Ours:
    """Our server: what its application and the client see of the bytes."""

    def __init__(self, **settings: Any) -> None:
        self.listener = Listener()
        limits = {
            "websocket_max_frame_size": MOST_IN_FRAME,
            "websocket_max_message_size": MOST_IN_MESSAGE,
            "ping_interval": 0,
        }
        self.bench = Bench(self.listener, **{**limits, **settings})

    def read(self, pieces: list[bytes], early: bool = False) -> Outcome:
        connection = self.bench.connect()
        opening = handshake("/", [])
        if early:
            self.bench.send(connection, opening + b"".join(pieces))
        else:
            self.bench.send(connection, opening, *pieces)
        frames = sent_frames(bytes(connection.received))
        closes = [frame for frame in frames if frame.opcode == CLOSE]
        events = list(self.listener.events)
        if not closes:
            connection.reset()
            self.bench.loop.settle()
            return [message_of(event) for event in events], None
        assert len(closes) == 1 and frames[-1] is closes[0], "something after the close frame"
        assert connection.ended and not connection.was_reset
        last = events.pop()
        assert last["type"] == "websocket.disconnect"
        messages = [message_of(event) for event in events]
        if last["code"] != 1006:
            assert closes[0].close_code == (None if last["code"] == 1005 else last["code"])
            return messages, ("closed", last["code"], last["reason"])
        connection.reset()
        self.bench.loop.settle()
        return messages, ("failed", closes[0].close_code)


def message_of(event: dict[str, Any]) -> str | bytes:
    assert event["type"] == "websocket.receive", event
    (value,) = [event[key] for key in ("text", "bytes") if key in event]
    assert type(value) is (str if "text" in event else bytes)
    return value  # type: ignore[no-any-return]


@pytest.fixture(scope="module", params=["together", "in memory"])
def ours(request: pytest.FixtureRequest) -> Iterator[Ours]:
    """The server; "in memory": everything counts as large that does not come whole."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "in memory":
            patch.setattr(websocket_large, "LARGE", 2)
            patch.setattr(websocket_large, "ONE_PART_OF", 4)
        server = Ours()
        if request.param == "in memory":
            server.bench.server.service.site.between_frames = memoryview(bytearray(11))
        yield server
        server.bench.close()


def split(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted({min(cut, len(data)) for cut in cuts}), len(data)]
    return [data[a:b] for a, b in zip(edges, edges[1:], strict=False) if a < b]


def every_place(data: bytes) -> list[int]:
    """All places at which to cut, but for most of those within a long run of the same byte under a mask."""
    return [at for at in range(len(data)) if at % 20 == 0 or data[at - 8 : at] != data[at - 4 : at + 4]]


# ---- any bytes -----------------------------------------------------------------------------------------

texts = st.sampled_from(
    ["", "a", "hello", "é", "日本", "\U0001f600" * 3, "x" * 125, "x" * 126, "y" * 300]
).map(str.encode)
broken = st.sampled_from([b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xf0\x9f", b"a\x80", b"\xf8\x88\x80\x80\x80"])
payloads = st.one_of(
    texts, broken, st.binary(max_size=10), st.sampled_from([b"z" * 999, b"z" * 1000, b"z" * 1001])
)
codes = st.sampled_from(
    [0, 999, 1000, 1001, 1002, 1003, 1004, 1005, 1006, 1007, 1009, 1011, 1015, 1016, 2999, 3000, 4999, 5000]
)
closes = st.tuples(codes, st.one_of(texts, broken)).map(
    lambda pair: struct.pack("!H", pair[0]) + pair[1][:123]
)


@st.composite
def frames(draw: st.DrawFn) -> bytes:
    """A frame, most often one that is allowed somewhere."""
    opcode = draw(
        st.sampled_from([TEXT, TEXT, BINARY, CONTINUATION, CONTINUATION, PING, PONG, CLOSE, 3, 0xB])
    )
    payload = draw(closes if opcode == CLOSE else payloads)
    rare = draw(st.integers(0, 30))
    return client_frame(
        opcode,
        payload,
        final=draw(st.sampled_from([True, True, False])) if opcode < 8 else rare != 1,
        reserved=rare if rare in (2, 4) else 0,
        mask=None
        if rare == 5
        else draw(st.sampled_from([b"\x00\x00\x00\x00", b"\x37\xfa\x21\x3d", b"\xff\x00\xff\x01"])),
        length_bytes=8 if rare == 6 else 2 if rare == 7 and len(payload) < 65536 else None,
    )


@settings(max_examples=250)
@given(
    st.lists(frames(), max_size=6).map(b"".join),
    st.lists(st.integers(0, 2000), max_size=6),
    st.integers(0, 20),
    st.booleans(),
)
@example(
    client_frame(TEXT, b"ab", final=False) + client_frame(PING, b"p") + client_frame(CONTINUATION, b"c"),
    [3, 9, 15],
    20,
    False,
)
@example(client_frame(TEXT, b"\xc3", final=False) + client_frame(CONTINUATION, b"\xa9"), [7], 20, True)
@example(client_frame(TEXT, b"x" * 1001), [], 20, False)
@example(client_frame(BINARY, b"", mask=None), [], 20, False)
@example(client_frame(TEXT, b"hi", mask=None), [1], 20, False)
@example(client_frame(BINARY, b"x" * 10, length_bytes=8), [2, 3, 4, 5], 20, False)
def test_any_bytes_in_any_pieces_are_read_as_autobahn_alone_reads_them(
    ours: Ours, data: bytes, cuts: list[int], byte: int, early: bool
) -> None:
    if byte < min(6, len(data)):  # turn a bit of a header
        data = data[:byte] + bytes((data[byte] ^ (1 << byte),)) + data[byte + 1 :]
    pieces = split(data, cuts)
    expected = by_autobahn(pieces)
    found = ours.read(pieces, early)
    if found[1] is None and expected[1] is not None and expected[1][0] == "failed":
        # Autobahn looks at text byte by byte; the short path waits for the end of the frame.
        assert ours.read(pieces + [b"\x00" * 2000])[1] == expected[1]
        assert found[0] == expected[0]
        return
    assert found == expected
    assert ours.read(split(data, every_place(data))) == ours.read([data])


# ---- one by one ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 3, 4, 125, 126, 127, 128, 129, 999, 1000])
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_messages_of_every_length(ours: Ours, size: int, opcode: int) -> None:
    payload = (bytes(range(32, 127)) * 20)[:size]
    message = payload.decode() if opcode == TEXT else payload
    data = client_frame(opcode, payload, mask=b"\x01\x80\xff\x7f")
    assert ours.read([data * 3]) == ([message] * 3, None)
    assert ours.read(split(data, list(range(len(data))))) == ([message], None)


@pytest.mark.parametrize("size", [65535, 65536, 1_000_000])
def test_long_messages(size: int) -> None:
    server = Ours(websocket_max_frame_size=0, websocket_max_message_size=0, websocket_max_queue=10_000_000)
    payload = (b"0123456789abcdef" * (size // 16 + 1))[:size]
    data = client_frame(BINARY, payload)
    assert server.read([data]) == ([payload], None)
    assert server.read(split(data, list(range(0, len(data), 7001)))) == ([payload], None)
    server.bench.close()


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (client_frame(TEXT, b"hi", mask=None), 1002),
        (client_frame(BINARY, b"", mask=None), 1002),
        (client_frame(TEXT, b"hi", reserved=4), 1002),
        (client_frame(TEXT, b"hi", reserved=1), 1002),
        (client_frame(3, b""), 1002),
        (client_frame(0xB, b""), 1002),
        (client_frame(CONTINUATION, b"hi"), 1002),
        (client_frame(TEXT, b"a", final=False) + client_frame(TEXT, b"b"), 1002),
        (client_frame(TEXT, b"x" * 10, length_bytes=2), 1002),
        (client_frame(TEXT, b"x" * 130, length_bytes=8), 1002),
        (client_frame(PING, b"x" * 126), 1002),
        (client_frame(PING, b"", final=False), 1002),
        (client_frame(CLOSE, b"x"), 1002),
        (close_frame(999), 1002),
        (close_frame(1005), 1002),
        (close_frame(1006), 1002),
        (close_frame(1015), 1002),
        (close_frame(2000), 1002),
        (close_frame(1000, b"\xff"), 1007),
        (client_frame(TEXT, b"\xff"), 1007),
        (client_frame(TEXT, b"\xed\xa0\x80"), 1007),
        (client_frame(TEXT, b"\xc3", final=False) + client_frame(CONTINUATION, b"x"), 1007),
        (client_frame(TEXT, b"x" * (MOST_IN_FRAME + 1)), 1009),
        (client_frame(BINARY, b"x" * (MOST_IN_FRAME + 1))[:8], 1009),
        (client_frame(BINARY, b"x" * 1000, final=False) + client_frame(CONTINUATION, b"x" * 501), 1009),
        (b"\x82\xff\x80\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00", 1002),
        (b"\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00", 1009),
    ],
)
def test_what_is_refused_and_with_which_code(ours: Ours, data: bytes, code: int) -> None:
    before = client_frame(TEXT, b"before")
    assert ours.read([before + data]) == (["before"], ("failed", code))
    assert ours.read([before, data]) == (["before"], ("failed", code))
    assert ours.read([before + data + client_frame(TEXT, b"after")]) == (["before"], ("failed", code))
    assert ours.read([before, *split(data, list(range(len(data))))]) == (["before"], ("failed", code))


def test_limits_are_exact(ours: Ours) -> None:
    assert ours.read([client_frame(BINARY, b"x" * MOST_IN_FRAME)]) == ([b"x" * MOST_IN_FRAME], None)
    parts = client_frame(BINARY, b"x" * 1000, final=False) + client_frame(CONTINUATION, b"x" * 500)
    assert ours.read([parts]) == ([b"x" * 1500], None)


@pytest.mark.parametrize(("fragments", "passes"), [(10, True), (11, False)])
@pytest.mark.parametrize("size", [0, 1])
def test_the_number_of_fragments_is_limited(fragments: int, passes: bool, size: int) -> None:
    server = Ours(websocket_max_fragments=10)
    data = client_frame(BINARY, b"x" * size, final=False)
    data += client_frame(CONTINUATION, b"x" * size, final=False) * (fragments - 2)
    data += client_frame(CONTINUATION, b"x" * size)
    if passes:
        assert server.read([data]) == ([b"x" * size * fragments], None)
    else:
        assert server.read([data]) == ([], ("failed", 1008))
    server.bench.close()


def test_control_frames_may_stand_between_fragments(ours: Ours) -> None:
    data = client_frame(TEXT, b"a", final=False) + client_frame(PING, b"p") + client_frame(CONTINUATION, b"b")
    connection = ours.bench.exchange(handshake("/", []), data)
    assert sent_frames(bytes(connection.received)) == [Frame(PONG, b"p")]
    assert ours.listener.events == [{"type": "websocket.receive", "text": "ab"}]
    connection.reset()
    ours.bench.loop.settle()


@pytest.mark.parametrize("payload", [b"", b"x" * 125])
def test_a_ping_gets_its_pong(ours: Ours, payload: bytes) -> None:
    connection = ours.bench.exchange(
        handshake("/", []), client_frame(PING, payload) + client_frame(PONG, b"unasked")
    )
    assert sent_frames(bytes(connection.received)) == [Frame(PONG, payload)]
    connection.reset()
    ours.bench.loop.settle()


@pytest.mark.parametrize(
    ("data", "code", "reason"),
    [
        (close_frame(None), 1005, ""),
        (close_frame(1000), 1000, ""),
        (close_frame(1001, b"bye"), 1001, "bye"),
        (close_frame(1012), 1012, ""),
        (close_frame(3000, "é".encode()), 3000, "é"),
        (close_frame(4999, b"x" * 123), 4999, "x" * 123),
    ],
)
def test_the_clients_close_reaches_the_application_and_is_answered(
    ours: Ours, data: bytes, code: int, reason: str
) -> None:
    assert ours.read([data]) == ([], ("closed", code, reason))


@pytest.mark.parametrize("within", [False, True])
@pytest.mark.parametrize("opcode", [PING, PONG])
@pytest.mark.parametrize("cut", [0, 1, 7])
def test_a_flood_of_pings_leaves_others_their_turn(serve: Serve, within: bool, opcode: int, cut: int) -> None:
    """However much of it is read at once, also in the middle of a message; and nothing of it is lost."""
    socket = Open(serve)
    begin, end = (client_frame(TEXT, b"a", final=False), client_frame(CONTINUATION, b"b"))
    flood = client_frame(opcode, b"x" * 125) * 1000
    data = begin + flood + end if within else flood + client_frame(TEXT, b"ab")
    socket.connection.send(data[: len(data) - cut])
    socket.loop._turn()
    others = [0]
    socket.loop.call_soon(others.append, 1)
    received = socket.loop.create_task(socket.told.receives[0]())
    while not received.done() and others[-1] < 1000:
        socket.loop._turn()
        others.append(others[-1] + 1)
        if others[-1] == 20 and cut:
            socket.connection.send(data[len(data) - cut :])
    assert received.result()["text"] == "ab"
    assert others[-1] >= 10
    assert len(socket.read()) == (1000 if opcode == PING else 0)
    socket.finish()


@pytest.mark.parametrize("fragments", [1, 2])
def test_what_an_application_is_behind_with_is_kept_as_it_came(serve: Serve, fragments: int) -> None:
    """Messages take several times the memory of their frames, and one read brings thousands of small ones."""
    socket = Open(serve, websocket_max_queue=10_000)
    message = client_frame(TEXT, b"a", final=False) + client_frame(CONTINUATION, b"b")
    if fragments == 1:
        message = client_frame(TEXT, b"ab")
    socket.write(message * 5000 + close_frame(1000))
    [stream] = socket.bench.server.service.runner.streams
    assert stream._queued < 20_000
    received = [socket.receive() for _ in range(5001)]
    assert [event["text"] for event in received[:-1]] == ["ab"] * 5000
    assert received[-1]["code"] == 1000
    socket.finish()
