"""The client's bytes, judged by another implementation of the protocol."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.load import frames

websockets_server = pytest.importorskip("websockets.server")
from websockets.frames import Frame, Opcode  # noqa: E402
from websockets.http11 import Request  # noqa: E402

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="


def opened_server():
    server = websockets_server.ServerProtocol(max_size=None)
    server.receive_data(frames.handshake("127.0.0.1:80", "/chat", KEY))
    request = server.events_received()[0]
    assert isinstance(request, Request)
    assert request.path == "/chat"
    server.send_response(server.accept(request))
    return server


def test_the_handshake_is_accepted_and_the_answer_to_it_is_recognised():
    answer = b"".join(opened_server().data_to_send())
    assert frames.handshake_problem(answer.partition(b"\r\n\r\n")[0], KEY) is None


def test_the_token_is_that_of_the_rfc():
    assert frames.accept_token(KEY) == b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


@pytest.mark.parametrize(
    ("head", "said"),
    [
        (b"HTTP/1.1 403 Forbidden\r\nsec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", "403"),
        (b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: wrong", "wrong sec-websocket-accept"),
        (b"HTTP/1.1 101 Switching Protocols", "wrong sec-websocket-accept"),
    ],
)
def test_another_answer_to_the_handshake_is_a_problem(head, said):
    assert said in frames.handshake_problem(head, KEY)


@given(
    opcode=st.sampled_from([frames.TEXT, frames.BINARY]),
    payload=st.one_of(st.binary(max_size=200), st.integers(0, 70_000).map(lambda size: b"\xc3\xa9" * size)),
    mask=st.binary(min_size=4, max_size=4),
)
def test_a_masked_frame_is_read_as_what_was_sent(opcode, payload, mask):
    server = opened_server()
    if opcode == frames.TEXT:
        payload = payload.decode("utf-8", "replace").encode()
    server.receive_data(frames.masked_frame(opcode, payload, mask))
    (frame,) = server.events_received()
    assert (frame.opcode, bytes(frame.data), frame.fin) == (opcode, payload, True)


@given(st.one_of(st.binary(max_size=200), st.integers(0, 140_000).map(os.urandom)))
def test_the_expected_frame_is_what_a_server_sends(payload):
    sent = Frame(Opcode.BINARY, payload).serialize(mask=False)
    assert frames.plain_frame(frames.BINARY, payload) == sent
