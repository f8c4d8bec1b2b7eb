"""Django's system check: whose `runserver` it is depends on the order of INSTALLED_APPS.

Registered by daphne.apps; called by Django.
"""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.core.checks import Error


def check_daphne_installed(app_configs: Any, **kwargs: Any) -> list[Error] | None:
    """Error daphne.E001 where staticfiles stands before `daphne`; None where neither is installed."""
    names = [config.name for config in apps.get_app_configs()]
    ours = [name for name in names if name in ("daphne", "django.contrib.staticfiles")]
    if not ours:
        return None
    if ours[0] == "daphne":
        return []
    return [
        Error(
            "Daphne must be listed before django.contrib.staticfiles in INSTALLED_APPS.",
            id="daphne.E001",
        )
    ]
