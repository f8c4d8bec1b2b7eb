"""live_server: any ASGI application on a real port, in this process, for as long as a `with` block lasts.

Used by tests with real clients and browsers, and by the pytest fixture `daphne_server`; calls
daphne.embedding in a thread of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from typing import Any

from daphne.access import ActionLogger
from daphne.embedding import serve
from daphne.endpoints import build_endpoint_description_strings
from daphne.settings import Settings

START_LIMIT = 30.0
"""Seconds that the application has to start."""


class LiveServer:
    """Where a server listens: `host` and `port`."""

    def __init__(self, host: str, port: int) -> None:
        self.host = host
        self.port = port

    @property
    def authority(self) -> str:
        """Host and port as they stand in an address."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def url(self, path: str = "/", scheme: str = "http") -> str:
        """The address of `path`; for WebSockets `scheme` is "ws"."""
        return f"{scheme}://{self.authority}{path}"


@contextlib.contextmanager
def live_server(
    target: Any,
    settings: Settings | None = None,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    action_logger: ActionLogger | None = None,
) -> Iterator[LiveServer]:
    """Serve `target`, an ASGI application or a channel layer, on a port that the system chooses by default.

    The application runs in a thread with a loop of its own, so a test can look at its objects, and must not
    touch what belongs to the loop. Leaving the block stops the server as SIGTERM does. Raises LifespanError
    or EndpointError where it cannot start, and on leaving whatever ended it before.
    """
    thread = _ServingThread(target, settings or Settings(), host, port, action_logger)
    thread.start()
    try:
        yield thread.wait_until_listening()
    finally:
        thread.stop()
    thread.raise_failure()


class _ServingThread(threading.Thread):
    """Runs `serve` until it is told to stop."""

    def __init__(
        self, target: Any, settings: Settings, host: str, port: int, action_logger: ActionLogger | None
    ) -> None:
        super().__init__(name="daphne live server", daemon=True)
        self._target_and_settings = (target, settings)
        self._action_logger = action_logger
        self._endpoints = build_endpoint_description_strings(host=host, port=port)
        self._decided = threading.Event()
        self._server: LiveServer | None = None
        self._failure: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop_event: asyncio.Event | None = None
        self._serving: asyncio.Task[Any] | None = None

    def run(self) -> None:
        """Serve; what went wrong is kept for the test's thread."""
        try:
            asyncio.run(self._serve())
        except BaseException as error:
            self._failure = error
        finally:
            self._decided.set()

    async def _serve(self) -> None:
        self._stop_event, self._serving = asyncio.Event(), asyncio.current_task()
        self._loop = asyncio.get_running_loop()
        await serve(
            *self._target_and_settings,
            endpoints=self._endpoints,
            action_logger=self._action_logger,
            shutdown_event=self._stop_event,
            listening=self._listening,
        )

    def _listening(self, ports: list[Any]) -> None:
        address = ports[0].getHost()
        self._server = LiveServer(address.host, address.port)
        self._decided.set()

    def wait_until_listening(self) -> LiveServer:
        """Where it listens; raises what kept it from that, or TimeoutError."""
        if not self._decided.wait(START_LIMIT):
            raise TimeoutError(f"the application did not start within {START_LIMIT:g} s")
        self.raise_failure()
        assert self._server is not None
        return self._server

    def stop(self) -> None:
        """Stop, and return when the thread has ended."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop has ended by itself
                self._loop.call_soon_threadsafe(self._stop_serving)
        self.join()

    def _stop_serving(self) -> None:
        assert self._stop_event is not None and self._serving is not None
        self._stop_event.set()
        if self._server is None:  # an application that does not start would never let it look
            self._serving.cancel()

    def raise_failure(self) -> None:
        """Raise in this thread what ended the other one."""
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure
