"""Tests of daphne.cli: from arguments and variables to the server's keywords, and every way to fail."""

import argparse
import logging
import os
import socket
import subprocess
import sys
import textwrap

import pytest

from daphne import cli
from daphne.cli import CommandLineInterface
from daphne.errors import EndpointError, LifespanError
from daphne.settings import OPTIONS, Settings

APPLICATION = f"{__name__}:application"
LAYER = f"{__name__}:layer"


async def application(scope, receive, send):
    pass


class Layer:
    extensions = ()

    def send(self, channel, message):
        pass

    def receive(self, channels, block=False):
        pass


layer = Layer()


async def fails_to_start(scope, receive, send):
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "the database is away"})


class FakeServer:
    """Keeps the keywords and does nothing."""

    abort_start = False

    def __init__(self, **keywords):
        self.keywords = keywords
        self.ran = False

    def run(self):
        self.ran = True


class FakeCommand(CommandLineInterface):
    server_class = FakeServer


@pytest.fixture(autouse=True)
def surroundings(monkeypatch):
    """No variable of the machine counts, and what a command changes in the process is put back."""
    for variable in [name for name in cli.os.environ if name.startswith("DAPHNE_")]:
        monkeypatch.delenv(variable)
    monkeypatch.setattr(sys, "path", sys.path[:])
    access_logger = logging.getLogger("daphne.access")
    before = (access_logger.level, access_logger.propagate)
    yield
    for handler in access_logger.handlers[:]:
        access_logger.removeHandler(handler)
        handler.close()
    access_logger.setLevel(before[0])
    access_logger.propagate = before[1]
    sys.path_importer_cache.pop(".", None)  # Python would go on looking where "." was


def keywords(*args, target=APPLICATION, command=FakeCommand):
    interface = command()
    interface.run([*args, *([target] if target else [])])
    assert interface.server.ran
    return interface.server.keywords


def failure(capsys, *args, command=FakeCommand):
    """The status and the lines on standard error."""
    with pytest.raises(SystemExit) as caught:
        command().run(args)
    return caught.value.code, capsys.readouterr().err.splitlines()


# What is served


def test_the_target_is_loaded():
    assert keywords()["application"] is application
    assert keywords(target=LAYER)["application"] is layer


def test_the_directory_is_importable(tmp_path, monkeypatch):
    (tmp_path / "asgi_in_the_directory.py").write_text("application = print")
    monkeypatch.chdir(tmp_path)
    assert keywords(target="asgi_in_the_directory:application")["application"] is print
    assert sys.path[0] == "."


def test_loading_may_be_overridden():
    class Frozen(FakeCommand):
        def load_asgi_app(self, path):
            return path.upper()

    assert keywords(target="a:b", command=Frozen)["application"] == "A:B"


@pytest.mark.parametrize(
    "args",
    [
        ["--ws-protocol", "a", "b", APPLICATION],
        [APPLICATION, "--ws-protocol", "a", "b"],
        ["--ws-protocol", "a", "b", "--", APPLICATION],
        ["--ws-protocol", "a", "b", APPLICATION, "-p", "1"],
        ["--ws-protocol", "x", APPLICATION, "--ws-protocol", "a", "b"],
        ["--ws-protocol", "a", "b", "-p", "1", APPLICATION],
    ],
)
def test_ws_protocol_leaves_the_target_alone(args):
    found = keywords(*args, target=None)
    assert (found["application"], found["ws_protocols"]) == (application, ("a", "b"))


def test_ws_protocol_without_a_target(capsys):
    assert failure(capsys, "--ws-protocol", "a", "b") == (
        2,
        ["daphne: error: the following arguments are required: target (see daphne --help)"],
    )


# Where it listens


@pytest.mark.parametrize(
    ("args", "endpoints"),
    [
        ([], ["tcp:port=8000:interface=127.0.0.1"]),
        (["-p", "123"], ["tcp:port=123:interface=127.0.0.1"]),
        (["-p", "0"], ["tcp:port=0:interface=127.0.0.1"]),
        (["-b", "10.0.0.1"], ["tcp:port=8000:interface=10.0.0.1"]),
        (["-b", "200a::1"], [r"tcp:port=8000:interface=200a\:\:1"]),
        (["-b", "[200a::1]", "-p", "1"], [r"tcp:port=1:interface=200a\:\:1"]),
        (["-u", "/tmp/d.sock"], ["unix:/tmp/d.sock"]),
        (["-u", "/tmp/d.sock", "--unix-socket-mode", "660"], ["unix:/tmp/d.sock:mode=660"]),
        (["--fd", "5"], ["fd:fileno=5"]),
        (["--fd", "0"], ["fd:fileno=0"]),
        (["-e", "ssl:443:privateKey=k.pem"], ["ssl:443:privateKey=k.pem"]),
        (
            ["-u", "/tmp/d.sock", "-e", "ssl:443", "-p", "80", "--fd", "3", "-e", "a:1"],
            ["a:1", "fd:fileno=3", "ssl:443", "tcp:port=80:interface=127.0.0.1", "unix:/tmp/d.sock"],
        ),
    ],
)
def test_endpoints(args, endpoints):
    assert keywords(*args)["endpoints"] == endpoints


def test_the_default_address_is_looked_up_in_the_module(monkeypatch):
    monkeypatch.setattr(cli, "DEFAULT_HOST", "10.0.0.9")
    monkeypatch.setattr(cli, "DEFAULT_PORT", 9)
    assert keywords()["endpoints"] == ["tcp:port=9:interface=10.0.0.9"]


# What the server is told


def test_the_server_gets_todays_defaults():
    found = keywords()
    for name in found.keys() & OPTIONS.keys() - {"endpoints"}:
        assert found[name] == getattr(Settings(), name), name
    told = {name for name, option in OPTIONS.items() if name not in found}
    assert told == {
        "host",
        "port",
        "unix_socket",
        "unix_socket_mode",
        "file_descriptor",
        "log_fmt",
        "access_log",
        "access_log_format",
        "proxy_headers",
        "proxy_headers_host",
        "proxy_headers_port",
        "proxy_headers_proto",
    }


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (["-t", "7"], {"http_timeout": 7}),
        (["--websocket_timeout", "-1"], {"websocket_timeout": -1}),
        (["--websocket-timeout", "9"], {"websocket_timeout": 9}),
        (
            ["--websocket_connect_timeout", "9"],
            {"websocket_connect_timeout": 9, "websocket_handshake_timeout": 9},
        ),
        (["--no-server-name"], {"server_name": ""}),
        (["-s", "mine"], {"server_name": "mine"}),
        (["--no-date-header", "--no-http2"], {"date_header": False, "http2": False}),
        (["--root-path", "/sub"], {"root_path": "/sub"}),
        (["--lifespan", "on", "--uvloop", "off"], {"lifespan": "on", "uvloop": "off"}),
        (["--worker", "a:b"], {"worker": "a:b"}),
        (["--trusted-proxies", "none"], {"trusted_proxies": ()}),
        (["-v", "3"], {"verbosity": 3}),
        (["--force-sync"], {"force_sync": True}),
    ],
)
def test_settings_reach_the_server(args, expected):
    found = keywords(*args)
    assert {name: found[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("args", "names"),
    [
        ([], (None, None, None)),
        (["--proxy-headers"], ("X-Forwarded-For", "X-Forwarded-Port", "X-Forwarded-Proto")),
        (
            ["--proxy-headers", "--proxy-headers-host", "X-A"],
            ("X-A", "X-Forwarded-Port", "X-Forwarded-Proto"),
        ),
        (["--proxy-headers", "--proxy-headers-port", "X-B"], ("X-Forwarded-For", "X-B", "X-Forwarded-Proto")),
    ],
)
def test_proxy_headers(args, names):
    found = keywords(*args)
    assert names == tuple(found[f"proxy_forwarded_{kind}_header"] for kind in ("address", "port", "proto"))


@pytest.mark.parametrize("flag", ["--proxy-headers-host", "--proxy-headers-port"])
def test_the_name_of_a_header_needs_proxy_headers(flag, monkeypatch, capsys):
    with pytest.raises(argparse.ArgumentError) as caught:
        FakeCommand().run([flag, "X-A", APPLICATION])
    assert caught.value.argument_name == flag
    monkeypatch.setattr(sys, "argv", ["daphne", flag, "X-A", APPLICATION])
    with pytest.raises(SystemExit) as ended:
        FakeCommand.entrypoint()
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"daphne: error: argument {flag}: only together with --proxy-headers (see daphne --help)"


def test_a_flag_wins_over_its_variable(monkeypatch):
    monkeypatch.setenv("DAPHNE_HTTP_TIMEOUT", "7")
    monkeypatch.setenv("DAPHNE_ENDPOINT", "tcp:1 tcp:2")
    monkeypatch.setenv("DAPHNE_NO_HTTP2", "1")
    found = keywords()
    assert (found["http_timeout"], found["endpoints"], found["http2"]) == (7, ["tcp:1", "tcp:2"], False)
    found = keywords("-t", "8", "--http2", "-e", "tcp:3")
    assert (found["http_timeout"], found["endpoints"], found["http2"]) == (8, ["tcp:3"], True)


# Logs


def test_the_first_line_names_the_endpoints_and_the_target(caplog):
    caplog.set_level(logging.INFO, "daphne.cli")
    keywords("-e", "ssl:port=8000:privateKey=privkey.pem", "-p", "1")
    keywords(target=LAYER)
    assert [record.getMessage() for record in caplog.records if record.name == "daphne.cli"] == [
        "Starting server at ssl:port=8000:privateKey=privkey.pem, tcp:port=1:interface=127.0.0.1, "
        f"application {APPLICATION}.",
        f"Starting server at tcp:port=8000:interface=127.0.0.1, channel layer {LAYER}.",
    ]


ENTRY = {"path": "/", "status": 200, "method": "GET", "client": "127.0.0.1:1", "time_taken": 0.5, "size": 3}


@pytest.mark.parametrize(
    ("args", "written"),
    [([], True), (["-v0"], False), (["-v0", "--access-log", "-"], True), (["--access-log", "-"], True)],
)
def test_the_access_log_on_standard_output(args, written, capsys):
    action_logger = keywords(*args)["action_logger"]
    assert (action_logger is not None) == written
    if action_logger:
        action_logger("http", "complete", ENTRY)
        assert '"GET /" 200 3\n' in capsys.readouterr().out


def test_the_access_log_in_a_file_and_a_format(tmp_path, capsys):
    file = tmp_path / "access.log"
    args = ["--access-log", str(file), "--access-log-format", "%(m)s took %(M)s ms"]
    keywords(*args)["action_logger"]("http", "complete", ENTRY)
    assert file.read_text() == "GET took 500 ms\n"
    assert capsys.readouterr().out == ""


def test_programs_may_put_their_own_access_log_in_place(monkeypatch, capsys):
    class Redacted(cli.AccessLogGenerator):
        def write_entry(self, *args, **kwargs):
            self.stream.write("redacted\n")

    monkeypatch.setattr(cli, "AccessLogGenerator", Redacted)
    keywords()["action_logger"]("http", "complete", ENTRY)
    assert capsys.readouterr().out == "redacted\n"


# Failures


@pytest.mark.parametrize(
    ("args", "line"),
    [
        (["-p", "x"], "--port: 'x' is not allowed; it takes a whole number from 0 to 65535"),
        (["-v", "4"], "--verbosity: '4' is not allowed; it takes a whole number from 0 to 3"),
        (
            ["--http-timeout", "-1"],
            "--http-timeout: '-1' is not allowed; it takes a number of seconds, 0 or more",
        ),
        (["--lifespan", "no"], "--lifespan: 'no' is not allowed; it takes auto, on or off"),
        (["--ws-protocol", "a/b"], "--ws-protocol: ['a/b'] is not allowed; it takes names of subprotocols"),
        (["--access-log-format", "%(z)s"], "--access-log-format: '%(z)s' is no part of a format"),
        (
            ["--access-log", "/no/such/folder/log"],
            "--access-log: cannot open '/no/such/folder/log': No such file",
        ),
        (["--log-fmt", "%(nothing)s"], "--log-fmt: '%(nothing)s' is not allowed"),
        (["--nonsense"], "unrecognized arguments: --nonsense"),
    ],
)
def test_a_wrong_option_is_one_line_and_status_2(args, line, capsys):
    status, lines = failure(capsys, APPLICATION, *args)
    assert status == 2
    assert lines[0].startswith(f"daphne: error: {line}")
    assert len(lines) == 1


def test_a_wrong_variable_is_named(monkeypatch, capsys):
    monkeypatch.setenv("DAPHNE_PING_INTERVAL", "often")
    monkeypatch.setenv("DAPHNE_PROXY_HEADERS", "perhaps")
    status, lines = failure(capsys, APPLICATION)
    assert status == 2
    assert sorted(line.split(":")[2].strip() for line in lines) == [
        "DAPHNE_PING_INTERVAL",
        "DAPHNE_PROXY_HEADERS",
    ]


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("project", "is not of the form module:attribute"),
        ("no_such_module_here:application", "there is no module 'no_such_module_here'"),
        (f"{__name__}:nothing", "has no attribute 'nothing'"),
    ],
)
def test_a_wrong_target_is_one_line_and_status_1(target, says, capsys):
    status, lines = failure(capsys, target)
    assert status == 1
    assert len(lines) == 1 and says in lines[0] and lines[0].startswith("daphne: error: ")


@pytest.mark.parametrize("error", [EndpointError("port 80:\n in use"), LifespanError("the database is away")])
def test_a_server_that_cannot_start_is_one_line_and_status_1(error, capsys):
    class Failing(FakeCommand):
        class server_class(FakeServer):
            def run(self):
                raise error

    status, lines = failure(capsys, APPLICATION, command=Failing)
    assert (status, lines) == (1, ["daphne: error: " + " ".join(str(error).split())])


def test_a_server_that_gives_up_is_status_1(capsys):
    class Failing(FakeCommand):
        class server_class(FakeServer):
            abort_start = True

    assert failure(capsys, APPLICATION, command=Failing)[0] == 1


# The command


def daphne(*args, cwd=None):
    command = [sys.executable, "-m", "daphne", *args]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, cwd=cwd, env={**os.environ, "COLUMNS": "80"}
    )


def test_version():
    assert daphne("--version").stdout.startswith("daphne 5.")


def test_help_is_grouped_and_fits_80_columns():
    ended = daphne("--help")
    assert ended.returncode == 0
    assert max(map(len, ended.stdout.splitlines())) <= 80
    for option in OPTIONS.values():
        if option.flag:
            assert option.flag in ended.stdout
            assert f"\n{option.group}:\n" in ended.stdout


def test_without_a_target():
    ended = daphne()
    assert ended.returncode == 2
    assert ended.stderr == "daphne: error: the following arguments are required: target (see daphne --help)\n"


def test_a_target_that_fails_shows_no_traceback(tmp_path):
    (tmp_path / "broken.py").write_text(
        textwrap.dedent("""
        def fail():
            raise RuntimeError("the key is missing")
        fail()
    """)
    )
    ended = daphne("broken:application", cwd=tmp_path)
    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    assert line.startswith("daphne: error: importing 'broken' failed: RuntimeError: the key is missing (")
    assert line.endswith("broken.py:3)")
    assert "Traceback" in daphne("-v2", "broken:application", cwd=tmp_path).stderr


@pytest.fixture
def busy_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield str(listener.getsockname()[1])


def test_a_busy_port_is_one_line_and_status_1(busy_port):
    ended = daphne("-p", busy_port, APPLICATION)
    assert ended.returncode == 1
    errors = [line for line in ended.stderr.splitlines() if busy_port in line and "Address already" in line]
    assert len(errors) == 1 and " ERROR    Listen failure: Cannot listen on " in errors[0]
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["-e", "nonsense:80", APPLICATION], "nonsense"),
        (["-e", "ssl:0:privateKey=/no/such/key.pem", APPLICATION], "/no/such/key.pem"),
        (["--fd", "99", APPLICATION], "fd:fileno=99"),
        (["-u", "/no/such/folder/d.sock", APPLICATION], "/no/such/folder/d.sock"),
        (["-p", "0", "json:__name__"], "neither a channel layer"),
        (["-p", "0", "--lifespan", "on", f"{__name__}:fails_to_start"], "the database is away"),
    ],
)
def test_what_cannot_start_is_one_line_and_status_1(args, says):
    ended = daphne(*args)
    assert ended.returncode == 1
    errors = [
        line
        for line in ended.stderr.splitlines()
        if line.startswith("daphne: error: ") or " ERROR    Listen failure: " in line
    ]
    assert len(errors) == 1 and says in errors[0]
    assert "Traceback" not in ended.stderr


def test_a_wrong_number_of_threads_is_one_line(monkeypatch):
    monkeypatch.setenv("ASGI_THREADS", "some")
    ended = daphne("-p", "0", APPLICATION)
    assert ended.returncode == 2 and "Traceback" not in ended.stderr
    assert ended.stderr.splitlines()[-1].startswith("daphne: error: ASGI_THREADS: 'some' is not allowed")


def test_a_worker_without_a_channel_layer_is_refused():
    ended = daphne("-p", "0", "--worker", APPLICATION, APPLICATION)
    assert (ended.returncode, ended.stderr.splitlines()[-1]) == (
        2,
        "daphne: error: a worker is only for a channel layer, and the target is an application",
    )


@pytest.mark.parametrize(
    "arguments, says",
    [
        (
            ["--access-log-format", "%(zz)s", APPLICATION],
            "--access-log-format: '%(zz)s' is no part of a format",
        ),
        (["--worker", APPLICATION, APPLICATION], "a worker is only for a channel layer"),
        (["--worker", "os:name", LAYER], "os:name is not an ASGI application: it is not callable"),
        ([], "the following arguments are required: target"),
    ],
)
def test_checking_finds_whatever_would_keep_it_from_starting(capsys, arguments, says):
    status, lines = failure(capsys, "--check-config", *arguments)
    assert status == 2 and len(lines) == 1 and says in lines[0]


def test_checking_without_a_target_names_no_other(capsys):
    status, lines = failure(capsys, "--check-config", "--http-timeout", "x")
    assert status == 2 and [line.partition(": error: ")[2][:20] for line in lines] == [
        "--http-timeout: 'x' ",
        "there is no target",
    ]


def test_a_worker_that_cannot_be_called_is_refused():
    ended = daphne("-p", "0", "--worker", "os:name", LAYER)
    assert ended.returncode == 1 and "os:name is not an ASGI application" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("path, warned", [("/app", False), ("", False), ("app", True), ("/app/", True)])
def test_a_root_path_of_another_form_is_warned_of(path, warned, caplog):
    """It is passed on all the same, as by daphne 1 and 4."""
    assert keywords("--root-path", path)["root_path"] == path
    assert ("applications expect a slash" in caplog.text) == warned


def test_checking_looks_at_the_worker_too(capsys):
    status, lines = failure(capsys, "--check-config", "--worker", "nowhere:app", LAYER)
    assert (status, lines) == (2, ["daphne: error: there is no module 'nowhere' (for 'nowhere:app')"])
