"""The shapes of ASGI 3 that the demonstration speaks, and the two answers that all its pages share.

Called by every other module here; calls nothing.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qsl

Event = dict[str, Any]
Scope = dict[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]
Headers = tuple[tuple[bytes, bytes], ...]


async def respond(
    scope: Scope, send: Send, status: int, kind: str, body: bytes, headers: Headers = ()
) -> None:
    """Answer with `body` of the media type `kind`; HEAD gets the head alone (RFC 9110 section 9.3.2)."""
    length = str(len(body)).encode("ascii")
    all_headers = [(b"content-type", kind.encode("ascii")), (b"content-length", length), *headers]
    await send({"type": "http.response.start", "status": status, "headers": all_headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})


async def respond_json(scope: Scope, send: Send, status: int, value: object) -> None:
    """Answer with `value` as JSON that no cache keeps."""
    body = json.dumps(value, indent=2).encode("utf-8") + b"\n"
    await respond(scope, send, status, "application/json", body, ((b"cache-control", b"no-store"),))


def query(scope: Scope) -> dict[str, str]:
    """The query string's fields; of a field given twice, the last."""
    return dict(parse_qsl(scope.get("query_string", b"").decode("latin-1")))
