"""The application that all servers run, called directly."""

import asyncio

import pytest

from benchmarks.served import plain


def call(scope, events):
    """Run the application on these events; what it sent."""
    sent = []
    waiting = iter(events)

    async def receive():
        return next(waiting)

    async def send(event):
        sent.append(event)

    asyncio.run(plain.application(scope, receive, send))
    return sent


def http(path, *bodies, **scope):
    events = [{"type": "http.request", "body": body, "more_body": True} for body in bodies[:-1]]
    events.append({"type": "http.request", "body": bodies[-1] if bodies else b""})
    return call({"type": "http", "path": path, **scope}, events)


@pytest.mark.parametrize(
    ("path", "bodies", "status", "body"),
    [
        ("/", [], 200, b"Hello, world!"),
        ("/echo", [b"one", b"", b"two"], 200, b"onetwo"),
        ("/count", [b"one", b"three"], 200, b"8"),
        ("/pathsend", [], 501, b"no pathsend here"),
        ("/elsewhere", [], 404, b"no such scenario"),
    ],
)
def test_each_path_answers_with_its_length(path, bodies, status, body):
    start, *rest = http(path, *bodies)
    assert start["status"] == status
    assert dict(start["headers"])[b"content-length"] == b"%d" % len(body)
    assert b"".join(event["body"] for event in rest) == body


def test_a_download_is_as_long_as_it_says():
    start, *pieces = http("/download")
    assert (
        int(dict(start["headers"])[b"content-length"])
        == sum(len(piece["body"]) for piece in pieces)
        == 100 << 20
    )
    assert [piece.get("more_body", False) for piece in pieces[-2:]] == [True, False]


def test_pathsend_names_the_file(tmp_path, monkeypatch):
    file = tmp_path / "file"
    file.write_bytes(b"12345")
    monkeypatch.setenv("BENCHMARK_DOWNLOAD", str(file))
    start, event = http("/pathsend", extensions={"http.response.pathsend": {}})
    assert dict(start["headers"])[b"content-length"] == b"5"
    assert event == {"type": "http.response.pathsend", "path": str(file)}


def test_a_client_that_leaves_gets_no_answer():
    for path in ("/echo", "/count"):
        assert call({"type": "http", "path": path}, [{"type": "http.disconnect"}]) == []


def test_messages_are_echoed_in_their_kind():
    events = [
        {"type": "websocket.connect"},
        {"type": "websocket.receive", "text": "", "bytes": None},
        {"type": "websocket.receive", "bytes": b"b"},
        {"type": "websocket.disconnect", "code": 1000},
    ]
    assert call({"type": "websocket", "path": "/"}, events) == [
        {"type": "websocket.accept"},
        {"type": "websocket.send", "text": ""},
        {"type": "websocket.send", "bytes": b"b"},
    ]


def test_lifespan_is_completed():
    events = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
    sent = [event["type"] for event in call({"type": "lifespan"}, events)]
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
