"""docs/security.rst: every row names a knob that exists and a test that is there."""

from __future__ import annotations

import ast
import re

import pytest

from daphne.settings import OPTIONS
from tests.servers import ROOT

PAGE = (ROOT / "docs" / "security.rst").read_text("utf-8").partition("What the attacks cost")[0]
ROWS = re.findall(r"   \* - (.+)\n     - (.+)\n     - (.+)\n     - (.+)\n", PAGE)[1:]
FLAGS = {flag for option in OPTIONS.values() for flag in option.flags}


def test_the_table_is_there() -> None:
    assert len(ROWS) == PAGE.count("   * - ") - 1 > 30


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_a_row_names_its_knobs_and_its_test(row: tuple[str, str, str, str]) -> None:
    knobs, written = row[2], re.fullmatch(r"``(tests/\S+\.py)::(test_\w+)``", row[3])
    flags = set(re.findall(r"``(--[a-z0-9-]+)``", knobs))
    assert flags or knobs == "always on" or "docs/tls.rst" in knobs
    assert flags <= FLAGS
    assert written is not None
    tree = ast.parse((ROOT / written[1]).read_text("utf-8"))
    assert written[2] in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_every_limit_stands_in_the_table() -> None:
    limits = {option.flag for name, option in OPTIONS.items() if re.search(r"_max_|^max_|_rate$", name)}
    assert {flag for flag in limits if f"``{flag}``" not in PAGE} == set()
