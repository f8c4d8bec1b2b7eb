"""The coroutines in which an application's `send()` waits for its client.

Called by http1_response, http2_exchange and websocket, which are compiled (setup.py). These are not: an
exception, such as a cancellation, goes through one of mypyc's coroutines by `throw(type, value, traceback)`,
of which Python 3.12 and later warn, on the application's own line. Where warnings are errors, that warning
takes the exception's place.
"""

from __future__ import annotations

from typing import Any

from daphne.errors import ClientDisconnected


async def until_writable(outflow: Any, stream: Any, problem: str = "the client has disconnected") -> None:
    """Return once the peer of `outflow` has taken enough. Raises ClientDisconnected when it has gone."""
    while outflow.write_paused:
        await outflow.room()
    if stream.disconnected:
        raise ClientDisconnected(problem)
