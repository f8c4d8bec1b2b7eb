"""`manage.py runserver`, for real: what it says, serves, logs and refuses."""

from __future__ import annotations

import itertools
import json
import os
import re
import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

import daphne
from tests.servers import Address, Process

pytest.importorskip("django")
websockets = pytest.importorskip("websockets.sync.client")

from tests.django.commands import ANY_PORT, ended, environment, manage, runserver, where  # noqa: E402

TRY: dict[str, Any] = {"timeout": 60, "verify": False}


def test_the_banner_and_a_line_for_each_exchange(tmp_path: Path) -> None:
    with runserver("--noreload", folder=tmp_path) as process:
        for path in ("/plain", "/nothing-here", "/broken"):
            httpx.get(process.address.url(path), **TRY)
        with websockets.connect(process.address.url("/talk", "ws")) as client:
            client.send("hello")
            assert client.recv(timeout=60) == "hello"
        with pytest.raises(Exception, match="403"), websockets.connect(process.address.url("/refused", "ws")):
            pass
        process.wait_for(re.compile("REJECT /refused"))
    banner = f"Starting ASGI/Daphne version {daphne.__version__} development server at http://127.0.0.1:0/\n"
    assert "System check identified no issues" in process.output
    assert banner in process.output and "Quit the server with CONTROL-C." in process.output
    for line in (
        r"HTTP GET /plain 200 \[\d+\.\d\d, 127\.0\.0\.1:\d+\]",
        r"HTTP GET /nothing-here 404 \[\d+\.\d\d, 127\.0\.0\.1:\d+\]",
        r"HTTP GET /broken 500 \[\d+\.\d\d, 127\.0\.0\.1:\d+\]",
        r"WebSocket HANDSHAKING /talk \[127\.0\.0\.1:\d+\]",
        r"WebSocket CONNECT /talk \[127\.0\.0\.1:\d+\]",
        r"WebSocket DISCONNECT /talk \[127\.0\.0\.1:\d+\]",
        r"WebSocket REJECT /refused \[127\.0\.0\.1:\d+\]",
    ):
        assert len(re.findall(line, process.output)) == 1, (line, process.output)


def test_an_application_that_uses_the_reactor_early(tmp_path: Path) -> None:
    applications = ["daphne", "tests.django.project.with_reactor"]
    with runserver("--noreload", folder=tmp_path, settings={"INSTALLED_APPS": applications}) as process:
        assert httpx.get(process.address.url("/plain"), **TRY).status_code == 200
        process.wait_for(re.compile("the reactor runs"))


def test_pages_uploads_and_settings_reach_the_project(tmp_path: Path) -> None:
    settings = {"FORCE_SCRIPT_NAME": "/below", "DAPHNE_SERVER_NAME": "mine"}
    with runserver("--noreload", folder=tmp_path, settings=settings) as process:
        answer = httpx.get(process.address.url("/below/scope"), **TRY)
        assert answer.json()["root_path"] == "/below"
        assert answer.headers["server"] == "mine"
        sent = httpx.post(process.address.url("/upload"), content=b"x" * 2_000_000, **TRY)
        assert sent.text == "2000000"


@pytest.mark.parametrize(
    "arguments, debug, status",
    [((), True, 200), (("--nostatic",), True, 404), ((), False, 404), (("--insecure",), False, 200)],
    ids=["debug", "nostatic", "no debug", "insecure"],
)
def test_static_files(arguments: tuple[str, ...], debug: bool, status: int, tmp_path: Path) -> None:
    with runserver("--noreload", *arguments, folder=tmp_path, settings={"DEBUG": debug}) as process:
        answer = httpx.get(process.address.url("/static/project.css"), **TRY)
        assert answer.status_code == status
        assert ("teal" in answer.text) == (status == 200)


def test_without_staticfiles_its_options_are_not_there() -> None:
    status, output = ended("runserver", "--nostatic", settings={"INSTALLED_APPS": ["daphne"]})
    assert status == 2
    assert "unrecognized arguments: --nostatic" in output


def test_noasgi_is_djangos_own_server(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = Address(*free.getsockname())
    process = Process(
        manage("runserver", address.authority, "--noasgi", "--noreload"),
        tmp_path / "runserver.log",
        environment=environment(),
    )
    try:
        process.wait_until(address.accepts, "a listener")
        answer = httpx.get(address.url("/plain"), **TRY)
        assert answer.text == "plain"
        assert "WSGIServer" in answer.headers["server"]
        assert "ASGI" not in process.output
    finally:
        process.stop()  # with the status of a process that a signal ended: it is not ours


def test_tls_with_a_certificate_of_its_own_speaks_http2(tmp_path: Path) -> None:
    with runserver("--noreload", "--tls", folder=tmp_path) as process:
        with httpx.Client(http2=True, verify=False, timeout=60) as client:
            answer = client.get(process.address.url("/scope"))
        assert answer.http_version == "HTTP/2"
        assert answer.json()["scheme"] == "https" and answer.json()["http_version"] == "2"
        trust_all = ssl._create_unverified_context()
        with websockets.connect(process.address.url("/talk", "ws"), ssl=trust_all) as client:
            client.send("secret")
            assert client.recv(timeout=60) == "secret"
    assert "development server at https://127.0.0.1:0/" in process.output


@pytest.mark.parametrize(
    "settings, arguments, limit",
    [
        ({}, (), 1048576),
        ({"DAPHNE_WEBSOCKET_MAX_MESSAGE_SIZE": 100}, (), 100),
        ({"DAPHNE_WEBSOCKET_MAX_MESSAGE_SIZE": 100}, ("--websocket-max-message-size", "200"), 200),
    ],
    ids=["default", "setting", "option before setting"],
)
def test_the_size_of_messages(
    settings: dict[str, Any], arguments: tuple[str, ...], limit: int, tmp_path: Path
) -> None:
    with (
        runserver("--noreload", *arguments, folder=tmp_path, settings=settings) as process,
        websockets.connect(process.address.url("/talk", "ws"), max_size=None) as client,
    ):
        client.send("x" * limit)
        assert len(client.recv(timeout=60)) == limit
        client.send("x" * (limit + 1))
        with pytest.raises(Exception, match="1009"):
            client.recv(timeout=60)


def test_it_loads_the_project_anew_when_a_file_changes(tmp_path: Path) -> None:
    module = tmp_path / "changing_module.py"
    module.write_text("VALUE = 'before'\n")
    path = os.pathsep.join([str(tmp_path), os.environ["PYTHONPATH"]])
    more = {"PROJECT_CHANGING": module.stem, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
    later = itertools.count(time.time() + 5)

    def touch_until_reloaded() -> bool:
        # Django looks once a second, and a change before its first look is none.
        os.utime(module, (moment := next(later), moment))
        return "changed, reloading" in process.output

    with runserver(folder=tmp_path, **more) as process:
        assert httpx.get(process.address.url("/value"), **TRY).text == "before"
        module.write_text("VALUE = 'after'\n")
        process.wait_until(touch_until_reloaded, "the reloader")
        process.address = where(process, times=2)
        assert httpx.get(process.address.url("/value"), **TRY).text == "after"


@pytest.mark.parametrize("reloading", [False, True], ids=["noreload", "reloader"])
def test_a_busy_port_ends_it_with_status_1(reloading: bool) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        status, output = ended("runserver", f"127.0.0.1:{port}", *(() if reloading else ("--noreload",)))
    assert status == 1
    said = re.findall(rf"^Listen failure: .*{port}.*Address already in use$", output, re.MULTILINE)
    assert len(said) == output.count("already in use") == 1, output
    assert "Traceback" not in output


@pytest.mark.parametrize(
    "application, says",
    [
        (None, "CommandError: You have not set ASGI_APPLICATION"),
        ("application", "ASGI_APPLICATION 'application' is not of the form"),
        ("tests.django.project.nothing.application", "Cannot import ASGI_APPLICATION module"),
        ("tests.django.project.asgi.nothing", "Cannot find 'nothing' in ASGI_APPLICATION module"),
    ],
    ids=["none", "no module", "not there", "no attribute"],
)
def test_asgi_application_must_name_one(application: str | None, says: str) -> None:
    status, output = ended("runserver", ANY_PORT, "--noreload", settings={"ASGI_APPLICATION": application})
    assert status == 1
    assert says in output


def test_a_wrong_setting_is_named() -> None:
    status, output = ended(
        "runserver", ANY_PORT, "--noreload", settings={"DAPHNE_PING_TIMEOUT": "soon", "DAPHNE_HTTP2": "?"}
    )
    assert status == 1
    assert "ping_timeout: 'soon'" in output and "http2: '?'" in output
    assert "Traceback" not in output


def test_every_setting_is_looked_at() -> None:
    wrong = {"HTTP_TIMEOUT": "a", "WEBSOCKET_HANDSHAKE_TIMEOUT": -1e99, "ROOT_PATH": 5, "WS_PROTOCOL": "(,)"}
    settings = {f"DAPHNE_{name}": value for name, value in wrong.items()}
    status, output = ended("runserver", ANY_PORT, "--noreload", settings=settings)
    assert status == 2 and "--http_timeout: invalid int value: 'a'" in output  # as on the command line
    del settings["DAPHNE_HTTP_TIMEOUT"]
    status, output = ended("runserver", ANY_PORT, "--noreload", settings=settings)
    assert status == 1
    assert "root_path: 5 is not allowed" in output and "ws_protocols: '(,)' is not allowed" in output


@pytest.mark.parametrize(
    "name, value, says",
    [
        ("PORT", 8001, "runserver listens where its argument says"),
        ("ENDPOINT", ["tcp:8001"], "runserver listens where its argument says"),
        ("ACCESS_LOG", "access.log", "runserver logs as Django's LOGGING says"),
    ],
)
def test_a_setting_that_would_not_be_heeded_is_an_error(name: str, value: object, says: str) -> None:
    status, output = ended("runserver", ANY_PORT, "--noreload", settings={f"DAPHNE_{name}": value})
    assert status == 1
    assert f"Error: DAPHNE_{name}: {says}" in output and "Traceback" not in output


def test_the_root_path_may_be_the_servers_own_setting(tmp_path: Path) -> None:
    with runserver("--noreload", folder=tmp_path, settings={"DAPHNE_ROOT_PATH": "/below"}) as process:
        assert httpx.get(process.address.url("/scope"), **TRY).json()["root_path"] == "/below"


def test_the_order_of_installed_apps_is_checked() -> None:
    wrong = ["django.contrib.staticfiles", "daphne"]
    status, output = ended("check", settings={"INSTALLED_APPS": wrong})
    assert status == 1
    assert (
        "(daphne.E001) Daphne must be listed before django.contrib.staticfiles in INSTALLED_APPS." in output
    )
    assert ended("check")[0] == 0


HOOKS = """
import django, json
django.setup()
from django.core.management import call_command
from daphne.management.commands.runserver import Command

class Fake:
    def __init__(self, **arguments):
        arguments["application"] = callable(arguments["application"])
        arguments["action_logger"] = callable(arguments["action_logger"])
        print("ARGUMENTS", json.dumps(arguments))
    def run(self):
        print("RAN")

class Mine(Command):
    server_cls = Fake
    default_port = "7999"
    default_addr = "127.0.0.2"

call_command(Mine(), use_reloader=False, http_timeout=7)
"""


def test_programs_put_their_own_server_and_defaults_in_its_place() -> None:
    done = subprocess.run(
        [sys.executable, "-c", HOOKS],
        env={**os.environ, **environment()},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "RAN" in done.stdout, done.stderr
    arguments = json.loads(re.search("ARGUMENTS (.*)", done.stdout)[1])  # type: ignore[index]
    assert arguments == {
        "application": True,
        "action_logger": True,
        "endpoints": ["tcp:port=7999:interface=127.0.0.2"],
        "signal_handlers": True,
        "http_timeout": 7,
        "root_path": "",
        "websocket_handshake_timeout": 5,
        "websocket_max_message_size": 1048576,
        "websocket_max_frame_size": 1048576,
    }
