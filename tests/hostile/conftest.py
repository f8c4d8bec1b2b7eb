"""One server for each mode, shared by the tests of a process that ask for the rules and not for a limit."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.hostile.client import MODES
from tests.servers import Process, serving


@pytest.fixture(scope="module", params=MODES)
def plain(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """A server with today's defaults."""
    with serving(*MODES[request.param], folder=tmp_path_factory.mktemp("plain")) as server:
        yield server
