"""The echo client: every byte is compared, whatever the pieces in which it comes."""

import pytest

pytest.importorskip("uvloop")

from benchmarks.load import frames
from benchmarks.load.websockets import CLOSE_FRAME, EchoClient, payload_for

PAYLOAD = b"something to echo"
ECHO = frames.plain_frame(frames.TEXT, PAYLOAD)
PING = frames.plain_frame(frames.PING, b"alive?")


class WrittenBytes:
    """A transport that keeps what is written."""

    def __init__(self):
        self.written = b""
        self.closed = False

    def write(self, data):
        self.written += data

    def close(self):
        self.closed = True

    abort = close


@pytest.fixture
def client():
    made = EchoClient("127.0.0.1:80", frames.TEXT, PAYLOAD, lambda: None)
    made.connection_made(WrittenBytes())
    return made


def answer(client):
    token = frames.accept_token(client.key)
    client.data_received(b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: " + token + b"\r\n\r\n")
    assert client.open
    client.transport.written = b""
    client.start()


def pieces(data, size):
    return [data[start : start + size] for start in range(0, len(data), size)]


@pytest.mark.parametrize("size", [1, 3, len(ECHO), 1000])
def test_echoes_in_any_pieces_are_counted_and_answered_by_the_next_message(client, size):
    answer(client)
    for _ in range(5):
        for piece in pieces(ECHO, size):
            client.data_received(piece)
    assert client.problem is None
    assert len(client.latencies) == 5
    assert client.transport.written == client.frame * 6


@pytest.mark.parametrize("size", [1, 1000])
def test_a_ping_before_an_echo_is_answered(client, size):
    answer(client)
    for piece in pieces(PING + ECHO, size):
        client.data_received(piece)
    assert client.problem is None
    assert len(client.latencies) == 1
    pong = frames.masked_frame(frames.PONG, b"alive?", b"\0\0\0\0")
    assert client.transport.written == client.frame + pong + client.frame


@pytest.mark.parametrize(
    "wrong",
    [
        frames.plain_frame(frames.BINARY, PAYLOAD),
        frames.plain_frame(frames.TEXT, PAYLOAD[:-1] + b"!"),
        frames.plain_frame(frames.CLOSE, b"\x03\xf3" + b"x" * 20),
    ],
)
def test_anything_else_is_a_problem(client, wrong):
    answer(client)
    client.data_received(wrong)
    assert "an echo differs" in client.problem
    assert client.done and client.transport.closed
    assert client.latencies == []


def test_a_refused_handshake_is_a_problem(client):
    client.data_received(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n")
    assert "403" in client.problem and not client.open


def test_a_connection_that_the_server_closes_is_a_problem(client):
    answer(client)
    client.connection_lost(None)
    assert "closed the connection" in client.problem


def test_after_stop_the_echo_under_way_is_the_last_and_the_connection_is_closed(client):
    answer(client)
    client.stop()
    client.data_received(ECHO)
    client.connection_lost(None)
    assert client.problem is None and client.done
    assert client.transport.written == client.frame + CLOSE_FRAME


@pytest.mark.parametrize("text", [True, False])
def test_no_two_connections_send_the_same(text):
    sent = {payload_for(number, 100, text) for number in range(32)}
    assert len(sent) == 32 and {len(payload) for payload in sent} == {100}
    if text:
        assert all(payload.decode("utf-8") for payload in sent)
