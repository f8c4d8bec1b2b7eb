"""The messages that every request and every WebSocket message needs, in MessagePack, made of their parts.

Called by the bridge for a layer that takes messages packed (`interface.PackedLayer`); calls `packing`, and
`messages` for what is rare. Each is a message of `messages` or `kept_frames`, with its keys in another order.
What is the same for all requests of a connection is packed once. Compiled (setup.py).
"""

from __future__ import annotations

from typing import Any, Final

from daphne.layers import messages
from daphne.layers.message_keys import EXTRA
from daphne.layers.packing import bytes_head, packed, packed_array, packed_number, text_head
from daphne.streams.head import COMMON_FIELDS

_KNOWN_LIMIT: Final = 1024
"""Connections of which what is the same for their requests is remembered, and as many header fields."""

_LONGEST_FIELD: Final = 256


class _Known:
    """What is the same for all requests of a connection: the beginning of the message, and its end, the key
    `daphne` with its usual value."""

    def __init__(self, pairs: bytes, extra: bytes) -> None:
        self.pairs = pairs
        self.extra = extra


_known: Final[dict[Any, _Known]] = {}
_methods: Final[dict[str, bytes]] = {}
_fields: Final[dict[Any, bytes]] = {}
_EXTRA: Final = packed(EXTRA)
_REPLY_CHANNEL: Final = packed("reply_channel")
_PATH: Final = packed("path")
_QUERY: Final = packed("query_string")
_HEADERS: Final = packed("headers")
_BODY: Final = packed("body")
_BODY_CHANNEL: Final = packed("body_channel")

_RECEIVE_TEXT: Final = b"\x83" + packed("type") + packed("websocket.receive") + packed("text")
_RECEIVE_BYTES: Final = b"\x83" + packed("type") + packed("websocket.receive") + packed("bytes")
_ORDER: Final = packed("order")


def packed_request(
    scope: dict[str, Any], reply_channel: str, body: bytes, body_channel: str | None, same_files: bool
) -> bytes:
    """`messages.http_request` with `messages.scope_extra`, packed.

    Raises LookupError, TypeError or ValueError for a scope that these can make something of and this cannot.
    """
    extensions: dict[str, Any] = scope["extensions"]
    facts: Any = (
        scope["client"],
        scope["server"],
        scope["http_version"],
        scope["scheme"],
        scope["root_path"],
        tuple(extensions),
        same_files,
    )
    known = _known.get(facts)
    if known is None:
        known = _remember(facts, scope, same_files)
    path_text: str = scope["path"]
    path = path_text.encode()
    channel = reply_channel.encode()
    query: bytes = scope["query_string"]
    extra = known.extra
    if scope["raw_path"] != path or "tls" in extensions:
        extra = _EXTRA + packed(messages.scope_extra(scope, same_files))
    start = known.pairs
    if body_channel is not None:
        named = body_channel.encode()
        extra = b"".join([_BODY_CHANNEL, text_head(len(named)), named, extra])
        start = b"\x8d" + start[1:]
    parts = [start, _method(scope["method"]), _REPLY_CHANNEL, text_head(len(channel)), channel]
    parts += [_PATH, text_head(len(path)), path, _QUERY, bytes_head(len(query)), query]
    parts += [_BODY, bytes_head(len(body)), body, extra, _HEADERS]
    _add_headers(parts, scope["headers"])
    return b"".join(parts)


def _add_headers(parts: list[bytes], headers: Any) -> None:
    parts.append(packed_array(len(headers)))
    for pair in headers:
        field = _fields.get(pair)
        if field is None:
            name: bytes = pair[0]
            value: bytes = pair[1]
            field = b"".join([b"\x92", bytes_head(len(name)), name, bytes_head(len(value)), value])
            if len(field) <= _LONGEST_FIELD and name in COMMON_FIELDS:
                if len(_fields) >= _KNOWN_LIMIT:
                    _fields.clear()
                _fields[pair] = field
        parts.append(field)


def _remember(facts: Any, scope: dict[str, Any], same_files: bool) -> _Known:
    pairs = {
        "http_version": scope["http_version"],
        "scheme": scope["scheme"],
        "root_path": scope.get("root_path", ""),
        "client": messages.address_of(scope.get("client")),
        "server": messages.address_of(scope.get("server")),
    }
    usual = {key: value for key, value in scope.items() if key != "raw_path"}
    usual["extensions"] = {name: {} for name in scope.get("extensions") or () if name != "tls"}
    extra = _EXTRA + packed(messages.scope_extra(usual, same_files))
    if len(_known) >= _KNOWN_LIMIT:
        _known.clear()
    known = _known[facts] = _Known(b"\x8c" + packed(pairs)[1:], extra)
    return known


def _method(method: str) -> bytes:
    pair = _methods.get(method)
    if pair is None:
        pair = packed("method") + packed(method.upper())
        if len(_methods) < _KNOWN_LIMIT and len(method) < 32:
            _methods[method] = pair
    return pair


def packed_receive(order: int, content: str | bytes) -> bytes:
    """`websocket.receive` for a worker of ours, packed."""
    if isinstance(content, str):
        data = content.encode()
        return b"".join([_RECEIVE_TEXT, text_head(len(data)), data, _ORDER, packed_number(order)])
    return b"".join([_RECEIVE_BYTES, bytes_head(len(content)), content, _ORDER, packed_number(order)])
