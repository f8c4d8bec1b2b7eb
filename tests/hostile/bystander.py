"""A client among others while a server is attacked: how long its answers take.

Run as a process of its own by test_attacks.py (`python -m tests.hostile.bystander HOST PORT`), so that what
the attacker does costs it nothing; prints one line per request: when it was asked, and the nanoseconds until
the answer. Only an idle machine gives figures that mean something.
"""

from __future__ import annotations

import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path

from tests.servers import ROOT, Process

PACE = 0.005
"""Seconds between requests: the median is one over time, not over how quickly answers come."""
REQUEST = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
END = b"0\r\n\r\n"

ENOUGH = 200
"""Requests of which a median is taken: some attacks are over sooner."""


class Bystander:
    """The test's end: starts the client and reads what it prints."""

    def __init__(self, server: Process, output: Path) -> None:
        self._output = output
        command = [sys.executable, "-m", __name__, server.address.host, str(server.address.port)]
        with output.open("w") as file:
            self._process = subprocess.Popen(command, stdout=file, cwd=ROOT)

    def __enter__(self) -> Bystander:
        self._before = self._since(0)
        return self

    def __exit__(self, *error: object) -> None:
        self._process.kill()
        self._process.wait()

    def _since(self, begin: int) -> list[int]:
        """How long the answers took that were asked for from then on, once there are ENOUGH."""
        while True:
            lines = self._output.read_text().splitlines()[:-1]
            times = [int(took) for asked, took in (line.split() for line in lines) if int(asked) >= begin]
            if len(times) >= ENOUGH:
                return times
            time.sleep(PACE * 10)

    def write(self, path: str, attack: str, begin: int, turn: float, grown: int) -> None:
        """Append a line to the file `path`: the medians before and since the beginning of the attack in
        microseconds, the longest answer and the longest turn in milliseconds, by how many MB the server has
        grown."""
        times = self._since(begin)
        medians = [f"{statistics.median(some) / 1000:.0f}" for some in (self._before, times)]
        with open(path, "a") as file:
            numbers = (max(times) / 1e6, turn * 1e3, grown / 1e6)
            print(attack, *medians, *[f"{number:.1f}" for number in numbers], sep="\t", file=file)


def main(host: str, port: str) -> None:
    """Ask until the server closes the connection."""
    with socket.create_connection((host, int(port)), 20) as connection:
        while True:
            begin = time.monotonic_ns()
            connection.sendall(REQUEST)
            received = b""
            while not received.endswith(END):
                piece = connection.recv(65536)
                if not piece:
                    return
                received += piece
            print(begin, time.monotonic_ns() - begin, flush=True)
            time.sleep(PACE)


if __name__ == "__main__":
    main(*sys.argv[1:])
