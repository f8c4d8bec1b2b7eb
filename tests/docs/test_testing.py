"""The examples of docs/testing.rst: together they are a file of tests, and are run."""

from __future__ import annotations

from pathlib import Path

from tests.docs.examples import programs, run

PAGE = "testing.rst"


def test_the_tests_of_the_page_pass(tmp_path: Path) -> None:
    blocks = programs(PAGE)
    plugin = ("-p", "daphne.pytest_plugin")
    done = run(PAGE, tmp_path, "\n".join(blocks), "-m", "pytest", "-q", *plugin, "test_program.py")
    assert done.returncode == 0 and f"{len(blocks)} passed" in done.stdout, done.stdout + done.stderr
