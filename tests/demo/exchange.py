"""One exchange with an ASGI application, without a server: the test is the client and the network.

Called by the tests of `daphne.demo`; calls the application.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from daphne.demo import application

Event = dict[str, Any]
Answer = tuple[int, dict[bytes, bytes], bytes]
DEADLINE = 60.0


class Exchange:
    """The two queues between a test and one run of the application."""

    def __init__(self, scope: Event, most_unread: int = 0) -> None:
        self.arriving: asyncio.Queue[Event] = asyncio.Queue()
        self.leaving: asyncio.Queue[Event] = asyncio.Queue(most_unread)
        self.run = asyncio.create_task(application(scope, self.arriving.get, self.leaving.put))

    def arrive(self, kind: str, **event: Any) -> None:
        """What the server tells the application next."""
        self.arriving.put_nowait({"type": kind, **event})

    async def leave(self) -> Event:
        """The next event that the application sends."""
        return await asyncio.wait_for(self.leaving.get(), DEADLINE)

    async def end(self) -> list[Event]:
        """Wait until the application has returned; what it had sent that nobody has read yet."""
        await asyncio.wait_for(self.run, DEADLINE)
        return [self.leaving.get_nowait() for _ in range(self.leaving.qsize())]


@asynccontextmanager
async def exchange(kind: str, path: str, most_unread: int = 0, **scope: Any) -> AsyncIterator[Exchange]:
    """Run the application for one scope; whatever is left of it at the end of the block is cancelled.

    With `most_unread`, the application's `send` waits once so many of its events have not been read.
    """
    running = Exchange(scope_of(kind, path, **scope), most_unread)
    try:
        yield running
    finally:
        running.run.cancel()
        await asyncio.gather(running.run, return_exceptions=True)


def scope_of(kind: str, path: str, **more: Any) -> Event:
    """A scope as servers give it (ASGI HTTP and WebSocket specification 2.5)."""
    scope: Event = {
        "type": kind,
        "asgi": {"version": "3.0", "spec_version": "2.5"},
        "http_version": "1.1",
        "scheme": "http" if kind == "http" else "ws",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"example.org")],
        "client": ("192.0.2.1", 4711),
        "server": ("192.0.2.2", 80),
    }
    scope.update({"method": "GET"} if kind == "http" else {"subprotocols": []})
    return {**scope, **more}


async def answer(path: str, body: tuple[bytes, ...] = (b"",), **scope: Any) -> Answer:
    """Status, headers and body of a plain HTTP exchange."""
    async with exchange("http", path, **scope) as running:
        for number, piece in enumerate(body, 1):
            running.arrive("http.request", body=piece, more_body=number < len(body))
        start, *rest = await running.end()
        assert [event["type"] for event in rest] == ["http.response.body"] * len(rest)
        assert not rest[-1].get("more_body", False)
        return start["status"], dict(start["headers"]), b"".join(event.get("body", b"") for event in rest)
