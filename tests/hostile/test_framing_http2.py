"""The rules of test_framing.py as HTTP/2 can break them (RFC 9113 sections 8.1 to 8.3), over real
sockets and in both modes: a request that is refused ends its own stream, and the connection goes on.
"""

from __future__ import annotations

import pytest
from hyperframe import frame as frames

from tests.hostile.http2 import Peer2
from tests.protocols.http2_client import Headers, request_fields
from tests.servers import Process

MALFORMED = "RST_STREAM 1"

REFUSED: dict[str, tuple[Headers, int | str]] = {
    "R1 a coding": (request_fields(headers=[(b"transfer-encoding", b"chunked")]), MALFORMED),
    "R1 two lengths": (
        request_fields(headers=[(b"content-length", b"0"), (b"content-length", b"0")]),
        MALFORMED,
    ),
    "R1 a signed length": (request_fields(headers=[(b"content-length", b"+0")]), MALFORMED),
    "R1 a length without a body": (request_fields(headers=[(b"content-length", b"5")]), MALFORMED),
    "R2 CR in a value": (request_fields(headers=[(b"x", b"a\rb")]), MALFORMED),
    "R2 LF in a value": (request_fields(headers=[(b"x", b"a\nb")]), MALFORMED),
    "R2 CRLF in a value": (request_fields(headers=[(b"x", b"a\r\ny: b")]), MALFORMED),
    "R2 NUL in a value": (request_fields(headers=[(b"x", b"a\0b")]), MALFORMED),
    "R2 space around a value": (request_fields(headers=[(b"x", b" a")]), MALFORMED),
    "R2 a name in capitals": (request_fields(headers=[(b"X", b"a")]), MALFORMED),
    "R2 a name with a space": (request_fields(headers=[(b"x a", b"b")]), MALFORMED),
    "R2 a name with a colon": (request_fields(headers=[(b"x:y", b"b")]), MALFORMED),
    "R2 an empty name": (request_fields(headers=[(b"", b"b")]), MALFORMED),
    "R5 two hosts that differ": (request_fields(headers=[(b"host", b"b")]), MALFORMED),
    "R5 no host": (request_fields(authority=""), 400),
    "R5 user information": (request_fields(authority="u@a"), 400),
    "fields of a connection": (request_fields(headers=[(b"connection", b"close")]), MALFORMED),
    "te other than trailers": (request_fields(headers=[(b"te", b"gzip")]), MALFORMED),
    "no method": (request_fields(method=""), MALFORMED),
    "no path": (request_fields(path=""), MALFORMED),
    "no scheme": (request_fields(scheme=""), MALFORMED),
    "two paths": ([*request_fields(), (b":path", b"/b")], MALFORMED),
    "an unknown pseudo-header": ([(b":x", b"a"), *request_fields()], MALFORMED),
    "a pseudo-header of answers": ([(b":status", b"200"), *request_fields()], MALFORMED),
    "a pseudo-header after a field": ([(b"x", b"a"), *request_fields()], MALFORMED),
    "a path with a space": (request_fields(path="/a b"), 400),
    "a relative path": (request_fields(path="a"), MALFORMED),
    "a request line smuggled in a path": (request_fields(path="/ HTTP/1.1\r\nHost: a\r\n\r\n"), MALFORMED),
    "a method that is no token": (request_fields(method="G T"), MALFORMED),
    "R16 a long path": (request_fields(path="/" + "a" * 17000), 414),
    "R16 many fields": (request_fields(headers=[(b"x", b"a")] * 200), 431),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_malformed_ends_its_stream_and_the_next_is_served(plain: Process, name: str) -> None:
    fields, outcome = REFUSED[name]
    with Peer2(plain.address) as peer:
        head = peer.headers(1, fields)
        data = head.data
        if len(data) > 16384:
            head.data, rest = data[:16384], data[16384:]
            head.flags.discard("END_HEADERS")
            peer.write(head, frames.ContinuationFrame(1, rest, flags=["END_HEADERS"]))
        else:
            peer.write(head)
        assert peer.outcome(1) == outcome
        peer.write(peer.headers(3, request_fields()))
        assert peer.outcome(3) == 200
