"""daphne.server: the door with the keyword arguments of daphne 1.x and 4.x. Each `run()` has a process."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import textwrap
from typing import Any

import pytest

from daphne.errors import InvalidSettings
from daphne.layers.memory import ChannelLayer
from daphne.server import Server
from tests.test_names import SERVER_1, SERVER_4

DEADLINE = 60
LOCAL = "tcp:0:interface=127.0.0.1"

PRELUDE = """
import json, logging, os, signal, socket, sys, threading, time
from daphne.server import Server

async def application(scope, receive, send):
    assert scope["type"] == "http", scope
    await receive()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    body = json.dumps({key: scope[key] for key in ("scheme", "client", "server", "root_path")})
    await send({"type": "http.response.body", "body": body.encode()})

def ask(server, *lines, target="/"):
    with socket.create_connection(server.listening_addresses[0], 10) as client:
        head = [f"GET {target} HTTP/1.1", *lines, "Connection: close", "", ""]
        client.sendall("\\r\\n".join(head).encode())
        answer = b""
        while piece := client.recv(65536):
            answer += piece
    head, _, body = answer.decode().partition("\\r\\n\\r\\n")
    return head, body

def say(**facts):
    print(json.dumps(facts), flush=True)

def when_listening(server, function):
    def wait():
        deadline = time.monotonic() + 60
        while not server.listening_addresses and time.monotonic() < deadline:
            time.sleep(0.01)
        try:
            function()
        finally:
            os.kill(os.getpid(), signal.SIGTERM)
    threading.Thread(target=wait, daemon=True).start()
"""


def run(script: str, status: int = 0) -> dict[str, Any]:
    """Run a script after the prelude, and give what it says."""
    done = subprocess.run(
        [sys.executable, "-W", "error::RuntimeWarning", "-c", PRELUDE + textwrap.dedent(script)],
        capture_output=True,
        text=True,
        timeout=DEADLINE,
    )
    assert done.returncode == status, done.stdout + done.stderr
    facts: dict[str, Any] = {"stderr": done.stderr}
    for line in done.stdout.splitlines():
        facts |= json.loads(line)
    return facts


def test_a_server_as_programs_of_4_x_make_it() -> None:
    facts = run(
        """
        actions, ready = [], []
        def ready_callable():
            ready.append(list(server.listening_addresses))
        server = Server(
            application,
            endpoints=["tcp:0:interface=127.0.0.1"],
            action_logger=lambda *action: actions.append(action),
            ready_callable=ready_callable,
            http_timeout=None,
            ping_interval=7,
            server_name="mine",
            root_path="/root",
            verbosity=0,
        )
        def test():
            head, body = ask(server, "X-Forwarded-For: 192.0.2.1")
            say(head=head, body=body, addresses=server.listening_addresses, ready=ready)
            say(listeners=len(server.listeners), called=[fired.called for fired in server.listeners])
        when_listening(server, test)
        server.run()
        say(actions=[[a, b, sorted(c)] for a, b, c in actions], statuses=[c["status"] for _, _, c in actions])
        """
    )
    assert facts["ready"] == [[]], "ready_callable comes before the loop"
    head = facts["head"].split("\r\n")
    assert head[0] == "HTTP/1.1 200 OK"
    assert "server: mine" in head[1:]
    assert not [line for line in head if line.startswith(("date:", "content-length:"))]
    scope = json.loads(facts["body"].split("\r\n")[1])
    assert scope["client"][0] == "127.0.0.1" and scope["root_path"] == "/root"
    (protocol, action, details) = facts["actions"][0]
    assert (protocol, action) == ("http", "complete")
    assert {"path", "status", "method", "client", "time_taken", "size"} <= set(details)
    assert (facts["statuses"], facts["listeners"], facts["called"]) == ([200], 1, [True])


def test_what_programs_of_4_x_ask_a_running_server() -> None:
    facts = run(
        """
        server = Server(application, ["tcp:0:interface=127.0.0.1"])
        assert not hasattr(server, "http_factory")

        def look():
            with socket.create_connection(server.listening_addresses[0], 10) as client:
                client.sendall(b"POST / HTTP/1.1\\r\\nContent-Length: 1\\r\\n\\r\\n")
                while not server.service.runner.streams:
                    time.sleep(0.01)
                say(connections=len(server.connections), one=server.http_factory is server.ws_factory)
                server.reactor.callFromThread(server.kill_all_applications)
                say(answer=client.recv(65536).decode())

        when_listening(server, look)
        server.run()
        """
    )
    assert (facts["connections"], facts["one"]) == (1, True)
    assert facts["answer"].startswith("HTTP/1.1 500 ") and "Killed 1 pending application" in facts["stderr"]


@pytest.mark.parametrize("header", [("foo", b"bar"), (b"foo", "bar")])
def test_the_check_of_4_x_for_headers(header: Any) -> None:
    Server.check_headers_type({"type": "http.response.start", "headers": [(b"foo", b"bar")]})
    Server.check_headers_type({"type": "http.response.body"})
    with pytest.raises(ValueError, match="expected to be `bytes`, but got `<class 'str'>`"):
        Server.check_headers_type({"headers": [header]})


def test_proxy_headers_as_4_x_names_them() -> None:
    facts = run(
        """
        server = Server(
            application,
            endpoints=["tcp:0:interface=127.0.0.1"],
            proxy_forwarded_address_header="X-Real-IP",
            proxy_forwarded_port_header="X-Real-Port",
            proxy_forwarded_proto_header="X-Real-Proto",
        )
        def test():
            _, body = ask(server, "X-Real-IP: 192.0.2.1", "X-Real-Port: 99", "X-Real-Proto: https")
            say(scope=json.loads(body.split("\\r\\n")[1]))
        when_listening(server, test)
        server.run()
        """
    )
    assert facts["scope"]["client"] == ["192.0.2.1", 99]
    assert facts["scope"]["scheme"] == "https"


def test_a_server_as_programs_of_1_x_make_it() -> None:
    facts = run(
        """
        import warnings
        from daphne.layers.memory import ChannelLayer
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            server = Server(ChannelLayer(), "127.0.0.1", "0", worker="daphne.demo:application")
        say(warned=[w.category.__name__ for w in caught], endpoints=server.endpoints)
        def test():
            head, body = ask(server, "Host: a")
            say(head=head.split("\\r\\n")[0])
        when_listening(server, test)
        server.run()
        """
    )
    assert facts["warned"] == ["DeprecationWarning"]
    assert facts["endpoints"] == ["tcp:port=0:interface=127.0.0.1"]
    assert facts["head"] == "HTTP/1.1 200 OK"


LIVE = """
from daphne.layers.memory import ChannelLayer
from twisted.internet import reactor

server = Server(channel_layer=ChannelLayer(), endpoints=["tcp:interface=127.0.0.1:port=0"], {more})

def resolve():
    if not server.listening_addresses:
        reactor.callLater(0.1, resolve)
        return
    port = server.listeners[0].result.getHost().port
    say(port=port, same=server.listening_addresses == [("127.0.0.1", port)])
    server.stop()

reactor.callLater(0.3, resolve)
"""


@pytest.mark.parametrize(
    "run_it",
    ["server.run()", "thread = threading.Thread(target=server.run); thread.start(); thread.join()"],
    ids=["main thread", "another thread"],
)
def test_a_call_on_the_reactor_from_before_it_runs(run_it: str) -> None:
    """As the live server of Channels 1 has it. In a thread, as under `runserver`, there are no signals."""
    facts = run(LIVE.format(more="signal_handlers=" + str("thread" in run_it)) + run_it)
    assert facts["port"] > 0 and facts["same"]


def test_an_application_that_imports_the_reactor() -> None:
    facts = run(
        """
        from twisted.internet import reactor
        server = Server(application, endpoints=["tcp:0:interface=127.0.0.1"])
        when_listening(server, lambda: ask(server))
        server.run()
        say(same=server.reactor is reactor)
        """
    )
    assert facts["same"]


def test_stop_from_another_thread_and_without_signal_handlers() -> None:
    facts = run(
        """
        server = Server(application, endpoints=["tcp:0:interface=127.0.0.1"], signal_handlers=False)
        def wait():
            while not server.listening_addresses:
                time.sleep(0.01)
            ask(server)
            server.reactor.callFromThread(server.stop)
        threading.Thread(target=wait, daemon=True).start()
        server.run()
        say(ended=True, handler=signal.getsignal(signal.SIGTERM) == signal.SIG_DFL)
        """
    )
    assert facts["ended"] and facts["handler"]


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_the_first_signal_lets_requests_finish(name: str) -> None:
    facts = run(
        f"""
        import asyncio
        async def slow(scope, receive, send):
            os.kill(os.getpid(), signal.{name})
            await asyncio.sleep(0.5)
            await application(scope, receive, send)
        server = Server(slow, endpoints=["tcp:0:interface=127.0.0.1"])
        def test():
            say(head=ask(server)[0].split("\\r\\n")[0])
        def wait():
            while not server.listening_addresses:
                time.sleep(0.01)
            test()
        thread = threading.Thread(target=wait)
        thread.start()
        server.run()
        thread.join()
        """
    )
    assert facts["head"] == "HTTP/1.1 200 OK"


@pytest.mark.parametrize("target", ["starting", "ChannelLayer()"])
def test_a_signal_during_the_start_shuts_down_what_has_begun(target: str) -> None:
    facts = run(
        f"""
        import asyncio
        from daphne.layers.memory import ChannelLayer
        async def starting(scope, receive, send):
            await receive()
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.sleep(0.2)
            await send({{"type": "lifespan.startup.complete"}})
            say(told=(await receive())["type"])
            await send({{"type": "lifespan.shutdown.complete"}})
        sys.modules["starting"] = sys.modules["__main__"]
        target = {target}
        worker = None if target is starting else "starting:starting"
        server = Server(target, endpoints=["tcp:0:interface=127.0.0.1"], lifespan="on", worker=worker)
        server.run()
        say(listened=bool(server.listening_addresses))
        """
    )
    assert facts == {"told": "lifespan.shutdown", "listened": False, "stderr": ""}


def test_the_second_signal_ends_at_once() -> None:
    facts = run(
        """
        import asyncio
        async def endless(scope, receive, send):
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.sleep(0.2)
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.sleep(1000)
        server = Server(endless, endpoints=["tcp:0:interface=127.0.0.1"], graceful_timeout=1000)
        def wait():
            while not server.listening_addresses:
                time.sleep(0.01)
            try:
                ask(server)
            except OSError as problem:
                pass
        threading.Thread(target=wait, daemon=True).start()
        began = time.monotonic()
        server.run()
        say(seconds=time.monotonic() - began)
        """
    )
    assert facts["seconds"] < 10


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        ('endpoints=["tcp:port=nonsense"]', "EndpointError"),
        ('endpoints=["nonsense:1"]', "EndpointError"),
        ('endpoints=[f"tcp:{busy.getsockname()[1]}:interface=127.0.0.1"]', "EndpointError"),
        ('endpoints=["tcp:0:interface=127.0.0.1"], lifespan="on"', "LifespanError"),
        ('endpoints=["tcp:0:interface=127.0.0.1"], ping_interval="often"', "InvalidSettings"),
    ],
)
def test_what_cannot_start_is_raised_by_run(arguments: str, kind: str) -> None:
    facts = run(
        f"""
        busy = socket.create_server(("127.0.0.1", 0))
        server = Server(application, {arguments})
        try:
            server.run()
        except Exception as error:
            say(kind=type(error).__name__, aborted=server.abort_start, text=str(error))
        """
    )
    assert facts["kind"] == kind
    assert "\n" not in facts["text"]


def test_the_number_of_threads_for_synchronous_code() -> None:
    facts = run(
        """
        import asyncio
        os.environ["ASGI_THREADS"] = "3"
        server = Server(application, endpoints=["tcp:0:interface=127.0.0.1"])
        seen = set()
        def work():
            seen.add(threading.get_ident())
            time.sleep(0.02)
        async def much():
            await asyncio.gather(*[asyncio.to_thread(work) for _ in range(12)])
        def test():
            asyncio.run_coroutine_threadsafe(much(), server.reactor.loop).result(10)
            say(threads=len(seen))
        when_listening(server, test)
        server.run()
        """
    )
    assert facts["threads"] == 3


def test_no_endpoints(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(SystemExit) as ended:
        Server(lambda: None, endpoints=[])
    assert ended.value.code == 1
    assert "No endpoints. This server will not listen on anything." in caplog.text
    assert logging.getLogger("daphne.server").name in {record.name for record in caplog.records}


def test_no_endpoints_as_1_x_says_it() -> None:
    with pytest.raises(UserWarning, match="No endpoints"):
        Server(channel_layer={}, endpoints=[])


def test_endpoints_as_the_second_argument() -> None:
    assert Server(len, [LOCAL]).endpoints == [LOCAL]


def test_signal_handlers_as_the_third_argument() -> None:
    assert Server(print, [LOCAL]).signal_handlers
    assert not Server(print, [LOCAL], False).signal_handlers


def test_arguments_without_names_as_4_x_has_them() -> None:
    def ready() -> None: ...

    values = (
        [LOCAL],
        False,
        print,
        7,
        4096,
        100,
        11,
        12,
        13,
        "/r",
        "A",
        "B",
        "C",
        0,
        6,
        10,
        9,
        8,
        ready,
        "x",
    )
    server = Server(len, *values)
    assert [getattr(server, name) for name in SERVER_4.split()] == [len, *values]
    with pytest.raises(TypeError, match="at most 21 arguments"):
        Server(len, *values, None)
    with pytest.raises(TypeError, match="endpoints"):
        Server(len, [LOCAL], endpoints=[LOCAL])


def test_arguments_without_names_as_1_x_has_them() -> None:
    rest = (False, print, 7, 100, 11, 12, 13, ["a"], "/r", "A", "B", "C", True, 0, 6)
    server = Server({}, None, None, [LOCAL], None, None, *rest)
    names = [name for name in SERVER_1.split() if name not in ("channel_layer", "endpoints")]
    assert (server.channel_layer, server.endpoints) == ({}, [LOCAL])
    assert tuple(getattr(server, name) for name in names) == rest


def test_the_life_of_a_websocket_is_that_of_the_layers_groups() -> None:
    layer = ChannelLayer(group_expiry=7)
    for given in ({}, {"websocket_timeout": None}):
        assert Server(channel_layer=layer, endpoints=[LOCAL], **given).websocket_timeout == 7
        assert Server(len, endpoints=[LOCAL], **given).websocket_timeout == 86400
    assert Server(channel_layer=layer, endpoints=[LOCAL], websocket_timeout=9).websocket_timeout == 9


def test_a_setting_is_changed_as_an_attribute() -> None:
    facts = run(
        """
        server = Server(application, endpoints=["tcp:0:interface=127.0.0.1"])
        server.server_name, server.root_path = "other", "/other"

        def test():
            head, body = ask(server)
            say(head=head, body=body, name=server.server_name)
        when_listening(server, test)
        server.run()
        """
    )
    assert "server: other" in facts["head"] and facts["name"] == "other"
    assert '"root_path": "/other"' in facts["body"]


def test_lists_of_words_as_text() -> None:
    server = Server(print, [LOCAL], trusted_proxies="10.0.0.0/8,unix", ws_protocols="a b")
    settings = server._settings()
    assert (settings.trusted_proxies, settings.ws_protocols) == (("10.0.0.0/8", "unix"), ("a", "b"))


def test_log_action_of_a_subclass_or_put_in_its_place() -> None:
    facts = run(
        """
        logged = []
        class Mine(Server):
            def log_action(self, protocol, action, details):
                logged.append((protocol, action, details["status"]))
            def listen_success(self, port):
                super().listen_success(port)
                logged.append(port.getHost().port == self.listening_addresses[0][1])
        server = Mine(application, endpoints=["tcp:0:interface=127.0.0.1"])
        when_listening(server, lambda: ask(server))
        server.run()
        say(logged=logged)
        """
    )
    assert facts["logged"] == [True, ["http", "complete", 200]]


def test_attributes_are_the_arguments_and_their_defaults() -> None:
    server = Server(len, endpoints=[LOCAL], ping_interval=7)
    assert (server.application, server.endpoints, server.ping_interval) == (len, [LOCAL], 7)
    # What daphne 4's Server had where today's defaults differ, and today's elsewhere.
    assert (server.websocket_connect_timeout, server.request_buffer_size) == (20, 8192)
    assert (server.ping_timeout, server.root_path, server.server_name) == (30, "", "daphne")
    assert (server.listeners, server.listening_addresses, server.abort_start) == ([], [], False)
    with pytest.raises(AttributeError, match="nonsense"):
        server.nonsense


def test_arguments_that_do_not_exist() -> None:
    with pytest.raises(TypeError, match="nonsense"):
        Server(len, endpoints=[LOCAL], nonsense=1)


def test_wrong_values_are_all_named_at_once() -> None:
    server = Server(len, endpoints=[LOCAL], ping_interval="often", verbosity=9)
    with pytest.raises(InvalidSettings) as wrong:
        server.run()
    assert len(wrong.value.problems) == 2
