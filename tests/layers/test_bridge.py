"""The bridge as an application among others: its lifespan, and what it does not serve."""

from __future__ import annotations

import asyncio

import pytest

from daphne.application.lifespan import Lifespan
from daphne.layers.bridge import Bridge
from daphne.layers.memory import ChannelLayer
from daphne.settings import Settings
from tests.layers.driver import in_loop


@in_loop
async def test_its_lifespan_starts_and_stops_the_reader():
    bridge = Bridge(ChannelLayer(), Settings())
    lifespan = Lifespan(bridge, "on")
    await lifespan.startup()
    assert "daphne-replies" in {task.get_name() for task in asyncio.all_tasks()}
    await lifespan.shutdown()
    assert "daphne-replies" not in {task.get_name() for task in asyncio.all_tasks()}


@in_loop
async def test_other_kinds_of_scope_are_refused():
    with pytest.raises(ValueError, match="'mail'"):
        await Bridge(ChannelLayer(), Settings())({"type": "mail"}, None, None)


def test_making_one_starts_nothing():
    Bridge(ChannelLayer(), Settings())  # outside of any loop
