"""Channels: its live server test case, and consumers with groups, close reasons, headers and denial."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.layers.redis_server import RedisServer
from tests.servers import Process, running, serving

pytest.importorskip("django")
pytest.importorskip("channels")
websockets = pytest.importorskip("websockets.sync.client")

from websockets.exceptions import ConnectionClosed, InvalidStatus  # noqa: E402

from tests.django.commands import ended, environment, manage  # noqa: E402

APPLICATION = "tests.django.project.channels_asgi:application"
IN_MEMORY = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_channels_live_server_test_case(method: str, tmp_path: Path) -> None:
    database = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(tmp_path / "db.sqlite")}
    settings = {
        "ASGI_APPLICATION": APPLICATION.replace(":", "."),
        "CHANNEL_LAYERS": IN_MEMORY,
        "DATABASES": {"default": {**database, "TEST": {"NAME": str(tmp_path / "test.sqlite")}}},
    }
    more = {"PROJECT_START_METHOD": method}
    status, output = ended("test", "tests.django.project.live", settings=settings, **more)
    assert status == 0, output
    assert re.search(r"Ran 3 tests.*\n\nOK", output), output


@contextmanager
def served(folder: Path, layers: dict[str, Any]) -> Iterator[Process]:
    settings = {"CHANNEL_LAYERS": layers}
    with serving(APPLICATION, folder=folder, environment=environment(settings)) as server:
        yield server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    with served(tmp_path_factory.mktemp("channels"), IN_MEMORY) as process:
        yield process


def test_accept_headers_and_subprotocol_arrive(server: Process) -> None:
    with websockets.connect(
        server.address.url("/greeting", "ws"), subprotocols=["first", "second"]
    ) as client:
        assert client.subprotocol == "second"
        assert client.response.headers["x-greeting"] == "hello"
        client.send('{"a": 1}')
        assert client.recv(timeout=60) == '{"got": {"a": 1}}'


def test_close_code_and_reason_arrive(server: Process) -> None:
    with websockets.connect(server.address.url("/chat", "ws")) as client:
        client.send("quit")
        with pytest.raises(ConnectionClosed) as closed:
            client.recv(timeout=60)
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4321, "as you wish")


@pytest.mark.parametrize(
    "path, origin, status, body",
    [
        ("/denied", None, 451, b"not here"),
        ("/refused", None, 403, None),
        ("/chat", "http://elsewhere.example", 101, None),
    ],
)
def test_the_answer_to_a_handshake(
    server: Process, path: str, origin: str | None, status: int, body: bytes | None
) -> None:
    try:
        with websockets.connect(server.address.url(path, "ws"), origin=origin) as client:
            response = client.response
    except InvalidStatus as refused:
        response = refused.response
    assert response.status_code == status
    if body is not None:
        assert response.body == body
        assert response.headers["x-why"] == "law"


@pytest.fixture
def over_redis() -> Iterator[dict[str, Any]]:
    """CHANNEL_LAYERS with a Redis of the test's own."""
    pytest.importorskip("channels_redis")
    redis = RedisServer()
    redis.start()
    try:
        backend = "channels_redis.core.RedisChannelLayer"
        yield {"default": {"BACKEND": backend, "CONFIG": {"hosts": [redis.url]}}}
    finally:
        redis.close()


def test_groups_span_processes_over_channels_redis(tmp_path: Path, over_redis: dict[str, Any]) -> None:
    folders = [tmp_path / "one", tmp_path / "other"]
    for folder in folders:
        folder.mkdir()
    with (
        served(folders[0], over_redis) as one,
        served(folders[1], over_redis) as other,
        websockets.connect(one.address.url("/chat", "ws")) as ann,
        websockets.connect(other.address.url("/chat", "ws")) as bob,
    ):
        ann.send("hello")
        assert [ann.recv(timeout=60), bob.recv(timeout=60)] == ["hello", "hello"]


def test_asgiworker_runs_the_project_behind_its_layer(tmp_path: Path, over_redis: dict[str, Any]) -> None:
    settings = {"ASGI_APPLICATION": APPLICATION.replace(":", "."), "CHANNEL_LAYERS": over_redis}
    variables = environment(settings)
    layer = "daphne.management.worker_targets:layers.default"
    with (
        serving(layer, folder=tmp_path, environment=variables) as server,
        running(manage("asgiworker"), tmp_path / "worker.log", environment=variables) as work,
    ):
        work.wait_for(re.compile("takes work from"))
        answer = httpx.post(server.address.url("/counting"), content=b"x" * 1000, timeout=60)
        assert answer.text == "1000 bytes came"
        with websockets.connect(server.address.url("/greeting", "ws"), subprotocols=["a"]) as client:
            assert client.response.headers["x-greeting"] == "hello"
            client.send('{"b": 2}')
            assert client.recv(timeout=60) == '{"got": {"b": 2}}'


@pytest.mark.parametrize(
    "arguments, settings, says",
    [
        ((), {"ASGI_APPLICATION": None}, "You have not set ASGI_APPLICATION"),
        (("--layer", "other"), {}, "there is no channel layer 'other' in CHANNEL_LAYERS"),
        (("--", "--concurrency", "none"), {}, "'none' is not allowed"),
    ],
)
def test_asgiworker_says_what_is_missing(
    arguments: tuple[str, ...], settings: dict[str, Any], says: str
) -> None:
    status, output = ended("asgiworker", *arguments, settings=settings)
    assert status in (1, 2)
    assert says in output and "Traceback" not in output
