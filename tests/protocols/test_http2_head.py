"""daphne.protocols.http2_head: which header lists are requests, and that they make the scopes of HTTP/1.1."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daphne.errors import RequestRefused, StreamReset
from daphne.protocols.http2_frames import PROTOCOL_ERROR
from daphne.protocols.http2_head import check_trailers, read_head
from daphne.settings import Settings
from tests.protocols.bench import Bench, Told, request
from tests.protocols.http2_client import Answer, Client, request_fields

Headers = list[tuple[bytes, bytes]]
Serve = Callable[..., Bench]


def read(fields: Headers, **settings: Any) -> Any:
    size = sum(32 + len(name) + len(value) for name, value in fields)
    return read_head(fields, size, Settings(**settings))


def judged(fields: Headers, **settings: Any) -> int | str:
    """200, the status of a refusal, or "malformed"."""
    try:
        read(fields, **settings)
    except RequestRefused as refusal:
        return refusal.status
    except StreamReset as reset:
        assert reset.code == PROTOCOL_ERROR
        return "malformed"
    return 200


def test_a_whole_head() -> None:
    extra = [(b"accept", b"*/*"), (b"content-length", b"12"), (b"priority", b"u=1"), (b"te", b"trailers")]
    found = read(request_fields("POST", "/p?q=1&r", extra))
    head = found.head
    assert (head.method, head.http_version) == ("POST", "2")
    assert (head.target, head.raw_path, head.query_string) == (b"/p?q=1&r", b"/p", b"q=1&r")
    assert (head.host, head.scheme, head.content_length) == (b"example.org", b"http", 12)
    assert head.headers == [(b"host", b"example.org"), *extra]
    assert (found.protocol, found.priority) == (None, b"u=1")


MALFORMED: list[Headers] = [
    [],
    request_fields(method=""),
    request_fields(scheme=""),
    request_fields(path=""),
    request_fields(method="GE T"),
    request_fields(path="a"),
    request_fields(path="http://a/"),
    request_fields(path="*"),
    request_fields(protocol="websocket"),
    request_fields(status="200"),
    request_fields(unknown="x"),
    [*request_fields(), (b":path", b"/again")],
    [*request_fields(), (b":method", b"GET")],
    [(b"x", b"y"), *request_fields()],
    [*request_fields()[:2], (b"x", b"y"), *request_fields()[2:]],
    *[
        request_fields(headers=[field])
        for field in [
            (b"X", b"y"),
            (b"xA", b"y"),
            (b"", b"y"),
            (b"x y", b"z"),
            (b"x:y", b"z"),
            (b":", b"z"),
            (b"x\0", b"z"),
            (b"\xe4", b"z"),
            (b"x", b"a\rb"),
            (b"x", b"a\nb"),
            (b"x", b"a\0b"),
            (b"x", b"a\x01b"),
            (b"x", b"a\x7fb"),
            (b"x", b" a"),
            (b"x", b"a "),
            (b"x", b"\ta"),
            (b"x", b"a\t"),
            (b"x", b" "),
            (b"connection", b"close"),
            (b"connection", b""),
            (b"proxy-connection", b"close"),
            (b"keep-alive", b"5"),
            (b"transfer-encoding", b"chunked"),
            (b"upgrade", b"h2c"),
            (b"te", b"gzip"),
            (b"te", b"trailers, gzip"),
            (b"content-length", b"-1"),
            (b"content-length", b"1, 1"),
            (b"content-length", b""),
            (b"content-length", b"+1"),
            (b"host", b"other.org"),
            (b"host", b"a b"),
        ]
    ],
    request_fields(headers=[(b"content-length", b"1"), (b"content-length", b"1")]),
    request_fields(headers=[(b"host", b"example.org"), (b"host", b"example.org")]),
    request_fields("CONNECT"),
    request_fields("CONNECT", path=""),
    request_fields("CONNECT", path="", scheme="", authority=""),
    request_fields("CONNECT", protocol="websocket", path=""),
    request_fields("CONNECT", protocol="websocket", scheme=""),
    request_fields("CONNECT", protocol="websocket", authority=""),
]


@pytest.mark.parametrize("fields", MALFORMED, ids=repr)
def test_malformed(fields: Headers) -> None:
    assert judged(fields) == "malformed"


REFUSED: list[tuple[Headers, int]] = [
    (request_fields(authority=""), 400),
    (request_fields(authority="a b"), 400),
    (request_fields(authority="user@host"), 400),
    (request_fields(authority=":80"), 400),
    (request_fields(authority="a:99999"), 400),
    (request_fields(scheme="ftp"), 400),
    (request_fields(path="/a b"), 400),
    (request_fields(path="/a#b"), 400),
    (request_fields(path="/\xe4"), 400),
    (request_fields(headers=[(b"expect", b"the unexpected")]), 417),
    (request_fields("CONNECT", path="", scheme=""), 501),
    (request_fields("CONNECT", protocol="connect-udp"), 501),
]


@pytest.mark.parametrize(("fields", "status"), REFUSED, ids=repr)
def test_refused(fields: Headers, status: int) -> None:
    assert judged(fields) == status


ALLOWED: list[Headers] = [
    request_fields("OPTIONS", "*"),
    request_fields("M-SEARCH"),
    request_fields(scheme="HTTPS"),
    request_fields(authority="", headers=[(b"host", b"a")]),
    request_fields(headers=[(b"host", b"EXAMPLE.org")]),
    request_fields(authority="[::1]:8000"),
    request_fields(headers=[(b"x", b"")]),
    request_fields(headers=[(b"x", b"a\tb \xe4")]),
    request_fields(headers=[(b"te", b"Trailers")]),
    request_fields(headers=[(b"expect", b"100-continue")]),
    request_fields("CONNECT", protocol="websocket"),
]


@pytest.mark.parametrize("fields", ALLOWED, ids=repr)
def test_allowed(fields: Headers) -> None:
    assert judged(fields) == 200


def test_without_host_where_that_is_allowed() -> None:
    assert judged(request_fields(authority=""), strict_host=False) == 200


def test_host_comes_from_authority_and_stands_first_or_where_it_stood() -> None:
    fields = [(b"a", b"1"), (b"host", b"EXAMPLE.ORG"), (b"b", b"2")]
    assert read(request_fields(headers=fields)).head.headers == [
        (b"a", b"1"),
        (b"host", b"example.org"),
        (b"b", b"2"),
    ]
    assert read(request_fields(headers=[(b"a", b"1")])).head.headers[0] == (b"host", b"example.org")


def test_names_that_could_pass_for_others_are_dropped() -> None:
    fields = [(b"x_forwarded_for", b"1.2.3.4"), (b"proxy", b"evil"), (b"x", b"y")]
    assert read(request_fields(headers=fields)).head.headers == [(b"host", b"example.org"), (b"x", b"y")]


def test_the_root_path_is_no_header() -> None:
    head = read(request_fields(headers=[(b"daphne-root-path", b"/app")])).head
    assert (head.root_path, head.headers) == (b"/app", [(b"host", b"example.org")])


def test_crumbs_of_cookies_become_one_field_at_the_place_of_the_first() -> None:
    fields = [(b"a", b"1"), (b"cookie", b"x=1"), (b"b", b"2"), (b"cookie", b"y=2; z=3"), (b"cookie", b"w")]
    assert read(request_fields(headers=fields)).head.headers[1:] == [
        (b"a", b"1"),
        (b"cookie", b"x=1; y=2; z=3; w"),
        (b"b", b"2"),
    ]


@pytest.mark.parametrize(
    ("settings", "fields", "limit"),
    [
        ({"max_header_count": 3}, [(b"x%d" % n, b"") for n in range(4)], "max_header_count"),
        ({"max_header_size": 1000}, [(b"x", b"y" * 1000)], "max_header_size"),
        ({"http2_max_header_list_size": 1000}, [(b"x", b"y" * 900)], "http2_max_header_list_size"),
    ],
)
def test_limits(settings: dict[str, int], fields: Headers, limit: str) -> None:
    with pytest.raises(RequestRefused) as caught:
        read(request_fields(headers=fields), **settings)
    assert (caught.value.status, caught.value.limit) == (431, limit)
    assert judged(request_fields(headers=fields[:-1]), **settings) == 200


def test_the_length_of_a_request_line_is_that_of_http1() -> None:
    line = "GET  HTTP/1.1\r\n"
    path = "/" + "x" * (1000 - len(line) - 1)
    assert judged(request_fields(path=path), max_request_line=1000) == 200
    assert judged(request_fields(path=path + "x"), max_request_line=1000) == 414


@pytest.mark.parametrize(
    "field", [(b":path", b"/"), (b"X", b"y"), (b"connection", b"close"), (b"x", b"a\nb")]
)
def test_malformed_trailers(field: tuple[bytes, bytes]) -> None:
    check_trailers([(b"x", b"y")])
    with pytest.raises(StreamReset):
        check_trailers([(b"x", b"y"), field])


# ---- the same request over HTTP/1.1 and HTTP/2 -------------------------------------------------------

NAME = st.sampled_from(["accept", "x-a", "x_b", "proxy", "user-agent", "content-type", "daphne-root-path"])
VALUE = st.text(st.characters(min_codepoint=33, max_codepoint=255, exclude_characters="\x7f"), max_size=20)
PATH = st.text(st.sampled_from("abc/%20?=&.~ä#*"), max_size=12)


def served_by_http1(bench: Bench, told: Told, line: tuple[str, str], fields: list[tuple[str, str]]) -> Any:
    lines = [f"{name}: {value}" for name, value in fields]
    connection = bench.exchange(request(*line, *lines))
    return _scope_or_status(bench, told, connection, lambda: int(bytes(connection.received)[9:12]))


def served_by_http2(bench: Bench, told: Told, line: tuple[str, str], fields: list[tuple[str, str]]) -> Any:
    client = Client(bench, validate_outbound_headers=False, normalize_outbound_headers=False)
    headers = [(name.encode(), value.encode("latin-1")) for name, value in fields]
    stream_id = client.machine.get_next_available_stream_id()
    pseudo = request_fields(line[0], "")
    path = [(b":path", line[1].encode("latin-1"))]
    client.machine.send_headers(stream_id, [*pseudo, *path, *headers], end_stream=True)
    client.flush()
    answer = client.answers.get(stream_id, Answer())
    return _scope_or_status(
        bench, told, client.connection, lambda: answer.status or (400 if answer.reset == 1 else None)
    )


def _scope_or_status(bench: Bench, told: Told, connection: Any, status: Callable[[], Any]) -> Any:
    """The scope that the application got, or the status that the server answered by itself."""
    if not told.scopes:
        return status()
    scope = told.scopes.pop()
    told.finish()
    bench.loop.settle()
    connection.close()
    bench.loop.settle()
    return {key: value for key, value in scope.items() if key != "http_version"}


@given(
    st.sampled_from(["GET", "HEAD", "POST", "DELETE", "BREW", "OPTIONS"]),
    PATH.map(lambda text: "/" + text) | st.just("*"),
    st.lists(st.tuples(NAME, VALUE), max_size=6),
)
def test_the_same_request_makes_the_same_scope(
    method: str, target: str, fields: list[tuple[str, str]]
) -> None:
    told = Told()
    bench = Bench(told)
    try:
        one = served_by_http1(bench, told, (method, target), fields)
        two = served_by_http2(bench, told, (method, target), fields)
        assert one == two
    finally:
        bench.close()


def test_the_differential_test_sees_scopes_and_refusals(serve: Serve) -> None:
    told = Told()
    bench = serve(told)
    good = ("GET", "/a?b"), [("x-a", "1")]
    bad = ("GET", "/a#b"), [("x-a", "1")]
    for served in (served_by_http1, served_by_http2):
        assert served(bench, told, *good)["headers"] == [(b"host", b"example.org"), (b"x-a", b"1")]
        assert served(bench, told, *bad) == 400
