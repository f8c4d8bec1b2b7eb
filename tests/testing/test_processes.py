"""daphne.testing's servers in processes: what suites written for daphne 4's harness rely on."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daphne.testing import (
    BaseDaphneTestingInstance,
    DaphneProcess,
    DaphneTestingInstance,
    TestApplication,
    _reinstall_reactor,
)
from daphne.testing.frames import read_frame
from daphne.testing.responses import Response, read_response
from daphne.testing.sockets import handshake

RESPONSE: list[dict[str, Any]] = [
    {"type": "http.response.start", "status": 200, "headers": [(b"x-a", b"b")]},
    {"type": "http.response.body", "body": b"hi"},
]
HTTP_KEYS = {
    *("type", "asgi", "http_version", "method", "scheme", "path", "raw_path", "query_string", "root_path"),
    *("headers", "client", "server"),
}
WEBSOCKET_KEYS = HTTP_KEYS - {"http_version", "method"} | {"subprotocols"}


def answer(instance: Any, request: bytes, method: str = "GET") -> Response:
    """Send the bytes of a request and read one response."""
    with socket.create_connection((instance.host, instance.port), 60) as client:
        client.sendall(request)
        received, ended = b"", False
        while (found := read_response(received, method, ended)) is None:
            assert not ended, received
            piece = client.recv(65536)
            received, ended = received + piece, not piece
    return found[0]


def heard(instance: DaphneTestingInstance) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Scope and events, once the application has been told that the client has gone."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            scope, events = instance.get_received()
        except ValueError:
            continue
        if events[-1]["type"].endswith(".disconnect"):
            return scope, events
        time.sleep(0.01)
    raise AssertionError("the application did not hear of a disconnect")


def exchange(request: bytes, responses: Any = RESPONSE, **options: Any) -> tuple[Response, Any, Any]:
    """The response to one request, and what the recording application got for it."""
    with DaphneTestingInstance(**options) as instance:
        instance.add_send_messages(responses)
        response = answer(instance, request, request.split(b" ")[0].decode())
        return (response, *heard(instance))


def test_the_response_is_what_the_application_sent() -> None:
    response, _, _ = exchange(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert response.headers == [(b"server", b"daphne"), (b"x-a", b"b"), (b"transfer-encoding", b"chunked")]
    assert (response.version, response.body) == ("1.1", b"hi")


def test_http_1_0_is_answered_as_http_1_0() -> None:
    response, scope, _ = exchange(b"GET / HTTP/1.0\r\n\r\n")
    assert response.version == scope["http_version"] == "1.0"


def test_a_request_without_host_is_served_and_its_scope_has_the_old_keys() -> None:
    _, scope, events = exchange(b"GET /te%20st-%C3%A0/?foo=+bar HTTP/1.1\r\nX-A: 1\r\n\r\n")
    assert set(scope) == HTTP_KEYS
    assert scope["asgi"] == {"version": "3.0"}
    assert (scope["path"], scope["raw_path"]) == ("/te st-\xe0/", b"/te%20st-%C3%A0/")
    assert (scope["query_string"], scope["root_path"]) == (b"foo=+bar", "")
    assert scope["headers"] == [(b"x-a", b"1")]
    for name in ("client", "server"):
        assert isinstance(scope[name], list)
        assert scope[name][0] == "127.0.0.1" and isinstance(scope[name][1], int)
    # The first event is the request's: no lifespan came before it.
    assert [event["type"] for event in events] == ["http.request", "http.disconnect"]


def test_the_websocket_scope_has_the_old_keys() -> None:
    with DaphneTestingInstance() as instance:
        instance.add_send_messages(
            [{"type": "websocket.accept", "subprotocol": "b"}, {"type": "websocket.send", "text": "x" * 125}]
        )
        with socket.create_connection((instance.host, instance.port), 60) as client:
            client.sendall(handshake("/chat", [(b"sec-websocket-protocol", b"a, b")]))
            received = b""
            while (found := read_response(received)) is None or (frame := read_frame(found[1])) is None:
                received += client.recv(65536)
        scope, events = heard(instance)
    assert found[0].status == 101 and found[0].header(b"sec-websocket-protocol") == b"b"
    assert found[1][:2] == b"\x81\x7d" and frame[0].payload == b"x" * 125 and not frame[1]
    # Besides, it has the scheme, which daphne 4 lacked: no suite minds.
    assert set(scope) == WEBSOCKET_KEYS
    assert scope["subprotocols"] == ["a", "b"]
    assert [event["type"] for event in events] == ["websocket.connect", "websocket.disconnect"]
    assert events[-1]["code"] == 1006


def test_forwarded_addresses_are_lists() -> None:
    fields = "X-Forwarded-For: 10.1.2.3\r\nX-Forwarded-Port: 80\r\nX-Forwarded-Proto: https\r\n"
    request = f"GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n".encode()
    _, scope, _ = exchange(request, xff=True)
    assert (scope["client"], scope["scheme"]) == (["10.1.2.3", 80], "https")
    _, scope, _ = exchange(request)
    assert (scope["client"][0], scope["scheme"]) == ("127.0.0.1", "http")


def test_the_root_path_header_of_this_machine_is_honoured() -> None:
    _, scope, _ = exchange(b"GET / HTTP/1.1\r\nDaphne-Root-Path: /foo%20bar\r\n\r\n")
    assert scope["root_path"] == "/foo bar"
    assert scope["headers"] == []


@pytest.fixture(scope="module")
def listening() -> Iterator[DaphneTestingInstance]:
    with DaphneTestingInstance() as instance:
        yield instance


@pytest.mark.parametrize("byte", [b"\x00", b"\n", b"\x0b", b"\x0c", b"\r", b"\x85"])
def test_bytes_that_daphne_4_refused_in_values(byte: bytes, listening: DaphneTestingInstance) -> None:
    response = answer(listening, b"GET / HTTP/1.1\r\nX-A: a" + byte + b"b\r\n\r\n")
    assert response.status == 400


@settings(max_examples=20)
@given(name=st.text("!#$%&'*+-.^`|~0123456789abcXYZ", min_size=1, max_size=30))
def test_any_token_is_the_name_of_a_header(name: str, listening: DaphneTestingInstance) -> None:
    TestApplication.delete_result()
    listening.add_send_messages(RESPONSE)
    answer(listening, f"GET / HTTP/1.1\r\n{name}: 1\r\n\r\n".encode())
    assert listening.get_received()[0]["headers"] == [(name.lower().encode(), b"1")]


@pytest.mark.parametrize(
    "length, size, pieces",
    [
        (0, 10, [b""]),
        (25, 10, [b"x" * 10, b"x" * 10, b"x" * 5]),
        (20, 10, [b"x" * 10, b"x" * 10, b""]),
        (25, 10**30, [b"x" * 25]),
        (20_000, None, [b"x" * 8192, b"x" * 8192, b"x" * 3616]),
    ],
)
def test_bodies_come_in_pieces_of_the_size_that_was_asked_for(
    length: int, size: int | None, pieces: list[bytes]
) -> None:
    head = b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % length
    # The recording application answers after the first event, and is still given the others.
    _, _, events = exchange(head + b"x" * length, request_buffer_size=size)
    assert [event["body"] for event in events[:-1]] == pieces
    assert [event["more_body"] for event in events[:-1]] == [True] * (len(pieces) - 1) + [False]
    assert events[-1] == {"type": "http.disconnect"}


@pytest.mark.parametrize(
    "header, message",
    [
        (("foo", b"bar"), "Header name 'foo' expected to be `bytes`, but got `<class 'str'>`"),
        ((b"foo", "bar"), "Header value 'bar' expected to be `bytes`, but got `<class 'str'>`"),
    ],
)
def test_what_the_application_raised_is_raised_in_the_test(header: Any, message: str) -> None:
    with DaphneTestingInstance() as instance:
        with pytest.raises(ValueError, match="No results available yet."):
            instance.get_received()
        instance.add_send_messages([{"type": "http.response.start", "status": 200, "headers": [header]}])
        assert answer(instance, b"GET / HTTP/1.1\r\n\r\n").status == 500
        with pytest.raises(ValueError) as raised:
            instance.get_received()
    assert str(raised.value) == message


def test_an_application_that_does_not_answer_in_time() -> None:
    response, _, _ = exchange(b"GET / HTTP/1.1\r\n\r\n", [], http_timeout=0.2)
    assert response.status == 503


@pytest.mark.parametrize("option", ["websocket_max_message_size", "websocket_max_frame_size"])
def test_the_sizes_of_messages(option: str) -> None:
    with DaphneTestingInstance(**{option: 10}) as instance:
        instance.add_send_messages([{"type": "websocket.accept"}])
        with socket.create_connection((instance.host, instance.port), 60) as client:
            client.sendall(handshake("/", []) + b"\x82\x8b\0\0\0\0" + b"x" * 11)
            while client.recv(65536):
                pass
        _, events = heard(instance)
    assert [event["type"] for event in events] == ["websocket.connect", "websocket.disconnect"]


def test_events_that_are_prepared_later_answer_the_next_event() -> None:
    with DaphneTestingInstance() as instance:
        instance.add_send_messages([{"type": "websocket.accept"}])
        with socket.create_connection((instance.host, instance.port), 60) as client:
            client.sendall(handshake("/", []))
            assert client.recv(65536).startswith(b"HTTP/1.1 101 ")
            assert instance.get_received()[1] == [{"type": "websocket.connect"}]
            instance.add_send_messages([{"type": "websocket.send", "text": "one"}])
            client.sendall(b"\x81\x83\0\0\0\0one")
            assert client.recv(65536) == b"\x81\x03one"
            instance.add_send_messages([{"type": "websocket.close", "code": 4000}])
            client.sendall(b"\x82\x83\0\0\0\0two")
            assert client.recv(65536) == b"\x88\x02\x0f\xa0"


def test_what_was_received_is_whole_as_soon_as_the_response_is_there() -> None:
    size = 1 << 20
    with DaphneTestingInstance(request_buffer_size=size // 2 - 1) as instance:
        instance.add_send_messages(RESPONSE)
        head = b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % size
        answer(instance, head + b"x" * size, "POST")
        _, events = instance.get_received()
    assert [len(event.get("body", "")) for event in events] == [size // 2 - 1, size // 2 - 1, 2, 0]
    assert events[-1] == {"type": "http.disconnect"}


async def say_process(scope: Any, receive: Any, send: Any) -> None:
    """An application that says in which process it runs."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"%d" % os.getpid()})


def make_application() -> Any:
    return say_process


class Noting(BaseDaphneTestingInstance):
    """Writes down which of its hooks ran, and in which process."""

    def __init__(self, path: str) -> None:
        self.path = path
        super().__init__(application=say_process)

    def process_setup(self) -> None:
        Path(self.path).write_text(str(os.getpid()))


def test_setup_runs_in_the_process_that_serves(tmp_path: Path) -> None:
    noted = tmp_path / "setup"
    with Noting(str(noted)) as instance:
        process = instance.process
        assert (
            answer(instance, b"GET / HTTP/1.1\r\n\r\n").body.decode() == noted.read_text() == str(process.pid)
        )
    assert not process.is_alive()


FORKED = """
import multiprocessing
multiprocessing.set_start_method("fork")
from daphne.server import twisted_loop
from daphne.testing import DaphneProcess
from twisted.internet import reactor
from tests.testing.test_processes import answer_of, make_application_with_reactor

process = DaphneProcess("localhost", make_application_with_reactor)
process.start()
assert process.ready.wait(60), process.errors.get()
print(answer_of(process))
process.terminate()
process.join()
"""


def make_application_with_reactor() -> Any:
    from twisted.internet import reactor

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        same = reactor.loop is asyncio.get_running_loop()  # type: ignore[attr-defined]
        await send({"type": "http.response.body", "body": str(same).encode()})

    return application


def answer_of(process: Any) -> str:
    with socket.create_connection(("localhost", process.port.value), 60) as client:
        client.sendall(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n")
        received = b""
        while piece := client.recv(65536):
            received += piece
    found = read_response(received, ended=True)
    assert found is not None
    return found[0].body.decode()


def test_a_forked_process_has_a_reactor_of_its_own() -> None:
    done = subprocess.run([sys.executable, "-c", FORKED], capture_output=True, text=True, timeout=120)
    assert done.stdout == "True\n", done.stderr


def test_an_application_that_cannot_be_made() -> None:
    process = DaphneProcess("127.0.0.1", partial(int, "no number"))
    process.start()
    error, text = process.errors.get(timeout=60)
    process.join(60)
    assert isinstance(error, ValueError) and "no number" in text
    assert process.exitcode == 1 and not process.ready.is_set()


def test_an_instance_that_cannot_start_says_why() -> None:
    class Broken(BaseDaphneTestingInstance):
        startup_timeout = 6.0

        def process_setup(self) -> None:
            raise RuntimeError("no database")

    patience, begin = Broken.startup_timeout * 10, time.monotonic()
    with pytest.raises(RuntimeError, match="no database"):
        Broken(application=say_process).__enter__()
    assert time.monotonic() - begin < patience, "it was waited for after its process had ended"


SPAWNED = """
import http.client, multiprocessing
from functools import partial
from daphne.testing import DaphneProcess, DaphneTestingInstance
from tests.testing.test_processes import RESPONSE, answer, heard, make_application

if __name__ == "__main__":
    multiprocessing.set_start_method("spawn")
    process = DaphneProcess("localhost", make_application)
    process.start()
    assert process.ready.wait(60), process.errors.get()
    client = http.client.HTTPConnection("localhost", process.port.value, timeout=60)
    client.request("GET", "/")
    assert int(client.getresponse().read()) == process.pid
    process.terminate()
    process.join()
    with DaphneTestingInstance() as instance:
        instance.add_send_messages(RESPONSE)
        assert answer(instance, b"GET /spawned HTTP/1.1\\r\\n\\r\\n").body == b"hi"
        assert heard(instance)[0]["path"] == "/spawned"
    print("served")
"""


def test_it_works_with_processes_that_are_spawned(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SPAWNED)
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=120)
    assert done.stdout == "served\n", done.stderr


def _record(number: int) -> tuple[int, Any]:
    with DaphneTestingInstance() as instance:
        instance.add_send_messages(RESPONSE)
        answer(instance, b"GET /%d HTTP/1.1\r\n\r\n" % number)
        return number, heard(instance)[0]["path"]


RUN = "from tests.testing.test_processes import _record; print(_record(int(__import__('sys').argv[1]))[1])"


def test_runs_side_by_side_share_no_files() -> None:
    _record(9)  # a process that has run one itself leaves nothing to those that it starts
    runs = [
        subprocess.Popen([sys.executable, "-c", RUN, str(number)], stdout=subprocess.PIPE, text=True)
        for number in range(3)
    ]
    assert [run.communicate(timeout=120)[0] for run in runs] == ["/0\n", "/1\n", "/2\n"]
    ids = "|".join(str(run.pid) for run in runs)
    left = [path.name for path in Path(tempfile.gettempdir()).glob("daphne-*.testio")]
    assert not [name for name in left if re.match(rf"daphne-({ids})-", name)]


class OwnRun(DaphneProcess):
    """As harnesses for daphne 4 write it: it calls the reactor before the server runs."""

    def run(self) -> None:
        _reinstall_reactor()
        from twisted.internet import reactor

        from daphne.server import Server

        def look() -> None:
            if self.server.listening_addresses:
                self.port.value = self.server.listening_addresses[0][1]
                self.ready.set()
            else:
                reactor.callLater(0.01, look)  # type: ignore[attr-defined]

        self.server = Server(self.get_application(), ["tcp:0:interface=127.0.0.1"], signal_handlers=False)
        reactor.callLater(0, look)  # type: ignore[attr-defined]
        self.server.run()


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_process_with_a_run_of_its_own(method: Any) -> None:
    script = f"""
import multiprocessing, urllib.request
import twisted.internet.reactor  # a parent may have any
from tests.testing.test_processes import OwnRun, make_application
if __name__ == "__main__":
    multiprocessing.set_start_method({method!r})
    process = OwnRun("localhost", make_application)
    process.start()
    assert process.ready.wait(60)
    urllib.request.urlopen(f"http://127.0.0.1:{{process.port.value}}/").read()
    process.terminate()
    process.join()
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_names_that_harnesses_import() -> None:
    assert _reinstall_reactor() is None
    assert multiprocessing.Process in DaphneProcess.__mro__
    process = DaphneProcess("localhost", make_application, {"http_timeout": 1}, port=4321)
    assert (process.host, process.port.value, process.kwargs) == ("localhost", 4321, {"http_timeout": 1})
