"""One measurement: start a server, warm it up, load it, and read what the load cost.

Called by `benchmarks.comparison`; calls `running`, `machine` and the scenario's load.
"""

import contextlib
import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from benchmarks import machine
from benchmarks.environments import Places
from benchmarks.load.outcome import Load, Target
from benchmarks.running import Cores, ServerFailed, running
from benchmarks.servers import Server

LoadFunction = Callable[[Target, float], Load]
Holding = Callable[[Target, int], AbstractContextManager[list[str]]]
SETTLE = 0.3  # seconds that a server gets to finish what a load left behind, before its memory is read
FIRST_CONNECTIONS = (
    50  # opened and closed before memory is read, so that what is allocated once is not counted
)


@dataclass(frozen=True)
class Measurement:
    """What one run of one server gave. Seconds and bytes; `cpu` is per unit, `growth` the peak's rise in the
    load.

    `held` is the growth of the proportional set size for each connection held open. A measurement with
    problems counts for nothing.
    """

    units: int = 0
    rate: float = math.nan
    cpu: float = math.nan
    p50: float = math.nan
    p99: float = math.nan
    pss: int = 0
    growth: int = 0
    held: float = math.nan
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Throughput:
    """Load the server for some seconds and divide the CPU time by the units done."""

    load: LoadFunction
    warm_up: LoadFunction | None = None  # instead of a short run of the load itself

    def __call__(self, target: Target, seconds: float) -> Measurement:
        warm = (self.warm_up or self.load)(target, 1.0)
        if warm.problems:
            return Measurement(problems=warm.problems)
        time.sleep(SETTLE)
        before = machine.memory(target.server_pid)
        machine.reset_peak(target.server_pid)
        cpu = machine.cpu_seconds(target.server_pid)
        load = self.load(target, seconds)
        time.sleep(SETTLE)
        cpu = machine.cpu_seconds(target.server_pid) - cpu
        growth = machine.peak_rss(target.server_pid) - before.rss
        return Measurement(
            units=load.units,
            rate=load.rate,
            cpu=cpu / load.units if load.units else math.nan,
            p50=load.p50,
            p99=load.p99,
            pss=machine.memory(target.server_pid).pss,
            growth=max(0, growth),
            problems=load.problems,
        )


@dataclass(frozen=True)
class Idle:
    """Hold connections open and divide the memory that they cost by their number."""

    hold: Holding
    count: int = 2000

    def __call__(self, target: Target, seconds: float) -> Measurement:
        for _ in range(2):
            with self.hold(target, FIRST_CONNECTIONS) as problems:
                pass
        time.sleep(SETTLE)
        before = machine.memory(target.server_pid).pss
        with self.hold(target, self.count) as problems:
            time.sleep(SETTLE)
            pss = machine.memory(target.server_pid).pss
            cpu = machine.cpu_seconds(target.server_pid)
            time.sleep(seconds)
            cpu = machine.cpu_seconds(target.server_pid) - cpu
        growth = pss - before
        return Measurement(
            units=self.count,
            cpu=cpu / seconds,
            pss=pss,
            growth=growth,
            held=growth / self.count,
            problems=problems,
        )


def measure(
    server: Server,
    target: str,
    tls: bool,
    method: Callable[[Target, float], Measurement],
    seconds: float,
    places: Places,
    cores: Cores,
) -> Measurement:
    """Start `server` anew, measure it by `method` and stop it; a failure is a measurement with a problem."""
    try:
        with contextlib.ExitStack() as stack:
            listening = stack.enter_context(running(server, target, tls, places, cores))
            return method(listening, seconds)
    except (ServerFailed, OSError, TimeoutError, ExceptionGroup) as error:
        return Measurement(problems=[f"{type(error).__name__}: {error}"])
