"""A server is started pinned, found when it answers, measured, and gone afterwards."""

import os

import pytest

pytest.importorskip("uvloop")

from benchmarks import machine
from benchmarks.environments import Places
from benchmarks.load import single
from benchmarks.load.outcome import Load
from benchmarks.measure import Throughput, measure
from benchmarks.running import REPOSITORY, Cores, ServerFailed, environment_of, running
from benchmarks.servers import SERVERS, Server
from tests.programs import require_program


@pytest.fixture
def cores():
    require_program("taskset")
    core = min(os.sched_getaffinity(0))
    return Cores(core, core)


def test_a_server_runs_on_its_core_while_it_is_needed(cores, tmp_path):
    with running(SERVERS["bound"], "", False, Places(tmp_path), cores) as target:
        answer = single.ask(target)
        tree = machine.process_tree(target.server_pid)
        assert {frozenset(os.sched_getaffinity(pid)) for pid in tree} == {frozenset({cores.server})}
    assert (answer.status, answer.body) == (200, b"Hello, world!")
    assert machine.process_tree(target.server_pid) == {}


def test_a_server_that_ends_is_told_with_the_last_that_it_said(cores, tmp_path):
    command = ["sh", "-c", "echo first; echo the reason; exit 1"]
    broken = Server("broken", "this", (), lambda launch: command)
    with pytest.raises(ServerFailed, match="the reason"), running(broken, "", False, Places(tmp_path), cores):
        pass


def test_a_measurement_divides_the_cpu_time_of_the_server_by_the_units(cores, tmp_path):
    def load(target, seconds):
        answers = [single.ask(target) for _ in range(20)]
        return Load(len(answers), 0.5, 0.001, 0.002)

    found = measure(SERVERS["bound"], "", False, Throughput(load), 0.1, Places(tmp_path), cores)
    assert found.problems == []
    assert (found.units, found.rate, found.p50, found.p99) == (20, 40.0, 0.001, 0.002)
    assert 0 <= found.cpu < 1 and found.pss > 1_000_000


def test_a_load_with_problems_makes_a_measurement_with_problems(cores, tmp_path):
    found = measure(
        SERVERS["bound"],
        "",
        False,
        Throughput(lambda *_: Load(0, 0.0, problems=["bad"])),
        0.1,
        Places(tmp_path),
        cores,
    )
    assert found.problems == ["bad"]


def test_a_server_imports_this_daphne_or_that_of_its_own_environment(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    own, classic = SERVERS["daphne"], SERVERS["daphne1-redis"]
    assert environment_of(own)["PYTHONPATH"] == str(REPOSITORY)
    assert "PYTHONPATH" not in environment_of(classic)
    assert environment_of(classic)["PATH"] == os.environ["PATH"]
