"""The bench of the protocols' tests serves the streams too."""

from tests.protocols.conftest import serve

__all__ = ["serve"]
