"""One suite of exchanges over every wire and both ways to reach an application; the results are the same."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from daphne.layers.memory import ChannelLayer
from daphne.reactor import LoopReactor
from daphne.service import Service
from daphne.settings import Settings
from tests.exchanges import scenarios
from tests.exchanges.http2_wires import HTTP2_WIRES
from tests.exchanges.scenarios import HTTP, SEEN, WEBSOCKET
from tests.exchanges.wires import DEADLINE, HTTP1_WIRES, Wire

WIRES = {**HTTP1_WIRES, **HTTP2_WIRES}
TARGET = "tests.exchanges.scenarios:application"
MODES: dict[str, Callable[[], tuple[Any, str | None]]] = {
    "application": lambda: (scenarios.application, None),
    "channel-layer": lambda: (ChannelLayer(), TARGET),
}


@contextlib.asynccontextmanager
async def serving(mode: str, wire: Wire, folder: Path) -> AsyncIterator[Any]:
    """A server of the scenarios' application; gives its port."""
    target, worker = MODES[mode]()
    service = Service(target, Settings(worker=worker, graceful_timeout=5))
    await service.start(LoopReactor(asyncio.get_running_loop()), [wire.endpoint(folder)])
    try:
        async with asyncio.timeout(DEADLINE):
            yield service.ports[0]
    finally:
        async with asyncio.timeout(DEADLINE):
            await service.stop()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        assert not others, f"left behind: {others}"


async def noted(name: str) -> Any:
    """What the application has noted; it may still be about to."""
    async with asyncio.timeout(DEADLINE):
        while name not in SEEN:
            await asyncio.sleep(0.001)
    return SEEN.pop(name)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", HTTP)
@pytest.mark.parametrize("wire", WIRES)
def test_requests(wire: str, name: str, mode: str, tmp_path: Path) -> None:
    scenario, chosen = HTTP[name], WIRES[wire]
    SEEN.pop(name, None)

    async def main() -> None:
        async with serving(mode, chosen, tmp_path) as port:
            for _ in range(2):
                answer = await chosen.request(port, f"/{name}{scenario.request.query}", scenario.request)
                assert answer == scenario.answer
                if scenario.seen is not None:
                    seen = await noted(name)
                    if isinstance(seen, dict):
                        assert seen.pop("scheme") == ("https" if chosen.secure else "http")
                    assert seen == scenario.seen

    asyncio.run(main())


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", WEBSOCKET)
@pytest.mark.parametrize("wire", WIRES)
def test_websockets(wire: str, name: str, mode: str, tmp_path: Path) -> None:
    talk, chosen = WEBSOCKET[name], WIRES[wire]
    SEEN.pop(name, None)

    async def main() -> None:
        async with serving(mode, chosen, tmp_path) as port:
            for _ in range(2):
                headers, heard = await chosen.talk(port, f"/{name}", talk)
                assert heard == talk.hears
                assert [pair for pair in headers if pair in talk.answer] == talk.answer
                if talk.seen is not None:
                    seen = await noted(name)
                    if isinstance(seen, tuple) and isinstance(seen[0], dict) and chosen.secure:
                        assert seen[0]["scheme"] == "wss"
                        seen[0]["scheme"] = "ws"
                    assert seen == talk.seen

    asyncio.run(main())
