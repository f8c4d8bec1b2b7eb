"""Daphne: the HTTP/1.1, HTTP/2 and WebSocket server for ASGI applications and channel layers."""

__version__ = "5.0.0"
