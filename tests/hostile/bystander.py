"""A client among others while a server is attacked: how long its answers take.

Run as a process of its own by the attacks (`python -m tests.hostile.bystander HOST PORT`); prints one line
per request: when it was asked, and the nanoseconds until the answer. What is measured is how the server
divides its time, and not how the kernel divides that of its clients: the server has a core to itself, which
is kept awake, and the attacker gets only what the bystander leaves of the others. Needs two cores and the
right to set real-time priorities; only a machine that does nothing else gives figures that mean something.
"""

from __future__ import annotations

import contextlib
import os
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path

from tests.servers import ROOT, Process

PACE = 0.003
"""Seconds between requests: the median is one over time, not over how quickly answers come."""
REQUEST = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
END = b"0\r\n\r\n"

ENOUGH = 100
"""Requests of which a median is taken at least: some attacks are over sooner."""


class Times:
    """How long some answers took, in microseconds."""

    def __init__(self, lines: list[tuple[int, ...]]) -> None:
        self.median = statistics.median(took for _, took in lines) / 1000
        self.longest = max(took for _, took in lines) / 1000


class Bystander:
    """The test's end: gives everybody a place, starts the client and reads what it prints."""

    def __init__(self, server: Process, output: Path) -> None:
        self._server = server
        self._output = output
        self._cores = os.sched_getaffinity(0)

    def __enter__(self) -> Bystander:
        *others, servers = sorted(self._cores)
        for thread in map(int, os.listdir(f"/proc/{self._server.popen.pid}/task")):
            os.sched_setaffinity(thread, {servers})
            os.sched_setscheduler(thread, os.SCHED_FIFO, os.sched_param(1))
        os.sched_setaffinity(0, others)
        host, port = self._server.address.host, str(self._server.address.port)
        command = [sys.executable, "-m", __name__, host, port]
        with self._output.open("w") as file:
            client = subprocess.Popen(command, stdout=file, cwd=ROOT)
        spinner = subprocess.Popen([sys.executable, "-c", "while True: pass"])
        os.sched_setaffinity(spinner.pid, {servers})
        os.sched_setscheduler(spinner.pid, os.SCHED_IDLE, os.sched_param(0))
        os.sched_setscheduler(client.pid, os.SCHED_FIFO, os.sched_param(1))
        self._processes = [client, spinner]
        return self

    def __exit__(self, *error: object) -> None:
        for process in self._processes:
            process.kill()
            process.wait()
        os.sched_setaffinity(0, self._cores)

    def before(self) -> Times:
        """How long answers take while nothing else happens."""
        now = time.monotonic_ns()
        return self.between(now, now)

    def between(self, begin: int, end: int) -> Times:
        """How long the answers took that were asked for then, or the first ENOUGH since `begin`."""
        while True:
            lines = self._output.read_text().splitlines()[:-1]
            since = [line for line in (tuple(map(int, line.split())) for line in lines) if line[0] >= begin]
            found = sum(asked < end for asked, *_ in since)
            if len(since) >= max(ENOUGH, found + 1):
                return Times(since[: max(found, ENOUGH)])
            time.sleep(PACE * 10)


def write_line(path: str, attack: str, before: Times, during: Times, turn: float, grown: int) -> None:
    """Append a line to the file `path`: the medians before and during the attack in microseconds and their
    ratio, the longest answer and the longest turn in milliseconds, by how many MB the server has grown."""
    figures = [f"{before.median:.0f}", f"{during.median:.0f}", f"{during.median / before.median:.2f}"]
    figures += [f"{during.longest / 1e3:.1f}", f"{turn * 1e3:.1f}", f"{grown / 1e6:.1f}"]
    with open(path, "a") as file:
        print(attack, *figures, sep="\t", file=file)


def main(host: str, port: str) -> None:
    """Ask until the server closes the connection."""
    with socket.create_connection((host, int(port)), 20) as connection:
        while True:
            begin = time.monotonic_ns()
            connection.sendall(REQUEST)
            received = b""
            while not received.endswith(END):
                with contextlib.suppress(BlockingIOError):  # not to be woken late: never sleep
                    piece = connection.recv(65536, socket.MSG_DONTWAIT)
                    if not piece:
                        return
                    received += piece
            print(begin, time.monotonic_ns() - begin, flush=True)
            time.sleep(PACE)


if __name__ == "__main__":
    main(*sys.argv[1:])
