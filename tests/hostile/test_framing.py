"""One reading of every message or a refusal (R1 to R8, R16, R25, R27): real sockets, both modes."""

from __future__ import annotations

import pytest

from tests.hostile.client import LAST, Peer, statuses
from tests.servers import Process


def post(*lines: bytes, body: bytes = b"", version: bytes = b"1.1") -> bytes:
    return b"\r\n".join([b"POST / HTTP/" + version, b"Host: a", *lines, b"", body])


def get(*lines: bytes) -> bytes:
    return b"\r\n".join([b"GET / HTTP/1.1", b"Host: a", *lines, b"", b""])


def chunked(body: bytes) -> bytes:
    return post(b"Transfer-Encoding: chunked", body=body)


def handshake(**changed: bytes | None) -> bytes:
    fields: dict[str, bytes | None] = {
        "Host": b"a",
        "Connection": b"Upgrade",
        "Upgrade": b"websocket",
        "Sec-WebSocket-Version": b"13",
        "Sec-WebSocket-Key": b"dGhlIHNhbXBsZSBub25jZQ==",
    }
    fields.update({name.replace("_", "-"): value for name, value in changed.items()})
    lines = [f"{name}: ".encode() + value for name, value in fields.items() if value is not None]
    return b"\r\n".join([b"GET / HTTP/1.1", *lines, b"", b""])


SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"

REFUSED: dict[str, tuple[bytes, int]] = {
    # R1: one framing rule
    "R1 both lengths": (post(b"Content-Length: 4", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"), 400),
    "R1 both lengths, other order": (
        post(b"Transfer-Encoding: chunked", b"Content-Length: 4", body=b"0\r\n\r\n"),
        400,
    ),
    "R1 two lengths": (post(b"Content-Length: 1", b"Content-Length: 2", body=b"x"), 400),
    "R1 two equal lengths": (post(b"Content-Length: 1", b"Content-Length: 1", body=b"x"), 400),
    "R1 a list of lengths": (post(b"Content-Length: 1, 1", body=b"x"), 400),
    "R1 a signed length": (post(b"Content-Length: +1", body=b"x"), 400),
    "R1 a negative length": (post(b"Content-Length: -1", body=b"x"), 400),
    "R1 a hexadecimal length": (post(b"Content-Length: 0x1", body=b"x"), 400),
    "R1 a spaced length": (post(b"Content-Length: 1 1", body=b"x"), 400),
    "R1 a length with an underscore": (post(b"Content-Length: 1_0", body=b"x"), 400),
    "R1 an empty length": (post(b"Content-Length: ", body=b"x"), 400),
    "R1 a huge length": (post(b"Content-Length: " + b"9" * 30), 400),
    "R1 Arabic digits": (post("Content-Length: \u0661".encode(), body=b"x"), 400),
    "R1 superscript digits": (post(b"Content-Length: \xb2", body=b"x"), 400),
    "R1 gzip, chunked": (post(b"Transfer-Encoding: gzip, chunked", body=b"0\r\n\r\n"), 400),
    "R1 chunked, gzip": (post(b"Transfer-Encoding: chunked, gzip", body=b"0\r\n\r\n"), 400),
    "R1 identity": (post(b"Transfer-Encoding: identity", b"Content-Length: 1", body=b"x"), 400),
    "R1 xchunked": (post(b"Transfer-Encoding: xchunked", body=b"0\r\n\r\n"), 400),
    "R1 quoted chunked": (post(b'Transfer-Encoding: "chunked"', body=b"0\r\n\r\n"), 400),
    "R1 chunked with a parameter": (post(b"Transfer-Encoding: chunked;q=1", body=b"0\r\n\r\n"), 400),
    "R1 chunked twice": (
        post(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"),
        400,
    ),
    "R1 chunked, chunked": (post(b"Transfer-Encoding: chunked, chunked", body=b"0\r\n\r\n"), 400),
    "R1 chunked after a vertical tab": (post(b"Transfer-Encoding: \x0bchunked", body=b"0\r\n\r\n"), 400),
    "R1 chunked before a comma": (post(b"Transfer-Encoding: chunked,", body=b"0\r\n\r\n"), 400),
    "R1 an empty transfer coding": (post(b"Transfer-Encoding: ", body=b"0\r\n\r\n"), 400),
    "R1 spaced name of the coding": (post(b"Transfer-Encoding : chunked", body=b"0\r\n\r\n"), 400),
    "R1 a coding in 1.0": (post(b"Transfer-Encoding: chunked", body=b"0\r\n\r\n", version=b"1.0"), 400),
    # R2: lines
    "R2 bare LF": (b"GET / HTTP/1.1\nHost: a\n\n", 400),
    "R2 one bare LF": (b"GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n", 400),
    "R2 bare CR": (b"GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n", 400),
    "R2 bare CR in the request line": (b"GET /\rX HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "R2 NUL in a value": (get(b"X: a\0b"), 400),
    "R2 NUL in a name": (get(b"X\0: a"), 400),
    "R2 control in a value": (get(b"X: a\x08b"), 400),
    "R2 DEL in a value": (get(b"X: a\x7fb"), 400),
    "R2 a folded line": (get(b"X: a", b" b"), 400),
    "R2 a folded line with a tab": (get(b"X: a", b"\tb"), 400),
    "R2 a folded first line": (b"GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400),
    "R2 space before the colon": (get(b"X : a"), 400),
    "R2 tab before the colon": (get(b"X\t: a"), 400),
    "R2 no colon": (get(b"nothing"), 400),
    "R2 an empty name": (get(b": a"), 400),
    "R2 a name that is no token": (get(b"X(a): b"), 400),
    "R2 a name beyond ASCII": (get(b"X\xe9: b"), 400),
    # the request line
    "no version (0.9)": (b"GET /\r\n\r\n", 400),
    "version 2.0": (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
    "version 1.2": (b"GET / HTTP/1.2\r\nHost: a\r\n\r\n", 505),
    "version 0.9 written": (b"GET / HTTP/0.9\r\nHost: a\r\n\r\n", 505),
    "version in small letters": (b"GET / http/1.1\r\nHost: a\r\n\r\n", 400),
    "version with zeros": (b"GET / HTTP/01.1\r\nHost: a\r\n\r\n", 400),
    "two spaces": (b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "a tab for a space": (b"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "a space in the target": (b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "a space at the end": (b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n", 400),
    "a method that is no token": (b"G@T / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "no method": (b" / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "a target beyond ASCII": (b"GET /\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "a fragment": (b"GET /#a HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "a relative target": (b"GET a HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "asterisk with GET": (b"GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "authority-form with GET": (b"GET a:80 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "CONNECT": (b"CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n", 501),
    "a target with user information": (b"GET http://u:p@a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "a target of another scheme": (b"GET file:///etc HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "many empty lines": (b"\r\n" * 20 + LAST, 400),
    "TLS to a plain port": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n\r\n\r\n", 400),
    # R3: chunks
    "R3 no size": (chunked(b"\r\nx\r\n0\r\n\r\n"), 400),
    "R3 a size that is not hexadecimal": (chunked(b"g\r\nx\r\n0\r\n\r\n"), 400),
    "R3 a size with 0x": (chunked(b"0x1\r\nx\r\n0\r\n\r\n"), 400),
    "R3 a signed size": (chunked(b"+1\r\nx\r\n0\r\n\r\n"), 400),
    "R3 a negative size": (chunked(b"-1\r\nx\r\n0\r\n\r\n"), 400),
    "R3 a size with an underscore": (chunked(b"1_0\r\nx\r\n0\r\n\r\n"), 400),
    "R3 a space before the size": (chunked(b" 1\r\nx\r\n0\r\n\r\n"), 400),
    "R3 a huge size": (chunked(b"1" + b"0" * 16 + b"\r\nx"), 400),
    "R3 data longer than its size": (chunked(b"1\r\nxy\r\n0\r\n\r\n"), 400),
    "R3 data that ends in LF": (chunked(b"1\r\nx\n0\r\n\r\n"), 400),
    "R3 a size line that ends in LF": (chunked(b"1\nx\r\n0\r\n\r\n"), 400),
    "R3 LF in an extension": (chunked(b"1;a\nb\r\nx\r\n0\r\n\r\n"), 400),
    "R3 CR in an extension": (chunked(b"1;a\rb\r\nx\r\n0\r\n\r\n"), 400),
    "R3 a long extension": (chunked(b"1;" + b"a" * 5000 + b"\r\nx\r\n0\r\n\r\n"), 400),
    "R3 a malformed trailer": (chunked(b"0\r\nnothing\r\n\r\n"), 400),
    "R3 a folded trailer": (chunked(b"0\r\nX: a\r\n b\r\n\r\n"), 400),
    "R3 long trailers": (chunked(b"0\r\n" + b"X: " + b"a" * 20000 + b"\r\n\r\n"), 400),
    # R5: Host
    "R5 no Host": (b"GET / HTTP/1.1\r\n\r\n", 400),
    "R5 no Host with an absolute target": (b"GET http://a/ HTTP/1.1\r\n\r\n", 400),
    "R5 two Hosts": (get(b"Host: a"), 400),
    "R5 two Hosts in 1.0": (b"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", 400),
    "R5 a list of Hosts": (b"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", 400),
    "R5 Host with a path": (b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
    "R5 Host with user information": (b"GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", 400),
    "R5 Host with a port too high": (b"GET / HTTP/1.1\r\nHost: a:65536\r\n\r\n", 400),
    "R5 Host with a port that is a word": (b"GET / HTTP/1.1\r\nHost: a:b\r\n\r\n", 400),
    "R5 Host with a space": (b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
    "R5 Host with half an escape": (b"GET / HTTP/1.1\r\nHost: a%4\r\n\r\n", 400),
    "R5 Host in brackets that is no address": (b"GET / HTTP/1.1\r\nHost: [::1::2]\r\n\r\n", 400),
    "R5 Host beyond ASCII": (b"GET / HTTP/1.1\r\nHost: \xe9\r\n\r\n", 400),
    # R16: sizes
    "R16 a long request line": (b"GET /" + b"a" * 20000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
    "R16 a long field": (get(b"X: " + b"a" * 70000), 431),
    "R16 many fields": (get(*[b"X: a"] * 200), 431),
    "expectations": (post(b"Expect: 200-ok", b"Content-Length: 1", body=b"x"), 417),
    # R27: the WebSocket handshake
    "R27 another version": (handshake(Sec_WebSocket_Version=b"8"), 426),
    "R27 no version": (handshake(Sec_WebSocket_Version=None), 400),
    "R27 two versions": (handshake(Sec_WebSocket_Version=b"13, 8"), 426),
    "R27 no key": (handshake(Sec_WebSocket_Key=None), 400),
    "R27 a short key": (handshake(Sec_WebSocket_Key=b"c2hvcnQ="), 400),
    "R27 a key that is not base64": (handshake(Sec_WebSocket_Key=b"!" * 24), 400),
    "R27 Upgrade without its option": (handshake(Connection=b"keep-alive"), 400),
    "R27 POST": (handshake().replace(b"GET", b"POST", 1), 405),
    "R27 a body": (handshake(Content_Length=b"1") + b"x", 400),
    "R27 subprotocols twice": (handshake(Sec_WebSocket_Protocol=b"a, a"), 400),
}

TAKEN: dict[str, bytes] = {
    "a plain request": get(),
    "an absolute target": b"GET http://b:80/x HTTP/1.1\r\nHost: a\r\n\r\n",
    "asterisk with OPTIONS": b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
    "an unknown method": b"BREW / HTTP/1.1\r\nHost: a\r\n\r\n",
    "an empty line before": b"\r\n" + get(),
    "an empty Host": b"GET / HTTP/1.1\r\nHost: \r\n\r\n",
    "Host in brackets": b"GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n",
    "a body with GET": b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx",
    "a length with leading zeros": post(b"Content-Length: 0001", body=b"x"),
    "chunks": chunked(b"1\r\nx\r\nA;a=b\r\n" + b"y" * 10 + b"\r\n0\r\nX: a\r\n\r\n"),
    "chunks in capitals": post(b"Transfer-Encoding: CHUNKED", body=b"0\r\n\r\n"),
    "no space and much space around values": get(b"X:a", b"Y:  \t a \t"),
    "bytes beyond ASCII in a value": get(b"X: \xe9\xff"),
    "an empty value": get(b"X:"),
    "another upgrade": get(b"Connection: Upgrade", b"Upgrade: h2c"),
    "names that CGI would confuse": get(b"Content_Length: 5", b"Proxy: a"),
    "R16 a target that just fits": b"GET /" + b"a" * 16300 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
    "R16 fields that just fit": get(*[b"X: a"] * 127),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_two_readings_is_refused_and_nothing_after_it_is_read(plain: Process, name: str) -> None:
    data, status = REFUSED[name]
    before = plain.output.count("smuggled")
    assert statuses(plain.address, data + SMUGGLED * 3) == [status]
    assert plain.output.count("smuggled") == before


@pytest.mark.parametrize("name", TAKEN)
def test_what_has_one_reading_is_served_and_the_next_request_too(plain: Process, name: str) -> None:
    assert statuses(plain.address, TAKEN[name] + LAST) == [200, 200]


def test_a_websocket_in_http_1_0_is_a_plain_request(plain: Process) -> None:
    assert statuses(plain.address, handshake().replace(b"1.1", b"1.0", 1)) == [200]


@pytest.mark.parametrize(
    "name", ["R1 both lengths", "R2 bare LF", "R3 data longer than its size", "R16 many fields"]
)
def test_a_refusal_is_the_same_byte_by_byte(plain: Process, name: str) -> None:
    data, status = REFUSED[name]
    with Peer(plain.address) as peer:
        for at in range(len(data)):
            peer.send(data[at : at + 1])
        assert peer.answer().status == status
        assert peer.read_to_end() == b""


def test_an_answer_of_the_server_tells_nothing_of_it(plain: Process) -> None:
    """R14: no exception text, version or path."""
    for path in (b"/fail/at%20once", b"/fail/after%20the%20body"):
        with Peer(plain.address) as peer:
            peer.send(b"GET " + path + b" HTTP/1.1\r\nHost: a\r\n\r\n")
            answer = peer.answer()
            assert answer.status == 500
            for word in (b"secret", b"Broken", b"Traceback", b".py", b"5.0", b"site-packages", b"Python"):
                assert word not in answer.body
            assert answer.header(b"server") == b"daphne"
