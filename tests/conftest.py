"""What every test has: processes that find the same daphne, and hypothesis without a stop-watch.

Read by pytest before the tests.
"""

import os
import re
from collections.abc import Generator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

import daphne

ROOT = Path(daphne.__file__).parents[1]

# A process that a test starts, in whatever directory, imports the daphne that is tested (and these tests).
os.environ["PYTHONPATH"] = os.pathsep.join(
    filter(None, dict.fromkeys([str(ROOT), str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]))
)

# Two cores are shared by many: how long an example takes says nothing.
hypothesis.settings.register_profile("daphne", deadline=None)
hypothesis.settings.load_profile("daphne")


TOGETHER = (
    *("tests/clients/", "tests/frameworks/", "tests/hostile/test_attacks.py", "tests/hostile/test_faults.py"),
    *("tests/hostile/test_framing.py", "tests/hostile/test_framing_http2.py"),
    *("tests/protocols/test_http2_programs.py", "tests/protocols/test_memory_use.py"),
)
"""Where tests share servers: those of one server run in one process, which starts it once."""

SERVER = re.compile(r"\[((?:\w+-)*?(?:application|channel-layer)|\w+ (?:inside|behind a layer))\b")
"""The server of a test, in its id."""

UNMEASURED = (*TOGETHER, "tests/hostile/test_layer_faults.py", "tests/hostile/test_trust.py")
"""Where coverage does not look into the processes that tests start: it makes them twice as slow, and other
tests reach the same lines."""

MEASURING = ("COVERAGE_PROCESS_CONFIG", "COVERAGE_PROCESS_START")
"""The environment variables that make coverage look into a process."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One process more than there are processors: tests often wait, for deadlines and for processes."""
    return (os.cpu_count() or 1) + 1


def group_of(nodeid: str) -> str:
    """Tests with the same are run by one process: where servers are shared, those of one, else each alone."""
    found = SERVER.search(nodeid)
    places = [place for place in TOGETHER if found and nodeid.startswith(place)]
    return f"{places[0]} {found[1]}" if found and places else nodeid


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give the processes groups of tests. (Not by xdist's marks: pytest 9.2 leaves those without effect.)"""
    from xdist.scheduler import LoadScopeScheduling

    class Grouped(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return group_of(nodeid)

    return Grouped(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Have coverage look into the processes of a test, or not."""
    path = item.path.relative_to(Path(__file__).parents[1])
    found = {name: os.environ[name] for name in MEASURING if name in os.environ}
    if any(path.is_relative_to(folder) for folder in UNMEASURED):
        for name in found:
            del os.environ[name]
    try:
        return (yield)
    finally:
        os.environ.update(found)


def pytest_report_header() -> str:
    """Say which daphne is tested, and stop if that is not what its sources say."""
    for compiled in (ROOT / "daphne").rglob("*.so"):
        source = compiled.with_name(compiled.name.partition(".")[0] + ".py")
        if (ROOT / "setup.py").exists() and source.stat().st_mtime > compiled.stat().st_mtime:
            pytest.exit(f"{compiled} is older than its source: build it again or delete it", 4)
    kind = "compiled" if daphne.is_compiled() else "not compiled"
    return f"daphne {daphne.__version__} in {ROOT}, {kind}"
