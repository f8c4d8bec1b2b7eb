"""daphne.service: an application, the protocols and the listeners, from start to stop."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from daphne.errors import EndpointError, LayerUnavailable, LifespanError, TargetError
from daphne.layers.local import ChannelLayer as LocalLayer
from daphne.layers.memory import ChannelLayer
from daphne.reactor import LoopReactor
from daphne.service import Service
from daphne.settings import Settings
from daphne.testing import ClockLoop, MemoryServer
from daphne.testing.frames import CLOSE, TEXT, client_frame, close_frame, read_frame
from daphne.testing.sockets import handshake
from tests.protocols.bench import Bench, Told, answering, request, responses
from tests.streams.conftest import serve as serve

DEADLINE = 60.0


@contextlib.asynccontextmanager
async def listening(target: Any, *endpoints: str, **settings: Any) -> AsyncIterator[Service]:
    """A service on real sockets, in the running loop."""
    service = Service(target, Settings(**settings))
    await service.start(LoopReactor(asyncio.get_running_loop()), list(endpoints))
    try:
        yield service
    finally:
        await asyncio.wait_for(service.stop(), DEADLINE)


async def ask(port: int) -> bytes:
    """What a request gets on that port."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request("GET", "/", "Connection: close"))
    try:
        return await asyncio.wait_for(reader.read(), DEADLINE)
    finally:
        writer.close()


# ---- starting --------------------------------------------------------------------------------------


def test_several_endpoints_serve_one_application(tmp_path: Path) -> None:
    async def main() -> None:
        path = tmp_path / "socket"
        endpoints = ("tcp:0:interface=127.0.0.1", "tcp:0:interface=127.0.0.1", f"unix:{path}")
        async with listening(answering(), *endpoints) as service:
            for port in service.ports[:2]:
                assert (await ask(port.getHost().port)).endswith(b"ok")
            assert path.exists()
        assert not path.exists()

    asyncio.run(main())


def test_nothing_listens_before_the_application_has_started() -> None:
    states: list[Any] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await receive()
            states.append(list(service.ports))
            await send({"type": "lifespan.startup.complete"})
            await receive()
            states.append("shutdown")
            await send({"type": "lifespan.shutdown.complete"})
        else:
            await answering()(scope, receive, send)

    service = Service(application, Settings())

    async def main() -> None:
        await service.start(LoopReactor(asyncio.get_running_loop()), ["tcp:0:interface=127.0.0.1"])
        assert (await ask(service.ports[0].getHost().port)).endswith(b"ok")
        await service.stop()

    asyncio.run(main())
    assert states == [[], "shutdown"]


def test_an_endpoint_that_cannot_listen_ends_it_all() -> None:
    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as busy:
            endpoints = ["tcp:0:interface=127.0.0.1", f"tcp:{busy.getsockname()[1]}:interface=127.0.0.1"]
            service = Service(answering(), Settings())
            with pytest.raises(EndpointError):
                await service.start(LoopReactor(asyncio.get_running_loop()), endpoints)
            with pytest.raises(OSError):
                socket.create_connection(("127.0.0.1", service.ports[0].getHost().port), 1)
            await service.stop()

    asyncio.run(main())


def test_an_application_that_fails_to_start() -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})

    async def main() -> None:
        service = Service(application, Settings())
        with pytest.raises(LifespanError, match="no database"):
            await service.start(LoopReactor(asyncio.get_running_loop()), ["tcp:0"])
        assert service.ports == []
        await service.stop()

    asyncio.run(main())


def test_a_start_that_is_cancelled_shuts_down_what_has_started() -> None:
    told: list[str] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        told.append((await receive())["type"])
        await asyncio.sleep(5)
        await send({"type": "lifespan.startup.complete"})
        told.append((await receive())["type"])
        await send({"type": "lifespan.shutdown.complete"})

    loop = ClockLoop()
    starting = loop.create_task(Service(application, Settings()).start(None, []))
    loop.advance(1)
    starting.cancel()
    loop.advance(5)
    assert starting.cancelled()
    assert told == ["lifespan.startup", "lifespan.shutdown"]
    assert not [task for task in asyncio.all_tasks(loop) if not task.done()]
    loop.close()


async def failing_worker(scope: Any, receive: Any, send: Any) -> None:
    """An application for a worker, which does not start."""
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "no database"})


def test_a_worker_that_fails_to_start_leaves_nothing_behind() -> None:
    loop = ClockLoop()
    server = MemoryServer(ChannelLayer(), Settings(worker="tests.test_service:failing_worker"))
    with pytest.raises(LifespanError, match="no database"):
        loop.run(server.start(), within=10)
    loop.settle()
    assert not [task for task in asyncio.all_tasks(loop) if not task.done()]
    loop.close()


@pytest.mark.parametrize("target", [None, 5, "module:application", object()])
def test_targets_that_are_neither(target: Any) -> None:
    with pytest.raises(TargetError):
        Service(target, Settings())


def test_stop_before_a_start() -> None:
    asyncio.run(Service(answering(), Settings()).stop())


def test_a_channel_layer_with_a_worker_inside() -> None:
    loop = ClockLoop()
    server = MemoryServer(ChannelLayer(), Settings(worker="daphne.demo:application"))
    loop.run(server.start(), within=10)
    response = loop.run(server.request("GET", "/"), within=10)
    assert response.status == 200
    assert b"<html" in response.body.lower()
    loop.run(server.stop(), within=100)
    assert not [task for task in asyncio.all_tasks(loop) if not task.done()]
    loop.close()


# ---- stopping --------------------------------------------------------------------------------------


def test_requests_under_way_are_finished_and_told_to_close(serve: Any) -> None:
    told = Told()
    bench = serve(told)
    busy, idle, half = (
        bench.exchange(request() + request()),
        bench.exchange(request()),
        bench.exchange(b"GET / HT"),
    )
    new = bench.connect()
    answer(bench, told, 1)
    stopping = bench.loop.create_task(bench.server.service.stop())
    bench.loop.settle()
    assert idle.at_end
    # The others are answered once more: their requests are under way, or may be.
    bench.send(half, b"TP/1.1\r\nHost: a\r\n\r\n")
    bench.send(new, request())
    for index in (0, 2, 3):
        assert not stopping.done()
        answer(bench, told, index)
    for connection in (busy, half, new):
        (response,) = responses(connection)
        assert response.header(b"connection") == b"close"
        assert connection.at_end
    busy.close()  # until then what it sent in vain is read on, lest a reset overtakes its answer
    bench.loop.settle()
    assert stopping.done()


def answer(bench: Bench, told: Told, index: int) -> None:
    bench.loop.run(answering()({}, told.receives[index], told.sends[index]))
    told.finish(index)
    bench.loop.settle()


def test_a_new_connection_does_not_keep_a_server_that_stops(serve: Any) -> None:
    bench = serve(answering())
    connection = bench.connect()
    stopping = bench.loop.create_task(bench.server.service.stop())
    bench.loop.advance(3)
    assert connection.at_end
    assert stopping.done()


def test_what_takes_longer_than_the_graceful_timeout_is_cut(
    serve: Any, caplog: pytest.LogCaptureFixture
) -> None:
    told = Told()
    bench = serve(told, graceful_timeout=30)
    connection = bench.exchange(request())
    stopping = bench.loop.create_task(bench.server.service.stop())
    bench.loop.advance(29.9)
    assert not connection.ended
    bench.loop.advance(0.2)
    assert connection.was_reset
    assert told.cancelled == 1
    assert "Killed 1 pending application instances" in caplog.text
    assert stopping.done()


def test_an_application_that_refuses_to_die_does_not_keep_the_server(serve: Any) -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        for _ in range(20):
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(10)

    bench = serve(application, graceful_timeout=5)
    bench.exchange(request())
    stopping = bench.loop.create_task(bench.server.service.stop())
    bench.loop.advance(7)
    assert stopping.done()
    bench.loop.advance(1000)


def test_websockets_are_closed_with_1001_one_after_the_other(serve: Any) -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})
        while (await receive())["type"] != "websocket.disconnect":
            pass

    bench = serve(application, drain_window=5, ping_interval=0)
    sockets = [bench.exchange(handshake("/", [])) for _ in range(200)]
    for connection in sockets:
        connection.received.clear()
    stopping = bench.loop.create_task(bench.server.service.stop())
    closed_at: list[float] = []
    began = bench.loop.time()
    for _ in range(60):
        bench.loop.advance(0.1)
        for connection in list(sockets):
            if part := read_frame(bytes(connection.received)):
                assert (part[0].opcode, part[0].close_code) == (CLOSE, 1001)
                connection.send(close_frame(1001))
                closed_at.append(bench.loop.time() - began)
                sockets.remove(connection)
    assert not sockets
    # Two hundred sockets take two seconds: their clients do not come back in one wave.
    assert 1.5 < max(closed_at) <= 2.2
    assert len([at for at in closed_at if at < 1]) in range(50, 151)
    assert stopping.done()


def test_a_handshake_that_is_not_answered_is_refused_by_a_server_that_stops(serve: Any) -> None:
    told = Told()
    bench = serve(told)
    connection = bench.exchange(handshake("/", []))
    stopping = bench.loop.create_task(bench.server.service.stop())
    bench.loop.advance(6)
    assert responses(connection)[0].status in (403, 503)
    told.finish()
    bench.loop.settle()
    assert stopping.done()


def test_a_websocket_whose_client_never_answers_does_not_keep_the_server(serve: Any) -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})
        while (await receive())["type"] != "websocket.disconnect":
            pass

    bench = serve(application, graceful_timeout=30)
    connection = bench.exchange(handshake("/", []), client_frame(TEXT, b"hi"))
    stopping = bench.loop.create_task(bench.server.service.stop())
    bench.loop.advance(5.2)
    assert connection.was_reset
    assert stopping.done()


def test_a_lifespan_that_hangs_does_not_keep_the_server(caplog: pytest.LogCaptureFixture) -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await asyncio.sleep(100_000)

    loop = ClockLoop()
    server = MemoryServer(application, Settings(graceful_timeout=30))
    loop.run(server.start())
    loop.run(server.stop(), within=31)
    assert "did not shut down" in caplog.text
    loop.settle()
    assert not [task for task in asyncio.all_tasks(loop) if not task.done()]
    loop.close()


@pytest.mark.parametrize("worker", [None, "daphne.demo:application"], ids=["alone", "with a worker"])
def test_what_a_layer_s_broker_holds_outlives_it(worker: str | None, tmp_path: Path) -> None:
    """The loop goes on, as a Twisted reactor's does: nothing but the service closes the layer."""
    path = str(tmp_path / "layer")
    loop = asyncio.new_event_loop()

    async def first() -> None:
        layer = LocalLayer(path)
        async with listening(layer, worker=worker):
            await layer.send_async("jobs", {"number": 1})
            await layer.group_add_async("group", "member")
            assert layer.is_broker

    async def next_one() -> None:
        layer = LocalLayer(path)
        waiting = layer.receive_batch(["jobs"])
        assert await asyncio.wait_for(waiting, DEADLINE) == [("jobs", {"number": 1})]
        assert await layer.group_channels_async("group") == ["member"]
        await layer.close_async()

    try:
        loop.run_until_complete(first())
        asyncio.run(next_one())
    finally:
        loop.close()


@pytest.mark.parametrize(
    ("problem", "told"),
    [(None, "did not close within"), (LayerUnavailable("Redis has gone"), "as it should: Redis has gone")],
    ids=["hangs", "fails"],
)
def test_a_layer_that_does_not_close_does_not_keep_the_server(
    problem: Exception | None, told: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Unclosed(ChannelLayer):
        async def close_async(self) -> None:
            if problem is not None:
                raise problem
            await asyncio.Event().wait()

    async def main() -> None:
        async with listening(Unclosed()):
            pass

    monkeypatch.setattr("daphne.service._HAND_ON", 0.01)
    asyncio.run(main())
    assert told in caplog.text


def test_kill_ends_at_once(serve: Any) -> None:
    told = Told()
    bench = serve(told)
    connection = bench.exchange(request())
    stopping = bench.loop.create_task(bench.server.service.stop())
    bench.loop.settle()
    bench.server.service.kill()
    bench.loop.settle()
    assert connection.was_reset
    with contextlib.suppress(asyncio.CancelledError):
        bench.loop.run(asyncio.wait_for(stopping, 1), within=2)
    told.finish()
    bench.server.service._stopping = None


def test_many_stops_are_one(serve: Any) -> None:
    bench = serve(answering())
    stops = [bench.loop.create_task(bench.server.service.stop()) for _ in range(3)]
    bench.loop.settle()
    assert all(stop.done() for stop in stops)


# ---- limits on connections -----------------------------------------------------------------------------


def test_connections_per_peer(serve: Any) -> None:
    bench = serve(answering(), max_connections_per_peer=2)
    first, second = (bench.connect(client=("192.0.2.1", number)) for number in (1, 2))
    assert bench.connect(client=("192.0.2.1", 3)).ended
    assert not bench.connect(client=("192.0.2.2", 4)).ended
    first.close()
    bench.loop.settle()
    again = bench.exchange(b"")
    assert not again.ended
    assert responses_of(bench, second) == 1
    assert not bench.connect(client=("192.0.2.1", 5)).ended


def responses_of(bench: Any, connection: Any) -> int:
    bench.send(connection, request())
    return len(responses(connection))


def test_connections_in_all_wait_in_the_queue() -> None:
    async def main() -> None:
        async with listening(answering(), "tcp:0:interface=127.0.0.1", max_connections=2) as service:
            port = service.ports[0].getHost().port
            held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
            for reader, writer in held:
                writer.write(request())
                assert b"200 OK" in await asyncio.wait_for(reader.readline(), DEADLINE)
            waiting = asyncio.create_task(ask(port))
            done, _ = await asyncio.wait([waiting], timeout=0.3)
            assert not done
            held[0][1].close()
            assert (await asyncio.wait_for(waiting, DEADLINE)).endswith(b"ok")
            held[1][1].close()

    asyncio.run(main())


def test_requests_per_connection(serve: Any) -> None:
    bench = serve(answering(), max_requests_per_connection=2)
    connection = bench.exchange(request(), request(), request())
    found = responses(connection)
    assert [response.header(b"connection") for response in found] == [None, b"close"]
    assert connection.at_end


def test_accepting_pauses_while_descriptors_are_short(monkeypatch: pytest.MonkeyPatch) -> None:
    """And it goes on by itself, also when the first try finds none for the listener itself."""
    monkeypatch.setattr("daphne.service._ACCEPT_AGAIN", 0.05)

    async def main() -> None:
        async with listening(answering(b"hi"), "tcp:0:interface=127.0.0.1") as service:
            [port] = service.ports
            accept, tries = port.resumeAccepting, []

            def fail_once() -> None:
                tries.append(1)
                if len(tries) == 1:
                    raise OSError(24, "Too many open files")
                accept()

            monkeypatch.setattr(port, "resumeAccepting", fail_once)
            service._pause_for_descriptors(1000)
            service._pause_for_descriptors(1000)
            service._resume_accepting()  # a connection has gone: still too early
            assert not tries and port._server is None
            assert b"hi" in await ask(port.getHost().port)
            assert len(tries) == 2

    asyncio.run(main())
