"""daphne.streams.head: the rules of a request head that hold on every wire."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daphne.streams.head import DROPPED, PLAIN, SPECIAL, is_authority, is_token, learn_field_name, token_list


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        (b"Accept", PLAIN),
        (b"HOST", SPECIAL),
        (b"transfer-encoding", SPECIAL),
        (b"Daphne-Root-Path", SPECIAL),
        (b"X_Y", DROPPED),
        (b"Proxy", DROPPED),
        (b"Content_Length", DROPPED),
        (b"Proxy-Authorization", PLAIN),
    ],
)
def test_kinds_of_fields(name: bytes, kind: int) -> None:
    for _ in range(2):
        assert learn_field_name(name) == (name.lower(), kind)


@pytest.mark.parametrize(
    ("value", "tokens"),
    [
        (b"", []),
        (b"close", [b"close"]),
        (b" Close ,\tX-Y,, ", [b"close", b"x-y"]),
        (b"keep-alive, Upgrade", [b"keep-alive", b"upgrade"]),
    ],
)
def test_lists_of_tokens(value: bytes, tokens: list[bytes]) -> None:
    assert list(token_list(value)) == tokens


@given(st.binary(max_size=6))
def test_tokens(value: bytes) -> None:
    allowed = set(b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
    assert is_token(value) == (bool(value) and set(value) <= allowed)


@pytest.mark.parametrize(
    ("value", "good"),
    [
        (b"a", True),
        (b"a.b-c_d~e", True),
        (b"a:80", True),
        (b"a:", True),
        (b"", True),
        (b"192.0.2.1:65535", True),
        (b"[::1]", True),
        (b"[::1]:8", True),
        (b"%41", True),
        (b"a:65536", False),
        (b"a:123456", False),
        (b"a:b", False),
        (b"a:+1", False),
        (b"a:1:2", False),
        (b"::1", False),
        (b"[::1", False),
        (b"::1]", False),
        (b"[::1]8", False),
        (b"[]", False),
        (b"u@a", False),
        (b"a/b", False),
        (b"a?b", False),
        (b"a b", False),
        (b"a\tb", False),
        (b"a\x00", False),
        (b"\xc3\xa9", False),
        (b"a\\b", False),
        (b"a%4", False),
        (b"a%4g", False),
        (b"[::1::2]", False),
        (b"[...]", False),
    ],
)
def test_authorities(value: bytes, good: bool) -> None:
    assert is_authority(value) == good
