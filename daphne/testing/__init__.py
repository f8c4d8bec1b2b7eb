"""For test suites: servers without sockets, connections in memory, and a clock that the test turns.

Imported by tests, ours and yours; calls `daphne.service` and the real protocols. Everything here is public
and stable.

    from daphne.testing import MemoryServer

    async with MemoryServer(application) as server:
        response = await server.request("GET", "/")
        assert response.status == 200
"""

from daphne.testing.clock import ClockLoop
from daphne.testing.connections import MemoryConnection, MemoryPort
from daphne.testing.frames import Frame, client_frame, read_frame
from daphne.testing.live import LiveServer, live_server
from daphne.testing.memory import MemoryServer
from daphne.testing.processes import (
    BaseDaphneTestingInstance,
    DaphneProcess,
    DaphneTestingInstance,
    TestApplication,
    _reinstall_reactor,
)
from daphne.testing.responses import Response, read_response
from daphne.testing.sockets import MemoryWebSocket, WebSocketClosed, WebSocketRefused

__all__ = [
    "BaseDaphneTestingInstance",
    "ClockLoop",
    "DaphneProcess",
    "DaphneTestingInstance",
    "Frame",
    "LiveServer",
    "MemoryConnection",
    "MemoryPort",
    "MemoryServer",
    "MemoryWebSocket",
    "Response",
    "TestApplication",
    "WebSocketClosed",
    "WebSocketRefused",
    "_reinstall_reactor",
    "client_frame",
    "live_server",
    "read_frame",
    "read_response",
]
