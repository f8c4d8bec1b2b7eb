"""Which channel layer the demonstration uses."""

from __future__ import annotations

import pytest

from daphne.demo.wiring import channel_layer, open_layer
from daphne.errors import ConfigurationError
from daphne.layers import local, memory, redis


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("memory", memory.ChannelLayer),
        ("local", local.ChannelLayer),
        ("local:/run/demo.sock", local.ChannelLayer),
        ("redis://127.0.0.1:6379/1", redis.ChannelLayer),
    ],
)
def test_the_name_says_the_kind(name: str, kind: type) -> None:
    assert type(open_layer(name)) is kind


def test_by_default_it_is_in_memory() -> None:
    assert type(channel_layer) is memory.ChannelLayer


def test_a_name_that_says_nothing_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="carrier-pigeon"):
        open_layer("carrier-pigeon")
