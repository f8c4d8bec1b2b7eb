"""daphne.application.lifespan: start-up before the first request, shutdown after the last."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from daphne.application.lifespan import Lifespan
from daphne.errors import LifespanError
from daphne.testing import ClockLoop

COMPLETE = {"type": "lifespan.startup.complete"}
SHUT_DOWN = {"type": "lifespan.shutdown.complete"}


@pytest.fixture
def loop() -> Iterator[ClockLoop]:
    loop = ClockLoop()
    yield loop
    loop.settle()
    assert not [task for task in asyncio.all_tasks(loop) if not task.done()]
    assert loop.timers() == []
    loop.close()


class Application:
    """An application that answers with these events, a list for each event it receives; exceptions are
    raised."""

    def __init__(self, *answers: list[Any]) -> None:
        self.answers = answers
        self.calls: list[dict[str, Any]] = []
        self.received: list[str] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.calls.append(scope)
        for answer in self.answers:
            self.received.append((await receive())["type"])
            for event in answer:
                if isinstance(event, BaseException):
                    raise event
                await send(event)


def test_start_and_stop(loop: ClockLoop) -> None:
    application = Application([COMPLETE], [SHUT_DOWN])
    lifespan = Lifespan(application, "on")
    loop.run(lifespan.startup())
    assert application.received == ["lifespan.startup"]
    loop.run(lifespan.shutdown())
    assert application.received == ["lifespan.startup", "lifespan.shutdown"]
    (scope,) = application.calls
    assert scope == {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": {}}
    assert lifespan.state is scope["state"]


def test_startup_waits_for_the_application(loop: ClockLoop) -> None:
    async def slow(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await asyncio.sleep(1000)
        await send(COMPLETE)

    lifespan = Lifespan(slow, "on")
    starting = loop.create_task(lifespan.startup())
    loop.advance(999)
    assert not starting.done()
    loop.advance(2)
    assert starting.done()


def test_off_does_not_call_the_application(loop: ClockLoop) -> None:
    application = Application([COMPLETE])
    lifespan = Lifespan(application, "off")
    loop.run(lifespan.startup())
    loop.run(lifespan.shutdown())
    assert application.calls == []
    assert lifespan.state is None


UNSUPPORTED: list[Any] = [
    Application(),
    Application([]),
    Application([ValueError("no lifespan here")]),
    Application([asyncio.CancelledError()]),
]


@pytest.mark.parametrize("application", UNSUPPORTED)
def test_auto_goes_on_without_an_answer(loop: ClockLoop, application: Application) -> None:
    lifespan = Lifespan(application, "auto")
    loop.run(lifespan.startup())
    assert lifespan.state is None
    loop.run(lifespan.shutdown())


@pytest.mark.parametrize(("answers", "told"), [([], False), ([[ValueError("no database")]], True)])
def test_auto_tells_of_a_start_that_raised_but_not_of_one_that_is_unknown(
    loop: ClockLoop, answers: list[Any], told: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        await Application(*answers)(scope, receive, send)
        raise KeyError("path")

    loop.run(Lifespan(application, "auto").startup())
    assert ("no database" in caplog.text) == told
    assert bool(caplog.records) == told


@pytest.mark.parametrize("application", UNSUPPORTED)
def test_on_demands_an_answer(loop: ClockLoop, application: Application) -> None:
    lifespan = Lifespan(application, "on")
    with pytest.raises(LifespanError, match="does not answer lifespan.startup"):
        loop.run(lifespan.startup())


@pytest.mark.parametrize("mode", ["auto", "on"])
@pytest.mark.parametrize(
    ("event", "reason"),
    [
        ({"type": "lifespan.startup.failed", "message": "no database"}, "no database"),
        ({"type": "lifespan.startup.failed"}, "no reason given"),
    ],
)
@pytest.mark.parametrize("then", [[], [RuntimeError("as frameworks do")]])
def test_a_failure_is_a_failure_in_every_mode(
    loop: ClockLoop, mode: str, event: dict[str, str], reason: str, then: list[Any]
) -> None:
    lifespan = Lifespan(Application([event, *then]), mode)
    with pytest.raises(LifespanError, match=reason):
        loop.run(lifespan.startup(), within=2)
    loop.run(lifespan.shutdown())


def test_an_application_that_lingers_after_its_failure_is_cancelled(loop: ClockLoop) -> None:
    application = Application([{"type": "lifespan.startup.failed"}], [])
    with pytest.raises(LifespanError):
        loop.run(Lifespan(application, "on").startup(), within=2)


@pytest.mark.parametrize(
    ("answer", "logged"),
    [
        ([{"type": "lifespan.shutdown.failed", "message": "still busy"}], "still busy"),
        ([{"type": "lifespan.shutdown.failed"}], "no reason given"),
        ([ValueError("on the way out")], "raised while it shut down"),
    ],
)
def test_a_shutdown_that_fails_is_logged(
    loop: ClockLoop, answer: list[Any], logged: str, caplog: pytest.LogCaptureFixture
) -> None:
    lifespan = Lifespan(Application([COMPLETE], answer), "on")
    loop.run(lifespan.startup())
    loop.run(lifespan.shutdown(), within=2)
    assert logged in caplog.text


def test_an_application_that_ends_between_start_and_stop_is_logged(
    loop: ClockLoop, caplog: pytest.LogCaptureFixture
) -> None:
    lifespan = Lifespan(Application([COMPLETE, ValueError("half-way")]), "on")
    loop.run(lifespan.startup())
    loop.run(lifespan.shutdown())
    assert "half-way" in caplog.text


def test_an_application_that_returns_after_its_start_is_in_order(
    loop: ClockLoop, caplog: pytest.LogCaptureFixture
) -> None:
    lifespan = Lifespan(Application([COMPLETE]), "on")
    loop.run(lifespan.startup())
    loop.run(lifespan.shutdown())
    assert caplog.text == ""


def test_an_application_that_lingers_after_its_shutdown_is_cancelled(loop: ClockLoop) -> None:
    lifespan = Lifespan(Application([COMPLETE], [SHUT_DOWN], []), "on")
    loop.run(lifespan.startup())
    loop.run(lifespan.shutdown(), within=2)


def test_a_start_that_is_given_up_ends_with_the_whole_shutdown(loop: ClockLoop) -> None:
    told: list[str] = []

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        told.append((await receive())["type"])
        await asyncio.sleep(5)
        await send(COMPLETE)
        told.append((await receive())["type"])
        await asyncio.sleep(5)
        await send(SHUT_DOWN)
        told.append("done")

    lifespan = Lifespan(slow, "on")
    starting = loop.create_task(lifespan.startup())
    loop.advance(1)
    starting.cancel()
    loop.run(lifespan.shutdown(), within=10)
    assert told == ["lifespan.startup", "lifespan.shutdown", "done"]


def test_shutdown_without_a_start(loop: ClockLoop) -> None:
    loop.run(Lifespan(Application(), "on").shutdown())
