"""The targets of `manage.py asgiworker`: `layers.<alias>` and `application`, looked up in Django's settings.

Loaded by daphne.worker.cli, which knows targets only as `module:attribute`.
"""

from __future__ import annotations

from typing import Any

from daphne.errors import TargetError
from daphne.management.django_settings import get_default_application


class _Layers:
    """The layers of CHANNEL_LAYERS by their aliases."""

    def __getattr__(self, alias: str) -> Any:
        try:
            from channels.layers import get_channel_layer
        except ImportError:
            raise TargetError("asgiworker takes its layer from Channels, which is not installed") from None
        layer = get_channel_layer(alias)
        if layer is None:
            raise TargetError(f"there is no channel layer {alias!r} in CHANNEL_LAYERS")
        return layer


layers = _Layers()


def __getattr__(name: str) -> Any:
    if name == "application":
        return get_default_application()
    raise AttributeError(name)
