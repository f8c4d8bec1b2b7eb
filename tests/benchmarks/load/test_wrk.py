"""What wrk's report means, and that an answer which is not right invalidates the load."""

import json
import threading

import pytest

from benchmarks.load.outcome import Target
from benchmarks.load.wrk import Wrk, load_from
from tests.benchmarks.load.answering import answering
from tests.programs import require_program

ERRORS = {"connect": 0, "read": 0, "write": 0, "status": 0, "timeout": 0}


def report(requests=1000, size=150_000, **errors):
    found = {"requests": requests, "bytes": size, "microseconds": 2_000_000, "p50": 1500, "p99": 9000}
    return "Running 2s test\n" + json.dumps({**found, "errors": {**ERRORS, **errors}}) + "\n"


def test_a_load_without_a_fault():
    load = load_from(report(), 150, 64)
    assert (load.units, load.rate, load.p50, load.p99, load.problems) == (1000, 500.0, 0.0015, 0.009, [])


@pytest.mark.parametrize(
    ("output", "said"),
    [
        (report(status=3), "3 status errors"),
        (report(timeout=1), "1 timeout errors"),
        (report(size=149_999), "149999 bytes came for 1000 answers of 150"),
        (report(size=150_000 + 64 * 150 + 1), "bytes came for"),
        (report(requests=0, size=0), "no request was answered"),
        ("unable to connect", "wrk said"),
    ],
)
def test_a_fault_is_a_problem(output, said):
    assert any(said in problem for problem in load_from(output, 150, 64).problems)


def test_the_command_has_headers_method_and_size_of_the_body():
    command = Wrk("/echo", expected=b"", body_size=10, headers={"Cookie": "a=b"}).command(Target(99), 2.4)
    assert command[0] == "wrk" and "-d2s" in command
    assert command[command.index("-H") + 1] == "Cookie: a=b"
    assert command[-4:] == ["http://127.0.0.1:99/echo", "--", "POST", "10"]
    assert "https://127.0.0.1:99/" in Wrk(expected=b"").command(Target(99, tls=True), 1)


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello", None),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nHELLO", "200 b'HELLO'"),
        (b"HTTP/1.1 500 Oh\r\ncontent-length: 5\r\n\r\nhello", "500"),
    ],
)
def test_the_answer_is_checked_before_the_load(answer, problem):
    with answering(answer) as (target, requests):
        length, found = Wrk("/p", expected=b"hello", headers={"X-A": "1"}, body_size=3).check(target)
    assert requests[0].startswith(b"POST /p HTTP/1.1\r\n")
    assert b"\r\nX-A: 1\r\n" in requests[0] and requests[0].endswith(b"\r\n\r\nxxx")
    if problem:
        assert problem in found
    else:
        assert (length, found) == (len(answer), None)


def test_a_real_wrk_reports_what_a_server_answered():
    require_program("wrk")
    answer = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"
    with answering(answer, once=False) as (target, requests):
        load = Wrk(expected=b"hello", connections=2)(target, 1.0)
    assert load.problems == []
    assert load.units > 0 and load.p99 >= load.p50 > 0
    assert threading.active_count() >= 1 and requests[0].startswith(b"GET / HTTP/1.1\r\n")
