"""Exchanges: what a client sends, what the application gets and does, and what the client gets back.

Each scenario is written once and played over every wire and both ways to reach an application, with the same
expected results. `application` is what is served: it plays the part of the scenario that the path names.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import IntEnum
from http import HTTPStatus
from pathlib import Path
from typing import Any

Event = dict[str, Any]
Headers = list[tuple[bytes, bytes]]
Part = Callable[[Any, Any, Any], Awaitable[Any]]

BIG = bytes(range(256)) * 4000
"""A megabyte: more than fits into one message, one window or one buffer."""


@dataclass
class Request:
    """What the client sends. `pieces` are the body, sent one by one; with `length` None it has no length."""

    method: str = "GET"
    query: str = ""
    headers: Headers = field(default_factory=list)
    pieces: list[bytes] = field(default_factory=list)
    length: bool = True


@dataclass
class Answer:
    """What the client gets: fields that the wire or the server adds are not looked at."""

    status: int = 200
    headers: Headers = field(default_factory=list)
    body: bytes = b""
    complete: bool = True


@dataclass
class Scenario:
    """One exchange. `seen` is what the application notes in its part."""

    part: Part
    answer: Answer = field(default_factory=Answer)
    request: Request = field(default_factory=Request)
    seen: Any = None


SEEN: dict[str, Any] = {}
"""What the parts of the applications have noted, by the name of their scenario."""


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Play the part of the scenario that the path names, and note what it returns."""
    if scope["type"] == "lifespan":
        raise ValueError("no lifespan here")
    name = scope["path"].strip("/").split("/")[0]
    part = HTTP[name].part if scope["type"] == "http" else WEBSOCKET[name].part
    SEEN[name] = await part(scope, receive, send)


# ---- parts ----------------------------------------------------------------------------------------------


def start(status: int = 200, *headers: tuple[bytes, bytes]) -> Event:
    return {"type": "http.response.start", "status": status, "headers": list(headers)}


def body(data: bytes = b"", more: bool = False) -> Event:
    return {"type": "http.response.body", "body": data, "more_body": more}


def sends(*events: Event) -> Part:
    """A part that just sends."""

    async def part(scope: Any, receive: Any, send: Any) -> None:
        for event in events:
            await send(event)

    return part


async def read(receive: Any) -> bytes:
    """The body of a request."""
    data = b""
    while True:
        event = await receive()
        assert event["type"] == "http.request", event
        data += event.get("body", b"")
        if not event.get("more_body"):
            return data


async def echoes(scope: Any, receive: Any, send: Any) -> None:
    data = await read(receive)
    await send(start(200, (b"x-size", b"%d" % len(data))))
    await send(body(data))


async def notes_scope(scope: Any, receive: Any, send: Any) -> Event:
    await read(receive)
    await send(start())
    await send(body(b"noted"))
    keys = ("type", "method", "path", "query_string", "root_path", "scheme")
    noted = {key: scope[key] for key in keys}
    noted["headers"] = [
        pair for pair in scope["headers"] if pair[0].startswith((b"x-", b"cookie", b"content-"))
    ]
    noted["client"] = scope["client"][0]
    return noted


async def raises(scope: Any, receive: Any, send: Any) -> None:
    raise LookupError("a secret")


async def exits(scope: Any, receive: Any, send: Any) -> None:
    """One request, or one WebSocket, ends no server and no worker."""
    raise SystemExit(3)


async def cancels_itself(scope: Any, receive: Any, send: Any) -> None:
    raise asyncio.CancelledError


async def fails_after_the_start(scope: Any, receive: Any, send: Any) -> None:
    await send(start())
    await send(body(b"part", True))
    raise LookupError("a secret")


async def streams(scope: Any, receive: Any, send: Any) -> None:
    await send(start(200, (b"content-type", b"text/plain")))
    for number in range(10):
        await send(body(b"%d," % number, True))
        await asyncio.sleep(0)
    await send(body())


async def asks_in_vain(scope: Any, receive: Any, send: Any) -> list[str]:
    """After the answer there is a disconnect."""
    await read(receive)
    await send(start())
    await send(body(b"done"))
    return [(await receive())["type"]]


async def listens_twice(scope: Any, receive: Any, send: Any) -> list[str]:
    """One task waits for the end, another looks whether it is there: an event stream does that."""
    await read(receive)
    listener, look = asyncio.ensure_future(receive()), asyncio.ensure_future(receive())
    await asyncio.sleep(0.01)
    look.cancel()
    await send(start())
    await send(body(b"done"))
    return [(await listener)["type"]]


async def streams_much(scope: Any, receive: Any, send: Any) -> None:
    await send(start())
    for _ in range(3):
        await send(body(BIG, True))
    await send(body())


async def wrong_then_right(scope: Any, receive: Any, send: Any) -> str:
    """An event that is not allowed is refused before anything goes out."""
    try:
        await send(start(200, (b"x", b"a\r\nb: c")))
    except ValueError as error:
        await send(start(200, (b"x", b"fine")))
        await send(body(b"recovered"))
        return type(error).__mro__[2].__name__
    return "accepted"


async def forgets_its_scope(scope: Any, receive: Any, send: Any) -> None:
    scope.clear()
    await send(start())
    await send(body(b"forgotten"))


async def makes_it_a_get(scope: Any, receive: Any, send: Any) -> None:
    """As what serves HEAD with the same code as GET, and drops the body."""
    scope["method"] = "GET"
    await send(start(200, (b"content-length", b"5"), (b"x", b"y")))
    await send(body())


async def hints_wrongly(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.early_hint", "links": [7]})


async def sends_a_file(scope: Any, receive: Any, send: Any) -> bool:
    """Of a file that is not there the application is told before anything goes out."""
    missing = False
    await send(start(200, (b"x-kind", b"file")))
    try:
        await send({"type": "http.response.pathsend", "path": __file__ + ".missing"})
    except FileNotFoundError:
        missing = True
    await send({"type": "http.response.pathsend", "path": __file__})
    return missing


async def sends_a_descriptor(scope: Any, receive: Any, send: Any) -> None:
    with open(__file__, "rb") as file:
        await send(start())
        await send({"type": "http.response.pathsend", "path": file.fileno()})


async def sends_a_file_too_late(scope: Any, receive: Any, send: Any) -> str:
    await send(start())
    await send(body(b"begun, ", True))
    try:
        await send({"type": "http.response.pathsend", "path": __file__})
    except Exception as error:
        await send(body(b"done"))
        return type(error).__name__
    return "accepted"


async def sends_a_file_and_trailers(scope: Any, receive: Any, send: Any) -> None:
    await send({**start(), "trailers": True})
    await send({"type": "http.response.pathsend", "path": __file__})
    await send({"type": "http.response.trailers", "headers": [(b"x-sum", b"7")], "more_trailers": False})


ERROR = Answer(500)
THIS_FILE = Path(__file__).read_bytes()

HTTP: dict[str, Scenario] = {
    "plain": Scenario(
        sends(start(200, (b"x-one", b"1")), body(b"hello")), Answer(200, [(b"x-one", b"1")], b"hello")
    ),
    "empty": Scenario(sends(start(), body())),
    "file": Scenario(sends_a_file, Answer(200, [(b"x-kind", b"file")], THIS_FILE), seen=True),
    "file-head": Scenario(sends_a_file, Answer(200, [(b"x-kind", b"file")]), Request("HEAD"), seen=True),
    "file-late": Scenario(sends_a_file_too_late, Answer(200, [], b"begun, done"), seen="ApplicationError"),
    "file-trailers": Scenario(sends_a_file_and_trailers, Answer(200, [], THIS_FILE)),
    "status": Scenario(sends(start(418), body(b"short and stout")), Answer(418, [], b"short and stout")),
    "no-content": Scenario(sends(start(204), body()), Answer(204)),
    "not-modified": Scenario(sends(start(304, (b"etag", b'"x"')), body()), Answer(304, [(b"etag", b'"x"')])),
    "fields": Scenario(
        sends(
            start(
                302,
                (b"Location", b"/there"),
                (b"Set-Cookie", b"a=1"),
                (b"X", b"\xc3\xa9"),
                (b"set-cookie", b"b=2"),
            ),
            body(),
        ),
        Answer(
            302,
            [(b"location", b"/there"), (b"set-cookie", b"a=1"), (b"x", b"\xc3\xa9"), (b"set-cookie", b"b=2")],
        ),
    ),
    "status-by-name": Scenario(sends(start(HTTPStatus.ACCEPTED), body()), Answer(202)),
    "no-fields": Scenario(sends({**start(), "headers": None}, body())),
    "spaces": Scenario(sends(start(200, (b"x", b" \t a b ")), body()), Answer(200, [(b"x", b"a b")])),
    "recovers": Scenario(wrong_then_right, Answer(200, [(b"x", b"fine")], b"recovered"), seen="ValueError"),
    "head": Scenario(
        sends(start(200, (b"x", b"y")), body(b"nobody sees")), Answer(200, [(b"x", b"y")]), Request("HEAD")
    ),
    "head-as-get": Scenario(makes_it_a_get, Answer(200, [(b"x", b"y")]), Request("HEAD")),
    "scope-forgotten": Scenario(forgets_its_scope, Answer(200, [], b"forgotten")),
    "echo": Scenario(echoes, Answer(200, [(b"x-size", b"5")], b"hello"), Request("POST", pieces=[b"hello"])),
    "echo-nothing": Scenario(echoes, Answer(200, [(b"x-size", b"0")]), Request("POST")),
    "echo-pieces": Scenario(
        echoes,
        Answer(200, [(b"x-size", b"9")], b"onetwosix"),
        Request("PUT", pieces=[b"one", b"two", b"six"], length=False),
    ),
    "echo-big": Scenario(
        echoes, Answer(200, [(b"x-size", b"%d" % len(BIG))], BIG), Request("POST", pieces=[BIG])
    ),
    "echo-big-pieces": Scenario(
        echoes,
        Answer(200, [(b"x-size", b"%d" % len(BIG))], BIG),
        Request("POST", pieces=[BIG[:9], BIG[9:]], length=False),
    ),
    "scope": Scenario(
        notes_scope,
        Answer(200, [], b"noted"),
        Request(
            "PATCH",
            "/caf%C3%A9%2Fx?a=1&a=%20",
            [(b"x-two", b"1"), (b"x-two", b"2"), (b"cookie", b"a=1; b=2")],
            [b"x"],
        ),
        {
            "type": "http",
            "method": "PATCH",
            "path": "/scope/café/x",
            "query_string": b"a=1&a=%20",
            "root_path": "",
            "headers": [
                (b"x-two", b"1"),
                (b"x-two", b"2"),
                (b"cookie", b"a=1; b=2"),
                (b"content-length", b"1"),
            ],
            "client": "127.0.0.1",
        },
    ),
    "stream": Scenario(streams, Answer(200, [(b"content-type", b"text/plain")], b"0,1,2,3,4,5,6,7,8,9,")),
    "stream-much": Scenario(streams_much, Answer(200, [], BIG * 3)),
    "listens-twice": Scenario(listens_twice, Answer(200, [], b"done"), seen=["http.disconnect"]),
    "disconnect": Scenario(asks_in_vain, Answer(200, [], b"done"), seen=["http.disconnect"]),
    "raises": Scenario(raises, ERROR),
    "exits": Scenario(exits, ERROR),
    "cancels-itself": Scenario(cancels_itself, ERROR),
    "returns": Scenario(sends(), ERROR),
    "starts-only": Scenario(sends(start()), ERROR),
    "fails-within": Scenario(fails_after_the_start, Answer(200, [], b"part", complete=False)),
    "ends-within": Scenario(sends(start(), body(b"part", True)), Answer(200, [], b"part", complete=False)),
    "bad-status": Scenario(sends(start(99), body()), ERROR),
    "bad-name": Scenario(sends(start(200, (b"na me", b"x")), body()), ERROR),
    "bad-value": Scenario(sends(start(200, (b"x", b"a\nb")), body()), ERROR),
    "bad-type-of-name": Scenario(sends(start(200, ("x", b"y")), body()), ERROR),  # type: ignore[arg-type]
    "bad-type-of-value": Scenario(sends(start(200, (b"content-length", 10**12)), body()), ERROR),  # type: ignore[arg-type]
    "bad-trailers": Scenario(
        sends(
            {**start(), "trailers": True}, body(b"part"), {"type": "http.response.trailers", "headers": ["x"]}
        ),
        Answer(200, [], b"part", complete=False),
    ),
    "bad-path": Scenario(sends_a_descriptor, ERROR),
    "bad-hints": Scenario(hints_wrongly, ERROR),
    "bad-length": Scenario(sends(start(200, (b"content-length", b"2")), body(b"three")), ERROR),
    "bad-order": Scenario(sends(body(b"too early")), ERROR),
    "bad-kind": Scenario(sends({"type": "websocket.accept"}), ERROR),
}


# ---- WebSockets -------------------------------------------------------------------------------------------


@dataclass
class Talk:
    """One WebSocket: what the client says, and what it hears.

    `says` are messages, a tuple of parts for a fragmented one, or ("close", code, reason). `hears` are
    messages; the end is ("closed", code, reason), or ("refused", status) for a handshake.
    """

    part: Part
    says: list[Any] = field(default_factory=list)
    hears: list[Any] = field(default_factory=list)
    headers: Headers = field(default_factory=list)
    answer: Headers = field(default_factory=list)
    """Fields of the answer to the handshake that must be there."""
    seen: Any = None


ACCEPT: Event = {"type": "websocket.accept"}


class Code(IntEnum):
    """A close code by its name, as libraries have them."""

    GOING_AWAY = 1001


def says(*events: Event) -> Part:
    """A part that accepts, sends, and waits for the end, whose event it notes."""

    async def part(scope: Any, receive: Any, send: Any) -> Any:
        assert (await receive())["type"] == "websocket.connect"
        for event in events:
            await send(event)
        while (event := await receive())["type"] != "websocket.disconnect":
            pass
        return event["code"]

    return part


async def talks(scope: Any, receive: Any, send: Any) -> Any:
    """Echo until the end; note how it ended."""
    await receive()
    await send(ACCEPT)
    while (event := await receive())["type"] == "websocket.receive":
        message = {key: event[key] for key in ("text", "bytes") if event.get(key) is not None}
        await send({"type": "websocket.send", **message})
    return event["code"], event.get("reason", "")


async def hears_at_once(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    receiving = [asyncio.ensure_future(receive()) for _ in range(3)]
    await asyncio.sleep(0.01)
    await send(ACCEPT)
    for task in receiving:
        await task
    await send(
        {"type": "websocket.send", "text": "".join(sorted(task.result()["text"] for task in receiving))}
    )
    await send({"type": "websocket.close"})


async def notes_handshake(scope: Any, receive: Any, send: Any) -> Any:
    await receive()
    await send({**ACCEPT, "subprotocol": scope["subprotocols"][-1]})
    await send({"type": "websocket.close"})
    keys = ("type", "path", "query_string", "scheme", "subprotocols")
    return {key: scope[key] for key in keys}, [pair for pair in scope["headers"] if pair[0] == b"x-two"]


async def accepts_and_raises(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    await send(ACCEPT)
    raise LookupError("a secret")


async def accepts_and_returns(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    await send(ACCEPT)


async def forgets_its_handshake(scope: Any, receive: Any, send: Any) -> None:
    scope["subprotocols"].clear()
    scope.clear()
    await receive()
    await send({**ACCEPT, "subprotocol": "b"})
    await send({"type": "websocket.close"})


async def accepts_and_exits(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    await send(ACCEPT)
    raise SystemExit(3)


async def never_answers(scope: Any, receive: Any, send: Any) -> None:
    await receive()


def denial(status: Any = 401, *headers: Any) -> Event:
    return {"type": "websocket.http.response.start", "status": status, "headers": headers}


def denial_body(data: Any) -> Event:
    return {"type": "websocket.http.response.body", "body": data}


def text(message: str) -> Event:
    return {"type": "websocket.send", "text": message}


CLOSE = ("close", 1000, "")
CLOSED = ("closed", 1000, "")
FAILED = ("closed", 1011, "")

WEBSOCKET: dict[str, Talk] = {
    "echo": Talk(
        talks,
        ["hé", b"\xff\x00", "", b"", ("frag", "ment", "ed"), (b"\x00", b"\x01"), ("close", 3001, "bye")],
        ["hé", b"\xff\x00", "", b"", "fragmented", b"\x00\x01", ("closed", 3001, "bye")],
        seen=(3001, "bye"),
    ),
    "echo-big": Talk(talks, [BIG, "é" * 200_000, CLOSE], [BIG, "é" * 200_000, CLOSED], seen=(1000, "")),
    "hears-at-once": Talk(hears_at_once, ["a", "b", "c"], ["abc", CLOSED]),
    "no-code": Talk(talks, [("close", None, "")], [("closed", 1005, "")], seen=(1005, "")),
    "greets": Talk(says(ACCEPT, text("one"), text("two")), [CLOSE], ["one", "two", CLOSED], seen=1000),
    "closes": Talk(
        says(ACCEPT, text("last"), {"type": "websocket.close", "code": 4001, "reason": "réason"}),
        [],
        ["last", ("closed", 4001, "réason")],
        seen=4001,
    ),
    "closes-plainly": Talk(says(ACCEPT, {"type": "websocket.close"}), [], [CLOSED], seen=1000),
    "closes-by-name": Talk(
        says(ACCEPT, {"type": "websocket.close", "code": Code.GOING_AWAY}),
        [],
        [("closed", 1001, "")],
        seen=1001,
    ),
    "closes-wrongly": Talk(says(ACCEPT, {"type": "websocket.close", "reason": b"x"}), [], [FAILED]),
    "refuses-with-any-code": Talk(
        says({"type": "websocket.close", "code": 999}), [], [("refused", 403)], seen=1006
    ),
    "denies": Talk(
        says(denial(HTTPStatus.GONE), denial_body(bytearray(b"x"))), [], [("refused", 410)], seen=1006
    ),
    "denies-with-success": Talk(says(denial(200), denial_body(b"")), [], [("refused", 500)]),
    "denies-with-no-status": Talk(says(denial(101), denial_body(b"")), [], [("refused", 500)]),
    "denies-with-text": Talk(says(denial(), denial_body("text")), [], [("refused", 500)]),
    "denies-with-bad-fields": Talk(says(denial(401, (b"x", 1)), denial_body(b"")), [], [("refused", 500)]),
    "accepts-with-bad-fields": Talk(says({**ACCEPT, "headers": [("x", b"y")]}), [], [("refused", 500)]),
    "accepts-what-was-not-offered": Talk(says({**ACCEPT, "subprotocol": "x"}), [], [("refused", 500)]),
    "scope-forgotten": Talk(
        forgets_its_handshake,
        [],
        [CLOSED],
        [(b"sec-websocket-protocol", b"a, b")],
        [(b"sec-websocket-protocol", b"b")],
    ),
    "exits-first": Talk(exits, [], [("refused", 500)]),
    "exits": Talk(accepts_and_exits, [], [FAILED]),
    "cancels-itself": Talk(cancels_itself, [], [("refused", 500)]),
    "refuses": Talk(says({"type": "websocket.close"}), [], [("refused", 403)], seen=1006),
    "fails-first": Talk(raises, [], [("refused", 500)]),
    "returns-first": Talk(never_answers, [], [("refused", 500)]),
    "raises": Talk(accepts_and_raises, [], [FAILED]),
    "returns": Talk(accepts_and_returns, [], [CLOSED]),
    "accept-fields": Talk(
        says(
            {**ACCEPT, "headers": [(b"X-Mine", b"1"), (b"set-cookie", b"a=1")]}, {"type": "websocket.close"}
        ),
        [],
        [CLOSED],
        answer=[(b"x-mine", b"1"), (b"set-cookie", b"a=1")],
        seen=1000,
    ),
    "handshake": Talk(
        notes_handshake,
        [],
        [CLOSED],
        [(b"x-two", b"1"), (b"x-two", b"2"), (b"sec-websocket-protocol", b"a, b")],
        [(b"sec-websocket-protocol", b"b")],
        (
            {
                "type": "websocket",
                "path": "/handshake",
                "query_string": b"",
                "scheme": "ws",
                "subprotocols": ["a", "b"],
            },
            [(b"x-two", b"1"), (b"x-two", b"2")],
        ),
    ),
}
