"""daphne.streams.forwarded: what proxies say about the client, and how far they are believed."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daphne.errors import ConfigurationError
from daphne.streams.forwarded import ForwardedNames, TrustedProxies, forwarded, parse_address

NAMES = ForwardedNames("X-Forwarded-For", "X-Forwarded-Port", "X-Forwarded-Proto")
TRUSTED = TrustedProxies(("127.0.0.0/8", "10.0.0.0/8", "::1", "unix"))


def said(
    *headers: tuple[str, str], names: ForwardedNames = NAMES, trusted: TrustedProxies = TRUSTED
) -> object:
    return forwarded(
        [(name.lower().encode(), value.encode("latin-1")) for name, value in headers], names, trusted
    )


@pytest.mark.parametrize(
    ("peers", "host", "verdict"),
    [
        (("127.0.0.0/8",), "127.0.0.1", True),
        (("127.0.0.0/8",), "128.0.0.1", False),
        (("127.0.0.0/8",), "::ffff:127.0.0.1", True),
        (("127.0.0.0/8",), None, False),
        (("127.0.0.1/8",), "127.9.9.9", True),
        (("::1",), "::1", True),
        (("fe80::/10",), "fe80::1%eth0", True),
        (("2001:db8::/32",), "2001:db8::5", True),
        (("unix",), None, True),
        (("unix",), "127.0.0.1", False),
        (("*",), "203.0.113.9", True),
        (("*",), None, True),
        (("none",), "127.0.0.1", False),
        (("none",), None, False),
        ((), "127.0.0.1", False),
        (("10.0.0.1", "10.0.0.2"), "10.0.0.2", True),
        (("10.0.0.1",), "not an address", False),
    ],
)
def test_who_is_trusted(peers: tuple[str, ...], host: str | None, verdict: bool) -> None:
    trusted = TrustedProxies(peers)
    assert [trusted.trusts(host) for _ in range(2)] == [verdict] * 2


def test_a_peer_that_is_none_is_named() -> None:
    with pytest.raises(ConfigurationError, match="nonsense"):
        TrustedProxies(("nonsense",))


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("192.0.2.1", ("192.0.2.1", 0)),
        ("192.0.2.1:80", ("192.0.2.1", 80)),
        ("192.0.2.1:0", ("192.0.2.1", 0)),
        ("2001:db8::1", ("2001:db8::1", 0)),
        ("2001:DB8::0001", ("2001:db8::1", 0)),
        ("[2001:db8::1]", ("2001:db8::1", 0)),
        ("[2001:db8::1]:65535", ("2001:db8::1", 65535)),
        ("::FFFF:192.0.2.1", ("::ffff:192.0.2.1", 0)),
        ("[::ffff:c000:201]:80", ("::ffff:192.0.2.1", 80)),
        ("192.0.2.1:65536", None),
        ("192.0.2.1:-1", None),
        ("192.0.2.1:+1", None),
        ("192.0.2.1:" + "9" * 5000, None),
        ("192.0.2.1:\xb2", None),
        ("192.0.2.1:x", None),
        ("[2001:db8::1", None),
        ("[2001:db8::1]x", None),
        ("[192.0.2.1]:x", None),
        ("192.0.2.256", None),
        ("0300.0.2.1", None),
        ("example.org", None),
        ("_hidden", None),
        ("unknown", None),
        ("<script>", None),
        ("", None),
    ],
)
def test_addresses(text: str, address: object) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize(
    ("headers", "client", "scheme"),
    [
        ([], None, None),
        ([("X-Forwarded-For", "192.0.2.1")], ("192.0.2.1", 0), None),
        ([("X-Forwarded-For", "192.0.2.1"), ("X-Forwarded-Port", "80")], ("192.0.2.1", 80), None),
        ([("X-Forwarded-For", "192.0.2.1:5"), ("X-Forwarded-Port", "80")], ("192.0.2.1", 5), None),
        # From right to left: what our own proxy appended counts, what the client itself wrote does not.
        ([("X-Forwarded-For", "198.51.100.66, 192.0.2.1")], ("192.0.2.1", 0), None),
        ([("X-Forwarded-For", "198.51.100.66, 192.0.2.1, 10.0.0.1,127.0.0.1")], ("192.0.2.1", 0), None),
        ([("X-Forwarded-For", "198.51.100.66"), ("X-Forwarded-For", "192.0.2.1")], ("192.0.2.1", 0), None),
        ([("X-Forwarded-For", "10.0.0.2, 10.0.0.1")], ("10.0.0.2", 0), None),
        ([("X-Forwarded-For", "junk, 10.0.0.1")], ("10.0.0.1", 0), None),
        ([("X-Forwarded-For", "192.0.2.1, junk")], None, None),
        ([("X-Forwarded-For", "")], None, None),
        ([("X-Forwarded-For", ",,")], None, None),
        ([("X-Forwarded-For", "<script>alert(1)</script>")], None, None),
        ([("X-Forwarded-For", "\xff\xfe")], None, None),
        ([("X-Forwarded-For", "192.0.2.1"), ("X-Forwarded-Port", "junk")], ("192.0.2.1", 0), None),
        ([("X-Forwarded-For", "192.0.2.1"), ("X-Forwarded-Port", "65536")], ("192.0.2.1", 0), None),
        ([("X-Forwarded-For", "192.0.2.1"), ("X-Forwarded-Port", "9" * 5000)], ("192.0.2.1", 0), None),
        ([("X-Forwarded-For", "192.0.2.1"), ("X-Forwarded-Port", "80, 443")], ("192.0.2.1", 443), None),
        ([("X-Forwarded-Port", "443")], None, None),
        ([("X-Forwarded-Proto", "https")], None, "https"),
        ([("X-Forwarded-Proto", "HTTPS")], None, "https"),
        ([("X-Forwarded-Proto", "wss")], None, "wss"),
        ([("X-Forwarded-Proto", "http, https")], None, "https"),
        ([("X-Forwarded-Proto", "javascript")], None, None),
        ([("X-Forwarded-Proto", "")], None, None),
        # RFC 7239
        ([("Forwarded", "for=192.0.2.1")], ("192.0.2.1", 0), None),
        ([("Forwarded", "for=192.0.2.1;proto=https;by=10.0.0.1")], ("192.0.2.1", 0), "https"),
        ([("Forwarded", 'For="[2001:db8::1]:4711";Proto=HTTP')], ("2001:db8::1", 4711), "http"),
        ([("Forwarded", 'for="192.0.2.1:80"')], ("192.0.2.1", 80), None),
        (
            [("Forwarded", "for=198.51.100.66;proto=http, for=192.0.2.1;proto=https")],
            ("192.0.2.1", 0),
            "https",
        ),
        ([("Forwarded", "for=192.0.2.1;proto=https, for=10.0.0.1;proto=http")], ("192.0.2.1", 0), "https"),
        ([("Forwarded", "for=198.51.100.66"), ("Forwarded", "for=192.0.2.1")], ("192.0.2.1", 0), None),
        ([("Forwarded", 'for="a,b;c=\\"d", for=192.0.2.1')], ("192.0.2.1", 0), None),
        ([("Forwarded", 'for="192.0.2\\.1"')], ("192.0.2.1", 0), None),
        ([("Forwarded", "for=unknown")], None, None),
        ([("Forwarded", "for=_hidden;proto=https")], None, "https"),
        ([("Forwarded", "for=192.0.2.1, for=junk")], None, None),
        ([("Forwarded", "for")], None, None),
        ([("Forwarded", 'for="192.0.2.1')], None, None),
        ([("Forwarded", "for=192.0.2.1 proto=https")], None, None),
        ([("Forwarded", ";;,,==")], None, None),
        ([("Forwarded", "")], None, None),
        ([("Forwarded", "proto=javascript;for=192.0.2.1")], ("192.0.2.1", 0), None),
        # A proxy that writes the older fields is believed in these.
        ([("Forwarded", "for=198.51.100.66"), ("X-Forwarded-For", "192.0.2.1")], ("192.0.2.1", 0), None),
    ],
)
def test_what_proxies_say(headers: list[tuple[str, str]], client: object, scheme: object) -> None:
    assert said(*headers) == (client, scheme)


def test_where_everybody_is_trusted_the_left_most_counts() -> None:
    trusted = TrustedProxies(("*",))
    assert said(("X-Forwarded-For", "192.0.2.1, 192.0.2.2"), trusted=trusted) == (("192.0.2.1", 0), None)


def test_names_of_ones_own() -> None:
    names = ForwardedNames("X-Real-IP", None, "")
    headers = (("X-Real-IP", "192.0.2.1"), ("X-Forwarded-Port", "80"), ("X-Forwarded-Proto", "https"))
    assert said(*headers, names=names) == (("192.0.2.1", 0), None)


bits = st.sampled_from(
    [
        "for=",
        "proto=",
        "192.0.2.1",
        "https",
        '"',
        "\\",
        ",",
        ";",
        "=",
        " ",
        ":",
        "[::1]",
        "\xff",
        "9" * 50,
        "10.0.0.1",
        "_x",
    ]
)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["X-Forwarded-For", "X-Forwarded-Port", "X-Forwarded-Proto", "Forwarded"]),
            st.one_of(st.lists(bits, max_size=12).map("".join), st.text(st.characters(max_codepoint=255))),
        ),
        max_size=4,
    )
)
def test_nothing_that_is_malformed_fails(headers: list[tuple[str, str]]) -> None:
    client, scheme = said(*headers)  # type: ignore[misc]
    assert client is None or (parse_address(client[0]) == (client[0], 0) and 0 <= client[1] <= 65535)
    assert scheme in (None, "http", "https", "ws", "wss")


def test_long_values_are_read_in_linear_time() -> None:
    began = time.process_time()
    for value in (
        '"' * 60_000,
        "for=" * 15_000,
        '"\\' * 30_000,
        "for=1;" * 10_000,
        ", " * 30_000,
        '="a' * 20_000,
    ):
        said(("Forwarded", value))
        said(("X-Forwarded-For", value))
    assert time.process_time() - began < 5


def test_what_anybody_may_have_written_is_not_looked_at_and_not_kept() -> None:
    """A proxy appends to what its client sent, which may be tens of kilobytes."""
    before = parse_address.cache_info()
    theirs = [f"203.0.{number // 256}.{number % 256}" for number in range(4000)]
    assert said(("X-Forwarded-For", ", ".join([*theirs, "198.51.100.77"])))[0] == ("198.51.100.77", 0)
    said(("Forwarded", ", ".join([*(f"for={address}" for address in theirs), "for=198.51.100.78"])))
    said(("X-Forwarded-For", "x" * 60_000))
    assert parse_address.cache_info().misses <= before.misses + 2
