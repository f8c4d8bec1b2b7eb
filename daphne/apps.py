"""The Django application `daphne`: put first in INSTALLED_APPS, it gives `runserver` and the system check.

Loaded by Django; calls daphne.checks and daphne.reactor.
"""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.core.checks import Tags, register

from daphne.checks import check_daphne_installed
from daphne.reactor import be_the_default


class DaphneConfig(AppConfig):  # type: ignore[misc]  # Django has no types
    """What Django knows of us."""

    name = "daphne"
    verbose_name = "Daphne"

    def __init__(self, *arguments: Any) -> None:
        """Called by Django before it imports any models: those of applications further down in INSTALLED_APPS
        may import Twisted's reactor and ask something of it at once."""
        super().__init__(*arguments)
        be_the_default()

    def ready(self) -> None:
        """Register the system check."""
        register(check_daphne_installed, Tags.staticfiles)
