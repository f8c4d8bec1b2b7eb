"""Every key of every message between bridge and workers, in one table.

Called by `messages`, which makes and reads the messages; by the tests, which hold all traffic and
docs/messages.rst (where each key is explained) against it. Calls nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

EXTRA = "daphne"
"""The key under which everything stands that the classic messages do not have."""

KEYS: Mapping[str, tuple[str, ...]] = {
    "http.request": (
        *("reply_channel", "http_version", "method", "path", "root_path", "scheme", "query_string"),
        *("headers", "body", "body_channel", "client", "server", EXTRA),
    ),
    "http.request.body": ("content", "closed", "more_content", EXTRA),
    "http.request.body daphne": ("part",),
    "http.disconnect": ("reply_channel", "path"),
    "http reply": ("status", "headers", "content", "more_content", EXTRA),
    "websocket.connect": (
        *("path", "headers", "query_string", "client", "server", "reply_channel", "order"),
        *("scheme", "root_path", EXTRA),
    ),
    "websocket.receive": ("reply_channel", "path", "order", "text", "bytes"),
    "websocket.disconnect": ("reply_channel", "code", "path", "order"),
    "websocket reply": ("accept", "bytes", "text", "close", EXTRA),
    "http.request daphne": ("raw_path", "server", "extensions", "tls"),
    "websocket.connect daphne": (
        "raw_path",
        "server",
        "extensions",
        "tls",
        "http_version",
        "subprotocols",
        "resume",
    ),
    "http reply daphne": (
        *("trailers", "trailer_fields", "more_trailers", "early_hints", "path", "done", "abort", "handback"),
        *("worker", "part"),
    ),
    "websocket reply daphne": (
        *("subprotocol", "headers", "reason", "denial", "done", "worker", "state", "on_loss", "sent"),
        "handover",
    ),
    "to a worker: http.disconnect": ("type",),
    "to a worker: websocket.receive": ("type", "order", "text", "bytes"),
    "to a worker: websocket.disconnect": ("type", "order", "code", "reason"),
    "to a worker: daphne.ack": ("type", "count"),
    "to a worker: daphne.alive": ("type", "timeout"),
    "to a worker: daphne.gone": ("type", "ids"),
    "to a worker: daphne.lost": ("type",),
    "from a worker: daphne.take": ("type", "worker", "ids", "timeout"),
    "from a worker: daphne.alive": ("type", "worker", "timeout"),
    "from a worker: daphne.bye": ("type", "worker"),
}
"""Every message and its keys. Where the name is a channel, the message goes there; replies go to reply
channels, and what is `to a worker` or `from a worker` to process-local channels of daphne's own processes."""
