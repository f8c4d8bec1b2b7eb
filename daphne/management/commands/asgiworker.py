"""`manage.py asgiworker`: a worker for ASGI_APPLICATION over a channel layer of Channels.

Found by Django where `daphne` is in INSTALLED_APPS; calls daphne.worker.cli.
"""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management import BaseCommand, CommandError

from daphne.worker.cli import run


class Command(BaseCommand):  # type: ignore[misc]  # Django has no types
    """Take requests and WebSockets off the channel layer and run the project's application for them."""

    help = "Runs a worker for ASGI_APPLICATION over a channel layer"

    def add_arguments(self, parser: ArgumentParser) -> None:
        """The layer, and all that `daphne-worker` takes."""
        parser.add_argument("--layer", default="default", help="Alias of the layer in CHANNEL_LAYERS")
        parser.add_argument("worker_arguments", nargs="*", help="Options of daphne-worker, after --")

    def handle(self, *args: Any, **options: Any) -> None:
        """Work until a signal comes; raises CommandError where a setting is missing."""
        if not getattr(settings, "ASGI_APPLICATION", None):
            raise CommandError("You have not set ASGI_APPLICATION, which is needed to run a worker.")
        targets = "daphne.management.worker_targets"
        run([*options["worker_arguments"], f"{targets}:layers.{options['layer']}", f"{targets}:application"])
