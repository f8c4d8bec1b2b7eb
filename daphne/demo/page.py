"""The page itself, filled in with the request as the application saw it, and the files that it uses.

Called by `routes`; reads `static/`, which is installed with the package.
"""

from __future__ import annotations

import functools
import html
import json
import os
from importlib import resources
from string import Template
from typing import Any

import daphne
from daphne.demo.asgi import Receive, Scope, Send, respond, respond_json

ASSETS = {
    "demo.css": "text/css; charset=utf-8",
    "demo.js": "text/javascript; charset=utf-8",
    "laurel.svg": "image/svg+xml",
}
SECURITY = (
    (b"content-security-policy", b"default-src 'self'; frame-ancestors 'none'; base-uri 'none'"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
)


async def show(scope: Scope, receive: Receive, send: Send) -> None:
    """The page."""
    rows = "\n".join(
        f"<div><dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd></div>"
        for name, value in highlights(scope)
    )
    text = Template(_asset("index.html").decode("utf-8")).substitute(
        version=html.escape(daphne.__version__),
        protocol=html.escape(protocol(scope)),
        rows=rows,
        scope=html.escape(json.dumps(presentable(scope), indent=2, ensure_ascii=False)),
    )
    headers = ((b"cache-control", b"no-store"), *SECURITY)
    await respond(scope, send, 200, "text/html; charset=utf-8", text.encode("utf-8", "replace"), headers)


async def show_scope(scope: Scope, receive: Receive, send: Send) -> None:
    """The scope alone, as JSON, for clients that are not browsers."""
    await respond_json(scope, send, 200, presentable(scope))


async def show_asset(scope: Scope, receive: Receive, send: Send) -> None:
    """One of the page's files."""
    name = scope["path"].rsplit("/", 1)[-1]
    await respond(scope, send, 200, ASSETS[name], _asset(name), ((b"cache-control", b"no-cache"), *SECURITY))


def protocol(scope: Scope) -> str:
    """How the request came, in the words of a reader: `HTTP/2`, `HTTP/1.1`."""
    return f"HTTP/{scope.get('http_version', '1.1')}"


def highlights(scope: Scope) -> list[tuple[str, str]]:
    """The parts of the scope that the page shows first, as names and values to read."""
    return [
        ("Protocol", f"{protocol(scope)}, {scope.get('scheme', 'http')}"),
        ("Request", f"{scope['method']} {scope['path']}"),
        ("Root path", scope.get("root_path", "") or "none"),
        ("Client", _address(scope.get("client"))),
        ("Server", _address(scope.get("server"))),
        ("Process", str(os.getpid())),
        ("Extensions", ", ".join(sorted(scope.get("extensions") or {})) or "none"),
    ]


def presentable(value: Any) -> Any:
    """The scope, or a part of it, in JSON's types: bytes as text, tuples as lists, the rest by name."""
    if isinstance(value, bytes):
        return value.decode("latin-1")
    if isinstance(value, dict):
        return {str(key): presentable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [presentable(item) for item in value]
    if value is None or isinstance(value, str | int | float):
        return value
    return f"<{type(value).__name__}>"


def read_assets() -> None:
    """Read every file once, so that no request waits for the disk."""
    for name in (*ASSETS, "index.html"):
        _asset(name)


@functools.cache
def _asset(name: str) -> bytes:
    return resources.files("daphne.demo").joinpath("static", name).read_bytes()


def _address(address: Any) -> str:
    if not address:
        return "not known (a unix socket)"
    host, port = address
    return str(host) if port is None else f"{host}, port {port}"
