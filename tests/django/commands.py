"""Runs Django's management commands as processes, as a developer does.

Called by the tests of `runserver` and `asgiworker`; calls tests.servers.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.servers import LISTENING, ROOT, Address, Process, running

ANY_PORT = "127.0.0.1:0"


def environment(settings: Mapping[str, Any] | None = None, **more: str) -> dict[str, str]:
    """The environment of a command whose project has `settings` besides its own."""
    return {
        "DJANGO_SETTINGS_MODULE": "tests.django.project.settings",
        "PROJECT_SETTINGS": json.dumps(settings or {}),
        "PYTHONUNBUFFERED": "1",
        "DJANGO_RUNSERVER_HIDE_WARNING": "true",
        **more,
    }


def manage(*arguments: str) -> list[str]:
    """The command line of a management command."""
    return [sys.executable, "-m", "django", *arguments]


def ended(*arguments: str, settings: Mapping[str, Any] | None = None, **more: str) -> tuple[int, str]:
    """Run a command that ends by itself; its status, and all that it wrote."""
    done = subprocess.run(
        manage(*arguments),
        cwd=ROOT,
        env={**os.environ, **environment(settings, **more)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
    )
    return done.returncode, done.stdout


@contextlib.contextmanager
def runserver(
    *arguments: str, folder: Path, settings: Mapping[str, Any] | None = None, **more: str
) -> Iterator[Process]:
    """`manage.py runserver` on a port of its own, for the length of the block; it must end with status 0."""
    command = manage("runserver", ANY_PORT, *arguments)
    with running(command, folder / "runserver.log", environment=environment(settings, **more)) as process:
        process.address = where(process, secure="--tls" in arguments)
        yield process


def where(process: Process, secure: bool = False, times: int = 1) -> Address:
    """The address that the server said last, once it has said one `times` times."""

    def said() -> re.Match[str] | None:
        found = list(LISTENING.finditer(process.output))
        return found[-1] if len(found) >= times else None

    found = process.wait_until(said, "the address that it listens on")
    return Address(found[1], int(found[2]), secure=secure)
