"""What Django's settings say of the server: ASGI_APPLICATION, and DAPHNE_... for every server option.

Called by the management commands; calls daphne.settings.
"""

from __future__ import annotations

import importlib
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from daphne.errors import ConfigurationError
from daphne.settings import LISTENERS, OPTIONS

_OF_THE_COMMAND = ("log_fmt", "access_log", "access_log_format")
"""Options of logging that only the command `daphne` has."""


def get_default_application() -> Any:
    """The object that ASGI_APPLICATION names. Raises ImproperlyConfigured, saying what failed."""
    dotted = settings.ASGI_APPLICATION
    module_name, _, attribute = dotted.rpartition(".")
    if not module_name:
        raise ImproperlyConfigured(f"ASGI_APPLICATION {dotted!r} is not of the form 'module.attribute'.")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise ImproperlyConfigured(
            f"Cannot import ASGI_APPLICATION module {module_name!r}: {error}"
        ) from error
    try:
        return getattr(module, attribute)
    except AttributeError:
        raise ImproperlyConfigured(
            f"Cannot find {attribute!r} in ASGI_APPLICATION module {module_name!r}."
        ) from None


def server_options() -> dict[str, Any]:
    """The options that Django's settings give (DAPHNE_PING_INTERVAL and so on), by their names.

    Raises ConfigurationError for those that `runserver` would not heed.
    """
    options = {}
    for name, option in OPTIONS.items():
        for key in {name, option.flag.removeprefix("--").replace("-", "_") or name}:
            setting = f"DAPHNE_{key.upper()}"
            if hasattr(settings, setting):
                if option.group == LISTENERS:
                    raise ConfigurationError(f"{setting}: runserver listens where its argument says")
                if name in _OF_THE_COMMAND:
                    raise ConfigurationError(f"{setting}: runserver logs as Django's LOGGING says")
                options[name] = getattr(settings, setting)
    return options
