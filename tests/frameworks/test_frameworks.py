"""What each framework needs of a server: HTTP, streaming, upload, lifespan and WebSocket, in both modes."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from tests.servers import Address, serving

websockets = pytest.importorskip("websockets.sync.client")

TRY: Any = {"timeout": 60, "verify": False}
"""How to ask; to read the authorities that TLS would need takes longer than most requests."""

DEMAND = "DAPHNE_TEST_REQUIRE_FRAMEWORKS"
"""The environment variable that makes a missing framework a failure."""


@dataclass(frozen=True)
class Framework:
    """What a framework offers."""

    name: str
    package: str | None
    lifespan: bool = True
    websocket: bool = True


FRAMEWORKS = [
    Framework("raw", None),
    Framework("double", None),
    Framework("starlette", "starlette"),
    Framework("fastapi", "fastapi"),
    Framework("litestar", "litestar"),
    Framework("quart", "quart"),
    Framework("channels", "channels", lifespan=False),
    Framework("django", "django", lifespan=False, websocket=False),
]


@dataclass(frozen=True)
class Served:
    """A framework behind a server."""

    framework: Framework
    address: Address

    def url(self, path: str, scheme: str = "http") -> str:
        return self.address.url(path, scheme)


MODES = {"inside": (), "behind a layer": ("--worker",)}


@pytest.fixture(
    scope="module",
    params=[(framework, mode) for framework in FRAMEWORKS for mode in MODES],
    ids=[f"{framework.name} {mode}" for framework in FRAMEWORKS for mode in MODES],
)
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    framework, mode = request.param
    if framework.package is not None and importlib.util.find_spec(framework.package) is None:
        if os.environ.get(DEMAND) == "1":
            pytest.fail(f"{framework.package} is not installed")
        pytest.skip(f"{framework.package} is not installed (pip install '.[frameworks]')")
    target = f"tests.frameworks.applications:{framework.name}"
    arguments = (target,) if mode == "inside" else ("--worker", target, "daphne.demo:channel_layer")
    with serving(*arguments, folder=tmp_path_factory.mktemp("framework")) as server:
        yield Served(framework, server.address)


def test_a_page(served: Served) -> None:
    answer = httpx.get(served.url("/"), **TRY)
    assert (answer.status_code, answer.text) == (200, "plain")


def test_a_streamed_response(served: Served) -> None:
    with httpx.stream("GET", served.url("/stream"), **TRY) as answer:
        assert "".join(answer.iter_text()) == "01234"


@pytest.mark.parametrize("size", [0, 100, 3_000_000])
def test_an_upload(served: Served, size: int) -> None:
    answer = httpx.post(served.url("/upload"), content=b"x" * size, **TRY)
    assert (answer.status_code, answer.text) == (200, str(size))


def test_its_lifespan_runs(served: Served) -> None:
    if not served.framework.lifespan:
        pytest.skip(f"{served.framework.name} has no lifespan")
    assert httpx.get(served.url("/started"), **TRY).text == "True"


def test_a_websocket(served: Served) -> None:
    if not served.framework.websocket:
        pytest.skip(f"{served.framework.name} has no WebSockets")
    with websockets.connect(served.url("/echo", "ws")) as client:
        for text in ("hello", "x" * 100_000, ""):
            client.send(text)
            assert client.recv(timeout=60) == text


def test_requests_side_by_side_on_one_connection_each(served: Served) -> None:
    with httpx.Client(**TRY) as client:
        for _ in range(10):
            assert client.get(served.url("/")).text == "plain"
