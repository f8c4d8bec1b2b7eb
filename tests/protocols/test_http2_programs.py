"""HTTP/2 over real sockets with programs that this project did not write: nghttp, h2load, curl; in clear text
and over TLS, and both ways to the application. (What httpx and curl can do besides: tests/clients.)
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.programs import require_program
from tests.servers import DEADLINE, TARGETS, serving, serving_tls


@pytest.fixture(scope="module", params=["http", "https"])
def scheme(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module", params=TARGETS)
def url(
    request: pytest.FixtureRequest, scheme: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """Where the demonstration is served."""
    start = serving_tls if scheme == "https" else serving
    with start(*TARGETS[request.param], folder=tmp_path_factory.mktemp("server")) as server:
        assert "HTTP/2 support enabled" in server.output
        yield server.address.url("")


def run(name: str, *arguments: str | Path) -> str:
    """What a program writes; it must end well and in time."""
    command = [require_program(name), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=4 * DEADLINE)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_h2load_without_an_error(url: str) -> None:
    report = run("h2load", "-n", "3000", "-c", "8", "-m", "16", url + "/scope")
    assert "3000 succeeded, 0 failed, 0 errored, 0 timeout" in report
    assert "3000 2xx, 0 3xx, 0 4xx, 0 5xx" in report


def test_h2load_with_a_body_and_small_windows(url: str, tmp_path: Path) -> None:
    body = tmp_path / "body"
    body.write_bytes(b"x" * 100_000)
    report = run(
        "h2load", "-n", "50", "-c", "2", "-m", "5", "-w", "14", "-W", "15", "-d", body, url + "/upload"
    )
    assert "50 succeeded, 0 failed, 0 errored, 0 timeout" in report
    report = run("h2load", "-n", "50", "-c", "2", "-m", "5", "-w", "10", "-W", "11", url + "/demo.js")
    assert "50 succeeded, 0 failed, 0 errored, 0 timeout" in report


def test_nghttp_gets_a_page_with_its_files(url: str) -> None:
    statistics = run("nghttp", "--stat", "--get-assets", "--null-out", "--no-verify-peer", url + "/")
    assert " 200 " in statistics
    assert "/demo.css" in statistics
    assert "/demo.js" in statistics


def test_nghttp_uploads_and_reads_trailers_of_its_own(url: str, tmp_path: Path) -> None:
    body = tmp_path / "body"
    body.write_bytes(bytes(range(256)) * 5000)
    arguments = ["--data", str(body), "--trailer", "x-sum: 7", "--no-verify-peer", "--padding=100"]
    assert "1280000" in run("nghttp", *arguments, url + "/upload")


def test_curl_speaks_http2_where_it_may(url: str, scheme: str) -> None:
    arguments = ["-sk", "-o", "/dev/null", "-w", "%{http_version} %{http_code}"]
    assert run("curl", *arguments, "--http2", url + "/") == ("2 200" if scheme == "https" else "1.1 200")
    assert run("curl", *arguments, "--http2-prior-knowledge", url + "/") == "2 200"
    assert run("curl", *arguments, "--http1.1", url + "/") == "1.1 200"
