"""Tables from results: on the terminal, and in the documentation between two marks.

Called by `benchmarks.cli`; pure but for reading and writing the document. A result is what
`comparison.compare` gave.
"""

from pathlib import Path
from typing import Any

from benchmarks.ratios import Ratio, against_best, verdict
from benchmarks.scenarios import BEST, SCENARIOS, Goal, Scenario

BEGIN, END = ".. tables begin", ".. tables end"
COLUMNS = ("server", "per second", "CPU", "p50", "p99", "memory", "growth", "ratio")
HELD_COLUMNS = ("server", "KiB each", "CPU a second", "memory", "ratio")
MEBI = 1 << 20

Result = dict[str, Any]


def duration(seconds: float | None) -> str:
    """Three figures in the unit that fits."""
    if seconds is None:
        return "-"
    for factor, unit in ((1.0, "s"), (1e3, "ms"), (1e6, "µs")):
        if seconds * factor >= 1 or unit == "µs":
            return f"{figures(seconds * factor)} {unit}"
    return "-"


def figures(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def mebibytes(size: float | None) -> str:
    return "-" if size is None else f"{size / MEBI:.1f} MiB"


def ratio_text(ratio: dict[str, Any] | None) -> str:
    if ratio is None:
        return "-"
    return f"{ratio['median']:.2f} ({ratio['low']:.2f}-{ratio['high']:.2f})"


def cells(scenario: Scenario, name: str, row: Result) -> tuple[str, ...]:
    """One line of the scenario's table."""
    if row["problems"]:
        width = len(HELD_COLUMNS if scenario.figure == "held" else COLUMNS)
        return (name, "failed", *["-"] * (width - 2))
    if scenario.figure == "held":
        return (
            name, f"{row['held'] / 1024:.1f}", duration(row["cpu"]), mebibytes(row["pss"]),
            ratio_text(row["ratio"]),
        )  # fmt: skip
    return (
        name, figures(row["rate"]), duration(row["cpu"]), duration(row["p50"]), duration(row["p99"]),
        mebibytes(row["pss"]), mebibytes(row["growth"]), ratio_text(row["ratio"]),
    )  # fmt: skip


def table(scenario: Scenario, result: Result) -> list[str]:
    """A simple table, which is readable on a terminal and reStructuredText at once."""
    header = HELD_COLUMNS if scenario.figure == "held" else COLUMNS
    lines = [header, *(cells(scenario, name, row) for name, row in result["rows"].items())]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    rule = "  ".join("=" * width for width in widths)
    text = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]
    return [rule, text[0], rule, *text[1:], rule]


def verdicts(scenario: Scenario, result: Result) -> list[str]:
    """What each goal of the scenario says of the result."""
    said = [goal_text(goal, scenario, result) for goal in scenario.goals]
    own = result["rows"][scenario.servers[0]]
    if own["problems"]:
        return said
    if scenario.absolute:
        reach, aim = scenario.absolute
        limits = f"reach {reach / 1024:g}, aim {aim / 1024:g}"
        said.append(
            f"KiB a connection ({limits}): {own['held'] / 1024:.1f}, {verdict(own['held'], reach, aim)}"
        )
    if scenario.grows_at_most is not None:
        outcome = verdict(own["growth"], scenario.grows_at_most, None)
        limit = f"at most {scenario.grows_at_most / 1e6:g} MB"
        said.append(f"memory growth ({limit}): {own['growth'] / 1e6:.1f} MB, {outcome}")
    return said


def goal_text(goal: Goal, scenario: Scenario, result: Result) -> str:
    aim = f", aim {goal.aim:.2f}" if goal.aim is not None else ""
    label = f"against {'the best peer' if goal.peer == BEST else goal.peer} (reach {goal.reach:.2f}{aim})"
    ratio = ratio_to(goal.peer, scenario, result)
    return f"{label}: " + (
        f"{ratio.median:.2f}, {verdict(ratio.median, goal.reach, goal.aim)}" if ratio else "not measured"
    )


def ratio_to(peer: str, scenario: Scenario, result: Result) -> Ratio | None:
    found = {name: Ratio(**row["ratio"]) for name, row in result["rows"].items() if row["ratio"]}
    if peer == BEST:
        return against_best(ratio for name, ratio in found.items() if name != "bound")
    return found.get(peer)


def problems(result: Result) -> list[str]:
    return [
        f"{name}: {'; '.join(row['problems'])}" for name, row in result["rows"].items() if row["problems"]
    ]


def terminal_text(name: str, result: Result) -> str:
    scenario = SCENARIOS[name]
    lines = [f"{name}: {result['title']} (CPU per {scenario.unit})", *table(scenario, result)]
    return "\n".join([*lines, *verdicts(scenario, result), *problems(result), ""])


def document_text(results: dict[str, Result]) -> str:
    """What stands between the marks: every result that there is, in the order of the scenarios."""
    lines: list[str] = []
    for name, scenario in SCENARIOS.items():
        if name in results:
            lines += section(name, scenario, results[name])
    return "\n".join(lines)


def section(name: str, scenario: Scenario, result: Result) -> list[str]:
    heading = f"{name}: {result['title']}"
    when = f"{result['date']}, {result['rounds']} pairs of {result['seconds']:g} s, CPU per {scenario.unit}."
    lines = [heading, "-" * len(heading), "", when, "", *table(scenario, result), ""]
    notes = [*verdicts(scenario, result), *problems(result)]
    return lines + [f"* {note}" for note in notes] + ([""] if notes else [])


def provenance(results: dict[str, Result]) -> list[str]:
    """The machines, commands and versions behind the results, each once."""
    machines = sorted({result["machine"] for result in results.values()})
    commands = sorted({result["command"] for result in results.values()})
    versions = sorted(
        {(name, row["version"]) for result in results.values() for name, row in result["rows"].items()}
    )
    lines = [f"* machine: {machine}" for machine in machines]
    lines += [f"* command: ``{command}``" for command in commands]
    return [*lines, *(f"* {name}: {version}" for name, version in versions), ""]


def write_document(path: Path, results: dict[str, Result]) -> None:
    """Put the tables between the marks of the document at `path`; without marks it is a ValueError."""
    document = path.read_text()
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{path} has no line '{BEGIN}' and '{END}'")
    body = "\n".join(["", "", *provenance(results), document_text(results), ""])
    path.write_text(before + begin + body + end + after)
