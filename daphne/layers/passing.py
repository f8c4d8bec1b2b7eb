"""What is under way to a client, for the task that sees to a connection where that cannot be done at once.

Made by `bridge_exchange` and `bridge_connection`, which are compiled and do not wait; awaited by
`bridge_http` and `bridge_websocket`. Calls nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Coroutine

from daphne.errors import ApplicationError, ClientDisconnected


class Passing:
    """Something for the client: what is still to be awaited, or what went wrong; and how many bytes it is."""

    __slots__ = ("outcome", "size")

    def __init__(self, outcome: Awaitable[None] | Exception, size: int = 0) -> None:
        if isinstance(outcome, ClientDisconnected | ApplicationError):
            # Without the frames of the call: they would keep it, and with it the connection, as it them.
            outcome = outcome.with_traceback(None)
        self.outcome = outcome
        self.size = size

    async def over(self) -> Exception | None:
        """Wait until it is with the client. What is wrong with the client or the application is returned:
        raised, it would keep the frame, and the frame it. All else is raised."""
        problem = self.outcome
        if not isinstance(problem, Exception):
            try:
                await problem
            except (ClientDisconnected, ApplicationError) as raised:
                return raised.with_traceback(None)
            return None
        if isinstance(problem, ClientDisconnected | ApplicationError):
            return problem
        raise problem

    def forget(self) -> None:
        """Nobody will await it."""
        if isinstance(self.outcome, Coroutine):
            self.outcome.close()
