"""daphne.protocols.http1_head: one reading of a request head, or a refusal."""

from __future__ import annotations

import contextlib
import re
from typing import Any

import httptools
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from daphne.errors import RequestRefused
from daphne.protocols.http1_head import HeadParser
from daphne.settings import Settings
from daphne.streams.head import RequestHead

HOST = b"Host: a\r\n"
GET = b"GET / HTTP/1.1\r\n" + HOST + b"\r\n"


def parse(head: bytes, **settings: Any) -> RequestHead:
    return HeadParser(Settings(**settings)).parse(head.removesuffix(b"\r\n\r\n"))


def refusal(head: bytes, **settings: Any) -> int:
    with pytest.raises(RequestRefused) as refused:
        parse(head, **settings)
    return refused.value.status


def with_fields(*lines: bytes, start: bytes = b"GET / HTTP/1.1") -> bytes:
    return b"\r\n".join([start, *lines, b"", b""])


def test_a_plain_head() -> None:
    head = parse(with_fields(b"Host: example.org:80", b"X-One:1", b"x-one:  two \t", b"Empty:"))
    assert (head.method, head.target, head.http_version) == ("GET", b"/", "1.1")
    assert head.headers == [
        (b"host", b"example.org:80"),
        (b"x-one", b"1"),
        (b"x-one", b"two"),
        (b"empty", b""),
    ]
    assert (head.host, head.content_length, head.chunked, head.upgrade) == (
        b"example.org:80",
        None,
        False,
        (),
    )


@pytest.mark.parametrize(
    "start",
    [
        b"GET /",
        b"GET / ",
        b"GET / HTTP/1.1 ",
        b" GET / HTTP/1.1",
        b"GET  / HTTP/1.1",
        b"GET /  HTTP/1.1",
        b"GET\t/ HTTP/1.1",
        b"GET / http/1.1",
        b"GET / HTTP/1",
        b"GET / HTTP/1.10",
        b"GET / HTTP/11",
        b"GET / HTTP/+1.1",
        b"GET / HTCPCP/1.0",
        b"GET / ICY/1.1",
        b"/ HTTP/1.1",
        b"G(T / HTTP/1.1",
        b"G\x00T / HTTP/1.1",
        b"G\xc3T / HTTP/1.1",
        b"GET /\x01 HTTP/1.1",
        b"GET /\x7f HTTP/1.1",
        b"GET /\xe9 HTTP/1.1",
        b"GET /a\rb HTTP/1.1",
        b"GET /a\nb HTTP/1.1",
        b"GET /#fragment HTTP/1.1",
        b"GET relative HTTP/1.1",
        b"GET * HTTP/1.1",
        b"GET ftp://a/ HTTP/1.1",
        b"GET http:///path HTTP/1.1",
        b"GET http://user@a/ HTTP/1.1",
        b"GET http://a:99999/ HTTP/1.1",
        b"GET http://a b/ HTTP/1.1",
        b"GET example.org:443 HTTP/1.1",
    ],
)
def test_request_lines_that_are_refused(start: bytes) -> None:
    assert refusal(with_fields(b"Host: a", start=start)) == 400


@pytest.mark.parametrize("version", [b"HTTP/0.9", b"HTTP/1.2", b"HTTP/2.0", b"HTTP/3.0", b"HTTP/9.9"])
def test_other_versions_get_505(version: bytes) -> None:
    assert refusal(with_fields(b"Host: a", start=b"GET / " + version)) == 505


@pytest.mark.parametrize(
    "method", ["GET", "get", "HEAD", "PATCH", "PROPFIND", "QUERY", "M-SEARCH", "X!#$%&'*+-.^_`|~1"]
)
def test_any_token_is_a_method_and_stays_as_sent(method: str) -> None:
    assert parse(with_fields(b"Host: a", start=f"{method} / HTTP/1.1".encode())).method == method


def test_connect_is_not_for_an_origin_server() -> None:
    assert refusal(with_fields(b"Host: a", start=b"CONNECT a:443 HTTP/1.1")) == 501


@pytest.mark.parametrize(
    ("target", "raw_path", "query", "host"),
    [
        (b"/", b"/", b"", b"a"),
        (b"//x", b"//x", b"", b"a"),
        (b"/p?q", b"/p", b"q", b"a"),
        (b"/p?", b"/p", b"", b"a"),
        (b"/p?q?r=/", b"/p", b"q?r=/", b"a"),
        (b"/%00%ff?%", b"/%00%ff", b"%", b"a"),
        (b"http://b", b"/", b"", b"b"),
        (b"http://b/", b"/", b"", b"b"),
        (b"HTTP://b:8080/p?q", b"/p", b"q", b"b:8080"),
        (b"https://[::1]:8/p", b"/p", b"", b"[::1]:8"),
        (b"http://b?q", b"/", b"q", b"b"),
    ],
)
def test_targets(target: bytes, raw_path: bytes, query: bytes, host: bytes) -> None:
    head = parse(with_fields(b"X: y", b"Host: a", start=b"GET " + target + b" HTTP/1.1"))
    assert (head.target, head.raw_path, head.query_string) == (target, raw_path, query)
    # RFC 9112 section 3.2.2: the authority of an absolute target stands for the Host field.
    assert head.headers == [(b"x", b"y"), (b"host", host)]


def test_the_asterisk_is_for_options() -> None:
    head = parse(with_fields(b"Host: a", start=b"OPTIONS * HTTP/1.1"))
    assert (head.raw_path, head.query_string) == (b"*", b"")


@pytest.mark.parametrize(
    "line",
    [
        b"X : y",
        b"X\t: y",
        b": y",
        b"X",
        b"X y",
        b" X: y",
        b"\tX: y",
        b"X: y\r\n folded",
        b"X: y\r\n\tfolded",
        b"X(): y",
        b"X\x00: y",
        b"\xc3: y",
        b"X: a\rb",
        b"X: a\nb",
        b"X: a\x00b",
        b"X: a\x01b",
        b"X: a\x7fb",
        b"X: a\x0bb",
        b"X: y\r\r",
    ],
)
def test_field_lines_that_are_refused(line: bytes) -> None:
    assert refusal(with_fields(b"Host: a", line)) == 400
    assert refusal(with_fields(line, b"Host: a")) == 400


@pytest.mark.parametrize("value", [b"caf\xc3\xa9", b"\xff", b"a\tb", b'"quoted"', b"a:b"])
def test_values_that_stay_as_they_are(value: bytes) -> None:
    assert parse(with_fields(b"Host: a", b"X: " + value)).headers[1] == (b"x", value)


@pytest.mark.parametrize("name", [b"X_Forwarded_For", b"Content_Length", b"_", b"Proxy", b"PROXY"])
def test_names_that_cgi_would_confuse_are_dropped(name: bytes) -> None:
    assert parse(with_fields(b"Host: a", name + b": y")).headers == [(b"host", b"a")]


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        ([], 400),
        ([b"Host: a", b"Host: a"], 400),
        ([b"Host: a", b"host: b"], 400),
        ([b"Host: a b"], 400),
        ([b"Host: a,b"], None),
        ([b"Host: a/b"], 400),
        ([b"Host: user@a"], 400),
        ([b"Host: a:b"], 400),
        ([b"Host: a:65536"], 400),
        ([b"Host: a:65535"], None),
        ([b"Host: a:"], None),
        ([b"Host:"], None),
        ([b"Host: [::1"], 400),
        ([b"Host: [::1]:80"], None),
        ([b"Host: [::1]x"], 400),
        ([b"Host: \xff"], 400),
    ],
)
def test_host(lines: list[bytes], status: int | None) -> None:
    head = with_fields(*lines)
    if status is None:
        assert parse(head).host == lines[0].partition(b":")[2].strip()
    else:
        assert refusal(head) == status


def test_host_may_be_missing_where_that_is_asked_for_but_never_stands_twice() -> None:
    assert parse(with_fields(b"X: y"), strict_host=False).host is None
    assert refusal(with_fields(b"Host: a", b"Host: a"), strict_host=False) == 400
    assert refusal(with_fields(b"X: \x85"), strict_host=False) == 400
    assert parse(with_fields(b"Host: a", b"X: \x85")).headers[-1] == (b"x", b"\x85")


def test_http_1_0_needs_no_host_but_1_1_does_even_with_an_absolute_target() -> None:
    assert parse(with_fields(start=b"GET / HTTP/1.0")).host is None
    assert refusal(with_fields(start=b"GET http://a/ HTTP/1.1")) == 400  # RFC 9112 section 3.2


@pytest.mark.parametrize(
    "lines",
    [
        [b"Content-Length: 5", b"Content-Length: 5"],
        [b"Content-Length: 5", b"Content-Length: 6"],
        [b"Content-Length: 5, 5"],
        [b"Content-Length: +5"],
        [b"Content-Length: -5"],
        [b"Content-Length: 0x5"],
        [b"Content-Length: 5 5"],
        [b"Content-Length: 5.0"],
        [b"Content-Length: \xd9\xa5"],
        [b"Content-Length: \xb2"],
        [b"Content-Length:"],
        [b"Content-Length: 1000000000000000000"],
        [b"Content-Length: " + b"9" * 5000],
        [b"Content-Length: 5", b"Transfer-Encoding: chunked"],
        [b"Transfer-Encoding: chunked", b"Content-Length: 5"],
        [b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"],
        [b"Transfer-Encoding: chunked, chunked"],
        [b"Transfer-Encoding: gzip, chunked"],
        [b"Transfer-Encoding: chunked, identity"],
        [b"Transfer-Encoding: identity"],
        [b"Transfer-Encoding: gzip"],
        [b"Transfer-Encoding: xchunked"],
        [b"Transfer-Encoding: chunkedx"],
        [b"Transfer-Encoding: chunked;q=1"],
        [b"Transfer-Encoding: \x0bchunked"],
        [b'Transfer-Encoding: "chunked"'],
        [b"Transfer-Encoding:"],
        [b"Transfer-Encoding: gzip", b"Transfer-Encoding: chunked"],
        [b"Transfer-Encoding : chunked"],
    ],
)
def test_framings_that_are_refused(lines: list[bytes]) -> None:
    for version in (b"1.1", b"1.0"):
        assert refusal(with_fields(b"Host: a", *lines, start=b"POST / HTTP/" + version)) == 400


def test_framings() -> None:
    assert parse(with_fields(b"Host: a", b"Content-Length: 05")).content_length == 5
    assert parse(with_fields(b"Host: a", b"Content-Length: 999999999999999999")).content_length == 10**18 - 1
    assert parse(with_fields(b"Host: a", b"Transfer-Encoding: Chunked")).chunked
    assert refusal(with_fields(b"Transfer-Encoding: chunked", start=b"POST / HTTP/1.0")) == 400


def test_expectations() -> None:
    assert parse(with_fields(b"Host: a", b"Expect: 100-Continue")).expects_continue
    assert refusal(with_fields(b"Host: a", b"Expect: 200-maybe")) == 417


def test_too_many_fields() -> None:
    lines = [b"Host: a", *[b"X: y"] * 4]
    assert len(parse(with_fields(*lines), max_header_count=5).headers) == 5
    assert refusal(with_fields(*lines, b"X: y"), max_header_count=5) == 431


def test_connection_options_and_root_path() -> None:
    head = parse(
        with_fields(
            b"Host: a", b"Connection: Keep-Alive, ,X", b"Connection: close", b"Daphne-Root-Path: /r%20"
        )
    )
    assert head.connection == (b"keep-alive", b"x", b"close")
    assert head.root_path == b"/r%20"
    assert b"daphne-root-path" not in dict(head.headers)


@pytest.mark.parametrize(
    "before",
    [
        with_fields(b"Host: a", b"Connection: close"),
        with_fields(b"Host: a", b"Connection: x, close"),
        with_fields(b"Host: a", b"Proxy-Connection: close"),
        with_fields(b"Host: a", b"Connection: upgrade", b"Upgrade: x"),
        with_fields(b"Host: a", b"Content-Length: 20"),
        with_fields(b"Host: a", b"Content-Length: 20", b"Expect: x"),
        with_fields(b"Content-Length: 20"),
        with_fields(b"Host: a", b"Transfer-Encoding: chunked"),
        with_fields(b"Host: a", b"Transfer-Encoding: gzip"),
        with_fields(b"Host: a", b"Content-Length: 20", b"Content-Length: 20"),
        with_fields(b"Host: a", b"X : y"),
        with_fields(b"Host: a", *[b"X: y"] * 200),
        with_fields(start=b"GET / HTTP/1.0"),
        with_fields(b"Connection: keep-alive", b"Content-Length: 20", start=b"GET / HTTP/1.0"),
        with_fields(b"Host: a", start=b"GET * HTTP/1.1"),
        with_fields(b"Host: a", start=b"CONNECT a:1 HTTP/1.1"),
    ],
)
def test_no_head_leaves_anything_behind_for_the_next(before: bytes) -> None:
    """The parser is shared by all connections of a site: what one client sends must not touch another's
    request."""
    parser = HeadParser(Settings())
    for _ in range(2):
        with contextlib.suppress(RequestRefused):
            parser.parse(before[:-4])
        assert parser.parse(GET[:-4]).headers == [(b"host", b"a")]


def test_common_lines_are_remembered_within_a_bound_and_secrets_are_not() -> None:
    parser = HeadParser(Settings())
    for number in range(2000):
        lines = [b"Host: a", b"Accept: %d" % number, b"Cookie: %d" % number, b"Authorization: %d" % number]
        head = parser.parse(with_fields(*lines, b"User-Agent: " + b"x" * 5000)[:-4])
        assert head.headers[1:3] == [(b"accept", b"%d" % number), (b"cookie", b"%d" % number)]
    assert 0 < len(parser._known) <= 1024
    assert {line.partition(b":")[0] for line in parser._known} <= {b"Host", b"Accept"}


# ---- any head ------------------------------------------------------------------------------------

TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
GRAMMAR = re.compile(rb"%b [!-~]+ HTTP/1\.[01]\r\n(?:%b:[\t -~\x80-\xff]*\r\n)*\r\n" % (TOKEN, TOKEN))
"""RFC 9112 sections 2.1, 3 and 5, without obsolete line folding."""

ATTRIBUTES = ("method", "target", "raw_path", "query_string", "http_version", "headers", "host", "scheme") + (
    "content_length",
    "chunked",
    "connection",
    "upgrade",
    "expects_continue",
    "root_path",
)

odd_bytes = st.sampled_from(
    [b"\r", b"\n", b"\x00", b"\t", b" ", b":", b",", b"\x7f", b"\xff", b"#", b"\x0b", b";"]
)
names = st.sampled_from(
    [
        b"Host",
        b"Content-Length",
        b"Transfer-Encoding",
        b"Connection",
        b"Upgrade",
        b"Expect",
        b"X",
        b"x_y",
        b"Proxy",
    ]
)
values = st.sampled_from(
    [
        b"a",
        b"5",
        b"chunked",
        b"close",
        b"keep-alive",
        b"upgrade",
        b"websocket",
        b"",
        b"100-continue",
        b"a:80",
        b" b ",
    ]
)
lines = st.lists(st.tuples(names, values).map(lambda pair: pair[0] + b": " + pair[1]), max_size=5)
starts = st.tuples(
    st.sampled_from([b"GET", b"POST", b"OPTIONS", b"CONNECT", b"get", b"BREW"]),
    st.sampled_from([b"/", b"*", b"http://a/", b"/p?q", b"a:80"]),
    st.sampled_from([b"HTTP/1.1", b"HTTP/1.0", b"HTTP/1.2", b"HTTP/2.0"]),
).map(b" ".join)


@st.composite
def heads(draw: st.DrawFn) -> bytes:
    """A head that is well-formed, or nearly so: a byte put in, taken out or doubled somewhere."""
    head = b"\r\n".join([draw(starts), *draw(lines), b"", b""])
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(0, len(head) - 4))
        head = head[:at] + draw(st.one_of(odd_bytes, st.just(b""))) + head[at + draw(st.integers(0, 1)) :]
    end = head.find(b"\r\n\r\n")  # what HTTP1Connection hands on ends at the first empty line
    return head[: end + 4] if end > 0 else GET


class Seen:
    """What httptools alone makes of a head."""

    def __init__(self) -> None:
        self.headers: list[tuple[bytes, bytes]] = []
        self.url = b""

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value.strip(b" \t")))


def by_httptools(head: bytes) -> Seen:
    seen = Seen()
    parser = httptools.HttpRequestParser(seen)
    with contextlib.suppress(httptools.HttpParserUpgrade):
        parser.feed_data(head)
    return seen


@given(st.lists(heads(), min_size=1, max_size=4))
@example([with_fields(b"Host: a", b"Connection: close"), GET])
def test_one_reading_or_a_refusal(sent: list[bytes]) -> None:
    """Whatever came before: the same as with a parser of its own; a head that passes is in the grammar, and
    httptools alone reads the same in it."""
    shared = HeadParser(Settings())
    for head in sent:
        try:
            expected: RequestHead | None = parse(head)
        except RequestRefused as refused:
            assert refused.status in (400, 417, 431, 501, 505)
            expected = None
        if expected is None:
            with pytest.raises(RequestRefused):
                shared.parse(head[:-4])
            continue
        found = shared.parse(head[:-4])
        assert all(getattr(found, name) == getattr(expected, name) for name in ATTRIBUTES)
        assert GRAMMAR.fullmatch(head)
        if found.method in ("GET", "POST", "OPTIONS"):
            seen = by_httptools(head)
            assert seen.url == found.target
            kept = [pair for pair in seen.headers if b"_" not in pair[0] and pair[0] != b"proxy"]
            if found.target.startswith(b"/"):
                assert kept == found.headers
