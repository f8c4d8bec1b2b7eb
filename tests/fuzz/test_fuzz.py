"""The fuzzers of this folder, a little each time: hypothesis makes whole requests and streams of frames and
spoils them; atheris looks for new paths by coverage where it is installed.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import daphne
from tests.fuzz.targets import SEEDS, TARGETS, http1
from tests.protocols.bench import Bench, Told
from tests.servers import ROOT

METHODS = st.sampled_from([b"GET", b"POST", b"HEAD", b"OPTIONS", b"BREW", b"CONNECT", b"G(T"])
TARGETS_OF_REQUESTS = st.sampled_from(
    [b"/", b"/a?b=c", b"*", b"http://b:1/x", b"a:80", b"/%zz", b"/#f", b"/\xe9"]
)
VERSIONS = st.sampled_from([b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2.0", b"http/1.1"])
FIELDS = st.sampled_from(
    [
        *(
            b"Host: a",
            b"Host: b",
            b"Host:",
            b"Connection: close",
            b"Connection: keep-alive, X",
            b"X: y",
            b"X : y",
        ),
        *(b"Content-Length: 3", b"Content-Length: +3", b"Content-Length: 0", b"Transfer-Encoding: chunked"),
        *(
            b"Transfer-Encoding: gzip",
            b"Expect: 100-continue",
            b" folded",
            b"X: a\0b",
            b"Upgrade: h2c",
            b"X_Y: z",
        ),
    ]
)
BODIES = st.sampled_from(
    [
        b"",
        b"abc",
        b"3\r\nabc\r\n0\r\n\r\n",
        b"3\nabc\r\n0\r\n\r\n",
        b"g\r\n",
        b"1;x\r\na\r\n0\r\nA: b\r\n\r\n",
    ]
)
ENDS = st.sampled_from([b"\r\n", b"\r\n", b"\r\n", b"\n", b"\r"])


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """A whole request, well-formed more often than not."""
    start = b" ".join([draw(METHODS), draw(TARGETS_OF_REQUESTS), draw(VERSIONS)])
    lines = [start, *([b"Host: a"] if draw(st.integers(0, 4)) else []), *draw(st.lists(FIELDS, max_size=4))]
    return b"".join(line + draw(ENDS) for line in lines) + b"\r\n" + draw(BODIES)


@given(st.lists(requests(), min_size=1, max_size=3).map(b"".join))
@settings(max_examples=150)
def test_whole_requests_have_one_reading_however_they_are_split(data: bytes) -> None:
    http1(data)


@pytest.mark.parametrize("name", TARGETS)
def test_the_inputs_to_begin_with_are_fine(name: str) -> None:
    for seed in SEEDS[name]:
        TARGETS[name](seed)


@pytest.mark.parametrize("name", TARGETS)
@given(data=st.data())
@settings(max_examples=150)
def test_spoilt_inputs(name: str, data: st.DataObject) -> None:
    spoilt = bytearray(data.draw(st.sampled_from(SEEDS[name])))
    for _ in range(data.draw(st.integers(0, 4))):
        at = data.draw(st.integers(0, len(spoilt)))
        spoilt[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=6))
    TARGETS[name](bytes(spoilt) + data.draw(st.binary(max_size=64)))


@given(fields=st.lists(FIELDS, max_size=5), target=TARGETS_OF_REQUESTS)
@example(fields=[b"Host: a", b"X: y"], target=b"/a?b=c")
@settings(max_examples=100)
def test_a_request_and_an_upgrade_are_read_alike(fields: list[bytes], target: bytes) -> None:
    """R9: the same head makes the same scope on both paths, or both refuse it (an upgrade with a body is)."""
    own = [b"Upgrade: websocket", b"Connection: Upgrade", b"Sec-WebSocket-Version: 13"]
    own.append(b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")
    plain = scope_of(b"\r\n".join([b"GET " + target + b" HTTP/1.1", *fields, *own[1:], b"", b""]))
    upgraded = scope_of(b"\r\n".join([b"GET " + target + b" HTTP/1.1", *fields, *own, b"", b""]))
    if upgraded is None:
        framed = any(
            line.startswith((b"Content-Length: 3", b"Transfer-Encoding: chunked")) for line in fields
        )
        assert plain is None or framed
        return
    assert plain is not None
    assert upgraded["type"] == "websocket"
    assert [pair for pair in upgraded["headers"] if pair != (b"upgrade", b"websocket")] == plain["headers"]
    for key in ("path", "raw_path", "query_string", "root_path", "client", "server"):
        assert upgraded[key] == plain[key]


def scope_of(data: bytes) -> dict[str, object] | None:
    """The scope that a request makes, or None if it is refused."""
    told = Told()
    bench = Bench(told)
    try:
        bench.exchange(data).reset()
        bench.loop.settle()
        if told.ends:
            told.finish()
        bench.loop.settle()
        return told.scopes[0] if told.scopes else None
    finally:
        bench.close()


@pytest.mark.parametrize("name", TARGETS)
def test_atheris_finds_nothing_in_a_moment(name: str) -> None:
    if importlib.util.find_spec("atheris") is None:
        pytest.skip("atheris is not installed (the extra `fuzz`)")
    command = [sys.executable, "-m", "tests.fuzz", name, "-max_total_time=3"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(daphne.is_compiled(), reason="a compiled call cannot be replaced")
def test_a_fault_would_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The targets are no dummies: a server that answers nonsense fails them."""
    from daphne.protocols import http1_response

    def nonsense(status: int, version: str) -> bytes:
        return b"HTTP/1.1 what"

    monkeypatch.setattr(http1_response, "status_line", nonsense)
    monkeypatch.setattr("daphne.protocols.standard.status_line", nonsense)
    monkeypatch.setattr("tests.fuzz.targets._benches", [])
    with pytest.raises((AssertionError, ValueError)):
        http1(b"GET /nonsense HTTP/1.1\r\nHost: a\r\n\r\n")
