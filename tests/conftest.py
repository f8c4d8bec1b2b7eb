"""What every test has: processes that find the same daphne, and hypothesis without a stop-watch.

Read by pytest before the tests.
"""

import os
from pathlib import Path

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


def pytest_report_header() -> str:
    """Say which daphne is tested, and stop if that is not what its sources say."""
    for compiled in (ROOT / "daphne").rglob("*.so"):
        source = compiled.with_name(compiled.name.partition(".")[0] + ".py")
        if (ROOT / "setup.py").exists() and source.stat().st_mtime > compiled.stat().st_mtime:
            pytest.exit(f"{compiled} is older than its source: build it again or delete it", 4)
    kind = "compiled" if daphne.is_compiled() else "not compiled"
    return f"daphne {daphne.__version__} in {ROOT}, {kind}"
