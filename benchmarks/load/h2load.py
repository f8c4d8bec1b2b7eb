"""HTTP/2 load by h2load (nghttp2), clear by prior knowledge or TLS by ALPN.

Called by `benchmarks.scenarios`. The answer's length and status are h2load's counts; `-D` runs for a time.
"""

import re
import subprocess
import tempfile
from pathlib import Path

from benchmarks.load.outcome import Load, Target, percentile

REQUESTS = re.compile(
    r"^requests: (\d+) total, \d+ started, (\d+) done, (\d+) succeeded, "
    r"(\d+) failed, (\d+) errored, (\d+) timeout",
    re.MULTILINE,
)
STATUSES = re.compile(r"^status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", re.MULTILINE)
TRAFFIC = re.compile(r"^traffic: .*, \S+ \((\d+)\) data$", re.MULTILINE)
FINISHED = re.compile(r"^finished in ([\d.]+)(us|ms|s),", re.MULTILINE)
PROTOCOL = re.compile(r"^Application protocol: (\S+)", re.MULTILINE)
UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0}


class H2Load:
    """GETs on `connections` connections with `streams` requests under way on each."""

    def __init__(self, path: str = "/", *, expected: bytes, connections: int = 8, streams: int = 16) -> None:
        self.path = path
        self.expected = expected
        self.connections = connections
        self.streams = streams

    def __call__(self, target: Target, seconds: float) -> Load:
        with tempfile.TemporaryDirectory() as folder:
            log = Path(folder, "requests.tsv")
            command = self.command(target, seconds, log)
            output = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 60)
            latencies = read_latencies(log)
        return load_from(
            output.stdout + output.stderr, len(self.expected), latencies, self.connections * self.streams
        )

    def command(self, target: Target, seconds: float, log: Path) -> list[str]:
        scheme = "https" if target.tls else "http"
        shape = ["-t1", f"-c{self.connections}", f"-m{self.streams}", "-D", str(max(1, round(seconds)))]
        return ["h2load", *shape, f"--log-file={log}", f"{scheme}://{target.address}{self.path}"]


def read_latencies(log: Path) -> list[float]:
    """The third column of h2load's log is the microseconds of a request."""
    if not log.exists():
        return []
    return [int(line.rsplit("\t", 1)[1]) / 1e6 for line in log.read_text().splitlines()]


def load_from(output: str, body_length: int, latencies: list[float], under_way: int) -> Load:
    """Read h2load's report; any answer that is not a 200 of `body_length` bytes is a problem."""
    requests, statuses, traffic = REQUESTS.search(output), STATUSES.search(output), TRAFFIC.search(output)
    finished, protocol = FINISHED.search(output), PROTOCOL.search(output)
    if not (requests and statuses and traffic and finished and protocol):
        return Load(0, 0.0, problems=[f"h2load said {output.strip()[-300:]!r}"])
    succeeded = int(requests[3])
    problems = []
    if protocol[1] not in ("h2", "h2c"):
        problems.append(f"the protocol was {protocol[1]}")
    if (
        int(requests[4])
        or int(requests[5])
        or int(requests[6])
        or int(statuses[1]) < succeeded
        or not succeeded
    ):
        problems.append(requests[0] + "; " + statuses[0])
    if not succeeded * body_length <= int(traffic[1]) <= (succeeded + under_way) * body_length:
        problems.append(f"{traffic[1]} bytes of data came for {succeeded} answers of {body_length}")
    seconds = float(finished[1]) * UNITS[finished[2]]
    return Load(succeeded, seconds, percentile(latencies, 0.50), percentile(latencies, 0.99), problems)
