"""The pytest plugin: the fixture `daphne_server`, for tests of any ASGI application with real clients.

Found by pytest where daphne is installed; calls daphne.testing.live, and imports it only when the fixture is
asked for, because pytest loads every plugin at each start.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest


@pytest.fixture
def daphne_server() -> Iterator[Callable[..., Any]]:
    """A function that serves an application until the test ends.

    `daphne_server(application, **settings)` returns a LiveServer with `host`, `port` and `url(path, scheme)`;
    the keyword arguments are settings by their names. It may be called several times.
    """
    from daphne.settings import Settings
    from daphne.testing.live import live_server

    with contextlib.ExitStack() as servers:

        def start(application: Any, **settings: Any) -> Any:
            return servers.enter_context(live_server(application, Settings(**settings)))

        yield start
