"""ASGI events to channel-layer messages and back: pure translations, which both ends of a layer use.

Those of HTTP, and what `messages_websocket` has in common with them. Called by the bridge, which turns a
stream's scope and events into messages for workers and workers' replies into events, and by `daphne.worker`,
which does the reverse. Calls nothing but the error tree; keeps no state, waits for nothing.

The messages are those of the classic channel-layer specification (ASGI version 1, "WWW": `http.request`,
`websocket.connect` and so on), so that consumers of that kind work. What ASGI 3 needs beyond them stands in
one more key, `daphne`, a dict that classic consumers ignore. `message_keys` lists every key there is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, MutableMapping
from copy import deepcopy
from functools import lru_cache
from os import fsdecode, fsencode
from os.path import abspath
from typing import Any
from urllib.parse import quote

from daphne.errors import ApplicationError
from daphne.layers.interface import Message
from daphne.layers.message_keys import EXTRA

Event = MutableMapping[str, Any]
Scope = dict[str, Any]

BODY_PATTERN = "http.request.body?"
"""What the names of the channels begin with that carry the rest of a long request body."""

PATHSEND = "http.response.pathsend"
"""The extension of ASGI that names a file: for workers that see the same files as the server only."""


# What the bridge sends: scope and events in, messages out


def http_request(
    scope: Scope, reply_channel: str, body: bytes, body_channel: str | None, extra: Message | None
) -> Message:
    """`http.request`: a request with its `body`, or with the beginning of it and the channel of the rest."""
    message: Message = {
        "reply_channel": reply_channel,
        "http_version": scope["http_version"],
        "method": scope["method"].upper(),
        "path": scope["path"],
        "root_path": scope.get("root_path", ""),
        "scheme": scope["scheme"],
        "query_string": scope["query_string"],
        "headers": list(scope["headers"]),
        "body": body,
        "client": address_of(scope.get("client")),
        "server": address_of(scope.get("server")),
    }
    if body_channel is not None:
        message["body_channel"] = body_channel
    if extra is not None:
        message[EXTRA] = extra
    return message


def scope_extra(scope: Scope, same_files: bool) -> Message:
    """What of `scope` the classic keys do not carry, or not without loss; for the key `daphne`.

    `same_files`: whether the workers see the same files as the server.
    """
    extra: Message = {}
    raw_path = scope.get("raw_path")
    if raw_path is not None and raw_path != scope["path"].encode("utf-8", "surrogateescape"):
        extra["raw_path"] = raw_path
    server = scope.get("server")
    if server is not None and server[1] is None:
        extra["server"] = server[0]
    extensions = scope.get("extensions")
    if extensions:
        extra["extensions"] = _joined(tuple(extensions), same_files)
        if "tls" in extensions:
            extra["tls"] = deepcopy(extensions["tls"])
    if scope["type"] == "websocket":
        extra["http_version"] = scope.get("http_version", "1.1")
        if scope.get("subprotocols"):
            extra["subprotocols"] = list(scope["subprotocols"])
    return extra


@lru_cache(maxsize=64)
def _joined(extensions: tuple[str, ...], same_files: bool) -> str:
    return " ".join([name for name in extensions if same_files or name != PATHSEND])


def body_chunk(content: bytes, more: bool, part: int) -> Message:
    """The next part of a long request body, for its `body_channel`; `part` of them came before."""
    return {"content": content, "more_content": more, EXTRA: {"part": part}}


def body_closed() -> Message:
    """In place of the rest of a long request body: the client has gone."""
    return {"content": b"", "closed": True}


def http_disconnect(scope: Scope, reply_channel: str) -> Message:
    """`http.disconnect`: the end of a request, whether it was answered or its client has gone."""
    return {"reply_channel": reply_channel, "path": scope["path"]}


def address_of(address: Any) -> list[Any] | None:
    """[host, port], or None where there is none: a unix socket has no port."""
    return None if address is None or address[1] is None else [address[0], address[1]]


# What the bridge is answered: replies in, events out. ApplicationError for what the contract does not allow


def response_events(message: Message, started: bool) -> list[dict[str, Any]]:
    """The `http.response.*` events of one reply; `started` says whether `http.response.start` was among
    earlier ones."""
    extra = message.get(EXTRA)
    if extra:
        hints = extra.get("early_hints")
        if hints is not None:
            return [{"type": "http.response.early_hint", "links": hints}]
        fields = extra.get("trailer_fields")
        if fields is not None:
            more = bool(extra.get("more_trailers"))
            return [
                {"type": "http.response.trailers", "headers": checked_pairs(fields), "more_trailers": more}
            ]
        if "path" in extra:
            return _file_events(message, started)
    content = message.get("content", b"")
    if type(content) is not bytes and not isinstance(content, bytes | bytearray | memoryview):
        raise ApplicationError(f"'content' of a response is {type(content).__name__}, not bytes")
    body: dict[str, Any] = {
        "type": "http.response.body",
        "body": content if type(content) is bytes else bytes(content),
        "more_body": bool(message.get("more_content", False)),
    }
    if started:
        if "status" in message:
            raise ApplicationError("a second 'status' for a response that has begun; the message is dropped")
        return [body]
    return [_start(message), body]


def _start(message: Message) -> dict[str, Any]:
    start: dict[str, Any] = {
        "type": "http.response.start",
        "status": status_of(message),
        "headers": checked_pairs(message.get("headers", ())),
    }
    extra = message.get(EXTRA)
    if extra and extra.get("trailers"):
        start["trailers"] = True
    return start


def _file_events(message: Message, started: bool) -> list[dict[str, Any]]:
    path = message[EXTRA]["path"]
    if started or type(path) is not bytes:
        raise ApplicationError(f"a file that cannot be a response's body here: {path!r:.120}")
    return [_start(message), {"type": PATHSEND, "path": fsdecode(path)}]


def is_server_push(message: Message) -> bool:
    """A reply that proposes a server push (ASGI version 1): to be dropped where that is not supported."""
    return "request" in message and "status" not in message


def status_of(message: Message) -> int:
    """The status of a response; ApplicationError where there is none."""
    status = message.get("status")
    if type(status) is not int and (not isinstance(status, int) or isinstance(status, bool)):
        raise ApplicationError(f"the first message of a response has no integer 'status' but {status!r:.40}")
    return status


def checked_pairs(headers: Any) -> list[tuple[bytes, bytes]]:
    """Header fields with lower-case names; text is taken too: names as Latin-1, values as UTF-8."""
    try:
        return [
            (name.lower(), value)
            if type(name) is type(value) is bytes
            else (_octets(name, "latin-1").lower(), _octets(value, "utf-8"))
            for name, value in headers
        ]
    except (TypeError, ValueError) as problem:
        raise ApplicationError(f"header fields are not pairs of bytes: {problem}") from problem


def _octets(value: Any, encoding: str) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode(encoding)
    raise TypeError(f"{type(value).__name__} is neither bytes nor text")


# What the worker is given: messages in, scopes and events out


def http_scope(message: Message, state: Mapping[str, Any] | None) -> dict[str, Any]:
    """The scope of an `http.request` (ASGI HTTP specification 2.5, "HTTP Connection Scope")."""
    scope = common_scope("http", "http", message, state)
    scope["http_version"] = message["http_version"]
    scope["method"] = message["method"].upper()
    return scope


def common_scope(kind: str, scheme: str, message: Message, state: Mapping[str, Any] | None) -> dict[str, Any]:
    """What the scopes of HTTP and WebSocket have in common."""
    extra = message.get(EXTRA) or {}
    path = message["path"]
    raw_path = extra.get("raw_path")
    if raw_path is None:
        raw_path = (
            path.encode("utf-8", "surrogateescape") if extra else quote(path, safe="/:@!$&'()*+,;=~").encode()
        )
    server = (extra["server"], None) if "server" in extra else _pair(message.get("server"))
    scope: dict[str, Any] = {
        "type": kind,
        "asgi": {"version": "3.0", "spec_version": "2.5"},
        "scheme": message.get("scheme") or scheme,
        "path": path,
        "raw_path": raw_path,
        "query_string": message["query_string"],
        "root_path": message.get("root_path", ""),
        "headers": list(map(tuple, message["headers"])),
        "client": _pair(message.get("client")),
        "server": server,
        "extensions": {name: {} for name in extra.get("extensions", "").split()},
    }
    if "tls" in extra:
        scope["extensions"]["tls"] = extra["tls"]
    if state is not None:
        scope["state"] = dict(state)
    return scope


def _pair(address: Iterable[Any] | None) -> tuple[Any, ...] | None:
    return None if address is None else tuple(address)


def request_event(body: bytes, more: bool) -> Event:
    """`http.request`, the event, with (a part of) the body."""
    return {"type": "http.request", "body": body, "more_body": more}


# What the worker answers: events in, replies out


def response_reply(start: Event | None, content: bytes, more: bool) -> Message:
    """A part of a response's body; with `start`, the first, which has checked status and fields too."""
    reply: Message = {"content": content, EXTRA: {}}
    if start is not None:
        reply["status"] = start["status"]
        reply["headers"] = start["headers"]
        if start.get("trailers"):
            reply[EXTRA]["trailers"] = True
    if more:
        reply["more_content"] = True
    return reply


def file_reply(start: Event, path: Any) -> Message:
    """`http.response.start` and `.pathsend` as a reply."""
    reply = response_reply(start, b"", False)
    del reply["content"]
    reply[EXTRA]["path"] = fsencode(abspath(path))
    return reply


def trailers_reply(fields: list[tuple[bytes, bytes]], more: bool) -> Message:
    """`http.response.trailers` as a reply."""
    return {EXTRA: {"trailer_fields": fields, "more_trailers": more}}


def early_hints_reply(links: list[bytes]) -> Message:
    """`http.response.early_hint` as a reply."""
    return {EXTRA: {"early_hints": links}}
