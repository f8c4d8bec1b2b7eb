"""ASGI events of a WebSocket to channel-layer messages and back; `messages` is the same for HTTP.

Called by `bridge_websocket` and `frames`, which turn a stream's scope and events into messages for workers
and workers' replies into events, and by `daphne.worker.websocket`, which does the reverse. Calls `messages`,
the error tree and the table of close codes; keeps no state, waits for nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from daphne.errors import ApplicationError
from daphne.layers.interface import Message
from daphne.layers.message_keys import EXTRA, KEYS
from daphne.layers.messages import (
    Event,
    Scope,
    address_of,
    checked_pairs,
    common_scope,
    response_reply,
    status_of,
)
from daphne.streams.closecodes import may_be_sent

_REPLY_KEYS = frozenset(KEYS["websocket reply"])


# What the bridge sends: scope and events in, messages out


def websocket_connect(scope: Scope, reply_channel: str, extra: Message | None) -> Message:
    """`websocket.connect`: a WebSocket that wants to be accepted."""
    message: Message = {
        "path": scope["path"],
        "headers": list(scope["headers"]),
        "query_string": scope["query_string"],
        "client": address_of(scope.get("client")),
        "server": address_of(scope.get("server")),
        "reply_channel": reply_channel,
        "order": 0,
        "scheme": scope.get("scheme", "ws"),
        "root_path": scope.get("root_path", ""),
    }
    if extra is not None:
        message[EXTRA] = extra
    return message


def websocket_receive(scope: Scope, reply_channel: str, order: int, content: str | bytes) -> Message:
    """`websocket.receive`: one message of the client; of `text` and `bytes` exactly one is there."""
    key = "text" if isinstance(content, str) else "bytes"
    return {"reply_channel": reply_channel, "path": scope["path"], "order": order, key: content}


def websocket_disconnect(scope: Scope, reply_channel: str, order: int, code: int | None) -> Message:
    """`websocket.disconnect`: the WebSocket has ended; `code` is None if the client's close frame had
    none."""
    return {"reply_channel": reply_channel, "code": code, "path": scope["path"], "order": order}


# What the bridge is answered: replies in, events out. ApplicationError for what the contract does not allow


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
    if not message.keys() <= _REPLY_KEYS:
        unknown = message.keys() - _REPLY_KEYS
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
        event["headers"] = checked_pairs(extra["headers"])
    return event


def _close(close: bool | int, extra: Message, connecting: bool) -> Event:
    if connecting:
        return {"type": "websocket.close"}
    event: Event = {"type": "websocket.close", "code": 1000 if close is True else int(close)}
    if type(extra.get("reason")) is str:
        event["reason"] = extra["reason"]
    return event


def denial_events(denial: Message) -> list[Event]:
    """The `websocket.http.response.*` events of `daphne["denial"]`."""
    events: list[Event] = []
    if "status" in denial:
        start = {"status": status_of(denial), "headers": checked_pairs(denial.get("headers", ()))}
        events.append({"type": "websocket.http.response.start", **start})
    body = {"body": denial.get("content", b""), "more_body": bool(denial.get("more_content", False))}
    events.append({"type": "websocket.http.response.body", **body})
    return events


# What the worker is given: messages in, scopes out


def websocket_scope(message: Message, state: Mapping[str, Any] | None) -> dict[str, Any]:
    """The scope of a `websocket.connect` (ASGI WebSocket specification 2.5, "WebSocket Connection Scope")."""
    scope = common_scope("websocket", "ws", message, state)
    extra = message.get(EXTRA) or {}
    scope["http_version"] = extra.get("http_version", "1.1")
    offered = extra.get("subprotocols")
    scope["subprotocols"] = offered if offered is not None else _offered_subprotocols(scope["headers"])
    return scope


def _offered_subprotocols(headers: list[tuple[bytes, bytes]]) -> list[str]:
    values = (value.decode("latin-1") for name, value in headers if name == b"sec-websocket-protocol")
    return [offer.strip() for value in values for offer in value.split(",") if offer.strip()]


# What the worker answers: events in, replies out


def accept_reply(subprotocol: str | None, headers: list[tuple[bytes, bytes]]) -> Message:
    """`websocket.accept` as a reply."""
    extra: Message = {}
    if subprotocol is not None:
        extra["subprotocol"] = subprotocol
    if headers:
        extra["headers"] = headers
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
