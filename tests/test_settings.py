"""Tests of daphne.settings: defaults, precedence, and every wrong value named at once."""

import dataclasses

import pytest

from daphne.errors import ConfigurationError, InvalidSettings
from daphne.settings import (
    COMMAND_LINE,
    ENVIRONMENT,
    OPTIONS,
    Settings,
    environment_values,
    settings_from,
)


def test_defaults_are_allowed_values():
    settings = Settings()
    for name, option in OPTIONS.items():
        value = getattr(settings, name)
        assert option.read(value) == value


def test_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Settings().port = 1


def test_every_option_says_what_it_does():
    for name, option in OPTIONS.items():
        assert len(option.help) > 8, name
        assert not option.help.endswith("."), name
    assert len({option.help for option in OPTIONS.values()}) == len(OPTIONS)


def test_python_values_become_the_proper_types():
    settings = Settings(trusted_proxies=["10.0.0.0/8"], ws_protocols=["chat"], http_timeout=2.5)
    assert settings.trusted_proxies == ("10.0.0.0/8",)
    assert settings.ws_protocols == ("chat",)
    assert settings.http_timeout == 2.5


def test_wrong_python_values_are_named_together():
    with pytest.raises(InvalidSettings) as caught:
        Settings(port=70000, lifespan="maybe")
    assert [problem.partition(":")[0] for problem in caught.value.problems] == ["lifespan", "port"]
    assert isinstance(caught.value, ConfigurationError)
    assert caught.value.exit_status == 2


def test_later_sources_win():
    settings = settings_from(
        (ENVIRONMENT, {"port": "1", "http_timeout": "7", "no_http2": "1"}),
        ("daphne.toml", {"port": 2, "ping-interval": 3}),
        (COMMAND_LINE, {"port": "3"}),
    )
    assert (settings.port, settings.http_timeout, settings.ping_interval) == (3, 7, 3)
    assert settings.http2 is False
    assert settings.ping_timeout == 30


@pytest.mark.parametrize("key", ["host", "bind", "BIND", "--bind"])
def test_a_key_is_a_field_or_a_flag(key):
    assert settings_from(("daphne.toml", {key: "::1"})).host == "::1"


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [("no_http2", "yes", False), ("no_http2", False, True), ("http2", "0", False), ("http2", True, True)],
)
def test_a_switch_has_two_keys(key, value, expected):
    assert settings_from(("daphne.toml", {key: value})).http2 is expected


def test_no_server_name():
    assert settings_from((ENVIRONMENT, {"no_server_name": "1"})).server_name == ""
    assert settings_from((ENVIRONMENT, {"no_server_name": "0"})).server_name == "daphne"


def test_every_problem_of_every_source_is_named():
    with pytest.raises(InvalidSettings) as caught:
        settings_from(
            (ENVIRONMENT, {"port": "tcp"}),
            ("daphne.toml", {"ping-intervall": 3, "max-body-size": -1, "colour": "red"}),
            (COMMAND_LINE, {"verbosity": "4", "host": "ok"}),
        )
    assert caught.value.problems == [
        "DAPHNE_PORT: 'tcp' is not allowed; it takes a whole number from 0 to 65535",
        "daphne.toml: ping-intervall: there is no such setting; did you mean ping_interval?",
        "daphne.toml: max-body-size: -1 is not allowed; it takes a whole number, 0 or more",
        "daphne.toml: colour: there is no such setting",
        "--verbosity: '4' is not allowed; it takes a whole number from 0 to 3",
    ]


@pytest.mark.parametrize("name", ["proxy_headers_host", "proxy_headers_port"])
def test_the_name_of_a_proxys_header_needs_proxy_headers(name):
    assert getattr(settings_from(("a", {name: "X-Mine", "proxy_headers": True})), name) == "X-Mine"
    for others in ({}, {"proxy_headers": "0"}):
        with pytest.raises(InvalidSettings, match="only together with --proxy-headers"):
            settings_from(("a", {name: "X-Mine", **others}))


def test_the_connect_timeout_stands_for_the_handshake_timeout_too():
    alone = settings_from(("a", {"websocket_connect_timeout": 20}))
    assert (alone.websocket_connect_timeout, alone.websocket_handshake_timeout) == (20, 20)
    both = settings_from(("a", {"websocket_connect_timeout": 20, "websocket_handshake_timeout": 3}))
    assert (both.websocket_connect_timeout, both.websocket_handshake_timeout) == (20, 3)
    assert settings_from().websocket_handshake_timeout == 5


def test_environment_picks_flags_only():
    environ = {
        "DAPHNE_BIND": "::1",
        "DAPHNE_HOST": "not a flag",
        "DAPHNE_NO_DATE_HEADER": "1",
        "DAPHNE_TEST_REQUIRE_PROGRAMS": "1",
        "DAPHNE_STRICT_HOST": "0",
        "PORT": "1",
        "DAPHNE_ACCESS_LOG": "",
        "DAPHNE_SERVER_NAME": "",
    }
    assert environment_values(environ) == {"bind": "::1", "no_date_header": "1", "server_name": ""}


def test_what_kubernetes_writes_is_no_port():
    assert environment_values({"DAPHNE_PORT": "tcp://10.3.245.137:8000"}) == {}


def test_every_flag_is_a_variable():
    for option in OPTIONS.values():
        for flag in filter(None, (option.flag, option.off_flag)):
            variable = "DAPHNE_" + flag.removeprefix("--").replace("-", "_").upper()
            assert list(environment_values({variable: "1"}).values()) == ["1"], flag
