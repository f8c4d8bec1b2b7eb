"""Names, capacities, and what a layer's interface demands."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daphne.layers import interface, local, memory, names
from daphne.layers.interface import AsyncLayer, WatchingLayer, checked_message
from daphne.layers.names import Capacities, local_prefix, receiving_queue, sending_queue

ALLOWED = "abcXYZ019-_."
part = st.text(ALLOWED, min_size=1, max_size=40)


@given(part, st.sampled_from("!?"), part)
def test_full_names_are_sent_to(prefix, marker, suffix):
    name = prefix + marker + suffix
    queue = sending_queue(name)
    assert queue == (prefix + "!" if marker == "!" else name)
    assert receiving_queue(queue) == queue == local_prefix(name)


@given(st.text(max_size=120))
def test_what_is_no_name_is_refused_for_sending_and_receiving(name):
    valid = len(name) < 100 and re.fullmatch(r"[a-zA-Z0-9\-_.]+([!?][a-zA-Z0-9\-_.]+)?", name) is not None
    for check in (sending_queue, receiving_queue):
        if not valid and not name.endswith("!"):
            with pytest.raises(TypeError):
                check(name)


@pytest.mark.parametrize("length", [99, 100])
def test_names_are_shorter_than_a_hundred_characters(length):
    name = "x" * length
    if length < names.NAME_LIMIT:
        assert sending_queue(name) == name
    else:
        with pytest.raises(TypeError, match="fewer than 100"):
            sending_queue(name)


def test_a_trailing_newline_is_no_part_of_a_name():
    with pytest.raises(TypeError):
        sending_queue("name\n")


def test_the_first_pattern_that_matches_decides():
    capacities = Capacities(100, {"http.*": 1, re.compile(r"http\.response"): 2, "websocket.send*": 3})
    assert capacities.of("http.request") == 1
    assert capacities.of("http.response.x!") == 1
    assert capacities.of("websocket.send.x!") == 3
    assert capacities.of("other") == 100
    assert Capacities(7).of("anything") == 7


def test_the_reserved_key_is_refused():
    with pytest.raises(TypeError, match="reserved"):
        checked_message({interface.LOCAL_KEY: "x"})
    with pytest.raises(TypeError):
        checked_message(["a"])


def test_our_layers_have_the_interface(tmp_path):
    layers = [memory.ChannelLayer(), local.ChannelLayer(str(tmp_path / "socket"))]
    assert all(isinstance(layer, AsyncLayer) for layer in layers)
    assert [isinstance(layer, WatchingLayer) for layer in layers] == [False, True]
    assert len({layer.client_prefix for layer in layers}) == 2
