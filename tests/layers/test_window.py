"""Windows and confirmations, which must agree about what is under way."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from daphne.layers.window import OVERHEAD, WINDOW, Confirmations, Window
from tests.layers.driver import in_loop


@given(st.lists(st.integers(0, WINDOW)), st.randoms())
def test_whatever_is_sent_and_taken_the_sender_is_never_stuck(sizes, random):
    """The receiver confirms before the sender's window can stay full for ever."""
    window, confirmations, under_way = Window(), Confirmations(), []
    for size in sizes:
        while window.full:
            assert under_way, "the window is full, and nothing is left that could be confirmed"
            if confirmations.done(under_way.pop(0)):
                window.confirm(confirmations.done_count)
                confirmations.said(confirmations.done_count)
        window.sent(size)
        under_way.append(size)
        assert sum(under_way) <= 2 * WINDOW + WINDOW // 2


@in_loop
async def test_room_is_waited_for():
    window = Window()
    window.sent(WINDOW)
    waiting = asyncio.ensure_future(window.changed())
    await asyncio.sleep(0)
    assert not waiting.done()
    window.confirm(1)
    await waiting
    assert window.confirmed == 1


def test_small_messages_are_limited_in_number():
    window = Window()
    count = 0
    while not window.full:
        window.sent(0)
        count += 1
    assert count == WINDOW // OVERHEAD


def test_confirming_more_than_was_sent_is_harmless():
    window = Window()
    window.sent(1)
    window.confirm(5)
    assert not window.full and window.confirmed == 1


def test_what_is_unsaid_can_be_said_at_any_time():
    confirmations = Confirmations()
    assert not confirmations.unsaid
    assert not confirmations.done(1)
    assert confirmations.unsaid
    confirmations.said(confirmations.done_count)
    assert not confirmations.unsaid
