"""The application's lifespan (ASGI lifespan specification 2.0): start-up before the first request, shutdown
after the last.

Called by daphne.service; calls the application once, in a task that lives as long as the server.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from daphne.application.running import Application
from daphne.application.target import told
from daphne.errors import LifespanError

logger = logging.getLogger("daphne.server")

_LEAST_TIME = 1.0
"""Seconds that an application has to shut down, however little time the stop may take."""


class Lifespan:
    """One lifespan call of one application.

    `mode`: "auto" goes on without lifespan where the application raises instead of answering the start-up,
    "on" takes that as a failure, "off" does not call the application.
    """

    def __init__(self, application: Application, mode: str) -> None:
        self._application = application
        self._mode = mode
        self._events: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._answer: asyncio.Future[dict[str, Any]] | None = None
        self._last_told = ""
        self._last_answer = ""
        """The type of the application's answer to what it was told last; empty while it owes one."""
        self._task: asyncio.Task[None] | None = None
        self.state: dict[str, Any] | None = None
        """The `state` that the application filled at start-up, once it has said `lifespan.startup.complete`;
        else None."""

    async def startup(self) -> None:
        """Return when the application has started. Raises LifespanError if it cannot."""
        if self._mode == "off":
            return
        state: dict[str, Any] = {}
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": state}
        self._task = asyncio.ensure_future(self._run(scope))
        answer = await self._tell("lifespan.startup")
        if answer["type"] == "lifespan.startup.complete":
            self.state = state
        elif answer["type"] == "lifespan.startup.failed":
            await self._finish()
            raise LifespanError(
                f"the application failed to start: {answer.get('message') or 'no reason given'}"
            )
        else:
            self._check_unsupported(answer)

    def _check_unsupported(self, ended: dict[str, Any]) -> None:
        error = ended.get("error")
        self._task = None
        if self._mode == "on":
            raise LifespanError(
                f"the application does not answer lifespan.startup: {told(error) if error else 'it returned'}"
            ) from error
        if error is not None and self._events.empty():  # it took the event, so it does know lifespan
            logger.warning("The application raised in its start-up; it is served as it is", exc_info=error)
        else:
            logger.debug("The application does not use lifespan", exc_info=error)

    async def shutdown(self, within: float = 30.0) -> None:
        """Tell the application that no request will follow, and return when it has shut down, or `within` so
        many seconds.
        """
        try:
            async with asyncio.timeout(max(within, _LEAST_TIME)):
                await self._shut_down()
        except TimeoutError:
            logger.error("The application did not shut down in time, and was cancelled")

    async def _shut_down(self) -> None:
        if self._task is None or self._task.done():
            return
        try:
            answer = await self._tell("lifespan.shutdown")
        except asyncio.CancelledError:  # nobody waits any longer, so nobody would ever end it
            self._task.cancel()
            raise
        if answer["type"] == "lifespan.shutdown.failed":
            logger.error(
                "The application failed to shut down: %s", answer.get("message") or "no reason given"
            )
        elif answer.get("error") is not None:
            logger.error("The application raised while it shut down", exc_info=answer["error"])
        await self._finish()

    async def _tell(self, event: str) -> dict[str, Any]:
        self._answer = asyncio.get_running_loop().create_future()
        self._last_told, self._last_answer = event, ""
        self._events.put_nowait({"type": event})
        return await self._answer

    async def _finish(self) -> None:
        """The application has said its last word: it may return by itself, for a moment."""
        if self._task is not None:
            await asyncio.wait([self._task], timeout=1)
            self._task.cancel()

    async def _run(self, scope: dict[str, Any]) -> None:
        try:
            await self._application(scope, self._events.get, self._send)
        except Exception as error:
            if self._last_answer == "lifespan.startup.complete":
                logger.error("The application's lifespan ended while it served", exc_info=error)
            # Most applications that know no lifespan raise; `startup` judges it.
            self._resolve({"type": "ended", "error": error})
        except asyncio.CancelledError as error:
            self._resolve({"type": "ended", "error": error})
            raise
        else:
            self._resolve({"type": "ended"})

    async def _send(self, event: dict[str, Any]) -> None:
        if event["type"] == "lifespan.startup.complete" and self._last_told == "lifespan.shutdown":
            return  # the start was given up in the meantime; the next thing it receives is the shutdown
        if event["type"].startswith("lifespan."):
            self._resolve(event)

    def _resolve(self, answer: dict[str, Any]) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(answer)
            self._last_answer = answer["type"]
