"""The example files for operators: each is read by the program that it is for, and says flags daphne has.

nginx.conf, circus.ini and supervisor.conf are run in tests/clients.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from daphne.cli import CommandLineInterface
from tests.programs import require_program
from tests.servers import ROOT

DOCS = ROOT / "docs"
EXAMPLES = DOCS / "examples"
TARGET = "project.asgi:application"


def commands() -> list[tuple[str, list[str]]]:
    """Every command line of daphne in an example, with the name of its file."""
    found: list[tuple[str, list[str]]] = []
    for path in sorted(EXAMPLES.iterdir()):
        for line in path.read_text("utf-8").splitlines():
            written = re.search(rf"\bdaphne (-.*{TARGET})$", line)
            listed = re.match(r'CMD (\["daphne".*\])', line)
            if written:
                found.append((path.name, written[1].replace("$(circus.sockets.web)", "7").split()))
            elif listed:
                found.append((path.name, json.loads(listed[1])[1:]))
    return found


@pytest.mark.parametrize(("name", "arguments"), commands())
def test_daphne_has_every_flag_that_an_example_uses(name: str, arguments: list[str]) -> None:
    parsed = CommandLineInterface().parser.parse_args(arguments)
    assert vars(parsed)["target"] == TARGET


def test_every_example_with_a_command_is_among_them() -> None:
    assert {name for name, _ in commands()} == {
        "Dockerfile",
        "circus.ini",
        "daphne.service",
        "nginx.conf",
        "supervisor.conf",
    }


def test_systemd_understands_its_units(tmp_path: Path) -> None:
    program = require_program("systemd-analyze")
    for name in ("daphne.service", "daphne.socket"):
        text = (EXAMPLES / name).read_text("utf-8").replace("/srv/project/venv/bin/daphne", sys.executable)
        (tmp_path / name).write_text(text, "utf-8")
    units = [str(tmp_path / "daphne.service"), str(tmp_path / "daphne.socket")]
    done = subprocess.run([program, "verify", *units], capture_output=True, text=True, timeout=60)
    complaints = [line for line in (done.stdout + done.stderr).splitlines() if "daphne" in line]
    assert complaints == []


def test_the_pages_name_files_that_are_there() -> None:
    for page in DOCS.glob("*.rst"):
        for name in re.findall(r"<(examples/[^>]+)>`_", page.read_text("utf-8")):
            assert (DOCS / name).is_file(), f"{page.name}: {name}"
