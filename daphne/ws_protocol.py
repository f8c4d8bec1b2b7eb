"""Names of daphne 1.x and 4.x for WebSocket: doors to today's framing protocol.

Imported by old code only.
"""

from daphne.protocols.websocket import WebSocketConnection as WebSocketProtocol
from daphne.protocols.websocket import WebSocketFactory

__all__ = ["WebSocketFactory", "WebSocketProtocol"]
