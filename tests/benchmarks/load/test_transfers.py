"""Long transfers: each byte of a download is compared, each answer to an upload is judged."""

import socket
import threading

import pytest

from benchmarks.load import transfers
from tests.benchmarks.load.answering import answering

PIECE = b"0123456789abcdef" * 64


def read_all(sent, first, repetitions=4):
    """Give `sent` to read_pieces after `first` had come with the head."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        sender = threading.Thread(target=lambda: (theirs.sendall(sent), theirs.shutdown(socket.SHUT_WR)))
        sender.start()
        try:
            return transfers.read_pieces(ours, first, bytearray(len(PIECE)), PIECE, repetitions)
        finally:
            sender.join()


@pytest.mark.parametrize("first", [0, 1, len(PIECE), len(PIECE) + 5, 4 * len(PIECE)])
def test_a_download_that_is_right(first):
    body = PIECE * 4
    assert read_all(body[first:], body[:first]) is None


def test_a_download_that_is_cut():
    assert "closed the connection" in read_all(PIECE * 3 + PIECE[:-1], b"")


@pytest.mark.parametrize(("counted", "problem"), [(b"1048576", False), (b"1048575", True)])
def test_an_upload_is_counted_to_the_byte(counted, problem, monkeypatch):
    monkeypatch.setattr(transfers, "UPLOAD_BYTES", 1 << 20)
    answer = b"HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n" + counted
    with answering(answer, once=False) as (target, requests):
        load = transfers.upload(target, 0.0)
    assert bool(load.problems) == problem
    assert len(requests[0].partition(b"\r\n\r\n")[2]) == 1 << 20
    assert problem or load.units == 2
