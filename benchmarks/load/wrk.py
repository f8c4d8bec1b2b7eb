"""HTTP/1.1 load by wrk, clear or TLS: one thread, keep-alive connections, a constant request.

wrk counts bytes and statuses. The answer's content is compared once, before the load, by a request of the
same bytes; its length on the wire then tells what the load must have received.

Called by `benchmarks.scenarios`; calls `single`.
"""

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.load import single
from benchmarks.load.outcome import Load, Target

SCRIPT = Path(__file__).with_name("wrk.lua")
BODY_BYTE = b"x"  # what wrk.lua repeats


class Wrk:
    """A constant request, and the body that must come back to it."""

    def __init__(
        self,
        path: str = "/",
        *,
        expected: bytes,
        body_size: int = 0,
        headers: Mapping[str, str] | None = None,
        connections: int = 64,
    ) -> None:
        self.path = path
        self.expected = expected
        self.method = "POST" if body_size else "GET"
        self.body_size = body_size
        self.headers = dict(headers or {})
        self.connections = connections

    def __call__(self, target: Target, seconds: float) -> Load:
        length, problem = self.check(target)
        if problem:
            return Load(0, 0.0, problems=[problem])
        output = subprocess.run(
            self.command(target, seconds), capture_output=True, text=True, timeout=seconds + 60
        )
        return load_from(output.stdout, length, self.connections)

    def check(self, target: Target) -> tuple[int, str | None]:
        """Ask once: the length of the answer on the wire, and what is wrong with it."""
        headers = dict(self.headers)
        if self.body_size:
            headers["Content-Length"] = str(self.body_size)
        request = single.request_head(target, self.path, self.method, headers) + BODY_BYTE * self.body_size
        with single.connect(target) as connection:
            answer = single.exchange(connection, request)
        if answer.status != 200 or answer.body != self.expected:
            return 0, f"the check was answered {answer.status} {answer.body[:60]!r}"
        return answer.length, None

    def command(self, target: Target, seconds: float) -> list[str]:
        scheme = "https" if target.tls else "http"
        options = [
            "-t1",
            f"-c{self.connections}",
            f"-d{max(1, round(seconds))}s",
            "--timeout",
            "10s",
            "-s",
            str(SCRIPT),
        ]
        for name, value in self.headers.items():
            options += ["-H", f"{name}: {value}"]
        return [
            "wrk",
            *options,
            f"{scheme}://{target.address}{self.path}",
            "--",
            self.method,
            str(self.body_size),
        ]


def load_from(output: str, answer_length: int, connections: int) -> Load:
    """Read the line of wrk.lua and compare its counts with what `answer_length` bytes per answer make."""
    lines = [line for line in output.splitlines() if line.startswith('{"requests"')]
    if not lines:
        return Load(0, 0.0, problems=[f"wrk said {output.strip()[-200:]!r}"])
    report: dict[str, Any] = json.loads(lines[0])
    problems = [f"{count} {kind} errors" for kind, count in report["errors"].items() if count]
    least = report["requests"] * answer_length
    most = least + connections * answer_length  # one answer a connection may have been on its way at the end
    if not least <= report["bytes"] <= most:
        problems.append(f"{report['bytes']} bytes came for {report['requests']} answers of {answer_length}")
    if not report["requests"]:
        problems.append("no request was answered")
    return Load(
        report["requests"], report["microseconds"] / 1e6, report["p50"] / 1e6, report["p99"] / 1e6, problems
    )
