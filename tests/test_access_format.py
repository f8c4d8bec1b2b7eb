"""Tests of daphne.access_format: gunicorn's letters, and JSON."""

import datetime
import json
import os
import re

import pytest

from daphne.access_format import compile_format
from daphne.errors import ConfigurationError

HTTP = {
    "path": "/caf%C3%A9?b=1&c",
    "status": 200,
    "method": "POST",
    "client": "192.0.2.7:5000",
    "time_taken": 1.2345678,
    "size": 13,
    "http_version": "1.1",
    "scheme": "https",
    "request_headers": [
        (b"user-agent", b'Mozilla/5.0 ("quoted")'),
        (b"referer", b"https://example.org/\xe9"),
        (b"authorization", b"Basic YWxpY2U6c2VjcmV0"),
        (b"x-twice", b"1"),
        (b"x-twice", b"2"),
    ],
    "response_headers": [(b"Content-Type", b"text/plain")],
}
REFUSED = {
    "path": "-",
    "status": 400,
    "method": "-",
    "client": None,
    "time_taken": 0.0,
    "size": 154,
    "http_version": "-",
}
WEBSOCKET = {"path": "/chat", "client": "::1:9", "http_version": "1.1", "request_headers": []}

PARTS = [
    ("%(h)s", "192.0.2.7"),
    ("%(l)s", "-"),
    ("%(u)s", "alice"),
    ("%(r)s", "POST /caf%C3%A9?b=1&c HTTP/1.1"),
    ("%(m)s", "POST"),
    ("%(U)s", "/caf%C3%A9"),
    ("%(q)s", "b=1&c"),
    ("%(H)s", "HTTP/1.1"),
    ("%(s)s", "200"),
    ("%(B)s", "13"),
    ("%(b)s", "13"),
    ("%(f)s", r"https://example.org/\xE9"),
    ("%(a)s", r"Mozilla/5.0 (\x22quoted\x22)"),
    ("%(T)s", "1"),
    ("%(D)s", "1234568"),
    ("%(M)s", "1235"),
    ("%(L)s", "1.234568"),
    ("%({X-Twice}i)s", "1, 2"),
    ("%({user-agent}i)s", r"Mozilla/5.0 (\x22quoted\x22)"),
    ("%({none}i)s", "-"),
    ("%({content-type}o)s", "text/plain"),
    ("%({DAPHNE_ACCESS_TEST}e)s", r"va\x22lue"),
    ("%({DAPHNE_ACCESS_NONE}e)s", "-"),
    ("100%% %(s)s", "100% 200"),
    ('"%(m)s" %(s)s', '"POST" 200'),
    ("plain", "plain"),
]


@pytest.mark.parametrize(("text", "line"), PARTS)
def test_parts(text, line, monkeypatch):
    monkeypatch.setenv("DAPHNE_ACCESS_TEST", 'va"lue')
    assert compile_format(text)("http", "complete", HTTP) == line


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("%(h)s %(u)s", "- -"),
        ("%(r)s", "- -"),
        ("%(H)s %(a)s %({x}o)s", "- - -"),
        ("%(s)s %(D)s", "400 0"),
    ],
)
def test_a_refused_request_of_which_little_is_known(text, line):
    assert compile_format(text)("http", "complete", REFUSED) == line


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("%(h)s", "::1"),
        ("%(r)s", "WSCONNECT /chat"),
        ("%(m)s %(U)s", "WSCONNECT /chat"),
        ("%(s)s %(B)s %(b)s %(T)s %(D)s %(M)s %(L)s", "- - - - - - -"),
    ],
)
def test_a_websocket(text, line):
    assert compile_format(text)("websocket", "connected", WEBSOCKET) == line


def test_process():
    assert compile_format("%(p)s")("http", "complete", HTTP) == f"<{os.getpid()}>"


def test_no_body():
    assert compile_format("%(B)s %(b)s")("http", "complete", {**HTTP, "size": 0}) == "0 -"


def test_time_has_a_zone():
    written = compile_format("%(t)s")("http", "complete", HTTP)
    then = datetime.datetime.strptime(written, "[%d/%b/%Y:%H:%M:%S %z]")
    assert abs((datetime.datetime.now().astimezone() - then).total_seconds()) < 60


@pytest.mark.parametrize("header", [b"Bearer abc", b"Basic !!!", b"Basic", b"Basic OnNlY3JldA=="])
def test_no_user(header):
    details = {**HTTP, "request_headers": [(b"authorization", header)]}
    assert compile_format("%(u)s")("http", "complete", details) == "-"


@pytest.mark.parametrize("text", ["%(z)s", "%s", "%(h)d", "%({x}q)s", "100%", "%(hh)s", "%({}i)s"])
def test_wrong_formats(text):
    with pytest.raises(ConfigurationError, match="--access-log-format: .* is no part of a format"):
        compile_format(text)


def test_only_what_the_format_uses_is_looked_at():
    assert compile_format("%(s)s")("http", "complete", {"method": "GET", "status": 204}) == "204"


def test_json():
    line = compile_format("json")("http", "complete", HTTP)
    assert "\n" not in line
    entry = json.loads(line)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d", entry.pop("time"))
    assert entry == {
        "protocol": "http",
        "action": "complete",
        "client": "192.0.2.7:5000",
        "method": "POST",
        "path": "/caf%C3%A9",
        "query": "b=1&c",
        "http_version": "1.1",
        "scheme": "https",
        "status": 200,
        "size": 13,
        "time_taken": 1.234568,
        "user_agent": 'Mozilla/5.0 ("quoted")',
        "referer": "https://example.org/\xe9",
    }


def test_json_of_a_websocket_and_of_a_refused_request():
    entry = json.loads(compile_format("json")("websocket", "rejected", WEBSOCKET))
    assert (entry["protocol"], entry["action"], entry["user_agent"]) == ("websocket", "rejected", None)
    assert "status" not in entry
    refused = json.loads(compile_format("json")("http", "complete", {**REFUSED, "path": "/\x00\n"}))
    assert (refused["status"], refused["path"], refused["http_version"]) == (400, "/\x00\n", None)
