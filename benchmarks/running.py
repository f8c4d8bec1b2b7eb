"""Start a server pinned to its core, with what it needs beside it, wait until it answers, and stop all of it.

Called by `benchmarks.measure`; calls `servers` for the commands. Ends only what it started.
"""

import contextlib
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.environments import SERVED, Places
from benchmarks.load import single
from benchmarks.load.outcome import HOST, Target
from benchmarks.servers import APPLICATION, Launch, Server

REPOSITORY = Path(__file__).parents[1]
CLASSIC_WORKER = Path(__file__).with_name("load") / "classic_worker.py"
START_DEADLINE = 30.0
STOP_DEADLINE = 5.0


class ServerFailed(Exception):
    """A server did not start, or its output says why it cannot be measured."""


@dataclass(frozen=True)
class Cores:
    """The CPU that the server is pinned to, and the one for everything else."""

    server: int
    load: int


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def process(
    command: list[str], core: int, environment: dict[str, str], log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command pinned to `core` in a session of its own; on leaving, end that session."""
    with log.open("ab") as output:
        started = subprocess.Popen(
            ["taskset", "--cpu-list", str(core), *command],
            cwd=SERVED,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield started
    finally:
        stop(started)


def stop(started: subprocess.Popen[bytes]) -> None:
    if started.poll() is None:
        started.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            started.wait(STOP_DEADLINE)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(started.pid, signal.SIGKILL)  # whatever of its session is left
    started.wait()


@contextlib.contextmanager
def running(server: Server, target: str, tls: bool, places: Places, cores: Cores) -> Iterator[Target]:
    """`server` serving `target` (`module:name`) or its own, and answering at the given `Target`."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        log = folder / "log"
        port, redis_port = free_port(), free_port()
        environment = {
            **environment_of(server),
            "BENCHMARK_DOWNLOAD": str(places.download),
            "BENCHMARK_REDIS": f"redis://{HOST}:{redis_port}/0",
            "BENCHMARK_LAYER_SOCKET": str(folder / "layer.sock"),
        }
        before, after = beside(server, places, redis_port)
        command = server.command(Launch(places, port, server.target or target, tls))
        all_started = [stack.enter_context(process(line, cores.load, environment, log)) for line in before]
        served = stack.enter_context(process(command, cores.server, environment, log))
        all_started.append(served)
        if after:  # so that the server is the broker of a local layer, as docs/deploying.rst advises
            wait_until_it_listens(port, served)
        all_started += [stack.enter_context(process(line, cores.load, environment, log)) for line in after]
        yield wait_until_it_answers(Target(port, tls, served.pid), all_started, log)


def environment_of(server: Server) -> dict[str, str]:
    """Variables that have the server import what belongs to it: this tree's daphne, or its own environment's,
    whatever the environment of the benchmark says."""
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    if server.environment == "this":
        variables["PYTHONPATH"] = str(REPOSITORY)
    return variables


def beside(server: Server, places: Places, redis_port: int) -> tuple[list[list[str]], list[list[str]]]:
    """The commands that run beside the server: those before it and those after it."""
    python = str(places.python("this"))
    redis = ["redis-server", "--port", str(redis_port), "--bind", HOST, "--save", "", "--appendonly", "no"]
    commands = {
        "redis": redis,
        "classic_worker": [python, str(CLASSIC_WORKER), str(redis_port)],
        "worker": [python, "-m", "daphne.worker", server.target, APPLICATION],
    }
    before = [commands[need] for need in server.needs if need == "redis"]
    after = [commands[need] for need in server.needs if need != "redis"]
    return before, after


def wait_until_it_listens(port: int, started: subprocess.Popen[bytes]) -> None:
    """Return once `port` takes connections, or the process has ended, or the time is over."""
    deadline = time.monotonic() + START_DEADLINE
    while time.monotonic() < deadline and started.poll() is None:
        try:
            socket.create_connection((HOST, port)).close()
            return
        except OSError:
            time.sleep(0.05)


def wait_until_it_answers(target: Target, all_started: list[subprocess.Popen[bytes]], log: Path) -> Target:
    """Ask until there is a 200. A process that ends before, or no such answer in time, is a ServerFailed."""
    deadline = time.monotonic() + START_DEADLINE
    answer = "nothing"
    while time.monotonic() < deadline and all(started.poll() is None for started in all_started):
        try:
            status = single.ask(target).status
            if status == 200:
                return target
            answer = f"status {status}"
        except OSError as error:
            answer = str(error)
        time.sleep(0.05)
    said = log.read_text(errors="replace").strip().splitlines() or ["nothing"]
    raise ServerFailed(f"the server did not answer 200 ({answer}); the last that it said: {said[-1]}")
