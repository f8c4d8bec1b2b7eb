"""The servers that the tests here talk to: every way in, and both ways to the application.

Each is started when a test first asks for it, and is there until the tests end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.clients.fronts import FRONTS
from tests.servers import TARGETS, Address

# How a connection comes in and how the application is reached do not know of each other: all pairs would show
# nothing more than these do.
SERVERS = [(front, "application") for front in FRONTS]
SERVERS += [(front, "channel-layer") for front in ("tcp", "tls", "nginx")]


@pytest.fixture(scope="session")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str, str], Address]]:
    """Gives the address of a server of the named kind, started at the first call."""
    addresses: dict[tuple[str, str], Address] = {}
    with ExitStack() as servers:

        def start(front: str, target: str) -> Address:
            if (front, target) not in addresses:
                folder = tmp_path_factory.mktemp("server")
                addresses[front, target] = servers.enter_context(FRONTS[front](TARGETS[target], folder))
            return addresses[front, target]

        yield start


@pytest.fixture(params=SERVERS, ids=["-".join(names) for names in SERVERS])
def address(request: pytest.FixtureRequest, serve: Callable[[str, str], Address]) -> Address:
    """Where the demonstration is served."""
    return serve(*request.param)
