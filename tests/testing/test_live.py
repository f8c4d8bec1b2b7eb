"""live_server and the fixture daphne_server: an application on a real port, and what goes wrong."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from daphne.errors import EndpointError, LifespanError
from daphne.settings import Settings
from daphne.testing import live, live_server

websockets = pytest.importorskip("websockets.sync.client")


class Application:
    """Greets, echoes, and keeps what was said, for the test to look at."""

    def __init__(self, start: str = "complete") -> None:
        self.heard: list[str] = []
        self.threads: set[str] = set()
        self.stopped = False
        self._start = start

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.threads.add(threading.current_thread().name)
        if scope["type"] == "lifespan":
            await receive()
            await send({"type": f"lifespan.startup.{self._start}", "message": "no database"})
            await receive()
            self.stopped = True
            await send({"type": "lifespan.shutdown.complete"})
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.accept"})
            while (event := await receive())["type"] == "websocket.receive":
                self.heard.append(event["text"])
                await send({"type": "websocket.send", "text": event["text"]})
        else:
            await asyncio.sleep(0)
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": scope["path"].encode()})


def get(address: str) -> tuple[str, str]:
    with urllib.request.urlopen(address, timeout=60) as answer:
        return answer.headers["server"], answer.read().decode()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_server_for_the_length_of_a_block(host: str) -> None:
    application = Application()
    with live_server(application, Settings(server_name="mine"), host=host) as server:
        assert server.host == host and server.port > 0
        assert get(server.url("/page")) == ("mine", "/page")
        with websockets.connect(server.url("/", "ws")) as client:
            client.send("hello")
            assert client.recv(timeout=60) == "hello"
        address = server.url()
    assert application.heard == ["hello"] and application.stopped
    assert application.threads == {"daphne live server"}
    with pytest.raises(OSError):
        get(address)


def test_several_at_once() -> None:
    with live_server(Application()) as one, live_server(Application()) as other:
        assert one.port != other.port
        assert get(one.url("/1"))[1] == "/1" and get(other.url("/2"))[1] == "/2"


def test_an_application_that_does_not_start() -> None:
    with pytest.raises(LifespanError, match="no database"), live_server(Application("failed")):
        raise AssertionError("it started")


def test_an_application_that_never_says_that_it_has_started(monkeypatch: pytest.MonkeyPatch) -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        begun.set()
        await asyncio.Event().wait()

    begun = threading.Event()
    monkeypatch.setattr(live, "START_LIMIT", 0.2)
    settings = Settings(graceful_timeout=0.1)  # as long as its lifespan may take to end
    with pytest.raises(TimeoutError, match="did not start"), live_server(application, settings):
        raise AssertionError("it started")
    assert begun.is_set()


@pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="descriptors are counted in /proc")
def test_nothing_is_left_open_by_a_server_that_has_been() -> None:
    script = """
import os
from daphne.testing import live_server

async def application(scope, receive, send):
    raise RuntimeError("no lifespan")

def use():
    for _ in range(3):
        with live_server(application):
            pass
    return len(os.listdir("/proc/self/fd"))

before = use()
assert use() == before, (use(), before)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_a_port_that_is_taken() -> None:
    with live_server(Application()) as first:
        with pytest.raises(EndpointError), live_server(Application(), port=first.port):
            raise AssertionError("it started")
        assert get(first.url("/still"))[1] == "/still"


def test_what_a_test_raises_comes_through() -> None:
    with pytest.raises(KeyError), live_server(Application()):
        raise KeyError("of the test")


A_TEST = """
from tests.testing.test_live import Application, get

def test_two_servers(daphne_server):
    one = daphne_server(Application(), server_name="one")
    other = daphne_server(Application(), server_name="other")
    assert get(one.url("/a")) == ("one", "/a")
    assert get(other.url("/b")) == ("other", "/b")
"""


def test_the_fixture(tmp_path: Path) -> None:
    (tmp_path / "test_mine.py").write_text(A_TEST)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "daphne.pytest_plugin", "test_mine.py"]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=60, env=os.environ.copy()
    )
    assert "1 passed" in done.stdout, done.stdout + done.stderr


def test_the_plugin_costs_nothing_until_it_is_used() -> None:
    script = "import sys, daphne.pytest_plugin; print([m for m in sys.modules if m.startswith('twisted')])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.stdout == "[]\n", done.stderr
