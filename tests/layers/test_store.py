"""The store with a clock that the test turns: capacity, expiry, groups, and no growth without end."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from daphne.errors import ChannelFull
from daphne.layers.names import Capacities, local_prefix
from daphne.layers.store import Store

CHANNELS = ["plain", "other", "local.x!a", "local.x!b", "single?c"]


def store(expiry=60, capacity=3):
    return Store(expiry, 100, Capacities(capacity))


def put(store, channel, message, now):
    store.put(local_prefix(channel), channel, message, now)


def test_expired_messages_make_room():
    full = store(capacity=2)
    for now in (0, 30):
        put(full, "plain", now, now)
    with pytest.raises(ChannelFull):
        put(full, "plain", 2, 59)
    put(full, "plain", 3, 61)
    assert full.take(["plain"], 10, 62) == [("plain", 30), ("plain", 3)]


def test_a_process_whose_messages_expire_leaves_its_groups():
    """The classic specification, "Groups": a message that expires on a process-local channel."""
    held = store()
    for channel in ("local.x!gone", "local.x!there", "plain"):
        held.group_add("group", channel, 0)
    put(held, "local.x!gone", 1, 0)
    put(held, "plain", 1, 0)
    assert held.take(["local.x!", "plain"], 10, 61) == []
    assert held.group_channels("group", 61) == ["local.x!there", "plain"]


def test_queues_that_nobody_reads_do_not_stay():
    held = store(expiry=10)
    for number in range(5000):
        put(held, f"reply?{number}", b"", now=number * 0.01)
    assert held.pending() <= 10 / 0.01 + 10
    put(held, "one", b"", now=1000)
    for number in range(2000):
        put(held, f"late?{number}", b"", now=1000)
    assert held.pending() == 2001


def test_statistics_of_names_that_come_and_go_do_not_stay(monkeypatch):
    """Every process and many a connection has a name of its own."""
    monkeypatch.setattr("daphne.layers.store.COUNTED", 50)
    held = store(capacity=1)
    put(held, "plain", 0, 0)
    for number in range(500):
        put(held, f"local.{number}!a", 0, 0)
        with pytest.raises(ChannelFull):
            put(held, f"local.{number}!b", 0, 0)
        held.take([f"local.{number}!"], 1, 0)
    assert len(held.messages_count) <= 50
    assert len(held.full_count) <= 50
    assert (
        held.messages_count["plain"]
        == held.messages_count["local.499!"]
        == held.full_count["local.499!"]
        == 1
    )
    assert (held.messages_total, held.full_total) == (501, 500)


def test_a_membership_that_is_renewed_stays():
    held = store()
    held.group_add("group", "plain", 0)
    held.group_add("group", "plain", 90)
    held.group_add("group", "other", 0)
    assert held.group_channels("group", 150) == ["plain"]
    assert held.group_channels("group", 191) == []


def test_what_is_put_back_comes_first():
    held = store(capacity=2)
    for number in range(2):
        put(held, "local.x!a", number, 0)
    taken = held.take(["local.x!"], 1, 0)
    put(held, "local.x!b", 2, 0)
    held.put_back(*taken[0], now=0)
    assert [message for _, message in held.take(["local.x!"], 10, 0)] == [0, 1, 2]


def test_a_dump_is_loaded_with_the_time_that_is_left():
    old, new = store(), store()
    put(old, "plain", "a", 0)
    put(old, "local.x!y", "b", 50)
    old.group_add("group", "local.x!y", 0)
    new.load(old.dump(now=55), now=1000)
    assert new.group_channels("group", 1044) == ["local.x!y"]
    assert new.take(["plain", "local.x!"], 10, 1006) == [("local.x!y", "b")]
    assert new.group_channels("group", 1046) == []


class AgainstAModel(RuleBasedStateMachine):
    """The store against lists, at any order of operations."""

    def __init__(self):
        super().__init__()
        self.now = 0.0
        self.store = store(expiry=10, capacity=4)
        self.model = {}

    def alive(self, name):
        messages = self.model.setdefault(name, [])
        messages[:] = [message for message in messages if message[0] > self.now]
        return messages

    @rule(channel=st.sampled_from(CHANNELS), message=st.integers())
    def send(self, channel, message):
        name = local_prefix(channel)
        if len(self.alive(name)) >= 4:
            with pytest.raises(ChannelFull):
                put(self.store, channel, message, self.now)
        else:
            put(self.store, channel, message, self.now)
            self.model[name].append((self.now + 10, channel, message))

    @rule(channel=st.sampled_from(CHANNELS), limit=st.integers(1, 5))
    def receive(self, channel, limit):
        name = local_prefix(channel)
        expected = self.alive(name)[:limit]
        del self.model[name][:limit]
        assert self.store.take([name], limit, self.now) == [message[1:] for message in expected]

    @rule(seconds=st.sampled_from([0.5, 3, 11]))
    def wait(self, seconds):
        self.now += seconds

    @rule()
    def hand_over(self):
        successor = store(expiry=10, capacity=4)
        successor.load(self.store.dump(self.now), self.now)
        self.store = successor

    @invariant()
    def nothing_is_forgotten(self):
        assert self.store.pending() >= sum(len(self.alive(name)) for name in list(self.model))


AgainstAModel.TestCase.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
TestAgainstAModel = AgainstAModel.TestCase
