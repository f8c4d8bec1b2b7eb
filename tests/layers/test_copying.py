"""Copies of messages: equal, independent, measured, and refused where no message may be so."""

from __future__ import annotations

import copy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daphne.layers.copying import check_values, independent_copy, owned
from daphne.layers.interface import LOCAL_KEY

plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary()
values = st.recursive(plain, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20)
keys = st.text().filter(lambda key: key != LOCAL_KEY)  # Hypothesis tries what it finds in the source
messages = st.dictionaries(keys, values)


def vandalise(value):
    if isinstance(value, list):
        for item in value:
            vandalise(item)
        value.append("vandal")
    elif isinstance(value, dict):
        for item in value.values():
            vandalise(item)
        value["vandal"] = True


@settings(max_examples=40)
@given(messages)
def test_a_copy_is_equal_and_independent(message):
    before = copy.deepcopy(message)
    made, size = independent_copy(message)
    assert made == before and size >= 0
    vandalise(message)
    assert made == before
    check_values(before)


@pytest.mark.parametrize(
    "body", [b"x" * 100_000, "x" * 100_000, ["x" * 1000] * 100, {"a": {"b": b"x" * 100_000}}]
)
def test_the_size_counts_what_is_in_it(body):
    assert 100_000 <= independent_copy({"body": body})[1] <= 102_000


def test_a_large_body_is_not_copied():
    body = b"x" * 100_000
    assert independent_copy({"body": body})[0]["body"] is body


class Text(str):
    """As Django's safe strings are."""


def test_subclasses_become_what_they_are_made_of():
    made, _ = independent_copy(
        {Text("key"): Text("a"), "list": [Text("b"), bytearray(b"c"), True], "n": (1, 2)}
    )
    assert made == {"key": "a", "list": ["b", b"c", True], "n": (1, 2)}
    assert [type(key) for key in made] == [str, str, str] and type(made["list"][0]) is str


@pytest.mark.parametrize("check", [independent_copy, check_values])
@pytest.mark.parametrize(
    "message",
    [
        None,
        [("a", 1)],
        {"__asgi_channel__": "x!y"},
        {1: "a"},
        {"a": object()},
        {"a": {1: 2}},
        {"a": [{1: 2}]},
        {"a": {"b": {3}}},
        {"a": lambda: None},
    ],
    ids=[
        *("no dict", "pairs", "the reserved key", "a key that is no text", "an object", "a nested key"),
        *("a key in a list", "a set", "a function"),
    ],
)
def test_what_no_message_may_be_is_refused(check, message):
    with pytest.raises(TypeError):
        check(message)


def test_endless_nesting_is_refused():
    endless = []
    endless.append(endless)
    for check in (independent_copy, check_values):
        with pytest.raises(TypeError):
            check({"a": {"b": endless}})


def test_a_given_message_is_not_copied():
    message = {"headers": [(b"a", b"b")], "body": b"x" * 1000, "daphne": {"worker": "w"}, "status": 200}
    kept, size = owned(message)
    assert kept is message
    assert 1000 < size < independent_copy(message)[1] + 100


@pytest.mark.parametrize("value", [bytearray(b"x"), memoryview(b"x"), (1, 2), [memoryview(b"x").toreadonly]])
def test_what_is_no_plain_message_is_copied_or_refused_also_when_given(value):
    try:
        expected = independent_copy({"a": value})
    except TypeError:
        with pytest.raises(TypeError):
            owned({"a": value})
    else:
        assert owned({"a": value}) == expected
