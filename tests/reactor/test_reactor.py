"""daphne.reactor: installing. A process can install one reactor only, so each case has its own."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest


def run(script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)


def output(script: str) -> str:
    done = run(script)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


SHOW = "print(type(reactor).__name__, type(reactor.loop).__module__.partition('.')[0])"


@pytest.mark.parametrize(
    "choice, hidden, loop",
    [
        ("auto", False, "uvloop"),
        ("on", False, "uvloop"),
        ("off", False, "asyncio"),
        ("auto", True, "asyncio"),
        ("off", True, "asyncio"),
    ],
)
def test_installs_on_the_loop_that_is_asked_for(choice: str, hidden: bool, loop: str) -> None:
    pytest.importorskip("uvloop")
    hide = "import sys; sys.modules['uvloop'] = None;" if hidden else ""
    assert (
        output(
            f"{hide}from daphne.reactor import install; install({choice!r});"
            f"from twisted.internet import reactor; {SHOW}"
        )
        == f"LoopReactor {loop}"
    )


def test_demanding_uvloop_where_it_is_missing_is_an_error() -> None:
    done = run("import sys; sys.modules['uvloop'] = None; from daphne.reactor import install; install('on')")
    assert "ConfigurationError: uvloop is asked for, but it is not installed" in done.stderr


def test_takes_the_running_loop() -> None:
    script = """
import asyncio
from daphne.reactor import install
async def main():
    return install().loop is asyncio.get_running_loop()
print(asyncio.run(main()))
"""
    assert output(script) == "True"


def test_installing_again_gives_the_same_reactor() -> None:
    assert output("from daphne.reactor import install; print(install('off') is install('auto'))") == "True"
    done = run("from daphne.reactor import install; install('off'); install('on')")
    assert "ConfigurationError: uvloop is asked for, but a reactor on another loop" in done.stderr


def test_an_asyncio_reactor_of_twisted_becomes_ours() -> None:
    script = f"""
import asyncio
from twisted.internet import asyncioreactor
loop = asyncio.new_event_loop()
asyncioreactor.install(loop)
from twisted.internet import reactor as before
from daphne.reactor import install
reactor = install()
assert reactor is before and reactor.loop is loop
{SHOW}
"""
    assert output(script) == "LoopReactor asyncio"


def test_on_twisted_s_own_reactor_connections_beyond_the_most_wait() -> None:
    script = """
import asyncio
from twisted.internet import asyncioreactor
asyncioreactor.install(asyncio.new_event_loop())

import daphne
from daphne.settings import Settings
from twisted.internet import defer, task

async def application(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello"})

async def ask(port):
    reader, writer = await asyncio.open_connection("127.0.0.1", port.getHost().port)
    writer.write(b"GET / HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n")
    return asyncio.ensure_future(reader.readuntil(b"hello")), writer

async def main():
    ports, stop = asyncio.get_running_loop().create_future(), asyncio.Event()
    settings = Settings(port=0, lifespan="off", max_connections=1)
    server = asyncio.create_task(
        daphne.serve(application, settings, shutdown_event=stop, listening=ports.set_result)
    )
    [port] = await ports
    first, held = await ask(port)
    await first
    second, other = await ask(port)
    await asyncio.wait([second], timeout=0.3)
    print(type(port).__name__, second.done(), end=" ")
    held.close()
    await second
    other.close()
    stop.set()
    await server
    print("served")

def start(reactor):
    return defer.Deferred.fromFuture(asyncio.ensure_future(main()))

task.react(lambda reactor: task.deferLater(reactor, 0, start, reactor))
"""
    assert output(script) == "Port False served"


@pytest.mark.parametrize("choice", ["auto", "off"])
def test_a_reactor_that_was_only_imported_becomes_ours(choice: str) -> None:
    script = f"""
from twisted.internet import reactor as before
kind = type(before).__name__
from daphne.reactor import install
from twisted.internet import reactor
assert install({choice!r}) is before is reactor
before.callLater(0, before.callInThread, before.callFromThread, before.stop)
before.callWhenRunning(print, kind, end=" ")
before.run()
print(type(before).__name__)
"""
    kind, ours = output(script).split()
    assert (kind != "LoopReactor", ours) == (True, "LoopReactor")


@pytest.mark.parametrize(
    "use", ["callLater(1, print)", "callWhenRunning(print)", "callFromThread(print)"], ids=lambda use: use[:8]
)
def test_a_reactor_that_is_used_already_is_an_error_that_says_why(use: str) -> None:
    done = run(
        "from twisted.internet import selectreactor; selectreactor.install();"
        f"from twisted.internet import reactor; reactor.{use};"
        "from daphne.reactor import install; install()"
    )
    assert "SelectReactor is installed already" in done.stderr


def test_another_kind_of_reactor_is_an_error_that_says_why() -> None:
    done = run(
        "from twisted.internet import main, selectreactor;"
        "main.installReactor(type('GUIReactor', (selectreactor.SelectReactor,), {})());"
        "from daphne.reactor import install; install()"
    )
    assert "GUIReactor is installed already" in done.stderr


@pytest.mark.parametrize("choice", ["on", "off"])
def test_a_signal_stops_the_reactor(choice: str) -> None:
    if choice == "on":
        pytest.importorskip("uvloop")
    script = f"""
from daphne.reactor import install
reactor = install({choice!r})
reactor.callWhenRunning(print, "running", flush=True)
reactor.run()
print("stopped")
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "running\n"
        process.send_signal(signal.SIGTERM)
        assert process.stdout.read() == "stopped\n"
    assert process.returncode == 0


def test_timers_threads_and_outgoing_connections_are_twisted_s() -> None:
    script = """
from daphne.reactor import install
reactor = install()
from twisted.internet import defer, protocol, task, threads
class Echo(protocol.Protocol):
    def dataReceived(self, data):
        self.transport.write(data)
class Client(protocol.Protocol):
    def connectionMade(self):
        self.transport.write(b"there and back")
    def dataReceived(self, data):
        print(data.decode())
        self.transport.loseConnection()
        task.deferLater(reactor, 0.01, reactor.stop)
async def main():
    port = reactor.listenTCP(0, protocol.Factory.forProtocol(Echo), interface="127.0.0.1")
    print(await threads.deferToThread(lambda: "from a thread"))
    factory = protocol.ClientFactory.forProtocol(Client)
    factory.noisy = False
    reactor.connectTCP("127.0.0.1", port.getHost().port, factory)
defer.ensureDeferred(main())
reactor.run()
"""
    assert output(script).splitlines() == ["from a thread", "there and back"]
