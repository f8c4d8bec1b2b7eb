"""Daphne: the HTTP/1.1, HTTP/2 and WebSocket server for ASGI applications and channel layers."""

from typing import Any

__version__ = "5.0.0"

__all__ = ["__version__", "is_compiled", "serve"]


def is_compiled() -> bool:
    """Whether the modules that setup.py has compiled were compiled here, or are plain Python."""
    from importlib.util import find_spec

    spec = find_spec("daphne.protocols.http1")
    return spec is not None and spec.origin is not None and not spec.origin.endswith(".py")


def __getattr__(name: str) -> Any:
    # Loaded when it is asked for: `import daphne` alone is quick and imports no Twisted.
    if name == "serve":
        from daphne.embedding import serve

        return serve
    raise AttributeError(f"module 'daphne' has no attribute {name!r}")
