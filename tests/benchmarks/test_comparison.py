"""Pairs of runs, alternating, and what is kept of them."""

import json
import math
from pathlib import Path

import pytest

from benchmarks import comparison
from benchmarks.comparison import Options, compare
from benchmarks.environments import Places
from benchmarks.measure import Measurement
from benchmarks.running import Cores
from benchmarks.scenarios import SCENARIOS

OPTIONS = Options(
    rounds=3, seconds=1.0, places=Places(Path("/nowhere")), cores=Cores(0, 1), command="the command"
)


@pytest.fixture
def order(monkeypatch):
    """Replaces the measuring; gives the order of runs and lets a test say what they give."""
    ran, figures = [], {}

    def run(scenario, name, options, say):
        ran.append(name)
        given = figures.get(name, [1e-6])
        return (
            given[(ran.count(name) - 1) % len(given)] if name in figures else Measurement(cpu=1e-6, rate=1.0)
        )

    monkeypatch.setattr(comparison, "run", run)
    monkeypatch.setattr(comparison, "version", lambda name, places: f"{name} 1.0")
    return ran, figures


def test_runs_alternate_pair_by_pair(order):
    ran, _ = order
    compare(SCENARIOS["get"], ["daphne", "uvicorn", "granian"], OPTIONS, print)
    first, second = ["daphne", "uvicorn", "daphne", "granian"], ["uvicorn", "daphne", "granian", "daphne"]
    assert ran == first + second + first


def test_the_ratio_is_taken_from_pairs_and_the_row_from_medians(order):
    _, figures = order
    figures["daphne"] = [Measurement(cpu=cpu, rate=10.0, pss=7) for cpu in (1e-6, 2e-6, 9e-6)]
    figures["uvicorn"] = [Measurement(cpu=cpu, rate=5.0, pss=8) for cpu in (2e-6, 4e-6, 9e-6)]
    found = compare(SCENARIOS["get"], ["daphne", "uvicorn"], OPTIONS, print)
    row = found["rows"]["uvicorn"]
    assert row["ratio"] == {"median": 0.5, "low": 0.5, "high": 1.0, "pairs": 3}
    assert (row["cpu"], row["rate"], row["pss"], row["problems"]) == (4e-6, 5.0, 8, [])
    assert row["p50"] is None
    assert found["rows"]["daphne"]["ratio"] is None and found["command"] == "the command"
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_one_failed_run_takes_a_server_out_of_the_table_but_not_the_others(order):
    _, figures = order
    figures["granian"] = [
        Measurement(cpu=1e-6),
        Measurement(problems=["3 timeout errors"]),
        Measurement(cpu=1e-6),
    ]
    rows = compare(SCENARIOS["get"], ["daphne", "uvicorn", "granian"], OPTIONS, print)["rows"]
    assert rows["granian"]["problems"] == ["3 timeout errors"]
    assert rows["granian"]["cpu"] is None and rows["granian"]["ratio"] is None
    assert rows["uvicorn"]["ratio"]["median"] == 1.0


def test_alone_a_server_is_measured_without_ratios(order):
    ran, _ = order
    rows = compare(SCENARIOS["get"], ["daphne"], OPTIONS, print)["rows"]
    assert ran == ["daphne"] * 3 and list(rows) == ["daphne"]


def test_a_measurement_is_nothing_until_it_is_measured():
    assert math.isnan(Measurement().cpu)
