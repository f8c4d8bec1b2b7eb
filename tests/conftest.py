"""What every test has: processes that find the same daphne, and hypothesis without a stop-watch.

Read by pytest before the tests.
"""

import os
from pathlib import Path

import hypothesis

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
    """Say which daphne is tested."""
    return f"daphne {daphne.__version__} in {ROOT}"
