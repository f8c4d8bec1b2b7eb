"""What the operating system says of a process and its children: CPU time and memory, read from /proc.

Called by `benchmarks.measure`; calls nothing but the file system. Linux only.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
PROC = Path("/proc")
RESET_PEAK = "5"  # what proc(5) says to write to clear_refs so that VmHWM starts anew


@dataclass(frozen=True)
class Stat:
    """What we need of a /proc/PID/stat: the parent, and the CPU ticks with those of its dead children."""

    parent: int
    ticks: int


@dataclass(frozen=True)
class Memory:
    """Bytes of a process tree: proportional and resident set size."""

    pss: int
    rss: int


def parse_stat(text: str) -> Stat:
    """Read one /proc/PID/stat (proc(5)). The name in parentheses may itself hold blanks and parentheses."""
    fields = text.rpartition(")")[2].split()
    user, system, children_user, children_system = (int(field) for field in fields[11:15])
    return Stat(parent=int(fields[1]), ticks=user + system + children_user + children_system)


def parse_sizes(text: str) -> dict[str, int]:
    """Read lines like `Pss:   324 kB` (smaps_rollup, status) into bytes by name."""
    sizes = {}
    for line in text.splitlines():
        name, _, rest = line.partition(":")
        fields = rest.split()
        if len(fields) == 2 and fields[1] == "kB" and fields[0].isdigit():
            sizes[name] = int(fields[0]) * 1024
    return sizes


def all_stats(proc: Path = PROC) -> Iterator[tuple[int, Stat]]:
    for folder in proc.iterdir():
        if folder.name.isdigit():
            try:
                yield int(folder.name), parse_stat((folder / "stat").read_text())
            except (FileNotFoundError, ProcessLookupError):
                continue  # it ended while we looked


def process_tree(root: int, proc: Path = PROC) -> dict[int, Stat]:
    """The process `root` and everything it started that is still there."""
    stats = dict(all_stats(proc))
    tree: dict[int, Stat] = {}
    found = {root} & stats.keys()
    while found:
        tree.update((pid, stats[pid]) for pid in found)
        found = {pid for pid, stat in stats.items() if stat.parent in found and pid not in tree}
    return tree


def cpu_seconds(root: int, proc: Path = PROC) -> float:
    """User and system seconds that the tree under `root` has used, its dead children included."""
    return sum(stat.ticks for stat in process_tree(root, proc).values()) / TICKS_PER_SECOND


def memory(root: int, proc: Path = PROC) -> Memory:
    """The memory of the tree under `root`, now."""
    sizes = [parse_sizes((proc / str(pid) / "smaps_rollup").read_text()) for pid in process_tree(root, proc)]
    return Memory(pss=sum(size["Pss"] for size in sizes), rss=sum(size["Rss"] for size in sizes))


def reset_peak(root: int, proc: Path = PROC) -> None:
    """Let the kernel's record of the highest resident size of each process of the tree start from now."""
    for pid in process_tree(root, proc):
        (proc / str(pid) / "clear_refs").write_text(RESET_PEAK)


def peak_rss(root: int, proc: Path = PROC) -> int:
    """The sum of the highest resident sizes (bytes) of the tree's processes since `reset_peak`."""
    pids = process_tree(root, proc)
    return sum(parse_sizes((proc / str(pid) / "status").read_text())["VmHWM"] for pid in pids)


def processor_name() -> str:
    for line in (PROC / "cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return os.uname().machine
