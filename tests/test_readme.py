"""Tests that the README tells the truth: its commands work, and its tables are the settings."""

import csv
import re
import shlex
import urllib.request
from pathlib import Path

import pytest

from daphne.settings import OPTIONS, Settings
from tests.servers import serving

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.rst").read_text("utf-8")
COMMANDS = re.findall(r"^    (pip install .+)$", README, re.MULTILINE)


def tables():
    """The rows of every table, by its title."""
    found = {}
    for title, body in re.findall(r"^\.\. csv-table:: (.+)\n((?:   .*\n|\n)+)", README, re.MULTILINE):
        lines = [line.strip() for line in body.splitlines() if line.startswith('   "')]
        found[title] = list(csv.reader(lines))
    return found


def default_of(name):
    value = getattr(Settings(), name)
    if name == "unix_socket_mode":
        return f"{value:o}"
    if value in (None, (), "") or isinstance(value, bool):
        return {True: "on", False: "off"}[value] if isinstance(value, bool) else ""
    if isinstance(value, tuple):
        value = ",".join(value)
    return f"``{value}``" if isinstance(value, str) else str(value)


@pytest.mark.parametrize("group", dict.fromkeys(option.group for option in OPTIONS.values()))
def test_the_tables_are_the_settings(group):
    rows = []
    for name, option in OPTIONS.items():
        if option.group == group and option.flag:
            flags = [flag for flag in (*option.flags, option.off_flag) if flag]
            rows.append([", ".join(f"``{flag}``" for flag in flags), default_of(name), option.help])
    assert tables()[group] == rows


def test_there_are_no_other_tables():
    assert tables().keys() == {option.group for option in OPTIONS.values() if option.flag}


def test_every_flag_in_the_text_is_one():
    flags = {flag for option in OPTIONS.values() for flag in (*option.flags, option.off_flag)}
    others = {"--check-config", "--config", "--help", "--version", "--http2-prior-knowledge"}
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]+", README)) <= flags | others


def test_the_first_command_serves(tmp_path):
    install, _, command = COMMANDS[0].partition(" && ")
    assert install == "pip install ."
    program, *args = shlex.split(command)
    assert program == "daphne"
    with serving(*args, folder=tmp_path) as server:
        page = urllib.request.urlopen(server.address.url("/"), timeout=60)
        assert (page.status, page.headers["server"]) == (200, "daphne")
        assert b"<html" in page.read()


def test_the_second_command_is_what_ci_runs():
    assert COMMANDS[1] == "pip install '.[tests]' && pytest"
    assert f"\n{COMMANDS[1]}\n" in (ROOT / ".ci" / "run").read_text("utf-8")
