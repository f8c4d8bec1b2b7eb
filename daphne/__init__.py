"""Daphne: the HTTP/1.1, HTTP/2 and WebSocket server for ASGI applications and channel layers."""

from typing import Any

__version__ = "5.0.0"

__all__ = ["__version__", "serve"]


def __getattr__(name: str) -> Any:
    # Loaded when it is asked for: `import daphne` alone is quick and imports no Twisted.
    if name == "serve":
        from daphne.embedding import serve

        return serve
    raise AttributeError(f"module 'daphne' has no attribute {name!r}")
