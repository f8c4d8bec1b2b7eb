"""ASGI events to channel-layer messages and back: one pure module, which both ends of a layer use.

Called by the bridge (`bridge_http`, `bridge_websocket`), which turns a stream's scope and events into
messages for workers and workers' replies into events, and by `daphne.worker`, which does the reverse. Calls
nothing but the error tree and the table of close codes; keeps no state, waits for nothing.

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
from daphne.layers.message_keys import EXTRA, KEYS
from daphne.streams.closecodes import may_be_sent

Event = MutableMapping[str, Any]
Scope = dict[str, Any]

BODY_PATTERN = "http.request.body?"
"""What the names of the channels begin with that carry the rest of a long request body."""

PATHSEND = "http.response.pathsend"
"""The extension of ASGI that names a file: for workers that see the same files as the server only."""

_WEBSOCKET_REPLY_KEYS = frozenset(KEYS["websocket reply"])


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
        "client": _address(scope.get("client")),
        "server": _address(scope.get("server")),
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


def body_chunk(content: bytes, more: bool) -> Message:
    """The next part of a long request body, for its `body_channel`."""
    return {"content": content, "more_content": more}


def body_closed() -> Message:
    """In place of the rest of a long request body: the client has gone."""
    return {"content": b"", "closed": True}


def http_disconnect(scope: Scope, reply_channel: str) -> Message:
    """`http.disconnect`: the end of a request, whether it was answered or its client has gone."""
    return {"reply_channel": reply_channel, "path": scope["path"]}


def websocket_connect(scope: Scope, reply_channel: str, extra: Message | None) -> Message:
    """`websocket.connect`: a WebSocket that wants to be accepted."""
    message: Message = {
        "path": scope["path"],
        "headers": list(scope["headers"]),
        "query_string": scope["query_string"],
        "client": _address(scope.get("client")),
        "server": _address(scope.get("server")),
        "reply_channel": reply_channel,
        "order": 0,
        "scheme": scope.get("scheme", "ws"),
        "root_path": scope.get("root_path", ""),
    }
    if extra is not None:
        message[EXTRA] = extra
    return message


def websocket_receive(scope: Scope, reply_channel: str, order: int, event: Event) -> Message:
    """`websocket.receive`: one message of the client; of `text` and `bytes` exactly one is there."""
    message: Message = {"reply_channel": reply_channel, "path": scope["path"], "order": order}
    text = event.get("text")
    if text is not None:
        message["text"] = text
    else:
        message["bytes"] = event["bytes"]
    return message


def websocket_disconnect(scope: Scope, reply_channel: str, order: int, code: int | None) -> Message:
    """`websocket.disconnect`: the WebSocket has ended; `code` is None if the client's close frame had
    none."""
    return {"reply_channel": reply_channel, "code": code, "path": scope["path"], "order": order}


def _address(address: Any) -> list[Any] | None:
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
            return [{"type": "http.response.trailers", "headers": _pairs(fields), "more_trailers": more}]
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
        "status": _status(message),
        "headers": _pairs(message.get("headers", ())),
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


def websocket_events(message: Message, connecting: bool) -> list[Event]:
    """The `websocket.*` events of one reply; `connecting`: the WebSocket is not accepted yet.

    A reply that breaks a rule is refused as a whole. Empty text or bytes are no frame, unless our own worker
    sent them (with `daphne` in the reply).
    """
    _check_websocket_reply(message)
    accept = message.get("accept")
    if connecting and accept in (False, 0):  # None does not count as False
        return [{"type": "websocket.close"}]
    extra = message.get(EXTRA)
    events: list[Event] = []
    frame = _frame(message, extra is not None)
    if connecting and (accept or frame is not None):
        events.append(_accept(extra or {}))
        connecting = False
    if frame is not None:
        events.append(frame)
    if message.get("close"):
        events.append(_close(message["close"], extra or {}, connecting))
    return events


def _check_websocket_reply(message: Message) -> None:
    if not message.keys() <= _WEBSOCKET_REPLY_KEYS:
        unknown = message.keys() - _WEBSOCKET_REPLY_KEYS
        raise ApplicationError(f"unknown keys in a WebSocket reply: {', '.join(sorted(map(repr, unknown)))}")
    text, data, close = message.get("text"), message.get("bytes"), message.get("close")
    if text and data:
        raise ApplicationError("a WebSocket reply has both 'text' and 'bytes'; it is ignored")
    if text and not isinstance(text, str):
        raise ApplicationError(f"'text' of a WebSocket reply is {type(text).__name__}, not str")
    if data and type(data) is not bytes and not isinstance(data, bytes | bytearray | memoryview):
        raise ApplicationError(f"'bytes' of a WebSocket reply is {type(data).__name__}, not bytes")
    if close and close is not True and (not isinstance(close, int) or not may_be_sent(close)):
        raise ApplicationError(
            f"'close' of a WebSocket reply is {close!r:.40}, not True or a code of RFC 6455"
        )


def _frame(message: Message, empty_too: bool) -> Event | None:
    for key in ("text", "bytes"):
        data = message.get(key)
        if data or (empty_too and data is not None):
            return {"type": "websocket.send", key: data}
    return None


def _accept(extra: Message) -> Event:
    event: Event = {"type": "websocket.accept"}
    if "subprotocol" in extra:
        event["subprotocol"] = extra["subprotocol"]
    if "headers" in extra:
        event["headers"] = _pairs(extra["headers"])
    return event


def _close(close: bool | int, extra: Message, connecting: bool) -> Event:
    if connecting:
        return {"type": "websocket.close"}
    event: Event = {"type": "websocket.close", "code": 1000 if close is True else int(close)}
    if "reason" in extra:
        event["reason"] = extra["reason"]
    return event


def denial_events(denial: Message) -> list[Event]:
    """The `websocket.http.response.*` events of `daphne["denial"]`."""
    events: list[Event] = []
    if "status" in denial:
        start = {"status": _status(denial), "headers": _pairs(denial.get("headers", ()))}
        events.append({"type": "websocket.http.response.start", **start})
    body = {"body": denial.get("content", b""), "more_body": bool(denial.get("more_content", False))}
    events.append({"type": "websocket.http.response.body", **body})
    return events


def _status(message: Message) -> int:
    status = message.get("status")
    if type(status) is not int and (not isinstance(status, int) or isinstance(status, bool)):
        raise ApplicationError(f"the first message of a response has no integer 'status' but {status!r:.40}")
    return status


def _pairs(headers: Any) -> list[tuple[bytes, bytes]]:
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
    scope = _scope("http", "http", message, state)
    scope["http_version"] = message["http_version"]
    scope["method"] = message["method"].upper()
    return scope


def websocket_scope(message: Message, state: Mapping[str, Any] | None) -> dict[str, Any]:
    """The scope of a `websocket.connect` (ASGI WebSocket specification 2.5, "WebSocket Connection Scope")."""
    scope = _scope("websocket", "ws", message, state)
    extra = message.get(EXTRA) or {}
    scope["http_version"] = extra.get("http_version", "1.1")
    offered = extra.get("subprotocols")
    scope["subprotocols"] = offered if offered is not None else _offered_subprotocols(scope["headers"])
    return scope


def _scope(kind: str, scheme: str, message: Message, state: Mapping[str, Any] | None) -> dict[str, Any]:
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


def _offered_subprotocols(headers: list[tuple[bytes, bytes]]) -> list[str]:
    values = (value.decode("latin-1") for name, value in headers if name == b"sec-websocket-protocol")
    return [offer.strip() for value in values for offer in value.split(",") if offer.strip()]


def request_event(body: bytes, more: bool) -> Event:
    """`http.request`, the event, with (a part of) the body."""
    return {"type": "http.request", "body": body, "more_body": more}


# What the worker answers: events in, replies out


def response_reply(start: Event | None, content: bytes, more: bool) -> Message:
    """A part of a response's body; with `start`, the first, which has status and header fields too."""
    reply: Message = {"content": content, EXTRA: {}}
    if start is not None:
        reply["status"] = start["status"]
        reply["headers"] = _plain_pairs(start.get("headers", ()))
        if start.get("trailers"):
            reply[EXTRA]["trailers"] = True
    if more:
        reply["more_content"] = True
    return reply


def _plain_pairs(headers: Iterable[Any]) -> list[tuple[bytes, bytes]]:
    """Header fields as an application gives them: any pairs of what can be bytes."""
    return [
        field if type(field) is tuple and type(field[0]) is type(field[1]) is bytes else _plain_pair(*field)
        for field in headers
    ]


def _plain_pair(name: Any, value: Any) -> tuple[bytes, bytes]:
    return bytes(name), bytes(value)


def file_reply(start: Event, path: Any) -> Message:
    """`http.response.start` and `.pathsend` as a reply."""
    reply = response_reply(start, b"", False)
    del reply["content"]
    reply[EXTRA]["path"] = fsencode(abspath(path))
    return reply


def trailers_reply(event: Event) -> Message:
    """`http.response.trailers` as a reply."""
    fields = _plain_pairs(event.get("headers", ()))
    return {EXTRA: {"trailer_fields": fields, "more_trailers": bool(event.get("more_trailers", False))}}


def early_hints_reply(event: Event) -> Message:
    """`http.response.early_hint` as a reply."""
    return {EXTRA: {"early_hints": [bytes(link) for link in event.get("links", ())]}}


def accept_reply(event: Event) -> Message:
    """`websocket.accept` as a reply."""
    extra: Message = {}
    if event.get("subprotocol") is not None:
        extra["subprotocol"] = event["subprotocol"]
    if event.get("headers"):
        extra["headers"] = _plain_pairs(event["headers"])
    return {"accept": True, EXTRA: extra}


def send_reply(event: Event) -> Message:
    """`websocket.send` as a reply."""
    text = event.get("text")
    return {"text": text, EXTRA: {}} if text is not None else {"bytes": event["bytes"], EXTRA: {}}


def close_reply(code: int, reason: str) -> Message:
    """`websocket.close` of an accepted WebSocket as a reply."""
    return {"close": code, EXTRA: {"reason": reason} if reason else {}}


def denial_reply(start: Event | None, content: bytes, more: bool) -> Message:
    """`websocket.http.response.start` and `.body` as a reply."""
    denial = response_reply(start, content, more)
    del denial[EXTRA]
    return {EXTRA: {"denial": denial}}
