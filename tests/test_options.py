"""Tests of daphne.options: what each kind of value reads and refuses."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daphne.options import (
    Choice,
    FieldName,
    FieldText,
    LogFormat,
    Octal,
    Option,
    Peers,
    Seconds,
    Subprotocols,
    Switch,
    Text,
    Whole,
    Words,
)

READ = [
    (Whole(0, 65535), "0", 0),
    (Whole(0, 65535), " 65535 ", 65535),
    (Whole(0, 65535), 8000, 8000),
    (Whole(), "-1", -1),
    (Seconds(), "2.5", 2.5),
    (Seconds(), "30", 30),
    (Seconds(), 0, 0),
    (Seconds(None), "-1", -1),
    (Octal(), "660", 0o660),
    (Octal(), "0o600", 0o600),
    (Octal(), 0o666, 0o666),
    (Switch(), "1", True),
    (Switch(), "Yes", True),
    (Switch(), "off", False),
    (Switch(), False, False),
    (Choice(("auto", "on", "off")), "on", "on"),
    (Text("PATH"), "/run/daphne.sock", "/run/daphne.sock"),
    (FieldName(), "X-Real-IP", "X-Real-IP"),
    (FieldName(), "", ""),
    (FieldText(), "", ""),
    (FieldText(), "my server/1", "my server/1"),
    (LogFormat(), "%(message)s", "%(message)s"),
    (Words(), "tcp:80 unix:/a", ("tcp:80", "unix:/a")),
    (Words(), ["ssl:443:privateKey=a b"], ("ssl:443:privateKey=a b",)),
    (Subprotocols(), "chat, graphql-ws  wamp", ("chat", "graphql-ws", "wamp")),
    (Subprotocols(), ["chat"], ("chat",)),
    (Peers(), "10.0.0.0/8, ::1,unix", ("10.0.0.0/8", "::1", "unix")),
    (Peers(), "none", ()),
    (Peers(), (), ()),
    (Peers(), "*", ("*",)),
]

REFUSED = [
    (Whole(0, 65535), "65536"),
    (Whole(0, 65535), "-1"),
    (Whole(0, 65535), "80.0"),
    (Whole(0, 65535), "1_000"),
    (Whole(0, 65535), "٣"),
    (Whole(0, 65535), 80.5),
    (Whole(0, 65535), True),
    (Whole(0, 65535), None),
    (Seconds(), "-1"),
    (Seconds(), "nan"),
    (Seconds(), "inf"),
    (Seconds(), math.inf),
    (Seconds(), 1e300),
    (Seconds(), "soon"),
    (Seconds(), True),
    (Octal(), "888"),
    (Octal(), "1777"),
    (Octal(), 6.0),
    (Switch(), "maybe"),
    (Switch(), 2),
    (Choice(("auto", "on", "off")), "ON"),
    (Choice(("auto", "on", "off")), 1),
    (Text(), "a\nb"),
    (Text(), b"a"),
    (FieldName(), "X Forwarded"),
    (FieldText(), "a\r\nb"),
    (FieldText(), "naïve"),
    (LogFormat(), "%(message"),
    (LogFormat(), 1),
    (Words(), 5),
    (Words(), [""]),
    (Words(), [1]),
    (Subprotocols(), ["project.asgi:application"]),
    (Peers(), "10.0.0.300"),
    (Peers(), "none,unix"),
    (Peers(), ["localhost"]),
]


@pytest.mark.parametrize(("kind", "value", "expected"), READ, ids=repr)
def test_reads(kind, value, expected):
    read = kind.read(value)
    assert read == expected
    assert type(read) is type(expected)


@pytest.mark.parametrize(("kind", "value"), REFUSED, ids=repr)
def test_refuses_and_says_what_it_takes(kind, value):
    option = Option(kind, "Group", ("--flag",), "help")
    with pytest.raises(ValueError, match="is not allowed; it takes ") as caught:
        option.read(value)
    assert kind.allowed in str(caught.value)
    assert kind.metavar


@pytest.mark.parametrize("kind", {type(kind): kind for kind, *_ in READ}.values(), ids=repr)
@given(value=st.one_of(st.text(), st.floats(), st.integers(), st.binary(), st.none(), st.lists(st.text())))
def test_refuses_nothing_but_with_value_error(kind, value):
    try:
        read = kind.read(value)
    except (ValueError, TypeError):
        return
    assert kind.read(read) == read


def test_an_optional_value_may_be_missing():
    assert Option(Whole(), "Group", (), "help", optional=True).read(None) is None
    with pytest.raises(ValueError, match="None is not allowed"):
        Option(Whole(), "Group", (), "help").read(None)


def test_range_in_words():
    assert Whole(0, 65535).allowed == "a whole number from 0 to 65535"
    assert Whole(1).allowed == "a whole number, 1 or more"
    assert Seconds(None).allowed == "a number of seconds"
    assert Seconds().allowed == "a number of seconds, 0 or more"


def test_spellings():
    option = Option(Switch(), "Group", ("-x", "--http2"), "help", off=False)
    assert (option.flag, option.off_flag) == ("--http2", "--no-http2")
    hidden = Option(Switch(), "Group", (), "help", off=False)
    assert (hidden.flag, hidden.off_flag) == ("", "")
