"""The command line: prepare what is needed, time the code without sockets, or compare servers.

Called by `python -m benchmarks`; calls `environments`, `path`, `comparison`, `report`.
"""

import argparse
import json
import os
import resource
import shutil
import sys
from pathlib import Path
from typing import Any

from benchmarks import path, report
from benchmarks.comparison import Options, compare
from benchmarks.environments import Places, default_cache, prepare, prepare_files
from benchmarks.running import REPOSITORY, Cores
from benchmarks.scenarios import SCENARIOS
from benchmarks.servers import SERVERS

DOCUMENT = REPOSITORY / "docs" / "performance.rst"
DATA = REPOSITORY / "docs" / "performance.json"
PROGRAMS = {"wrk": "wrk", "h2load": "nghttp2-client", "redis-server": "redis-server", "taskset": "util-linux"}


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.splitlines()[0])
    made.add_argument("action", nargs="?", choices=("run", "prepare", "list", "path"), default="run")
    made.add_argument(
        "-s", "--scenario", action="append", choices=SCENARIOS, metavar="NAME", help="only this; repeatable"
    )
    made.add_argument(
        "--server", action="append", choices=SERVERS, metavar="NAME", help="only this peer; repeatable"
    )
    made.add_argument("--rounds", type=int, default=5, help="pairs of runs for each peer (default 5)")
    made.add_argument("--seconds", type=float, default=3.0, help="length of a run (default 3)")
    made.add_argument(
        "--quick", action="store_true", help="one pair of one second: to see that everything works"
    )
    made.add_argument(
        "--write", action="store_true", help=f"put the results into {DOCUMENT.relative_to(REPOSITORY)}"
    )
    made.add_argument(
        "--server-core", type=int, metavar="CPU", help="CPU for the server (default: the first)"
    )
    made.add_argument("--load-core", type=int, metavar="CPU", help="CPU for the load (default: the last)")
    made.add_argument(
        "--cache", type=Path, default=default_cache(), help="folder for environments (default %(default)s)"
    )
    return made


def main(words: list[str]) -> int:
    """Status 0, or 1 when a measurement failed, 2 when nothing could be measured."""
    arguments = parser().parse_args(words)
    places = Places(arguments.cache.resolve())
    if arguments.action == "prepare":
        prepare(places)
        return 0
    if arguments.action == "list":
        print("\n".join(f"{name:<16} {scenario.title}" for name, scenario in SCENARIOS.items()))
        return 0
    if arguments.action == "path":
        print(path.report())
        return 0
    cores, problem = chosen_cores(arguments.server_core, arguments.load_core)
    problem = problem or missing_programs() or missing_environments(places, arguments)
    if problem or cores is None:
        print(problem, file=sys.stderr)
        return 2
    prepare_files(places)
    os.sched_setaffinity(0, {cores.load})
    raise_file_limit()
    results = run_all(arguments, places, cores, words)
    if arguments.write and results:
        write(results)
    return 1 if any(report.problems(result) for result in results.values()) else 0


def chosen_cores(server: int | None, load: int | None) -> tuple[Cores | None, str]:
    """The two CPUs, or why there are none."""
    usable = sorted(os.sched_getaffinity(0))
    server = usable[0] if server is None else server
    load = usable[-1] if load is None else load
    if server == load or not {server, load} <= set(usable):
        return None, f"a server core and another one for the load are needed; usable are {usable}"
    return Cores(server, load), ""


def missing_programs() -> str:
    missing = [
        f"{program} (Debian: {package})" for program, package in PROGRAMS.items() if not shutil.which(program)
    ]
    return "missing programs: " + ", ".join(missing) if missing else ""


def missing_environments(places: Places, arguments: argparse.Namespace) -> str:
    scenarios = [SCENARIOS[name] for name in arguments.scenario or SCENARIOS]
    names = {name for scenario in scenarios for name in chosen_servers(scenario.servers, arguments.server)}
    environments = sorted({SERVERS[name].environment for name in names})
    missing = [environment for environment in environments if not places.python(environment).exists()]
    return (
        f"missing environments: {', '.join(missing)}; `python -m benchmarks prepare` makes them"
        if missing
        else ""
    )


def raise_file_limit() -> None:
    """Thousands of connections need as many descriptors, here and in the servers, which inherit the limit."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def run_all(arguments: argparse.Namespace, places: Places, cores: Cores, words: list[str]) -> dict[str, Any]:
    rounds, seconds = (1, 1.0) if arguments.quick else (arguments.rounds, arguments.seconds)
    command = " ".join(["python -m benchmarks", *without_paths(words)])
    options = Options(rounds, seconds, places, cores, command)
    results = {}
    for name in arguments.scenario or SCENARIOS:
        names = chosen_servers(SCENARIOS[name].servers, arguments.server)
        if names:
            results[name] = compare(SCENARIOS[name], names, options, lambda line: print(line, flush=True))
            print("\n" + report.terminal_text(name, results[name]), flush=True)
    return results


def without_paths(words: list[str]) -> list[str]:
    """The words of a command line as they can be repeated elsewhere: without `--cache` and its folder."""
    kept, skip = [], False
    for word in words:
        if not skip and word != "--cache" and not word.startswith("--cache="):
            kept.append(word)
        skip = word == "--cache"
    return kept


def chosen_servers(servers: tuple[str, ...], only: list[str] | None) -> list[str]:
    """A scenario's own server and those of its peers that were asked for; none if no peer of it was."""
    peers = [name for name in servers[1:] if only is None or name in only]
    return [servers[0], *peers] if peers or only is None or servers[0] in only else []


def write(results: dict[str, Any]) -> None:
    """Keep the results beside those of other scenarios, and make the document's tables from all of them."""
    known = json.loads(DATA.read_text()) if DATA.exists() else {}
    known = {name: {**known, **results}[name] for name in SCENARIOS if name in known or name in results}
    DATA.write_text(json.dumps(known, indent=1) + "\n")
    report.write_document(DOCUMENT, known)
