"""daphne.protocols.site and admission: what the connections of a port share."""

from __future__ import annotations

import logging
import resource
import time
from collections.abc import Callable
from email.utils import formatdate, parsedate_to_datetime
from typing import Any

import pytest

from daphne.protocols.admission import Admission
from daphne.protocols.site import Site
from daphne.settings import Settings
from daphne.testing.sockets import handshake
from tests.protocols.bench import Bench, Told, answering, echo, request, responses

Serve = Callable[..., Bench]


def test_the_date_is_now_and_renewed(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = serve(answering())
    connection = bench.exchange(request())
    date = responses(connection)[0].header(b"date")
    assert date is not None
    assert abs(parsedate_to_datetime(date.decode()).timestamp() - time.time()) < 5
    for now in (1_000_000_000.9, 1_000_000_001.0, 1_000_000_001.5):
        monkeypatch.setattr("daphne.protocols.standard.time.time", lambda now=now: now)
        (response,) = bench.responses(request())
        assert response.header(b"date") == formatdate(int(now), usegmt=True).encode()


@pytest.mark.parametrize(
    ("sent", "status", "size"),
    [
        (request("POST", "/p?q", body=b"hi"), 200, 10),
        (request("HEAD", "/p?q"), 200, 0),
    ],
)
def test_what_the_access_log_is_told_of_a_request(serve: Serve, sent: bytes, status: int, size: int) -> None:
    bench = serve(echo)
    bench.exchange(sent)
    ((protocol, action, details),) = bench.actions
    assert (protocol, action) == ("http", "complete")
    assert (details["path"], details["status"], details["size"]) == ("/p?q", status, size)
    assert details["client"] == "127.0.0.1:50000"
    assert details["method"] == sent.split(b" ")[0].decode()
    assert (details["http_version"], details["scheme"]) == ("1.1", "http")
    assert (b"host", b"example.org") in details["request_headers"]
    assert details["response_headers"] == []


def test_the_time_taken_is_that_of_the_whole_exchange(serve: Serve) -> None:
    told = Told()
    bench = serve(told)
    bench.exchange(request())
    bench.loop.advance(2.5)
    bench.loop.run(answering()({}, told.receives[0], told.sends[0]))
    told.finish()
    assert bench.actions[0][2]["time_taken"] == 2.5


def test_the_time_taken_is_finer_than_uvloops_own() -> None:
    loop = pytest.importorskip("uvloop").new_event_loop()
    try:
        site = Site(Settings(), loop, start=lambda stream: None, left=lambda stream: None)
        assert len({round(site.clock() * 1_000_000) % 1000 for _ in range(1000)}) > 1
    finally:
        loop.close()


def test_what_the_access_log_is_told_of_a_refusal(serve: Serve) -> None:
    bench = serve(echo)
    bench.exchange(b"nonsense\r\n\r\n")
    ((protocol, action, details),) = bench.actions
    assert (protocol, action, details["status"], details["method"]) == ("http", "complete", 400, "-")


def test_what_the_access_log_is_told_of_a_websocket(serve: Serve) -> None:
    told = Told()
    bench = serve(told)
    connection = bench.exchange(handshake("/chat?secret=1", []))
    bench.loop.run(told.sends[0]({"type": "websocket.accept"}))
    connection.reset()
    told.finish()
    bench.loop.settle()
    assert [action for _, action, _ in bench.actions] == ["connecting", "connected", "disconnected"]
    assert {details["path"] for _, _, details in bench.actions} == {"/chat"}
    assert {details["client"] for _, _, details in bench.actions} == {"127.0.0.1:50000"}


def test_a_log_that_fails_takes_no_connection_with_it(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    bench = serve(answering())

    def fails(*action: Any) -> None:
        raise OSError(28, "No space left on device")

    bench.server.service.site.action_logger = fails
    assert len(bench.responses(request(), request())) == 2
    assert caplog.text.count("No space left on device") >= 2


def test_a_scope_that_its_application_has_emptied(serve: Serve) -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        scope.clear()
        await answering()(scope, receive, send)

    bench = serve(application)
    connection = bench.exchange(request(), request("GET", "/", "Connection: close"))
    assert len(responses(connection)) == 2 and connection.ended
    assert [details["client"] for _, _, details in bench.actions] == ["127.0.0.1:50000"] * 2


def test_an_empty_scope_of_a_websocket(serve: Serve) -> None:
    told = Told()
    bench = serve(told)
    connection = bench.exchange(handshake("/chat", []))
    told.scopes[0].clear()
    bench.loop.run(told.sends[0]({"type": "websocket.accept"}))
    connection.reset()
    told.finish()
    bench.loop.settle()
    assert [details["client"] for _, _, details in bench.actions] == ["127.0.0.1:50000"] * 3


def test_a_limit_is_named_once_a_second(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    bench = serve(echo, max_body_size=1)
    big = request("POST", "/", body=b"xx")
    for _ in range(50):
        bench.exchange(big)
    bench.loop.advance(1)
    bench.exchange(big)
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert warnings == [
        "Limit --max-body-size reached by ('127.0.0.1', 50000)",
        "Limit --max-body-size reached by ('127.0.0.1', 50000) (49 more since the last such line)",
    ]
    bench.loop.advance(5)


def test_a_count_of_connections() -> None:
    events: list[str] = []
    admission = Admission(2, 1)
    admission.full = lambda: events.append("full")
    admission.room = lambda: events.append("room")
    admission.empty = lambda: events.append("empty")
    first, second, third = object(), object(), object()
    assert admission.peer_may_enter("a")
    admission.enter(first, "a")
    assert (
        not admission.peer_may_enter("a") and admission.peer_may_enter("b") and admission.peer_may_enter(None)
    )
    admission.enter(second, None)
    admission.enter(third, "b")
    assert (events, len(admission)) == (["full"], 3)
    admission.leave(third)
    admission.leave(third)
    admission.leave(second)
    assert events == ["full", "room"]
    admission.leave(first)
    assert events == ["full", "room", "empty"]
    assert admission.peer_may_enter("a")


class Numbered:
    """A transport, and its socket, of which only the number counts."""

    def __init__(self, number: int) -> None:
        self.number = number

    def getHandle(self) -> Numbered:
        return self

    def fileno(self) -> int:
        return self.number


@pytest.mark.parametrize(("limit", "last"), [(10, 9), (80, 70), (1000, 984)])
def test_descriptors_that_run_out(limit: int, last: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """That few are left is seen while half of those are left, and then for every connection."""
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (limit, limit))
    found: list[int] = []
    admission = Admission(0, 0)
    admission.short = found.append
    for descriptor in range(1000):
        admission.enter(Numbered(descriptor), "a")
    assert last <= found[0] < last + max((limit - last) // 2, 1)
    assert found == list(range(found[0], 1000))


def test_descriptors_without_end_or_interest(monkeypatch: pytest.MonkeyPatch) -> None:
    Admission(0, 0).enter(Numbered(10**9), "a")
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (resource.RLIM_INFINITY,) * 2)
    found: list[int] = []
    admission = Admission(0, 0)
    admission.short = found.append
    admission.enter(Numbered(10**9), "a")
    assert found == []


def test_what_alpn_offers(serve: Serve) -> None:
    assert serve(echo).server.service.site.acceptableProtocols() == [b"h2", b"http/1.1"]
    assert serve(echo, http2=False).server.service.site.acceptableProtocols() == [b"http/1.1"]


@pytest.mark.parametrize("jump", [86400.0, -86400.0])
def test_a_wall_clock_that_jumps(serve: Serve, monkeypatch: pytest.MonkeyPatch, jump: float) -> None:
    """Only Date looks at it: no limit ends early, and none late."""
    bench = serve(answering(), keep_alive_timeout=60)
    connection = bench.exchange(request())
    began, wall = time.time(), time.time
    monkeypatch.setattr(time, "time", lambda: wall() + jump)
    bench.loop.advance(59)
    bench.send(connection, request())
    date = responses(connection)[1].header(b"date")
    assert date is not None
    assert abs(parsedate_to_datetime(date.decode()).timestamp() - began - jump) < 60
    bench.loop.advance(59)
    assert not connection.ended
    bench.loop.advance(1)
    assert connection.ended
