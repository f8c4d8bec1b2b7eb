"""The examples of docs/embedding.rst: each is a program of its own, and is run."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.examples import programs, run

PAGE = "embedding.rst"
PRINTED = [
    "hello from /a-loop\n",
    "True hello from /several\n" * 2,
    "hello from /a-thread\n",
    "hello from /twisted\n",
    "hello from /a-server\n",
]


def test_every_example_is_run() -> None:
    assert len(programs(PAGE)) == len(PRINTED)


@pytest.mark.parametrize("number", range(len(PRINTED)))
def test_an_example(number: int, tmp_path: Path) -> None:
    pytest.importorskip("httpx")
    done = run(PAGE, tmp_path, programs(PAGE)[number], "test_program.py")
    assert (done.returncode, done.stdout) == (0, PRINTED[number]), done.stderr
