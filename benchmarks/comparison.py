"""Run one scenario: pairs of this daphne and a peer, in alternating order, and what came of it.

Called by `benchmarks.cli`; calls `measure` and `ratios`. Its result is plain data, so that it can be kept as
JSON and a table be made of it later.
"""

import datetime
import math
import platform
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from benchmarks import machine, ratios
from benchmarks.environments import Places
from benchmarks.measure import Measurement, measure
from benchmarks.running import REPOSITORY, Cores, environment_of
from benchmarks.scenarios import Scenario
from benchmarks.servers import SERVERS
from daphne import is_compiled

VERSION_PROGRAM = "import sys, importlib.metadata as m\nfor n in sys.argv[1:]:\n  print(n, m.version(n))"


@dataclass(frozen=True)
class Options:
    rounds: int
    seconds: float
    places: Places
    cores: Cores
    command: str


Pairs = dict[str, list[tuple[Measurement, Measurement]]]


def compare(
    scenario: Scenario, names: list[str], options: Options, say: Callable[[str], None]
) -> dict[str, Any]:
    """Measure the scenario's first server against the peers in `names`; tables are made of the result."""
    ours = scenario.servers[0]
    pairs: Pairs = {name: [] for name in names if name != ours}
    if not pairs:
        alone = [run(scenario, ours, options, say) for _ in range(options.rounds)]
        return result(scenario, {ours: alone}, {}, options)
    for number in range(options.rounds):
        for peer in pairs:
            order = (ours, peer) if number % 2 == 0 else (peer, ours)
            measured = {name: run(scenario, name, options, say) for name in order}
            pairs[peer].append((measured[ours], measured[peer]))
    by_server = {ours: [pair[0] for done in pairs.values() for pair in done]}
    by_server |= {peer: [pair[1] for pair in done] for peer, done in pairs.items()}
    return result(scenario, by_server, pairs, options)


def run(scenario: Scenario, name: str, options: Options, say: Callable[[str], None]) -> Measurement:
    method = scenario.method
    found = measure(
        SERVERS[name], scenario.target, scenario.tls, method, options.seconds, options.places, options.cores
    )
    outcome = "; ".join(found.problems[:2]) or f"{scenario.figure} {getattr(found, scenario.figure):.4g}"
    say(f"  {scenario.name:<16} {name:<16} {outcome}")
    return found


def result(
    scenario: Scenario, by_server: dict[str, list[Measurement]], pairs: Pairs, options: Options
) -> dict[str, Any]:
    return {
        "title": scenario.title,
        "date": datetime.date.today().isoformat(),
        "command": options.command,
        "rounds": options.rounds,
        "seconds": options.seconds,
        "machine": machine_line(),
        "rows": {
            name: row(name, done, scenario, pairs.get(name, []), options) for name, done in by_server.items()
        },
    }


def row(
    name: str,
    done: list[Measurement],
    scenario: Scenario,
    pairs: list[tuple[Measurement, Measurement]],
    options: Options,
) -> dict[str, Any]:
    """The medians of a server's valid runs; with one invalid run or more, the problems instead."""
    problems = sorted({problem for measurement in done for problem in measurement.problems})
    fields = ("rate", "cpu", "p50", "p99", "pss", "growth", "held")
    medians = {name: ratios.median(getattr(measurement, name) for measurement in done) for name in fields}
    valid = [pair for pair in pairs if not pair[0].problems and not pair[1].problems]
    ratio = ratios.of_pairs(
        [(getattr(ours, scenario.figure), getattr(peer, scenario.figure)) for ours, peer in valid]
    )
    return {
        "version": version(name, options.places),
        "problems": problems,
        "ratio": vars(ratio) if ratio and not problems else None,
        **{name: None if problems or math.isnan(value) else value for name, value in medians.items()},
    }


def version(name: str, places: Places) -> str:
    """The versions of a server's packages, as its environment tells them; for this daphne its commit."""
    server = SERVERS[name]
    python = str(places.python(server.environment))
    distributions = [
        name for name in server.distributions if server.environment != "this" or name != "daphne"
    ]
    command = [python, "-c", VERSION_PROGRAM, *distributions]
    told = subprocess.run(command, env=environment_of(server), capture_output=True, text=True)
    parts = told.stdout.split("\n")[:-1]
    if server.environment == "this" and "daphne" in server.distributions:
        kind = "compiled" if is_compiled() else "not compiled"
        parts.insert(0, f"daphne of commit {commit()} ({kind})")
    return ", ".join(parts)


def commit() -> str:
    told = subprocess.run(
        ["git", "-C", str(REPOSITORY), "rev-parse", "--short", "HEAD"], capture_output=True, text=True
    )
    return told.stdout.strip() or "unknown"


def machine_line() -> str:
    system = platform.uname()
    return f"{machine.processor_name()}, Linux {system.release}, Python {platform.python_version()}"
