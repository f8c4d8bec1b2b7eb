"""A server in memory on a clock that the test turns, and applications to put behind it.

Called by the tests of protocols. The server is the real one (`daphne.testing.MemoryServer`); when a test is
done it is stopped, and nothing may be left of it: no connection, no stream, no task and no timer.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from typing import Any

from daphne.protocols.turns import QUIET, Turns
from daphne.settings import Settings
from daphne.testing import ClockLoop, MemoryConnection, MemoryServer, Response, read_response

Event = dict[str, Any]
Application = Callable[[Any, Any, Any], Awaitable[None]]


class Bench:
    """One server. `actions` is what the access log was told: (protocol, action, details)."""

    def __init__(self, application: Application, **settings: Any) -> None:
        self.actions: list[tuple[str, str, Event]] = []
        self.loop = ClockLoop()
        self.problems: list[dict[str, Any]] = []
        self.loop.set_exception_handler(lambda loop, context: self.problems.append(context))
        self.server = MemoryServer(
            application,
            Settings(**{"lifespan": "off", **settings}),
            action_logger=lambda *action: self.actions.append(action),
        )
        self.loop.run(self.server.start())
        looks = itertools.count()
        # However slow the machine is: between two looks at this clock as good as nothing happens.
        self.server.service.site.turns = Turns(self.loop, lambda: next(looks) * QUIET / 10)

    def connect(self, **options: Any) -> MemoryConnection:
        """A new connection."""
        connection = self.server.connect(**options)
        self.loop.settle()
        return connection

    def send(self, connection: MemoryConnection, *pieces: bytes) -> bytes:
        """Send pieces and let the server do what it can; everything received so far."""
        for piece in pieces:
            connection.send(piece)
        self.loop.settle()
        return bytes(connection.received)

    def exchange(self, *pieces: bytes) -> MemoryConnection:
        """The connection after the pieces have been sent on it."""
        connection = self.connect()
        self.send(connection, *pieces)
        return connection

    def responses(self, *pieces: bytes, methods: str = "GET") -> list[Response]:
        """The responses to what is sent on one connection."""
        return responses(self.exchange(*pieces), *methods.split())

    def close(self) -> None:
        """Stop, and look whether anything is left."""
        self.loop.run(self.server.stop(), within=200)
        self.loop.settle()
        tasks = [task for task in asyncio.all_tasks(self.loop) if not task.done()]
        site, runner = self.server.service.site, self.server.service.runner
        left = (list(site.connections), list(runner.streams), tasks, self.loop.timers())
        for task in tasks:
            task.cancel()
        self.loop.settle()
        self.loop.close()
        assert left == ([], [], [], [])
        assert not self.problems, self.problems


def responses(connection: MemoryConnection, *methods: str) -> list[Response]:
    """All responses that have arrived; `methods` are those of their requests (the last one goes on for the
    rest)."""
    data, found = bytes(connection.received), []
    while data:
        method = methods[min(len(found), len(methods) - 1)] if methods else "GET"
        part = read_response(data, method, connection.ended)
        assert part is not None, f"not a whole response: {data!r}"
        response, data = part
        found.append(response)
    return found


def request(
    method: str = "GET", target: str = "/", *lines: str, body: bytes = b"", version: str = "1.1"
) -> bytes:
    """The bytes of a request; Content-Length is added for a body."""
    head = [f"{method} {target} HTTP/{version}", "Host: example.org", *lines]
    if body and not any(line.lower().startswith(("content-length", "transfer-encoding")) for line in lines):
        head.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*head, "", ""]).encode("latin-1") + body


async def body_of(receive: Any) -> bytes:
    """The whole body of a request; EOFError if the client leaves first."""
    body = b""
    while True:
        event = await receive()
        if event["type"] == "http.disconnect":
            raise EOFError
        body += event["body"]
        if not event["more_body"]:
            return body


def answering(
    body: bytes = b"ok", status: int = 200, headers: list[tuple[bytes, bytes]] | None = None
) -> Application:
    """An application that gives the same answer to every request and does not ask for the body."""

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": status, "headers": headers or []})
        await send({"type": "http.response.body", "body": body})

    return application


def sending(*events: Event) -> Application:
    """An application that sends just these events."""

    async def application(scope: Any, receive: Any, send: Any) -> None:
        for event in events:
            await send(event)

    return application


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """An application that answers with the method, the path and the body of the request."""
    body = await body_of(receive)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    start = f"{scope['method']} {scope['path']} ".encode()
    await send({"type": "http.response.body", "body": start + body})


class Told:
    """An application that the test tells what to do, and that remembers what it got.

    `scopes` has the scope of each call; `step(index, coroutine_function)` runs a step with that call's
    receive and send.
    """

    def __init__(self) -> None:
        self.scopes: list[Any] = []
        self.receives: list[Any] = []
        self.sends: list[Any] = []
        self.ends: list[asyncio.Future[None]] = []
        self.cancelled = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scopes.append(scope)
        self.receives.append(receive)
        self.sends.append(send)
        end: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.ends.append(end)
        try:
            await end
        except asyncio.CancelledError:
            self.cancelled += 1
            raise

    def finish(self, index: int = -1, problem: BaseException | None = None) -> None:
        """Let a call return, or raise."""
        if problem is None:
            self.ends[index].set_result(None)
        else:
            self.ends[index].set_exception(problem)


class Driven:
    """A server with an application that the test drives, and the one exchange on it."""

    def __init__(self, serve: Callable[..., Bench], sent: bytes, **settings: Any) -> None:
        self.told = Told()
        self.bench = serve(self.told, **settings)
        self.loop = self.bench.loop
        self.connection = self.bench.exchange(sent)

    def send(self, event: Event) -> None:
        """Let the application send."""
        self.loop.run(self.told.sends[0](event), within=1)

    def receive(self) -> Event:
        """What the application receives."""
        return self.loop.run(self.told.receives[0]())  # type: ignore[no-any-return]

    def finish(self, problem: BaseException | None = None) -> None:
        """Let the application return, or raise."""
        self.told.finish(0, problem)
        self.loop.settle()
