"""Connections as load: held ones are seen to be closed, opened ones are each verified."""

import contextlib
import threading

import pytest

pytest.importorskip("uvloop")
serve = pytest.importorskip("websockets.sync.server").serve

from benchmarks.load import connections  # noqa: E402
from benchmarks.load.outcome import HOST, Target  # noqa: E402
from benchmarks.load.websockets import echo  # noqa: E402
from tests.benchmarks.load.answering import answering  # noqa: E402

GREETING = b"HTTP/1.1 200 OK\r\ncontent-length: 13\r\n\r\nHello, world!"
REFUSAL = b"HTTP/1.1 503 No\r\ncontent-length: 13\r\n\r\nHello, world!"


@contextlib.contextmanager
def echoing(change=lambda message: message):
    """A WebSocket server by somebody else."""

    def serve_one(connection):
        for message in connection:
            connection.send(change(message))

    with serve(serve_one, HOST, 0, compression=None) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield Target(server.socket.getsockname()[1])
        finally:
            server.shutdown()
            thread.join()


def test_idle_connections_are_open_while_they_are_held():
    with answering(GREETING, once=False) as (target, requests):
        with connections.idle_http(target, 5) as problems:
            assert len(requests) == 5
        assert problems == []


def test_idle_connections_that_the_server_closes_are_a_problem():
    with answering(GREETING, once=True) as (target, requests), connections.idle_http(target, 5) as problems:
        requests.wait_until_closed(5)
    assert problems == ["5 of 5 idle connections were closed by the server"]


def test_idle_connections_with_a_wrong_answer_are_a_problem():
    with answering(REFUSAL, once=False) as (target, _), connections.idle_http(target, 5) as problems:
        assert problems == ["a first request was answered 503"]


def test_idle_websockets_have_echoed():
    with echoing() as target, connections.idle_websockets(target, 3) as problems:
        assert problems == []
    with echoing(str.upper) as target, connections.idle_websockets(target, 3) as problems:
        assert len(problems) == 1 and "the echo was" in problems[0]


@pytest.mark.parametrize(("answer", "problems"), [(GREETING, []), (REFUSAL, ["answered b'HTTP/1.1 503 No"])])
def test_http_connections_are_opened_and_closed_at_the_rate_that_is_asked_for(answer, problems):
    with answering(answer) as (target, requests):
        load = connections.Churn(websocket=False, per_second=200)(target, 0.1)
    assert len(requests) == 20
    assert [problem[:26] for problem in load.problems] == problems
    assert load.units == (0 if problems else 20)


def test_websockets_are_opened_echoed_and_closed():
    with echoing() as target:
        load = connections.Churn(websocket=True, per_second=100)(target, 0.1)
        assert (load.units, load.problems) == (10, [])
    with echoing(str.upper) as target:
        load = connections.Churn(websocket=True, per_second=100)(target, 0.02)
        assert (load.units, load.problems) == (0, ["an echo differs"])


@pytest.mark.parametrize(("size", "text"), [(100, True), (16_384, False), (1 << 20, False)])
def test_echo_load_counts_what_came_back(size, text):
    with echoing() as target:
        load = echo(target, 0.1, connections=2, size=size, text=text)
    assert load.problems == [] and load.units >= 2 and load.p50 > 0


def test_echo_load_notices_a_wrong_echo():
    with echoing(lambda message: message[::-1]) as target:
        load = echo(target, 0.1, connections=2, size=100, text=False)
    assert len(load.problems) == 2 and load.units == 0
