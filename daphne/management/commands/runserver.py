"""Django's `runserver` on daphne: HTTP/1.1, HTTP/2 and WebSocket from the development server.

Found by Django where `daphne` is in INSTALLED_APPS; extends Django's own command and calls daphne.server.
"""

from __future__ import annotations

import datetime
import logging
import os
import sys
from argparse import ArgumentParser
from typing import Any

from django.apps import apps
from django.conf import settings
from django.core.management import CommandError
from django.core.management.commands.runserver import Command as RunserverCommand
from django.db import connections
from django.utils import autoreload

from daphne import __version__
from daphne.endpoints import build_endpoint_description_strings
from daphne.errors import ConfigurationError, LifespanError
from daphne.logs import said_already
from daphne.management.certificates import self_made_certificate
from daphne.management.django_settings import get_default_application, server_options
from daphne.server import Server

__all__ = ["Command", "get_default_application"]

logger = logging.getLogger("django.channels.server")

_WEBSOCKET_WORDS = {
    "connecting": "HANDSHAKING",
    "connected": "CONNECT",
    "rejected": "REJECT",
    "disconnected": "DISCONNECT",
}


class Command(RunserverCommand):  # type: ignore[misc]  # Django has no types
    """`manage.py runserver`; subclasses change `server_cls`, `get_application` or `log_action`."""

    protocol = "http"
    server_cls: Any = Server

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Django's own options and ours."""
        super().add_arguments(parser)
        parser.add_argument(
            "--noasgi",
            action="store_false",
            dest="use_asgi",
            default=True,
            help="Run the old WSGI-based runserver rather than the ASGI-based one",
        )
        parser.add_argument(
            "--http_timeout",
            type=int,
            default=getattr(settings, "DAPHNE_HTTP_TIMEOUT", None),
            help="Seconds for a whole response",
        )
        parser.add_argument(
            "--websocket_handshake_timeout",
            type=int,
            default=getattr(settings, "DAPHNE_WEBSOCKET_HANDSHAKE_TIMEOUT", 5),
            help="Seconds for a WebSocket handshake",
        )
        for what in ("message", "frame"):
            parser.add_argument(
                f"--websocket-max-{what}-size",
                type=int,
                default=None,
                help=f"Bytes of the largest WebSocket {what} that is taken; 0 is no limit",
            )
        parser.add_argument(
            "--tls",
            action="store_true",
            default=False,
            help="Serve TLS (and so HTTP/2) with a self-made certificate",
        )
        if apps.is_installed("django.contrib.staticfiles"):
            parser.add_argument(
                "--nostatic",
                action="store_false",
                dest="use_static_handler",
                default=True,
                help="Do not serve static files at STATIC_URL",
            )
            parser.add_argument(
                "--insecure",
                action="store_true",
                dest="insecure_serving",
                default=False,
                help="Serve static files even if DEBUG is False",
            )

    def handle(self, *args: Any, **options: Any) -> None:
        """Run; raises CommandError where there is nothing to run."""
        if options["use_asgi"] and not getattr(settings, "ASGI_APPLICATION", None):
            raise CommandError("You have not set ASGI_APPLICATION, which is needed to run the server.")
        self.http_timeout = options.get("http_timeout")
        self.websocket_handshake_timeout = options.get("websocket_handshake_timeout", 5)
        super().handle(*args, **options)

    def inner_run(self, *args: Any, **options: Any) -> None:
        """Check the project, say where it is served, and serve it until it is interrupted."""
        if not options["use_asgi"]:
            # Django's own server, with its own banner.
            self.server_cls = RunserverCommand.server_cls
            super().inner_run(*args, **options)
            return
        autoreload.raise_last_exception()
        self._check_project(options)
        tls = bool(options.get("tls"))
        self._print_banner("https" if tls else self.protocol)
        try:
            self._serve(options, tls)
        except (ConfigurationError, LifespanError) as error:
            if not said_already(error):
                self.stderr.write(f"Error: {error}")
            # In the autoreloader's thread SystemExit would end the thread only.
            sys.stderr.flush()
            os._exit(1)
        except KeyboardInterrupt:
            if shutdown_message := options.get("shutdown_message", ""):
                self.stdout.write(shutdown_message)

    def _check_project(self, options: dict[str, Any]) -> None:
        if not options.get("skip_checks"):
            self.stdout.write("Performing system checks...\n\n")
            self.check(display_num_errors=True)
        self.check_migrations()
        for connection in connections.all(initialized_only=True):
            connection.close()

    def _print_banner(self, scheme: str) -> None:
        now = datetime.datetime.now().strftime("%B %d, %Y - %X")
        host = f"[{self.addr}]" if self._raw_ipv6 else self.addr
        quit_command = "CTRL-BREAK" if sys.platform == "win32" else "CONTROL-C"
        self.stdout.write(
            f"{now}\n"
            f"Django version {self.get_version()}, using settings {settings.SETTINGS_MODULE!r}\n"
            f"Starting ASGI/Daphne version {__version__} development server at {scheme}://{host}:{self.port}/\n"
            f"Quit the server with {quit_command}."
        )

    def _serve(self, options: dict[str, Any], tls: bool) -> None:
        endpoints = build_endpoint_description_strings(host=self.addr, port=self.port)
        if tls:
            certificate, key = self_made_certificate(self.addr)
            endpoints = [
                endpoint.replace("tcp:", "ssl:", 1) + f":privateKey={key}:certKey={certificate}"
                for endpoint in endpoints
            ]
        arguments = {
            "websocket_max_message_size": 1048576,
            "websocket_max_frame_size": 1048576,
            "root_path": "",
            **server_options(),
            "http_timeout": self.http_timeout,
            "websocket_handshake_timeout": self.websocket_handshake_timeout,
        }
        if getattr(settings, "FORCE_SCRIPT_NAME", None):
            arguments["root_path"] = settings.FORCE_SCRIPT_NAME
        for name in ("websocket_max_message_size", "websocket_max_frame_size"):
            if options.get(name) is not None:
                arguments[name] = options[name]
        self.server_cls(
            application=self.get_application(options),
            endpoints=endpoints,
            signal_handlers=not options["use_reloader"],
            action_logger=self.log_action,
            **arguments,
        ).run()

    def get_application(self, options: dict[str, Any]) -> Any:
        """The project's application, with static files in front of it where they are served."""
        application = get_default_application()
        if not apps.is_installed("django.contrib.staticfiles"):
            return application
        if not options.get("use_static_handler", True) or not (
            settings.DEBUG or options.get("insecure_serving")
        ):
            return application
        from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler

        return ASGIStaticFilesHandler(application)

    def log_action(self, protocol: str, action: str, details: dict[str, Any]) -> None:
        """One line in the log for a response or for what becomes of a WebSocket."""
        if protocol == "http" and action == "complete":
            status = details["status"]
            level = logging.ERROR if status >= 500 else logging.WARNING if status >= 400 else logging.INFO
            line = "HTTP {method} {path} {status} [{time_taken:.2f}, {client}]".format(**details)
            logger.log(level, "%s", self._coloured(line, details), extra={"status_code": status})
        elif protocol == "websocket" and action in _WEBSOCKET_WORDS:
            line = f"WebSocket {_WEBSOCKET_WORDS[action]} {details['path']} [{details['client']}]"
            logger.info("%s", line)

    def _coloured(self, line: str, details: dict[str, Any]) -> str:
        status, style = details["status"], self.style
        if 200 <= status < 300:
            colour = style.HTTP_SUCCESS
        elif 100 <= status < 200:
            colour = style.HTTP_INFO
        elif status == 304:
            colour = style.HTTP_NOT_MODIFIED
        elif 300 <= status < 400:
            colour = style.HTTP_REDIRECT
        elif status == 404:
            colour = style.HTTP_NOT_FOUND
        elif 400 <= status < 500:
            colour = style.HTTP_BAD_REQUEST
        else:
            colour = style.HTTP_SERVER_ERROR
        return str(colour(line))
