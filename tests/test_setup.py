"""Tests that what the distribution says of itself is so."""

import ast
import configparser
import re
from importlib.util import find_spec
from pathlib import Path

import daphne

ROOT = Path(__file__).parents[1]
SETUP = (ROOT / "setup.py").read_text("utf-8")


def compiled_modules() -> list[str]:
    """The files that setup.py's COMPILED names."""
    for statement in ast.parse(SETUP).body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "COMPILED":
            return eval(ast.unparse(statement.value))
    raise AssertionError("no COMPILED in setup.py")


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


def test_what_is_to_be_compiled_is_there():
    modules = compiled_modules()
    assert all((ROOT / module).is_file() for module in modules)
    assert {Path(module).parent.name for module in modules} == {"streams", "protocols", "reactor", "layers"}


def test_no_coroutine_is_compiled():
    """mypyc's are not the interpreter's own: `asyncio.iscoroutine` takes them, anyio does not. And they pass
    exceptions on by `throw(type, value, traceback)`, of which Python 3.12 and later warn: an application
    that is cancelled where warnings are errors would get the warning instead."""
    found = [
        f"{module}:{node.lineno}"
        for module in compiled_modules()
        for node in ast.walk(ast.parse((ROOT / module).read_text("utf-8")))
        if isinstance(node, ast.AsyncFunctionDef)
    ]
    assert found == []


def test_all_modules_are_compiled_or_none():
    modules = [
        find_spec(module.removesuffix(".py").replace("/", ".")).origin for module in compiled_modules()
    ]
    assert {module.endswith(".py") for module in modules} == {not daphne.is_compiled()}
