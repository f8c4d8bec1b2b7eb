"""The arithmetic of a comparison: ratios pair by pair, their median, and whether a goal is reached.

Called by `comparison` and `report`; pure.
"""

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Ratio:
    """The median, the lowest and the highest of the ratios of pairs that ran one after the other."""

    median: float
    low: float
    high: float
    pairs: int


def of_pairs(pairs: Sequence[tuple[float, float]]) -> Ratio | None:
    """Divide first by second in each pair; pairs with a figure that is missing or zero count for nothing."""
    ratios = [first / second for first, second in pairs if usable(first) and usable(second)]
    if not ratios:
        return None
    return Ratio(statistics.median(ratios), min(ratios), max(ratios), len(ratios))


def usable(figure: float) -> bool:
    return math.isfinite(figure) and figure > 0


def median(figures: Iterable[float]) -> float:
    """The median of the figures that are there; not a number when none is."""
    there = [figure for figure in figures if math.isfinite(figure)]
    return statistics.median(there) if there else math.nan


def against_best(ratios: Iterable[Ratio | None]) -> Ratio | None:
    """The ratio to the best peer: where the peer's figure is lowest, the ratio is highest."""
    there = [ratio for ratio in ratios if ratio is not None]
    return max(there, key=lambda ratio: ratio.median) if there else None


def verdict(figure: float, reach: float, aim: float | None) -> str:
    """`aim` where the aim is met, `reached`, or by how much it is missed."""
    if aim is not None and figure <= aim:
        return "aim met"
    if figure <= reach:
        return "reached"
    return f"missed by {figure / reach - 1:.0%}"
