"""Servers in processes of their own, for tests with real clients: daphne 4's harness, with its names.

Imported by tests (Channels' live server test case among them); calls daphne.server in the child process. All
of it works with every start method of multiprocessing, and parallel runs share no files.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import pickle
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from daphne.endpoints import build_endpoint_description_strings
from daphne.reactor import be_the_default

_owner: int | None = None
"""In the process of a server: the id of the process that started it, by which both find the same files."""


def _reinstall_reactor() -> None:
    """Have `from twisted.internet import reactor` give the server's own; subclasses with a `run` call this.

    A forked child has its parent's reactor, which cannot run there; in a first process nothing is forgotten.
    """
    if multiprocessing.parent_process() is not None:
        sys.modules.pop("twisted.internet.reactor", None)
        vars(sys.modules.get("twisted.internet", sys)).pop("reactor", None)
    be_the_default()


class DaphneProcess(multiprocessing.Process):
    """A process that serves the application which `get_application()` makes there.

    `kwargs` go to `Server`; `setup()` and `teardown()` run in the child before and after. `ready` is set once
    it listens on `port` (0 or None: the system's choice, in `port.value` then); `errors` holds (exception,
    traceback text) of a failure.
    """

    def __init__(
        self,
        host: str,
        get_application: Callable[[], Any],
        kwargs: dict[str, Any] | None = None,
        setup: Callable[[], Any] | None = None,
        teardown: Callable[[], Any] | None = None,
        port: int | None = None,
    ) -> None:
        super().__init__()
        self.host = host
        self.get_application = get_application
        self.kwargs = kwargs or {}
        self.setup = setup
        self.teardown = teardown
        self.port = multiprocessing.Value("i", port or 0)
        self.ready = multiprocessing.Event()
        self.errors: Any = multiprocessing.Queue()
        self.server: Any = None
        self._started_by = _owner or os.getpid()

    def run(self) -> None:
        """Serve until the process is terminated."""
        global _owner
        _owner = self._started_by
        _reinstall_reactor()
        from daphne.server import Server

        try:
            if self.setup is not None:
                self.setup()
            endpoints = build_endpoint_description_strings(host=self.host, port=self.port.value)
            self.server = Server(
                application=self.get_application(),
                endpoints=endpoints,
                signal_handlers=False,
                listening_callable=self._listening,
                **self.kwargs,
            )
            self.server.run()
        except BaseException as error:
            self.errors.put((error, traceback.format_exc()))
            raise
        finally:
            if self.teardown is not None:
                self.teardown()

    def _listening(self) -> None:
        self.port.value = self.server.listening_addresses[0][1]
        self.ready.set()


class BaseDaphneTestingInstance:
    """A context manager around a DaphneProcess: `host`, `port` and `process` inside the block.

    `application` is an ASGI application, or anything that can be pickled and called as one.
    """

    startup_timeout = 2.0
    """Seconds that the server has to listen."""

    def __init__(
        self,
        xff: bool = False,
        http_timeout: float | None = None,
        request_buffer_size: int | None = None,
        websocket_max_message_size: int | None = None,
        websocket_max_frame_size: int | None = None,
        *,
        application: Any,
    ) -> None:
        given = {
            "http_timeout": http_timeout,
            "request_buffer_size": request_buffer_size,
            "websocket_max_message_size": websocket_max_message_size,
            "websocket_max_frame_size": websocket_max_frame_size,
        }
        self._kwargs: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        if xff:
            self._kwargs["proxy_forwarded_address_header"] = "X-Forwarded-For"
            self._kwargs["proxy_forwarded_port_header"] = "X-Forwarded-Port"
            self._kwargs["proxy_forwarded_proto_header"] = "X-Forwarded-Proto"
        self.application = application
        self.host = "127.0.0.1"
        self.port = 0
        self.process: DaphneProcess | None = None

    def get_application(self) -> Any:
        """The application, made in the child."""
        return self.application

    def process_setup(self) -> None:
        """Runs in the child before it serves; made to be overridden."""

    def process_teardown(self) -> None:
        """Runs in the child after it has served; made to be overridden."""

    def __enter__(self) -> BaseDaphneTestingInstance:
        process = DaphneProcess(
            self.host,
            self.get_application,
            kwargs=self._kwargs,
            setup=self.process_setup,
            teardown=self.process_teardown,
        )
        process.start()
        if not _is_ready(process, self.startup_timeout * _PATIENCE):
            process.terminate()
            process.join()
            if not process.errors.empty():
                error, text = process.errors.get()
                raise RuntimeError(f"Daphne did not start:\n{text}") from error
            raise RuntimeError("Daphne did not start in time")
        self.process = process
        self.port = process.port.value
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.join()
            self.process = None


def _is_ready(process: DaphneProcess, within: float) -> bool:
    """Whether the server listens within so many seconds; False as soon as its process has ended without."""
    deadline = time.monotonic() + within
    while not process.ready.wait(_BETWEEN_SIGNS):
        if not process.is_alive() or time.monotonic() > deadline:
            return process.ready.is_set()
    return True


_BETWEEN_SIGNS = 0.1
"""Seconds after which it is seen that a process has ended that was to become a server."""

_UNTIL_THE_END = 0.5
_BETWEEN_LOOKS = 0.005
"""Seconds that `get_received` waits for the end of a request, and how often it looks."""

_PATIENCE = 30
"""A machine that runs a whole suite may be this much slower than one that runs a single test."""


class DaphneTestingInstance(BaseDaphneTestingInstance):
    """One whose application records what it receives and answers with events that the test prepared."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.lock = multiprocessing.Lock()
        super().__init__(*args, **kwargs, application=partial(_call_test_application, self.lock))

    def __enter__(self) -> DaphneTestingInstance:
        _delete_files()
        atexit.unregister(_delete_files)  # once is enough, however many instances there are
        atexit.register(_delete_files)
        super().__enter__()
        return self

    def add_send_messages(self, messages: list[dict[str, Any]]) -> None:
        """Have the application send these events after the next one that it receives, or the next request
        that is there as a whole."""
        TestApplication.save_setup(messages)

    def get_received(self) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """(scope, events) of the last call; raises what the application raised, or ValueError for nothing.

        A client may have its response before the application has heard the rest of the body and of the
        end, and daphne 4 had told it all by then; so this waits a little for the end of a request.
        """
        deadline = time.monotonic() + _UNTIL_THE_END
        result = self._result()
        while _goes_on(result) and time.monotonic() < deadline:
            time.sleep(_BETWEEN_LOOKS)
            result = self._result()
        if "exception" in result:
            raise result["exception"]
        return result["scope"], result["messages"]

    def _result(self) -> dict[str, Any]:
        with self.lock:
            try:
                return TestApplication.load_result()
            except FileNotFoundError:
                raise ValueError("No results available yet.") from None


def _goes_on(result: dict[str, Any]) -> bool:
    """Whether this is a request that has not ended."""
    if "exception" in result or result["scope"]["type"] != "http":
        return False
    return bool(result["messages"][-1]["type"] != "http.disconnect")


async def _call_test_application(lock: Any, scope: Any, receive: Any, send: Any) -> None:
    await TestApplication(lock)(scope, receive, send)


class TestApplication:
    """An ASGI application that keeps what it receives in a file and sends what a file tells it to."""

    __test__ = False  # for pytest: this is no test

    def __init__(self, lock: Any) -> None:
        self.lock = lock
        self.messages: list[dict[str, Any]] = []

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Receive until the client has gone."""
        try:
            while True:
                message = await receive()
                self.messages.append(message)
                with self.lock:
                    self.save_result(scope, self.messages)
                if message["type"].endswith(".disconnect"):
                    return
                if message.get("more_body"):
                    continue  # daphne 4 had the whole body before it called an application
                for event in self._take_setup():
                    await send(event)
        except Exception as error:
            with self.lock:
                self.save_exception(error)
            raise

    @classmethod
    def save_setup(cls, response_messages: list[dict[str, Any]]) -> None:
        """Keep the events to send after the next one that is received."""
        _write("setup", response_messages)

    @classmethod
    def load_setup(cls) -> list[dict[str, Any]]:
        """The events to send; none where nothing was saved."""
        try:
            return list(_read("setup"))
        except FileNotFoundError:
            return []

    @classmethod
    def _take_setup(cls) -> list[dict[str, Any]]:
        """The events to send, each once: what the test saves from now on is for the next event."""
        try:
            taken = _path("setup").replace(_path("taken"))
        except FileNotFoundError:
            return []
        events = list(_read("taken"))
        taken.unlink()
        return events

    @classmethod
    def save_result(cls, scope: dict[str, Any], messages: list[dict[str, Any]]) -> None:
        """Keep what was received."""
        _write("result", {"scope": scope, "messages": messages})

    @classmethod
    def save_exception(cls, exception: BaseException) -> None:
        """Keep what was raised."""
        _write("result", {"exception": exception})

    @classmethod
    def load_result(cls) -> dict[str, Any]:
        """What was kept; raises FileNotFoundError where there is nothing."""
        return dict(_read("result"))

    @classmethod
    def delete_setup(cls) -> None:
        """Forget the events to send."""
        _path("setup").unlink(missing_ok=True)

    @classmethod
    def delete_result(cls) -> None:
        """Forget what was received."""
        _path("result").unlink(missing_ok=True)


def _delete_files() -> None:
    TestApplication.delete_setup()
    TestApplication.delete_result()


def _path(name: str) -> Path:
    return Path(tempfile.gettempdir()) / f"daphne-{_owner or os.getpid()}-{name}.testio"


def _write(name: str, content: Any) -> None:
    path = _path(name)
    unfinished = path.with_suffix(".part")
    unfinished.write_bytes(pickle.dumps(content))
    unfinished.replace(path)


def _read(name: str) -> Any:
    return pickle.loads(_path(name).read_bytes())
