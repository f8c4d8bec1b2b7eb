"""The floors of the house: no module imports from a floor above its own, and importing starts nothing."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import daphne

PACKAGE = Path(daphne.__file__).parent

FLOORS = [
    {"settings": ["errors", "options", "settings"]},
    {"streams": ["streams"]},
    {"application": ["application"], "layers": ["layers"], "protocols": ["protocols"]},
    {"worker": ["worker"]},
    {
        "server": [
            "access",
            "access_format",
            "endpoints",
            "logs",
            "reactor",
            "server",
            "service",
            "stall",
            "systemd",
            "tls_info",
        ]
    },
    {
        "doors": [
            "__main__",
            "apps",
            "checks",
            "cli",
            "config",
            "demo",
            "embedding",
            "flags",
            "http_protocol",
            "management",
            "pytest_plugin",
            "testing",
            "utils",
            "worker.__main__",
            "worker.cli",
            "ws_protocol",
        ]
    },
]
"""From the ground up. On one floor, modules of different groups do not import each other."""

NEVER = {"worker": {"protocols"}}
"""What a group may not import although it lies below."""

HEIGHT = {group: height for height, floor in enumerate(FLOORS) for group in floor}
GROUP = {name: group for floor in FLOORS for group, names in floor.items() for name in names}


def module_names():
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def group_of(module):
    """The group of a module: that of the longest listed name that it begins with."""
    parts = module.split(".")[1:]
    for length in range(len(parts), 0, -1):
        if ".".join(parts[:length]) in GROUP:
            return GROUP[".".join(parts[:length])]
    return None


def imports_of(module, source, is_package):
    """Every daphne module that `source` imports, anywhere in it."""
    package = module.split(".") if is_package else module.split(".")[:-1]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "daphne")
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            name = ".".join([*base, *([node.module] if node.module else [])])
            if name.split(".")[0] == "daphne":
                # `from daphne import access` imports a module, `from daphne.access import x` what is in one.
                yield from (f"{name}.{alias.name}" for alias in node.names)


def arrows():
    for module in module_names():
        path = PACKAGE.parent.joinpath(*module.split("."))
        is_package = path.is_dir()
        source = (path / "__init__.py" if is_package else path.with_suffix(".py")).read_text("utf-8")
        for imported in imports_of(module, source, is_package):
            yield module, imported


def forbidden(module, imported):
    """Why an import runs against the floors, or None."""
    ours, theirs = group_of(module), group_of(imported)
    if ours is None or theirs is None or ours == theirs:
        return None
    if HEIGHT[theirs] > HEIGHT[ours]:
        return "runs up"
    if HEIGHT[theirs] == HEIGHT[ours] or theirs in NEVER.get(ours, ()):
        return "runs across"
    return None


def test_every_module_has_a_floor():
    homeless = [name for name in module_names() if name != "daphne" and group_of(name) is None]
    assert homeless == []


def test_no_arrow_runs_up():
    wrong = {(module, imported): forbidden(module, imported) for module, imported in arrows()}
    assert {arrow: why for arrow, why in wrong.items() if why} == {}


@pytest.mark.parametrize(
    ("module", "source", "found"),
    [
        ("daphne.streams.http", "from daphne.protocols.http1 import X", "runs up"),
        ("daphne.streams.http", "def f():\n    import daphne.server", "runs up"),
        ("daphne.streams.http", "from ..layers import memory", "runs up"),
        ("daphne.layers.bridge", "from daphne.application import running", "runs across"),
        ("daphne.worker.consuming", "from daphne.protocols import http1", "runs across"),
        ("daphne.worker.cli", "from daphne import flags, logs", None),
        ("daphne.settings", "from daphne import cli", "runs up"),
        ("daphne.protocols.http1", "from daphne import __version__", None),
        ("daphne.protocols.http1", "import asyncio, os.path\nfrom .http2 import Y", None),
    ],
)
def test_the_test_sees_arrows(module, source, found):
    reasons = [forbidden(module, name) for name in imports_of(module, source, False)]
    assert next(filter(None, reasons), None) == found


ALONE = """
import os, sys, threading, traceback
import twisted.internet.endpoints, twisted.logger, autobahn.websocket.protocol, h2.connection

def open_files():
    files = [f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd")]
    return sorted(os.readlink(file) for file in files if os.path.exists(file))

OPTIONAL = ("django", "hiredis", "redis")  # what an extra brings
DEMANDED = os.environ.get("DAPHNE_TEST_REQUIRE_PROGRAMS") == "1"
before = open_files() if os.path.isdir("/proc/self/fd") else None
for module in sys.argv[1:]:
    child = os.fork()  # each by itself, as the first of daphne: circular imports show up
    if child:
        if os.waitpid(child, 0)[1]:
            print(module)
        continue
    status = 1
    try:
        __import__(module)
        assert "twisted.internet.reactor" not in sys.modules, "installed a reactor"
        assert threading.active_count() == 1, "started a thread"
        assert before is None or open_files() == before, "opened a file"
        status = 0
    except ModuleNotFoundError as error:
        status = 0 if error.name in OPTIONAL and not DEMANDED else traceback.print_exc() or 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)
"""


def test_importing_any_module_starts_nothing():
    ended = subprocess.run(
        [sys.executable, "-c", ALONE, *module_names()], capture_output=True, text=True, timeout=120
    )
    assert (ended.stdout, ended.returncode) == ("", 0), ended.stderr
