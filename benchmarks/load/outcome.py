"""What every load needs to know (`Target`) and returns (`Load`).

Used by all modules of `benchmarks.load` and by `benchmarks.measure`; calls nothing.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

HOST = "127.0.0.1"


@dataclass(frozen=True)
class Target:
    """A server that is listening on loopback; `server_pid` is the root of its process tree."""

    port: int
    tls: bool = False
    server_pid: int = 0

    @property
    def address(self) -> str:
        return f"{HOST}:{self.port}"


@dataclass(frozen=True)
class Load:
    """What a load did: `units` requests (messages, connections) in `seconds`, percentiles in seconds.

    `problems` says every way in which an answer was not what it must be; a load with problems measures
    nothing.
    """

    units: int
    seconds: float
    p50: float = math.nan
    p99: float = math.nan
    problems: list[str] = field(default_factory=list)

    @property
    def rate(self) -> float:
        return self.units / self.seconds if self.seconds else 0.0


def percentile(values: Sequence[float], fraction: float) -> float:
    """The nearest-rank percentile of values; not a number when there are none."""
    if not values:
        return math.nan
    ordered = sorted(values)
    return ordered[max(0, math.ceil(fraction * len(ordered)) - 1)]
