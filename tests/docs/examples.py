"""Programs in the pages of docs/: their blocks of Python, and the module `hello` that they share.

Called by the tests of docs/embedding.rst and docs/testing.rst.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

from tests.servers import ROOT

_BLOCK = re.compile(r"^\.\. code-block:: python\n\n((?:    .*\n|\n)+)", re.MULTILINE)
_HELLO = re.compile(r"``hello\.py``::\n\n((?:    .*\n)+)")


def programs(page: str) -> list[str]:
    """The blocks of Python in a page."""
    return [textwrap.dedent(block) for block in _BLOCK.findall((ROOT / "docs" / page).read_text("utf-8"))]


def run(page: str, folder: Path, program: str, *command: str) -> subprocess.CompletedProcess[str]:
    """Write `program` and the page's hello.py into `folder`, and run Python there with `command`."""
    hello = _HELLO.search((ROOT / "docs" / page).read_text("utf-8"))
    assert hello is not None
    (folder / "hello.py").write_text(textwrap.dedent(hello[1]))
    (folder / "test_program.py").write_text(program)
    paths = os.pathsep.join([str(folder), os.environ["PYTHONPATH"]])
    return subprocess.run(
        [sys.executable, "-W", "error::RuntimeWarning", *command],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=90,
    )
