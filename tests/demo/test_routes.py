"""Which path, method and root path is answered how."""

from __future__ import annotations

import asyncio
import json

import pytest

from tests.demo.exchange import answer, exchange


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 200),
        ("GET", "/demo.css", 200),
        ("GET", "/demo.js", 200),
        ("GET", "/laurel.svg", 200),
        ("GET", "/scope", 200),
        ("POST", "/upload", 200),
        ("PUT", "/upload", 200),
        ("GET", "/upload", 405),
        ("POST", "/", 405),
        ("DELETE", "/ticks", 405),
        ("GET", "/nothing", 404),
        ("GET", "/static/../demo.css", 404),
        ("GET", "/chat", 404),
    ],
)
def test_status(method: str, path: str, status: int) -> None:
    assert asyncio.run(answer(path, method=method))[0] == status


def test_a_wrong_method_is_told_the_right_ones() -> None:
    _, headers, _ = asyncio.run(answer("/upload"))
    assert headers[b"allow"] == b"POST, PUT"


@pytest.mark.parametrize("path", ["/", "/demo.css", "/scope", "/nothing", "/ticks"])
def test_head_has_the_head_of_get_and_no_body(path: str) -> None:
    query = {"query_string": b"count=1"}
    get_status, get_headers, _ = asyncio.run(answer(path, **query))
    status, headers, body = asyncio.run(answer(path, method="HEAD", **query))
    assert (status, set(headers), body) == (get_status, set(get_headers), b"")
    if path not in ("/scope", "/"):  # these two say HEAD instead of GET
        assert headers == get_headers


@pytest.mark.parametrize(
    ("root_path", "path", "status"),
    [
        ("/app", "/app/", 200),
        ("/app", "/app/demo.css", 200),
        ("/app", "/", 200),  # servers that take the root path off the path
        ("/app", "/apple", 404),
        ("/app", "/app", 307),
        ("/app/", "/app/scope", 200),
    ],
)
def test_root_path(root_path: str, path: str, status: int) -> None:
    got, headers, _ = asyncio.run(answer(path, root_path=root_path))
    assert got == status
    assert headers.get(b"location") == (b"/app/" if status == 307 else None)


def test_the_page_links_to_nothing_but_its_neighbours() -> None:
    _, headers, body = asyncio.run(answer("/"))
    assert headers[b"content-length"] == str(len(body)).encode()
    assert b'="/' not in body
    assert b"//" not in body


def test_the_page_shows_the_request_and_escapes_it() -> None:
    scope = {"http_version": "2", "scheme": "https", "query_string": b"q=<script>", "client": None}
    _, _, body = asyncio.run(answer("/", **scope))
    text = body.decode()
    assert '<strong id="page-protocol">HTTP/2</strong>' in text
    assert "HTTP/2, https" in text
    assert "q=&lt;script&gt;" in text
    assert "<script>" not in text
    assert "not known (a unix socket)" in text


def test_the_scope_as_json() -> None:
    scope = {"headers": [(b"x-latin", b"\xe4")], "state": {"pool": object()}, "server": ("/run/d.sock", None)}
    _, headers, body = asyncio.run(answer("/scope", **scope))
    shown = json.loads(body)
    assert headers[b"content-type"] == b"application/json"
    assert shown["headers"] == [["x-latin", "ä"]]
    assert shown["state"] == {"pool": "<object>"}
    assert shown["server"] == ["/run/d.sock", None]


def test_a_websocket_elsewhere_is_refused() -> None:
    async def refused() -> None:
        async with exchange("websocket", "/elsewhere") as running:
            running.arrive("websocket.connect")
            assert (await running.end())[0]["type"] == "websocket.close"

    asyncio.run(refused())


def test_lifespan() -> None:
    async def live() -> None:
        async with exchange("lifespan", "/") as running:
            running.arrive("lifespan.startup")
            assert await running.leave() == {"type": "lifespan.startup.complete"}
            running.arrive("lifespan.shutdown")
            assert await running.end() == [{"type": "lifespan.shutdown.complete"}]

    asyncio.run(live())


def test_what_it_does_not_speak_is_an_error() -> None:
    async def ask() -> None:
        async with exchange("telnet", "/") as running:
            with pytest.raises(ValueError, match="telnet"):
                await running.end()

    asyncio.run(ask())
