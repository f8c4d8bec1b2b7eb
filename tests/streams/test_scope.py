"""daphne.streams.scope: the scopes that applications get, complete after ASGI HTTP and WebSocket 2.5."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from daphne.testing import MemoryServer
from daphne.testing.sockets import handshake
from tests.protocols.bench import Bench, Told, request

Serve = Callable[..., Bench]
PEER = ("192.0.2.7", 4711)


def scope_of(
    serve: Serve, sent: bytes, client: Any = ("127.0.0.1", 50000), **settings: Any
) -> dict[str, Any]:
    """The scope that an application gets for what is sent."""
    told = Told()
    bench = serve(told, **settings)
    connection = bench.connect(client=client)
    bench.send(connection, sent)
    connection.reset()
    told.finish()
    bench.loop.settle()
    return told.scopes[0]  # type: ignore[no-any-return]


def test_http(serve: Serve) -> None:
    scope = scope_of(serve, request("GET", "/caf%C3%A9%2F?a=%20&b", "X-One: 1", "X-One: 2", "x_dropped: 1"))
    assert scope == {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.5"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/café/",
        "raw_path": b"/caf%C3%A9%2F",
        "query_string": b"a=%20&b",
        "root_path": "",
        "headers": [(b"host", b"example.org"), (b"x-one", b"1"), (b"x-one", b"2")],
        "client": ("127.0.0.1", 50000),
        "server": ("127.0.0.1", 8000),
        "extensions": {
            "http.response.trailers": {},
            "http.response.early_hint": {},
            "http.response.pathsend": {},
        },
    }


def test_websocket(serve: Serve) -> None:
    fields = [
        (b"sec-websocket-protocol", b"a, b"),
        (b"Sec-WebSocket-Protocol", b"c"),
        (b"cookie", b"a=1"),
        (b"cookie", b"b=2"),
    ]
    scope = scope_of(serve, handshake("/chat?room=1", fields))
    headers = scope.pop("headers")
    assert scope == {
        "type": "websocket",
        "asgi": {"version": "3.0", "spec_version": "2.5"},
        "http_version": "1.1",
        "scheme": "ws",
        "path": "/chat",
        "raw_path": b"/chat",
        "query_string": b"room=1",
        "root_path": "",
        "client": ("127.0.0.1", 50000),
        "server": ("127.0.0.1", 8000),
        "subprotocols": ["a", "b", "c"],
        "extensions": {"websocket.http.response": {}},
    }
    assert [pair for pair in headers if pair[0] == b"cookie"] == [(b"cookie", b"a=1"), (b"cookie", b"b=2")]


@pytest.mark.parametrize(
    ("target", "path", "raw_path"),
    [
        ("/a%2Fb", "/a/b", b"/a%2Fb"),
        ("/%ff", "/\ufffd", b"/%ff"),
        ("/%", "/%", b"/%"),
        ("/%zz", "/%zz", b"/%zz"),
        ("/a+b", "/a+b", b"/a+b"),
        ("http://other/p", "/p", b"/p"),
    ],
)
def test_paths(serve: Serve, target: str, path: str, raw_path: bytes) -> None:
    scope = scope_of(serve, request("GET", target))
    assert (scope["path"], scope["raw_path"]) == (path, raw_path)


def test_versions_and_methods_as_sent(serve: Serve) -> None:
    scope = scope_of(serve, request("brew", "/", version="1.0"))
    assert (scope["method"], scope["http_version"]) == ("brew", "1.0")


BOTH = [
    lambda *lines: request("GET", "/", *lines),
    lambda *lines: handshake("/", [tuple(line.encode().split(b": ", 1)) for line in lines]),
]  # type: ignore[misc]


@pytest.mark.parametrize("sent", BOTH)
@pytest.mark.parametrize(
    ("peer", "trusted", "believed"),
    [
        ("127.0.0.1", None, True),
        ("192.0.2.7", None, False),
        ("192.0.2.7", ("192.0.2.0/24",), True),
        ("127.0.0.1", (), False),
    ],
)
def test_the_root_path_field_counts_from_trusted_peers(
    serve: Serve, sent: Any, peer: str, trusted: tuple[str, ...] | None, believed: bool
) -> None:
    settings = {} if trusted is None else {"trusted_proxies": trusted}
    scope = scope_of(serve, sent("Daphne-Root-Path: /r%20o"), client=(peer, 1), root_path="/own", **settings)
    assert scope["root_path"] == ("/r o" if believed else "/own")
    assert b"daphne-root-path" not in dict(scope["headers"])


@pytest.mark.parametrize("sent", BOTH)
@pytest.mark.parametrize(
    ("peer", "on", "believed"),
    [("127.0.0.1", True, True), ("192.0.2.7", True, False), ("127.0.0.1", False, False)],
)
def test_forwarded_fields_count_from_trusted_peers_where_switched_on(
    serve: Serve, sent: Any, peer: str, on: bool, believed: bool
) -> None:
    lines = ("X-Forwarded-For: 198.51.100.1, 203.0.113.5", "X-Forwarded-Port: 99", "X-Forwarded-Proto: https")
    scope = scope_of(serve, sent(*lines), client=(peer, 1), proxy_headers=on)
    assert scope["client"] == (("203.0.113.5", 99) if believed else (peer, 1))
    secure = {"http": "https", "websocket": "wss"}[scope["type"]]
    clear = {"http": "http", "websocket": "ws"}[scope["type"]]
    assert scope["scheme"] == (secure if believed else clear)


def test_nothing_is_carried_over_to_the_next_request_of_a_connection(serve: Serve) -> None:
    told = Told()
    bench = serve(told, proxy_headers=True)
    connection = bench.connect()
    for lines in (["X-Forwarded-For: 203.0.113.5", "X-Forwarded-Proto: https", "Daphne-Root-Path: /r"], []):
        bench.send(connection, request("GET", "/", *lines))
        told.finish()
        bench.loop.settle()
    first, second = told.scopes
    assert (first["client"], first["scheme"], first["root_path"]) == (("203.0.113.5", 0), "https", "/r")
    assert (second["client"], second["scheme"], second["root_path"]) == (("127.0.0.1", 50000), "http", "")
    for key in ("asgi", "extensions", "headers"):
        assert first[key] is not second[key]


def test_unix_sockets(serve: Serve) -> None:
    told = Told()
    bench = serve(told)
    bench.server.port.address = "/run/daphne.sock"
    connection = bench.connect(client="")
    bench.send(connection, request("GET", "/", "Daphne-Root-Path: /r"))
    scope = told.scopes[0]
    assert (scope["client"], scope["server"], scope["root_path"]) == (None, ("/run/daphne.sock", None), "/r")
    connection.reset()
    told.finish()


def test_ipv6(serve: Serve) -> None:
    scope = scope_of(serve, request(), client=("2001:db8::1", 5, 0, 0))
    assert scope["client"] == ("2001:db8::1", 5)


@pytest.mark.parametrize("sent", BOTH)
def test_the_profile_of_4_x(serve: Serve, sent: Any) -> None:
    """The keys that daphne 4 gave: test suites compare scopes whole."""
    scope = scope_of(serve, sent(), scope_extensions=False)
    common = {"type", "asgi", "path", "raw_path", "root_path", "headers", "query_string", "client", "server"}
    more = {"http": {"http_version", "method", "scheme"}, "websocket": {"subprotocols", "scheme"}}[
        scope["type"]
    ]
    assert set(scope) == common | more
    assert scope["asgi"] == {"version": "3.0"}
    assert (scope["client"], scope["server"]) == (["127.0.0.1", 50000], ["127.0.0.1", 8000])


def test_the_state_of_the_lifespan_is_a_shallow_copy(serve: Serve) -> None:
    seen: list[dict[str, Any]] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await receive()
            scope["state"]["shared"] = []
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        seen.append(scope["state"])
        scope["state"]["shared"].append(scope["path"])
        scope["state"]["own"] = 1

    bench = serve(application, lifespan="on")
    bench.exchange(request("GET", "/1"), request("GET", "/2"))
    assert [state["shared"] for state in seen] == [["/1", "/2"]] * 2
    assert seen[0] is not seen[1]
    assert isinstance(bench.server, MemoryServer)


def test_no_state_without_a_lifespan(serve: Serve) -> None:
    assert "state" not in scope_of(serve, request(), lifespan="off")
