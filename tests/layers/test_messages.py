"""The translations, against the classic specification and the ASGI specification, in both directions."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daphne.errors import ApplicationError
from daphne.layers import messages, messages_websocket
from daphne.layers.message_keys import EXTRA, KEYS
from daphne.layers.messages import response_events
from daphne.layers.messages_websocket import websocket_events
from tests.layers.driver import http_scope, websocket_scope

REPLY = "http.response.abc!def"
DOCUMENT = Path(__file__).parents[2] / "docs" / "messages.rst"


# Requests


def test_http_request_has_the_classic_keys_and_no_others():
    scope = http_scope(
        "/a b/é",
        raw_path=b"/a%20b/%C3%A9",
        query_string=b"x=1&y=%20",
        headers=[(b"cookie", b"c=1"), (b"x-a", b"1"), (b"host", b"h"), (b"x-a", b"2")],
    )
    message = messages.http_request(scope, REPLY, b"body", None, None)
    assert message == {
        "reply_channel": REPLY,
        "http_version": "1.1",
        "method": "GET",
        "path": "/a b/é",
        "root_path": "",
        "scheme": "http",
        "query_string": b"x=1&y=%20",
        # As received, duplicates apart: 1.x grouped them (B31 for WebSocket: even joined them with commas).
        "headers": [(b"cookie", b"c=1"), (b"x-a", b"1"), (b"host", b"h"), (b"x-a", b"2")],
        "body": b"body",
        "client": ["127.0.0.1", 40000],
        "server": ["127.0.0.1", 8000],
    }
    assert list(message) == [key for key in KEYS["http.request"] if key in message]


def test_method_is_upper_case_as_the_specification_says():
    assert messages.http_request(http_scope(method="get"), REPLY, b"", None, None)["method"] == "GET"


def test_body_channel_and_extra_are_there_only_when_needed():
    message = messages.http_request(http_scope(), REPLY, b"a", "http.request.body?x", {"a": 1})
    assert (message["body_channel"], message[EXTRA]) == ("http.request.body?x", {"a": 1})


def test_on_a_unix_socket_there_are_no_addresses():
    scope = http_scope(client=None, server=("/run/daphne.sock", None))
    message = messages.http_request(scope, REPLY, b"", None, messages.scope_extra(scope, False))
    assert message["client"] is None and message["server"] is None
    assert messages.http_scope(message, None)["server"] == ("/run/daphne.sock", None)


def test_websocket_connect_has_the_classic_keys_scheme_and_root_path():
    """B17: without them a WebSocket did not know whether it came over TLS, nor where it was mounted."""
    scope = websocket_scope("/chat", scheme="wss", root_path="/app", query_string=b"a=%20")
    message = messages_websocket.websocket_connect(scope, "websocket.send.a!b", None)
    assert list(message) == [key for key in KEYS["websocket.connect"] if key != EXTRA]
    assert (message["scheme"], message["root_path"], message["order"]) == ("wss", "/app", 0)
    assert message["query_string"] == b"a=%20"


@pytest.mark.parametrize(
    ("key", "value"),
    [("text", "hi"), ("bytes", b"hi"), ("text", ""), ("bytes", b"")],
)
def test_of_text_and_bytes_the_other_is_absent_not_none(key, value):
    message = messages_websocket.websocket_receive(websocket_scope(), "r!x", 3, value)
    assert message == {"reply_channel": "r!x", "path": "/chat", "order": 3, key: value}


def test_websocket_disconnect_may_have_no_code():
    message = messages_websocket.websocket_disconnect(websocket_scope(), "r!x", 4, None)
    assert message == {"reply_channel": "r!x", "code": None, "path": "/chat", "order": 4}


# Responses


def test_a_whole_response_in_one_message():
    events = response_events({"status": 200, "headers": [(b"A", b" 1 ")], "content": b"hi"}, False)
    assert events == [
        {"type": "http.response.start", "status": 200, "headers": [(b"a", b" 1 ")]},
        {"type": "http.response.body", "body": b"hi", "more_body": False},
    ]


def test_only_a_status_is_a_whole_response_too():
    assert response_events({"status": 204}, False)[1] == {
        "type": "http.response.body",
        "body": b"",
        "more_body": False,
    }


def test_headers_of_text_are_taken_names_as_latin_1_and_values_as_utf_8():
    [start, _] = response_events({"status": 200, "headers": [["X-É", "é"]], "status_text": b"legacy"}, False)
    assert start["headers"] == [(b"x-\xc9", "é".encode())]


def test_the_rest_of_a_stream():
    assert response_events({"content": b"a", "more_content": True, "unknown": 1}, True) == [
        {"type": "http.response.body", "body": b"a", "more_body": True}
    ]
    assert response_events({"more_content": False}, True)[0]["body"] == b""


@pytest.mark.parametrize(
    "reply",
    [
        {},
        {"content": b"no status"},
        {"status": "200"},
        {"status": True},
        {"status": 200, "headers": None},
        {"status": 200, "headers": [(b"alone",)]},
        {"status": 200, "headers": [(1, b"x")]},
        {"status": 200, "content": "text"},
    ],
)
def test_a_bad_first_message_is_an_error(reply):
    with pytest.raises(ApplicationError):
        response_events(reply, False)


@pytest.mark.parametrize("reply", [{"status": 200}, {"content": "text"}])
def test_a_bad_later_message_is_an_error(reply):
    with pytest.raises(ApplicationError):
        response_events(reply, True)


def test_a_server_push_is_told_apart():
    assert messages.is_server_push({"request": {"path": "/style.css"}})
    assert not messages.is_server_push({"status": 200, "request": {}})


# WebSocket replies: the table of the contract, section 3.9

ACCEPT = {"type": "websocket.accept"}
REJECT = {"type": "websocket.close"}


def text(value):
    return {"type": "websocket.send", "text": value}


def closing(code):
    return {"type": "websocket.close", "code": code}


@pytest.mark.parametrize(
    ("reply", "connecting", "open_"),
    [
        ({}, [], []),
        ({"accept": True}, [ACCEPT], []),
        ({"accept": 1}, [ACCEPT], []),
        ({"accept": False}, [REJECT], []),
        ({"accept": 0}, [REJECT], []),
        ({"accept": None}, [], []),
        ({"accept": False, "text": "a", "close": True}, [REJECT], [text("a"), closing(1000)]),
        ({"text": "a"}, [ACCEPT, text("a")], [text("a")]),
        ({"bytes": b"a"}, [ACCEPT, {"type": "websocket.send", "bytes": b"a"}], None),
        ({"text": ""}, [], []),
        ({"bytes": b"", "text": "a"}, [ACCEPT, text("a")], [text("a")]),
        ({"close": True}, [REJECT], [closing(1000)]),
        ({"close": 4000}, [REJECT], [closing(4000)]),
        ({"close": False}, [], []),
        ({"close": 0}, [], []),
        ({"text": "a", "close": 3000}, [ACCEPT, text("a"), closing(3000)], [text("a"), closing(3000)]),
        ({"accept": True, "close": True}, [ACCEPT, closing(1000)], [closing(1000)]),
    ],
)
def test_websocket_replies(reply, connecting, open_):
    assert websocket_events(reply, True) == connecting
    if open_ is not None:
        assert websocket_events(reply, False) == open_


@pytest.mark.parametrize(
    "reply",
    [
        {"text": "a", "bytes": b"a", "accept": True},
        {"accept": True, "unknown": 1},
        {b"text": "bytes keys of a Python 2 worker"},
        {"text": b"bytes"},
        {"bytes": "text"},
        {"close": "1000"},
        {"close": 1.5},
        {"close": 1},
        {"close": 1005},
        {"close": 1006},
        {"close": 1015},
        {"close": 5000},
        {"close": -1},
    ],
)
@pytest.mark.parametrize("connecting", [True, False])
def test_a_websocket_reply_against_the_rules_is_refused_as_a_whole(reply, connecting):
    """B21: an unknown key is named in the error, in words that help the one who sent it."""
    with pytest.raises(ApplicationError):
        websocket_events(reply, connecting)


@pytest.mark.parametrize("code", [1000, 1001, 1003, 1007, 1011, 1012, 1013, 1014, 3000, 4999])
def test_every_close_code_that_rfc_6455_allows(code):
    """B11: codes other than 1000 and 3000 to 4999 were refused, and the socket stayed open."""
    assert websocket_events({"close": code}, False) == [closing(code)]


def test_an_error_names_the_unknown_key():
    with pytest.raises(ApplicationError, match="'txet'"):
        websocket_events({"txet": "hi"}, False)


# There and back: what an application sees in a worker is what it would see in the server


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"raw_path": b"/%C3%A9", "path": "/é"},
        {"http_version": "2", "scheme": "https", "root_path": "/app"},
        {"client": None, "server": ("/run/d.sock", None)},
        {"headers": [(b"a", b"1"), (b"b", b"\xff"), (b"a", b"2")]},
        {"extensions": {"tls": {"tls_version": 772, "client_cert_chain": ()}, "http.response.pathsend": {}}},
    ],
)
@pytest.mark.parametrize("same_files", [True, False])
def test_an_http_scope_survives_the_layer_and_files_are_offered_on_one_machine_only(changes, same_files):
    scope = http_scope(**changes)
    message = messages.http_request(scope, REPLY, b"", None, messages.scope_extra(scope, same_files))
    if not same_files:
        del scope["extensions"]["http.response.pathsend"]
    assert messages.http_scope(message, None) == scope


@pytest.mark.parametrize(
    "changes", [{}, {"subprotocols": ["a", "b"]}, {"http_version": "2", "scheme": "wss"}]
)
def test_a_websocket_scope_survives_the_layer(changes):
    scope = websocket_scope(**changes)
    message = messages_websocket.websocket_connect(scope, REPLY, messages.scope_extra(scope, False))
    assert messages_websocket.websocket_scope(message, None) == scope


def test_a_scope_of_a_classic_front_end():
    message = messages_websocket.websocket_connect(
        websocket_scope(
            "/é", headers=[(b"sec-websocket-protocol", b"a, b"), (b"sec-websocket-protocol", b"c")]
        ),
        REPLY,
        None,
    )
    del message["scheme"], message["root_path"]
    scope = messages_websocket.websocket_scope(message, {"from": "lifespan"})
    assert scope["subprotocols"] == ["a", "b", "c"]
    assert (scope["scheme"], scope["root_path"], scope["raw_path"]) == ("ws", "", b"/%C3%A9")
    assert scope["state"] == {"from": "lifespan"}


@given(
    st.lists(st.tuples(st.binary(min_size=1), st.binary())),
    st.integers(200, 599),
    st.binary(),
    st.booleans(),
    st.booleans(),
)
def test_a_response_survives_the_layer(headers, status, body, more, trailers):
    start = {"type": "http.response.start", "status": status, "headers": headers}
    if trailers:
        start["trailers"] = True
    reply = messages.response_reply(start, body, more)
    assert response_events(reply, False) == [
        {**start, "headers": [(name.lower(), value) for name, value in headers]},
        {"type": "http.response.body", "body": body, "more_body": more},
    ]


def test_trailers_and_early_hints_survive_the_layer():
    trailers = {"type": "http.response.trailers", "headers": [(b"a", b"b")], "more_trailers": False}
    assert response_events(messages.trailers_reply([(b"a", b"b")], False), True) == [trailers]
    hint = {"type": "http.response.early_hint", "links": [b"</a>; rel=preload"]}
    assert response_events(messages.early_hints_reply(hint["links"]), False) == [hint]


@pytest.mark.parametrize("frame", [{"text": "é"}, {"bytes": b"\0"}, {"text": ""}, {"bytes": b""}])
def test_every_frame_of_our_own_worker_is_sent_even_an_empty_one(frame):
    assert websocket_events(messages_websocket.send_reply(frame), False) == [
        {"type": "websocket.send", **frame}
    ]


def test_accept_close_and_denial_survive_the_layer():
    accept = {"type": "websocket.accept", "subprotocol": "a", "headers": [(b"x", b"y")]}
    assert websocket_events(messages_websocket.accept_reply("a", [(b"x", b"y")]), True) == [accept]
    close = {"type": "websocket.close", "code": 4001, "reason": "enough"}
    assert websocket_events(messages_websocket.close_reply(4001, "enough"), False) == [close]
    denial = messages_websocket.denial_reply({"status": 401, "headers": [(b"a", b"b")]}, b"no", False)
    assert messages_websocket.denial_events(denial[EXTRA]["denial"]) == [
        {"type": "websocket.http.response.start", "status": 401, "headers": [(b"a", b"b")]},
        {"type": "websocket.http.response.body", "body": b"no", "more_body": False},
    ]


# The document


def test_the_document_lists_exactly_the_keys_there_are():
    """docs/messages.rst has one table for each message: a title in literals, then a row for each key."""
    documented = {}
    for title, rows in re.findall(
        r"^\.\. list-table:: (.+?)\n(.*?)(?=^\S)", DOCUMENT.read_text("utf-8") + "\nend", re.M | re.S
    ):
        documented[title.replace("`", "")] = tuple(re.findall(r"^   \* - ``(\w+)``", rows, re.M))
    assert documented == dict(KEYS)
