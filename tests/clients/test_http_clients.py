"""HTTP clients that this project did not write, over every way in and both ways to the application."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator

import pytest

from tests.clients.conftest import SERVERS
from tests.clients.fronts import INHERITED
from tests.clients.http_clients import CLIENTS, Client, open_client
from tests.servers import Address

MEGABYTES = bytes(range(256)) * 4096 * 3


def shows_something(front: str, client: str) -> bool:
    """nginx speaks HTTP/1.1 to those behind it; how a socket was inherited is one to all clients."""
    return client == "httpx" if front in INHERITED else not (front == "nginx" and client.endswith("-2"))


PAIRS = [
    pytest.param((server, client), id="-".join((*server, client)))
    for server in SERVERS
    for client in CLIENTS
    if shows_something(server[0], client)
]


@pytest.fixture(params=PAIRS)
def client(request: pytest.FixtureRequest, serve: Callable[[str, str], Address]) -> Iterator[Client]:
    server, name = request.param
    with open_client(name, serve(*server)) as client:
        yield client


def test_a_page_with_its_files(client: Client) -> None:
    reply = client.request("GET", "/")
    assert reply.status == 200
    assert reply.headers["content-type"] == "text/html; charset=utf-8"
    assert int(reply.headers["content-length"]) == len(reply.body)
    assert b"<h1>Daphne" in reply.body
    assert client.request("GET", "/demo.js").headers["content-type"].startswith("text/javascript")


def test_the_application_sees_what_was_sent(client: Client) -> None:
    scope = json.loads(client.request("GET", "/scope?a=b%20c&a=d").body)
    assert (scope["type"], scope["method"], scope["path"]) == ("http", "GET", "/scope")
    assert scope["query_string"] == "a=b%20c&a=d"
    assert scope["http_version"] == client.version
    assert {name for name, _ in scope["headers"]} >= {"host", "user-agent", "accept"}


def test_a_proxy_tells_who_the_client_is(serve: Callable[[str, str], Address]) -> None:
    behind, direct = serve("nginx", "application"), serve("unix", "application")
    with open_client("httpx", behind) as client:
        scope = json.loads(client.request("GET", "/scope").body)
        assert scope["client"][0] == "127.0.0.1"
        assert scope["client"][1] > 1023
        assert scope["scheme"] == "http"
        assert ["host", behind.authority] in scope["headers"]
    with open_client("httpx", direct) as client:
        assert json.loads(client.request("GET", "/scope").body)["client"] is None


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/nothing", 404), ("DELETE", "/", 405)])
def test_refusals_keep_the_connection(client: Client, method: str, path: str, status: int) -> None:
    for _ in range(2):
        assert client.request(method, path).status == status
    assert client.request("GET", "/scope").status == 200


def test_head_has_no_body(client: Client) -> None:
    reply = client.request("HEAD", "/demo.css")
    assert (reply.status, reply.body) == (200, b"")
    assert int(reply.headers["content-length"]) == len(client.request("GET", "/demo.css").body)


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_an_upload_arrives_whole(client: Client, chunked: bool) -> None:
    pieces = (MEGABYTES[start : start + 100_000] for start in range(0, len(MEGABYTES), 100_000))
    sums = json.loads(client.request("POST", "/upload", pieces if chunked else MEGABYTES).body)
    assert sums["bytes"] == len(MEGABYTES)
    assert sums["sha256"] == hashlib.sha256(MEGABYTES).hexdigest()


def test_an_empty_upload(client: Client) -> None:
    assert json.loads(client.request("POST", "/upload", b"").body)["bytes"] == 0


def test_a_stream_arrives_as_it_is_made(client: Client) -> None:
    arrivals = client.lines("/ticks?count=3&interval=0.2", most=3)
    assert [json.loads(line)["tick"] for _, line in arrivals] == [1, 2, 3]
    assert arrivals[2][0] - arrivals[0][0] > 0.3  # 0.4 in the making; at once, had something collected it


def test_leaving_a_stream_early_harms_nobody(client: Client) -> None:
    assert len(client.lines("/ticks?count=10000&interval=0", most=2)) == 2
    assert client.request("GET", "/scope").status == 200
