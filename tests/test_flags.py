"""Tests of daphne.flags: the spellings that the command line takes."""

import pytest

from daphne.flags import FlagParser, add_flags, given_flags, with_hyphens
from daphne.settings import OPTIONS


def parse(*args):
    parser = FlagParser(prog="daphne")
    add_flags(parser)
    return given_flags(parser.parse_args(args))


def test_only_what_was_given_is_there():
    assert parse() == {}
    assert parse("-p", "0", "--no-http2", "-e", "tcp:1", "-e", "tcp:2") == {
        "port": "0",
        "http2": False,
        "endpoints": ["tcp:1", "tcp:2"],
    }


@pytest.mark.parametrize("name", [name for name, option in OPTIONS.items() if option.flag])
def test_every_flag_takes_hyphens_and_underscores(name):
    option = OPTIONS[name]
    for flag in filter(None, (*option.flags, option.off_flag)):
        underscores = "--" + flag[2:].replace("-", "_") if flag.startswith("--") else flag
        takes_value = option.off is not False and flag != option.off_flag
        for spelling in (flag, underscores):
            assert list(parse(spelling, *(["1"] if takes_value else []))) == [name]
            if takes_value and flag.startswith("--"):
                assert list(parse(spelling + "=1")) == [name]


def test_only_our_flags_are_respelled():
    args = ["--ping_interval=a_b", "--my_flag", "a_b", "-p", "--", "--ping_interval"]
    assert with_hyphens(args) == ["--ping-interval=a_b", "--my_flag", "a_b", "-p", "--", "--ping_interval"]


@pytest.mark.parametrize("timeout", ["-1", "0", "2.5"])
def test_a_negative_value_is_no_flag(timeout):
    assert parse("--websocket_connect_timeout", timeout) == {"websocket_connect_timeout": timeout}


def test_server_name_may_be_none():
    assert parse("--no-server-name") == {"server_name": ""}


def test_a_selection_of_flags():
    parser = FlagParser(prog="daphne-worker")
    assert list(add_flags(parser, ["verbosity", "log_fmt"])) == ["verbosity", "log_fmt"]
    assert given_flags(parser.parse_args(["-v2"])) == {"verbosity": "2"}


def test_an_error_is_one_line(capsys):
    with pytest.raises(SystemExit) as caught:
        parse("--nonsense")
    assert caught.value.code == 2
    assert capsys.readouterr().err == (
        "daphne: error: unrecognized arguments: --nonsense (see daphne --help)\n"
    )
