"""The bench of the protocols' tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.protocols.bench import Bench


@pytest.fixture
def serve() -> Iterator[Callable[..., Bench]]:
    """Make a Bench; each is closed, and looked at for what it left behind, when the test is done."""
    benches: list[Bench] = []

    def make(application: Any, **settings: Any) -> Bench:
        benches.append(Bench(application, **settings))
        return benches[-1]

    yield make
    for bench in benches:
        bench.close()
