"""Every name that code for daphne 1.x and 4.x imports is there, with the arguments that it is called with."""

from __future__ import annotations

import importlib
import inspect
import os
import subprocess
import sys
from typing import Any

import pytest

SERVER_4 = (
    "application endpoints signal_handlers action_logger http_timeout request_buffer_size websocket_timeout "
    "websocket_connect_timeout ping_interval ping_timeout root_path proxy_forwarded_address_header "
    "proxy_forwarded_port_header proxy_forwarded_proto_header verbosity websocket_handshake_timeout "
    "websocket_max_message_size websocket_max_frame_size application_close_timeout ready_callable server_name"
)
SERVER_1 = (
    "channel_layer endpoints signal_handlers action_logger http_timeout websocket_timeout "
    "websocket_connect_timeout ping_interval ping_timeout ws_protocols root_path "
    "proxy_forwarded_address_header proxy_forwarded_port_header proxy_forwarded_proto_header force_sync "
    "verbosity websocket_handshake_timeout"
)
FORWARDED = "headers address_header_name port_header_name proto_header_name original_addr original_scheme"
FACTORY = (
    "channel_layer action_logger send_channel timeout websocket_timeout ping_interval ping_timeout "
    "ws_protocols root_path websocket_connect_timeout proxy_forwarded_address_header "
    "proxy_forwarded_port_header proxy_forwarded_proto_header websocket_handshake_timeout"
)
INSTANCE = (
    "xff http_timeout request_buffer_size websocket_max_message_size websocket_max_frame_size application"
)
ENDPOINT = "host port unix_socket file_descriptor unix_socket_mode"

NAMES: dict[str, str | None] = {
    "daphne.__version__": None,
    "daphne.access.AccessLogGenerator": "stream",
    "daphne.access.AccessLogGenerator.__call__": "self protocol action details",
    "daphne.access.AccessLogGenerator.write_entry": "self host date request status length ident user",
    "daphne.apps.DaphneConfig": None,
    "daphne.checks.check_daphne_installed": "app_configs kwargs",
    "daphne.cli.DEFAULT_HOST": None,
    "daphne.cli.DEFAULT_PORT": None,
    "daphne.cli.AccessLogGenerator": None,
    "daphne.cli.CommandLineInterface": "",
    "daphne.cli.CommandLineInterface.description": None,
    "daphne.cli.CommandLineInterface.server_class": None,
    "daphne.cli.CommandLineInterface.entrypoint": "",
    "daphne.cli.CommandLineInterface.load_asgi_app": "self path",
    "daphne.cli.CommandLineInterface.run": "self args",
    "daphne.endpoints.build_endpoint_description_strings": ENDPOINT,
    "daphne.server.build_endpoint_description_strings": ENDPOINT,
    "daphne.server.Server.run": "self",
    "daphne.server.Server.stop": "self",
    "daphne.server.Server.log_action": "self protocol action details",
    "daphne.server.Server.listen_success": "self port",
    "daphne.server.Server.listen_error": "self failure",
    "daphne.server.Server.check_headers_type": "message",
    "daphne.server.Server.kill_all_applications": "self",
    "daphne.http_protocol.HTTPFactory": FACTORY,
    "daphne.http_protocol.HTTPFactory.acceptableProtocols": "self",
    "daphne.http_protocol.HTTPFactory.buildProtocol": "self addr",
    "daphne.http_protocol.HTTPFactory.check_timeouts": "self",
    "daphne.http_protocol.HTTPFactory.dispatch_reply": "self channel message",
    "daphne.http_protocol.HTTPFactory.log_action": "self protocol action details",
    "daphne.http_protocol.HTTPFactory.make_send_channel": "self",
    "daphne.http_protocol.HTTPFactory.reply_channels": "self",
    "daphne.http_protocol.WebRequest": "channel queued",
    "daphne.http_protocol.WebRequest.basic_error": "self status status_text body",
    "daphne.http_protocol.WebRequest.duration": "self",
    "daphne.http_protocol.WebRequest.serverResponse": "self message",
    "daphne.http_protocol.WebRequest.unquote": "value plus_as_space",
    "daphne.ws_protocol.WebSocketFactory": "main_factory args kwargs",
    "daphne.ws_protocol.WebSocketFactory.log_action": "self protocol action details",
    "daphne.ws_protocol.WebSocketProtocol.duration": "self",
    "daphne.ws_protocol.WebSocketProtocol.serverAccept": "self",
    "daphne.ws_protocol.WebSocketProtocol.serverClose": "self code",
    "daphne.ws_protocol.WebSocketProtocol.serverReject": "self",
    "daphne.ws_protocol.WebSocketProtocol.serverSend": "self content binary",
    "daphne.ws_protocol.WebSocketProtocol.set_main_factory": "self main_factory",
    "daphne.ws_protocol.WebSocketProtocol.unquote": "value plus_as_space",
    "daphne.testing._reinstall_reactor": "",
    "daphne.testing.BaseDaphneTestingInstance": INSTANCE,
    "daphne.testing.DaphneTestingInstance": "args kwargs",
    "daphne.testing.DaphneTestingInstance.add_send_messages": "self messages",
    "daphne.testing.DaphneTestingInstance.get_received": "self",
    "daphne.testing.DaphneProcess": "host get_application kwargs setup teardown port",
    "daphne.testing.TestApplication": "lock",
    "daphne.testing.TestApplication.save_setup": "response_messages",
    "daphne.testing.TestApplication.load_setup": "",
    "daphne.testing.TestApplication.save_result": "scope messages",
    "daphne.testing.TestApplication.save_exception": "exception",
    "daphne.testing.TestApplication.load_result": "",
    "daphne.testing.TestApplication.delete_setup": "",
    "daphne.testing.TestApplication.delete_result": "",
    "daphne.utils.HEADER_NAME_RE": None,
    "daphne.utils.INVALID_HEADER_VALUE_BYTES": None,
    "daphne.utils.import_by_path": "path",
    "daphne.utils.header_value": "headers name",
    "daphne.utils.parse_x_forwarded_for": FORWARDED,
    "twisted.plugins.fd_endpoint.parser": None,
}


def found(dotted: str) -> Any:
    """The object with that name: the longest part of it that is a module, then attributes."""
    parts = dotted.split(".")
    for length in range(len(parts), 0, -1):
        try:
            value = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for name in parts[length:]:
            value = getattr(value, name)
        return value
    raise AssertionError(dotted)


@pytest.mark.parametrize("name", NAMES)
def test_a_name_and_its_arguments(name: str) -> None:
    value = found(name)
    arguments = NAMES[name]
    if arguments is not None:
        assert list(inspect.signature(value).parameters) == arguments.split()


@pytest.mark.parametrize("arguments", [SERVER_4, SERVER_1], ids=["4.x", "1.x"])
def test_server_takes_the_arguments_of_both_eras(arguments: str) -> None:
    from daphne.server import Server

    values: dict[str, Any] = dict.fromkeys(arguments.split(), 1) | {
        "endpoints": ["tcp:0"],
        "ws_protocols": None,
        "root_path": "",
        "server_name": "x",
    }
    given = {name: values[name] for name in arguments.split()}
    server = Server(**given)
    for name in given:
        assert hasattr(server, name), name


def test_the_loop_of_the_server_module_is_made_when_it_is_asked_for() -> None:
    script = """
import sys
import daphne.server
assert "twisted.internet.reactor" not in sys.modules
loop = daphne.server.twisted_loop
from twisted.internet import reactor
assert reactor.loop is loop and loop.call_soon
try:
    daphne.server.nothing
except AttributeError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert "has no attribute 'nothing'" in done.stdout, done.stderr


RUNSERVER = """
import django
from django.conf import settings
settings.configure(INSTALLED_APPS=["daphne"], ASGI_APPLICATION="a.b")
django.setup()
from daphne.management.commands.runserver import Command, get_default_application
from django.core.management.commands.runserver import Command as Core
from daphne.server import Server
assert issubclass(Command, Core) and Command.protocol == "http" and Command.server_cls is Server
for name in ("add_arguments", "handle", "inner_run", "get_application", "log_action"):
    assert name in vars(Command), name
"""


def test_the_command_of_django() -> None:
    pytest.importorskip("django")
    done = subprocess.run(
        [sys.executable, "-c", RUNSERVER], capture_output=True, text=True, timeout=60, env=os.environ.copy()
    )
    assert done.returncode == 0, done.stderr
