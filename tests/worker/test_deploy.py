"""A front end, its workers over a real layer, clients under load: workers are replaced and killed, and no
client notices.

WebSocket clients send numbered messages to an application that echoes them, so that every message that is
lost, doubled or out of order shows. With `DAPHNE_TEST_DEPLOY=full` it runs at full size, 200 WebSockets, 20
HTTP clients, ten restarts, five kills, and over Redis on two hosts and with encryption, too. The size without
it shows the same in less time.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import sys
import time
from dataclasses import dataclass, field

import aiohttp
import pytest
from websockets.asyncio.client import connect

from tests.layers.redis_server import RedisServer
from tests.servers import LISTENING, Process

FULL = os.environ.get("DAPHNE_TEST_DEPLOY") == "full"
SOCKETS, REQUESTERS, RESTARTS, KILLS = (200, 20, 10, 5) if FULL else (20, 4, 3, 2)
PAUSE = 0.1 if FULL else 0.02
"""Seconds between two messages of a WebSocket client."""

LAYERS = ["local", "redis", "two hosts", "encrypted"] if FULL else ["local", "redis"]

MOST_UNDER_WAY = 20
"""Messages that a client has not got back when it waits, so that a slow machine is only slow."""

WORKING = re.compile(r"takes work from")
TARGET = "tests.worker.deploy_target"
LOST = re.compile(r"message \d+ was with the worker that died")
DEAD = re.compile(r"Worker .*; it had .*")


@dataclass
class Socket:
    """What one WebSocket client sent and got."""

    sent: int = 0
    received: list[int] = field(default_factory=list)
    closed: BaseException | None = None

    @property
    def under_way(self):
        return self.sent - 1 - (self.received[-1] if self.received else -1)


class Load:
    """All clients. `stop` lets them send no more; then what is missing is missing."""

    def __init__(self, address):
        self.address = address
        self.sockets = [Socket() for _ in range(SOCKETS)]
        self.answers = []
        self.rounds = [0] * REQUESTERS
        self.stopping = False
        self.connected = 0

    async def websocket(self, socket):
        async with connect(self.address.url("/", "ws"), ping_interval=None) as connection:
            self.connected += 1
            receiving = asyncio.ensure_future(self.receive(connection, socket))
            paused_at = 0.0
            try:
                while not self.stopping:
                    held = socket.under_way >= MOST_UNDER_WAY
                    if not held or time.monotonic() > paused_at + 3:  # what is under way may be lost
                        await connection.send(str(socket.sent))
                        socket.sent += 1
                        paused_at = time.monotonic()
                    await asyncio.sleep(PAUSE)
                while socket.received[-1:] != [socket.sent - 1] and not receiving.done():
                    await asyncio.sleep(0.02)
            except Exception as problem:
                socket.closed = problem
            receiving.cancel()

    async def receive(self, connection, socket):
        try:
            async for text in connection:
                socket.received.append(int(text))
            socket.closed = ConnectionError(f"closed with {connection.close_code}")
        except Exception as problem:
            socket.closed = problem

    async def requests(self, number):
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(60)) as session:
            while not self.stopping:
                try:
                    async with session.get(self.address.url("/")) as response:
                        self.answers.append(response.status)
                        await response.read()
                except Exception as problem:
                    self.answers.append(problem)
                self.rounds[number] += 1
                await asyncio.sleep(PAUSE)

    @contextlib.asynccontextmanager
    async def running(self):
        tasks = [asyncio.ensure_future(self.websocket(socket)) for socket in self.sockets]
        tasks += [asyncio.ensure_future(self.requests(number)) for number in range(REQUESTERS)]
        await self.until(lambda: self.connected == SOCKETS and all(self.rounds), 60)
        yield
        self.stopping = True
        _, pending = await asyncio.wait(tasks, timeout=60)
        for task in pending:
            task.cancel()
        assert not pending, f"not every last message came back: {self.missing()}"

    async def until(self, condition, seconds):
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"{self.stuck()} stand still, of {len(self.answers)} answers"
            await asyncio.sleep(0.02)

    def stuck(self):
        return [(s.sent, s.received[-1:], s.closed) for s in self.sockets if s.under_way >= MOST_UNDER_WAY]

    async def proceed(self):
        """Every client gets on: each has an answer to something that it sent from now on."""
        marks = [socket.sent for socket in self.sockets]
        rounds = list(self.rounds)
        await self.until(lambda: all(n > m for n, m in zip(self.rounds, rounds, strict=True)), 60)
        for socket, mark in zip(self.sockets, marks, strict=True):
            await self.until(lambda s=socket, m=mark: s.received and s.received[-1] >= m, 60)

    def missing(self):
        return [
            sorted(set(range(s.sent)) - set(s.received))[:5] for s in self.sockets if len(s.received) < s.sent
        ]


class Deployment:
    """The front end and its workers, over one layer."""

    def __init__(self, folder, layer):
        self.folder = folder
        self.layer = layer
        self.workers = []
        self.count = 0
        self.front = self.process(
            "front", "daphne", "-p", "0", "--worker-timeout", "1", f"{TARGET}:channel_layer"
        )

    def process(self, name, module, *arguments):
        command = [sys.executable, "-m", module, *arguments]
        with env(DEPLOY_LAYER=self.layer):
            return Process(command, self.folder / f"{name}.log")

    async def start(self):
        """One more worker, once it works."""
        self.count += 1
        worker = self.process(
            *(f"worker{self.count}", "daphne.worker", f"{TARGET}:channel_layer", f"{TARGET}:application"),
            *("--worker-timeout", "1", "--drain-timeout", "10"),
        )
        await asyncio.to_thread(worker.wait_for, WORKING)
        self.workers.append(worker)

    async def restart(self):
        """A new worker, then the oldest one is asked to end."""
        await self.start()
        worker = self.workers.pop(0)
        assert await asyncio.to_thread(worker.stop) == 0, worker.output

    async def kill(self):
        """A new worker, then the oldest one is killed."""
        await self.start()
        worker = self.workers.pop(0)
        worker.popen.send_signal(signal.SIGKILL)
        await asyncio.to_thread(worker.popen.wait)

    def close(self):
        statuses = [process.stop() for process in [*self.workers, self.front]]
        assert set(statuses) == {0}, statuses


@contextlib.contextmanager
def env(**changes):
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    yield
    for name, value in before.items():
        if value is None:
            del os.environ[name]
        else:
            os.environ[name] = value


@pytest.fixture(params=LAYERS)
def layer(request, tmp_path):
    if request.param == "local":
        yield f"local:{tmp_path / 'layer'}"
        return
    pytest.importorskip("hiredis")
    servers = [RedisServer().start() for _ in range(2 if request.param == "two hosts" else 1)]
    kind = "encrypted" if request.param == "encrypted" else "redis"
    yield f"{kind}:{','.join(server.url for server in servers)}"
    for server in servers:
        server.close()


def test_clients_stay_while_workers_are_replaced_and_killed(layer, tmp_path):
    deployment = Deployment(tmp_path, layer)
    try:
        front = deployment.front
        host, port = front.wait_for(LISTENING).groups()
        front.address = type(front.address)(host, int(port))
        asyncio.run(_deploys_and_deaths(deployment))
    finally:
        deployment.close()


def test_what_a_worker_received_and_died_with_is_found_without_later_traffic(layer, tmp_path):
    deployment = Deployment(tmp_path, layer)
    try:
        front = deployment.front
        host, port = front.wait_for(LISTENING).groups()
        front.address = type(front.address)(host, int(port))
        asyncio.run(_a_death_in_silence(deployment))
    finally:
        deployment.close()


async def _a_death_in_silence(deployment):
    """SIGKILL between a worker's receiving and its saying so: a stand-in does the first and nothing else."""
    await deployment.start()
    async with aiohttp.ClientSession() as session:
        url = deployment.front.address.url("/")

        async def status(method):
            async with session.request(method, url) as response:
                return response.status

        assert await status("GET") == 200
        assert await asyncio.to_thread(deployment.workers.pop().stop) == 0
        silent = deployment.process("silent", f"{TARGET}_silent")
        await asyncio.to_thread(silent.wait_for, re.compile("receiving"))
        requests = [asyncio.ensure_future(status(method)) for method in ("GET", "POST")]
        try:
            await asyncio.to_thread(silent.wait_for, re.compile("(?s)(received.*){2}"))
        finally:
            silent.popen.kill()
            await asyncio.to_thread(silent.popen.wait)
        await deployment.start()
        async with asyncio.timeout(60):
            assert await asyncio.gather(*requests) == [200, 502]


async def _deploys_and_deaths(deployment):
    load = Load(deployment.front.address)
    await deployment.start()
    await deployment.start()
    async with load.running():
        for _ in range(RESTARTS):
            await deployment.restart()
            await load.proceed()
        assert [socket.closed for socket in load.sockets] == [None] * SOCKETS, "0 sockets closed"
        assert not DEAD.findall(deployment.front.output), "nobody is taken for dead"
        for socket in load.sockets:
            assert socket.received == list(range(len(socket.received))), (
                "0 messages lost, doubled, out of order"
            )
        assert not LOST.search(deployment.front.output)
        for _ in range(KILLS):
            await deployment.kill()
            await load.proceed()
    assert [socket.closed for socket in load.sockets] == [None] * SOCKETS, "0 sockets closed by deaths"
    for socket in load.sockets:
        assert socket.received == sorted(set(socket.received)), "nothing is doubled or out of order"
    lost = sum(socket.sent - len(socket.received) for socket in load.sockets)
    logged = len(LOST.findall(deployment.front.output))
    assert lost <= logged, f"{lost} messages are lost, {logged} of them logged"
    # Of each connection, one more may have been worked off when its worker died.
    assert logged <= lost + KILLS * SOCKETS
    assert set(load.answers) == {200}
    sent = sum(socket.sent for socket in load.sockets)
    print(f"{sent} messages, {lost} lost, {logged} logged; {len(load.answers)} requests")
