"""The examples of docs/embedding.rst and docs/testing.rst: each is a program of its own, and is run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.servers import ROOT

TEXT = (ROOT / "docs" / "embedding.rst").read_text("utf-8")
BLOCK = re.compile(r"^\.\. code-block:: python\n\n((?:    .*\n|\n)+)", re.MULTILINE)
EXAMPLES = [textwrap.dedent(block) for block in BLOCK.findall(TEXT)]
HELLO = textwrap.dedent(re.search(r"``hello\.py``::\n\n((?:    .*\n)+)", TEXT)[1])  # type: ignore[index]

PRINTED = [
    "hello from /a-loop\n",
    "True hello from /several\n" * 2,
    "hello from /a-thread\n",
    "hello from /twisted\n",
    "hello from /a-server\n",
]


def test_every_example_is_run() -> None:
    assert len(EXAMPLES) == len(PRINTED)


@pytest.mark.parametrize("number", range(len(PRINTED)))
def test_an_example(number: int, tmp_path: Path) -> None:
    pytest.importorskip("httpx")
    (tmp_path / "hello.py").write_text(HELLO)
    (tmp_path / "program.py").write_text(EXAMPLES[number])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ["PYTHONPATH"]])}
    done = subprocess.run(
        [sys.executable, "-W", "error::RuntimeWarning", "program.py"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (0, PRINTED[number]), done.stderr
