"""An application with more to say than anybody reads, and with no ear for what it is told.

Loaded by `python -m daphne` in the process that tests/protocols/test_memory_use.py starts.
"""

from __future__ import annotations

import asyncio
from typing import Any

PIECE = b"x" * 1_000_000
PIECES = 200


async def application(scope: Any, receive: Any, send: Any) -> None:
    """/talk sends 200 MB; /deaf takes nothing until it has waited for ever; anything else answers at once."""
    if scope["type"] == "websocket":
        await send({"type": "websocket.accept"})
    elif scope["path"] != "/deaf":
        await send({"type": "http.response.start", "status": 200, "headers": []})
    if scope["path"] == "/talk":
        for _ in range(PIECES):
            if scope["type"] == "websocket":
                await send({"type": "websocket.send", "bytes": PIECE})
            else:
                await send({"type": "http.response.body", "body": PIECE, "more_body": True})
    elif scope["path"] == "/deaf":
        await asyncio.sleep(3600)
    if scope["type"] == "http":
        await send({"type": "http.response.body", "body": b"ok"})
