"""The command `daphne-worker`: its options, its exit statuses, and what signals do to it."""

from __future__ import annotations

import asyncio
import re
import signal
import subprocess
import sys

import pytest

from daphne.worker import cli
from tests.servers import ROOT, Process

WORKING = re.compile(r"takes work from")
LAYER, APPLICATION = "daphne.demo:channel_layer", "daphne.demo:application"


@pytest.fixture
def start(tmp_path):
    processes = []

    def start(*arguments):
        process = Process([sys.executable, "-m", "daphne.worker", *arguments], tmp_path / "log")
        processes.append(process)
        process.wait_for(WORKING)
        return process

    yield start
    for process in processes:
        process.popen.kill()
        process.popen.wait()


@pytest.mark.parametrize(
    ("arguments", "environment", "status", "said"),
    [
        (["--version"], {}, 0, "daphne 5"),
        ([LAYER], {}, 2, "application"),
        (["--unknown", LAYER, APPLICATION], {}, 2, "--unknown"),
        (["--concurrency", "0", LAYER, APPLICATION], {}, 2, "--concurrency"),
        (["--drain-timeout", "x", "--threads", "y", LAYER, APPLICATION], {}, 2, "--threads"),
        ([LAYER, APPLICATION], {"DAPHNE_CONCURRENCY": "many"}, 2, "DAPHNE_CONCURRENCY"),
        (["--worker-timeout", "x", LAYER, APPLICATION], {}, 2, "--worker-timeout"),
        (["--application-close-timeout", "x", LAYER, APPLICATION], {}, 2, "--application-close-timeout"),
        (["nothing", APPLICATION], {}, 1, "'nothing'"),
        ([APPLICATION, APPLICATION], {}, 1, "is not a channel layer"),
        ([LAYER, "daphne:__version__"], {}, 1, "is not an ASGI application"),
    ],
)
def test_what_is_wrong_is_one_line_and_a_status(arguments, environment, status, said, monkeypatch, capsys):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as ended:
        cli.run(arguments)
    output = capsys.readouterr()
    assert (ended.value.code or 0) == status
    assert said in (output.err if status else output.out)
    assert "Traceback" not in output.err


def test_a_start_up_that_fails_is_status_1():
    command = [sys.executable, "-m", "daphne.worker", LAYER, "tests.worker.test_cli:refusing"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr == "daphne-worker: error: the application failed to start: no database\n"


async def refusing(scope, receive, send):
    """An application whose start-up fails."""
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "no database"})


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_order(start, number):
    worker = start("--only-channels", "http.*", LAYER, APPLICATION)
    assert "takes work from http.request over" in worker.output
    worker.popen.send_signal(number)
    assert worker.popen.wait(60) == 0
    assert "takes no more work" in worker.output


async def endless_start(scope, receive, send):
    """An application whose start-up comes to no end."""
    await receive()
    print("it starts", flush=True)
    await asyncio.sleep(1000)


def test_a_signal_during_the_start_ends_it_in_time(tmp_path):
    command = [sys.executable, "-m", "daphne.worker", "--drain-timeout", "1"]
    worker = Process([*command, LAYER, "tests.worker.test_cli:endless_start"], tmp_path / "log")
    try:
        worker.wait_for(re.compile("it starts"))
        worker.popen.send_signal(signal.SIGTERM)
        assert worker.popen.wait(60) == 0
        assert "did not shut down in time" in worker.output
    finally:
        worker.popen.kill()
        worker.popen.wait()


async def stubborn(scope, receive, send):
    """An application that shuts down when it pleases."""
    assert scope["type"] == "lifespan"
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await asyncio.sleep(1000)


def test_a_second_signal_ends_it_at_once(start):
    worker = start(LAYER, "tests.worker.test_cli:stubborn")
    worker.popen.send_signal(signal.SIGTERM)
    worker.wait_for(re.compile("takes no more work"))
    worker.popen.send_signal(signal.SIGTERM)
    assert worker.popen.wait(60) == 0
    assert "A second signal" in worker.output


def test_help_names_every_option(capsys):
    with pytest.raises(SystemExit):
        cli.run(["--help"])
    text = capsys.readouterr().out
    for flag in (
        *("--concurrency", "--threads", "--only-channels", "--exclude-channels", "--lifespan"),
        *("--drain-timeout", "--worker-timeout", "--verbosity", "--log-fmt", "--uvloop"),
        "--application-close-timeout",
    ):
        assert flag in text
