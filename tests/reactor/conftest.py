"""Reactors and ports for the tests of the reactor: every loop, and every kind of transport."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.certificates import Issued, issue
from tests.reactor.served import LOOPS, Served, ServedReactor


@pytest.fixture(params=LOOPS)
def served(request: pytest.FixtureRequest) -> Iterator[ServedReactor]:
    """A running reactor, on each loop."""
    reactor = ServedReactor(request.param)
    yield reactor
    reactor.close()


@pytest.fixture(scope="session")
def localhost(tmp_path_factory: pytest.TempPathFactory) -> Issued:
    """A certificate for localhost."""
    return issue(tmp_path_factory.mktemp("localhost"), "localhost", ("localhost",))


@pytest.fixture(scope="session")
def client_context(localhost: Issued) -> ssl.SSLContext:
    """What a client needs to trust `localhost`."""
    return ssl.create_default_context(cafile=str(localhost.certificate_path))


@pytest.fixture(params=["tcp", "unix", "tls"])
def each(
    request: pytest.FixtureRequest,
    served: ServedReactor,
    tmp_path: Path,
    localhost: Issued,
    client_context: ssl.SSLContext,
) -> Served:
    """Each kind of transport on each loop."""
    return served_kind(request.param, served, tmp_path, localhost, client_context)


@pytest.fixture(params=["tcp", "unix"])
def plain(
    request: pytest.FixtureRequest,
    served: ServedReactor,
    tmp_path: Path,
    localhost: Issued,
    client_context: ssl.SSLContext,
) -> Served:
    """The kinds of transport that can be half closed, on each loop."""
    return served_kind(request.param, served, tmp_path, localhost, client_context)


def served_kind(
    kind: str, served: ServedReactor, directory: Path, localhost: Issued, client: ssl.SSLContext
) -> Served:
    if kind == "tcp":
        return Served(served, kind, "tcp:0:interface=127.0.0.1", None)
    if kind == "unix":
        return Served(served, kind, f"unix:{directory / 'socket'}", None)
    return Served(served, kind, f"ssl:0:privateKey={localhost.both}:interface=127.0.0.1", client)
