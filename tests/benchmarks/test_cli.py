"""The command line: what it refuses, and what it keeps."""

import json
import os

import pytest

pytest.importorskip("uvloop")

from benchmarks import cli, report
from benchmarks.environments import Places
from benchmarks.running import Cores
from tests.benchmarks.test_report import result, row


def test_the_list_names_every_scenario(capsys):
    assert cli.main(["list"]) == 0
    listed = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in listed] == list(cli.SCENARIOS)


def test_two_different_usable_cores_are_needed(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {2, 5, 7})
    assert cli.chosen_cores(None, None) == (Cores(2, 7), "")
    assert cli.chosen_cores(5, None) == (Cores(5, 7), "")
    for server, load in ((5, 5), (0, 7), (2, 9)):
        cores, problem = cli.chosen_cores(server, load)
        assert cores is None and "[2, 5, 7]" in problem


def test_an_environment_that_is_missing_is_named(tmp_path):
    arguments = cli.parser().parse_args(["-s", "layer-memory", "--cache", str(tmp_path)])
    assert "daphne1" in cli.missing_environments(Places(tmp_path), arguments)
    arguments = cli.parser().parse_args(["-s", "get", "--server", "uvicorn", "--cache", str(tmp_path)])
    assert cli.missing_environments(Places(tmp_path), arguments) == ""


@pytest.mark.parametrize(
    ("only", "chosen"),
    [
        (None, ["daphne", "uvicorn", "granian"]),
        (["granian"], ["daphne", "granian"]),
        (["daphne"], ["daphne"]),
        (["hypercorn"], []),
    ],
)
def test_peers_are_chosen_by_name_and_the_first_server_is_always_there(only, chosen):
    assert cli.chosen_servers(("daphne", "uvicorn", "granian"), only) == chosen


@pytest.mark.parametrize(
    "words",
    [["-s", "get", "--cache", "/a/folder", "--quick"], ["-s", "get", "--cache=/a/folder", "--quick"]],
)
def test_the_command_that_is_told_names_no_folder(words):
    assert cli.without_paths(words) == ["-s", "get", "--quick"]


def test_results_are_kept_beside_those_of_other_scenarios(tmp_path, monkeypatch):
    document, data = tmp_path / "performance.rst", tmp_path / "performance.json"
    document.write_text(f"Before\n{report.BEGIN}\n{report.END}\nafter\n")
    monkeypatch.setattr(cli, "DOCUMENT", document)
    monkeypatch.setattr(cli, "DATA", data)
    cli.write({"post": result({"daphne": row()})})
    cli.write({"get": result({"daphne": row()})})
    assert list(json.loads(data.read_text())) == ["get", "post"]
    text = document.read_text()
    assert text.index("get: a title") < text.index("post: a title") < text.index("after")
