"""A channel layer that raises, hangs or returns garbage costs the requests that it fails and nothing else."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.hostile.client import HANDSHAKE, LAST, PLAIN, Peer, Watched, statuses
from tests.hostile.faulty_layer import FAULTS
from tests.servers import Process, serving


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    flags = (
        "--http-timeout",
        "1",
        "--websocket-connect-timeout",
        "1",
        "--application-close-timeout",
        "0.5",
        "--access-log",
        "/dev/null",
    )
    target = ("--worker", "tests.hostile.target:application", "tests.hostile.faulty_layer:channel_layer")
    with serving(*flags, *target, folder=tmp_path_factory.mktemp("faulty")) as server:
        yield server


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("kind", ["request", "websocket"])
def test_a_fault_of_the_layer_is_answered_and_nothing_is_left(faulty: Process, kind: str, fault: str) -> None:
    watched = Watched(faulty)
    path = b"/fault/" + fault.replace(" ", "%20").encode()
    with Peer(faulty.address) as peer:
        peer.send(PLAIN.replace(b"/", path, 1) if kind == "request" else HANDSHAKE % (path, b""))
        answer = peer.answer()
        assert answer.status in (403, 500, 502, 503)
        assert b"secret" not in answer.body
    assert statuses(faulty.address, PLAIN * 50 + LAST) == [200] * 51
    watched.is_as_before()
