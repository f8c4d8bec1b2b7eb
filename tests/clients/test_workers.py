"""The application in worker processes, which come and go while a browser's chat goes on."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from tests.browser import BrowserTimeout, Page, open_browser
from tests.layers.redis_server import RedisServer
from tests.servers import Process, running, serving, worker

TALKING = "document.querySelector('#chat-text').disabled === false"


@contextmanager
def local_layer(folder: Path) -> Iterator[str]:
    yield f"local:{folder}/layer.sock"


@contextmanager
def redis_layer(folder: Path) -> Iterator[str]:
    pytest.importorskip("hiredis")
    redis = RedisServer()
    redis.start()
    try:
        yield redis.url
    finally:
        redis.close()


@pytest.fixture(params=[local_layer, redis_layer], ids=["local", "redis"])
def environment(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[dict[str, str]]:
    """What makes all processes of a test use one layer."""
    with request.param(tmp_path) as name:
        yield {"DEMO_CHANNEL_LAYER": name}


def say_until_heard(speaker: Page, listener: Page, text: str) -> None:
    """Groups promise no delivery: a listener that is just moving to another worker may miss a line."""
    for attempt in range(120):
        speaker.type("#chat-text", f"{text} ({attempt})")
        with suppress(BrowserTimeout):
            listener.wait_for(f"document.querySelector('#chat-log').innerText.includes('{text}')", 0.5)
            return
    raise AssertionError(f"nobody heard {text!r}: {listener.text('#chat-log')}")


def test_a_chat_goes_on_while_every_worker_is_replaced(environment: dict[str, str], tmp_path: Path) -> None:
    command = worker("daphne.demo:channel_layer", "daphne.demo:application")

    def start(name: str) -> Process:
        process = workers.enter_context(running(command, tmp_path / f"{name}.log", environment=environment))
        process.wait_for(re.compile("takes work from"))
        return process

    with (
        serving("daphne.demo:channel_layer", folder=tmp_path, environment=environment) as server,
        ExitStack() as workers,
        open_browser(tmp_path) as browser,
    ):
        old = [start("old1"), start("old2")]
        ann, bob = (browser.open(server.address.url("/")) for _ in range(2))
        for page in (ann, bob):
            page.wait_for(TALKING)
            page.evaluate("chat.socket.addEventListener('close', () => document.title = 'closed')")
        ann.type("#chat-name", "Ann")
        bob.wait_for("document.querySelector('#chat-log').innerText.includes('now called Ann')")
        for number, process in enumerate(old):
            start(f"new{number}")
            assert process.stop() == 0
            say_until_heard(ann, bob, f"still here {number}")
        assert "has left" not in bob.text("#chat-log")
        assert [page.evaluate("document.title === 'closed'") for page in (ann, bob)] == [False, False]
        assert ann.complaints == bob.complaints == []
