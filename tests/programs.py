"""The programs that some tests need: found, or the test is skipped; demanded where they must be there.

Called by tests and by `tests/browser.py`, `tests/servers.py`; calls nothing.
"""

from __future__ import annotations

import os
import shutil

import pytest

DEMAND = "DAPHNE_TEST_REQUIRE_PROGRAMS"


def require_program(name: str) -> str:
    """The path of the program `name`. Without it the test is skipped, or fails where `DEMAND` is set to 1."""
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    if path:
        return path
    if os.environ.get(DEMAND) == "1":
        pytest.fail(f"{name} is not installed, and {DEMAND}=1 demands it", pytrace=False)
    pytest.skip(f"{name} is not installed")
