"""Whom a server believes (R15, R23 to R25): over real sockets and in both modes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.hostile.client import MODES, Peer, statuses
from tests.hostile.http2 import Peer2
from tests.protocols.http2_client import request_fields
from tests.servers import Process, serving

FORGED = (
    b"X-Forwarded-For: 198.51.100.7\r\nX-Forwarded-Port: 4711\r\nX-Forwarded-Proto: https\r\n"
    b"Daphne-Root-Path: /forged\r\n"
)


def scope(server: Process, lines: bytes) -> dict[str, Any]:
    with Peer(server.address) as peer:
        peer.send(b"GET /scope HTTP/1.1\r\nHost: a\r\n%b\r\n" % lines)
        answer = peer.answer()
        assert answer.status == 200
        return dict(json.loads(answer.body))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("peers", ["192.0.2.1", "none"])
def test_a_stranger_cannot_forge_its_address(mode: str, peers: str, tmp_path: Path) -> None:
    with serving("--proxy-headers", "--trusted-proxies", peers, *MODES[mode], folder=tmp_path) as server:
        seen = scope(server, FORGED)
        assert seen["client"][0] == "127.0.0.1"
        assert (seen["scheme"], seen["root_path"]) == ("http", "")
        assert "daphne-root-path" not in dict(seen["headers"])
        address = b"POST https://a/ HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx"
        assert statuses(server.address, address) == [421]  # RFC 9110 section 7.4
        with Peer2(server.address) as peer:
            peer.write(peer.headers(1, request_fields(scheme="https")))
            assert peer.outcome(1) == 421
            peer.write(peer.headers(3, request_fields()))
            assert peer.outcome(3) == 200
        assert "--trusted-proxies" in server.output


@pytest.mark.parametrize("mode", MODES)
def test_a_trusted_proxy_is_believed_and_nonsense_is_passed_over(mode: str, tmp_path: Path) -> None:
    with serving("--proxy-headers", *MODES[mode], folder=tmp_path) as server:
        seen = scope(server, FORGED)
        assert seen["client"] == ["198.51.100.7", 4711]
        assert (seen["scheme"], seen["root_path"]) == ("https", "/forged")
        # The right-most address that is no trusted proxy: what stands left of it may be forged.
        seen = scope(server, b"X-Forwarded-For: 203.0.113.1, 198.51.100.7, 127.0.0.1\r\n")
        assert seen["client"][0] == "198.51.100.7"
        for nonsense in (b"a", b"'; DROP", b"999.1.1.1", b",,,", b"\xff\xfe", b"[::1", b"1.2.3.4:99999"):
            seen = scope(server, b"X-Forwarded-For: %b\r\nX-Forwarded-Proto: javascript\r\n" % nonsense)
            assert (seen["client"][0], seen["scheme"]) == ("127.0.0.1", "http")


def test_names_that_could_pass_for_others_are_dropped(plain: Process) -> None:
    seen = scope(
        plain, b"X_Forwarded_For: 1.2.3.4\r\nRemote_User: root\r\nProxy: http://evil/\r\nX-Fine: a\r\n"
    )
    assert [name for name, _ in seen["headers"]] == ["host", "x-fine"]


def test_nobody_writes_lines_of_the_log(plain: Process) -> None:
    target = b'/"%0d%0a\\x1b[31m' + b"'a"
    assert statuses(
        plain.address, b"GET " + target + b" HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    ) == [200]
    plain.wait_until(lambda: r"GET /\x22%0d%0a\x5Cx1b[31m'a" in plain.output, "the line of the request")
