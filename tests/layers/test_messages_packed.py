"""Messages that are packed of their parts are those that would be packed whole."""

from __future__ import annotations

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daphne.layers import messages
from daphne.layers.kept_frames import Frame, for_worker
from daphne.layers.messages_packed import packed_receive, packed_request
from daphne.layers.packing import packed
from tests.layers.driver import http_scope

REPLY = "http.response.abcdef.0123456789ab!0123456789ab"
TLS = {"server_cert": None, "client_cert_chain": [], "tls_version": 772}


def whole(scope, body, body_channel, same_files):
    extra = messages.scope_extra(scope, same_files)
    return msgpack.unpackb(packed(messages.http_request(scope, REPLY, body, body_channel, extra)))


def check(scope, body=b"", body_channel=None, same_files=True):
    for _ in range(2):  # the second time with what is remembered from the first
        request = packed_request(scope, REPLY, body, body_channel, same_files)
        assert msgpack.unpackb(request) == whole(scope, body, body_channel, same_files)


@pytest.mark.parametrize("same_files", [True, False])
@pytest.mark.parametrize(
    "facts",
    [
        {},
        {"client": None, "server": None},
        {"client": None, "server": ("/run/daphne.sock", None)},
        {"client": ("::1", 40000), "scheme": "https", "http_version": "2"},
        {"root_path": "/mounted"},
        {"method": "options"},
        {"method": "M" * 300},
        {"path": "/a b/é", "raw_path": b"/a%20b/%C3%A9"},
        {"path": "/é", "raw_path": "/é".encode()},
        {"path": "/", "raw_path": b"/"},
        {"extensions": {}},
        {"extensions": {"http.response.pathsend": {}, "http.response.trailers": {}}},
        {"extensions": {"http.response.pathsend": {}, "tls": TLS}},
        {"extensions": {"tls": {**TLS, "tls_version": 771}}, "raw_path": b"/%41"},
    ],
    ids=str,
)
def test_a_request(facts, same_files):
    scope = {**http_scope(), **facts}
    check(scope, b"body", None, same_files)
    check(scope, b"x" * 70_000, "http.request.body?x", same_files)


@given(
    path=st.text(st.characters(codec="utf-8")),
    query=st.binary(max_size=400),
    headers=st.lists(st.tuples(st.binary(max_size=40), st.binary(max_size=300)), max_size=40),
    body=st.binary(max_size=70_000),
    port=st.integers(1, 65535),
)
def test_any_request(path, query, headers, body, port):
    facts = {"path": path, "query_string": query, "headers": headers, "client": ("127.0.0.1", port)}
    check({**http_scope(), **facts}, body)


def test_many_connections_are_not_remembered_for_ever():
    from daphne.layers import messages_packed

    for port in range(3000):
        check({**http_scope(), "client": ("127.0.0.1", port)})
    assert len(messages_packed._known) <= 1024


def test_what_has_no_utf8_is_left_to_others():
    with pytest.raises(ValueError):
        packed_request({**http_scope(), "path": "/\ud800"}, REPLY, b"", None, True)


@given(
    st.integers(0, 2**32 - 1), st.text(st.characters(codec="utf-8"), max_size=300) | st.binary(max_size=300)
)
def test_a_message_of_a_websocket(order, content):
    frame = Frame(content)
    frame.order = order
    assert msgpack.unpackb(packed_receive(order, content)) == for_worker(frame)
