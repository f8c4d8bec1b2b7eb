"""The messages that every request and every WebSocket message needs, in MessagePack, made of their parts.

Called by the bridge for a layer that takes messages packed (`interface.PackedLayer`); calls `packing`, and
`messages` for what is rare. Each is byte for byte a message of `messages` or `frames`, with its keys in another
order. What is the same for all requests of a connection is packed once. Compiled (setup.py).
"""

from __future__ import annotations

from typing import Any, Final

from daphne.layers import messages
from daphne.layers.message_keys import EXTRA
from daphne.layers.packing import packed, packed_bytes, packed_number, packed_text

_KNOWN_LIMIT: Final = 1024
"""Connections of which what is the same for their requests is remembered."""


class _Known:
    """What is the same for all requests of a connection: the pairs of key and value of the message, and the
    key `daphne` with its usual value."""

    def __init__(self, pairs: bytes, extra: bytes) -> None:
        self.pairs = pairs
        self.extra = extra


_known: Final[dict[Any, _Known]] = {}
_methods: Final[dict[str, bytes]] = {}
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

    Raises TypeError or ValueError for a scope that these can make something of and this cannot.
    """
    extensions = scope.get("extensions") or ()
    facts: Any = (
        *(scope["http_version"], scope["scheme"], scope.get("root_path", ""), scope.get("client")),
        *(scope.get("server"), tuple(extensions), same_files),
    )
    known = _known.get(facts)
    if known is None:
        known = _remember(facts, scope, same_files)
    path = scope["path"].encode("utf-8")
    raw_path = scope.get("raw_path")
    extra = known.extra
    if (raw_path is not None and raw_path != path) or "tls" in extensions:
        extra = packed(messages.scope_extra(scope, same_files))
    parts: list[bytes] = [
        *(b"\x8c" if body_channel is None else b"\x8d", known.pairs),
        *(_method(scope["method"]), _EXTRA, extra, _REPLY_CHANNEL, packed_text(reply_channel.encode())),
        *(_PATH, packed_text(path), _QUERY, packed_bytes(scope["query_string"])),
        *(_HEADERS, packed(list(scope["headers"])), _BODY, packed_bytes(body)),
    ]
    if body_channel is not None:
        parts += (_BODY_CHANNEL, packed_text(body_channel.encode()))
    return b"".join(parts)


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
    extra = packed(messages.scope_extra(usual, same_files))
    if len(_known) >= _KNOWN_LIMIT:
        _known.clear()
    known = _known[facts] = _Known(packed(pairs)[1:], extra)
    return known


def _method(method: str) -> bytes:
    pair = _methods.get(method)
    if pair is None:
        pair = packed("method") + packed(method.upper())
        if len(_methods) < _KNOWN_LIMIT and len(method) < 32:
            _methods[method] = pair
    return pair


def packed_receive(order: int, text: str | None, data: Any) -> bytes:
    """`websocket.receive` for a worker of ours, packed; `data` where there is no `text`."""
    if text is not None:
        return b"".join([_RECEIVE_TEXT, packed_text(text.encode()), _ORDER, packed_number(order)])
    return b"".join([_RECEIVE_BYTES, packed_bytes(data), _ORDER, packed_number(order)])
