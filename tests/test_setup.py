"""Tests that what the distribution says of itself is so."""

import configparser
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
SETUP = (ROOT / "setup.py").read_text("utf-8")


def test_the_oldest_versions_are_the_ones_that_are_tested():
    required = re.search(r"install_requires=\[(.*?)\n    \]", SETUP, re.DOTALL)[1]
    bounds = re.findall(r'^        "([\w\[\],]+)>=([\d.]+)', required, re.MULTILINE)
    assert len(bounds) == required.count('"') // 2
    tox = configparser.ConfigParser()
    tox.read(ROOT / "tox.ini")
    tested = [tuple(line.split("==")) for line in tox["testenv:lowest"]["deps"].split()]
    assert tested == bounds


def test_every_python_has_its_environment():
    versions = re.findall(r"Python :: 3\.(\d+)", SETUP)
    environments = (ROOT / "tox.ini").read_text("utf-8").splitlines()[1]
    assert [f"py3{version}" for version in versions] == re.findall(r"py3\d+", environments)
    assert f'python_requires=">=3.{versions[0]}"' in SETUP
