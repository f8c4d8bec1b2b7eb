"""What every channel layer does: ours, and foreign ones through their adapters.

After the classic specification (names, process-local channels, capacity, expiry, groups, flush, no aliasing),
and what daphne relies on beyond it: several messages at a time, cancelled receives that lose nothing, many
receivers, ten thousand channels, large messages.
"""

from __future__ import annotations

import asyncio
import contextlib
import random

import pytest

from daphne.errors import ChannelFull, MessageTooLarge
from tests.layers.kinds import OURS, Ends, close_servers, scenario, soon

MEGABYTE = 1024 * 1024


@pytest.fixture(scope="module", autouse=True)
def servers():
    yield
    close_servers()


async def take(layer, channels, count):
    """Exactly `count` messages, in however many batches."""
    messages = []
    while len(messages) < count:
        messages += await layer.receive_batch(channels, limit=count - len(messages))
    return messages


async def nothing_on(layer, channels, seconds=0.15):
    try:
        async with asyncio.timeout(seconds):
            unexpected = await layer.receive_batch(channels)
    except TimeoutError:
        return True
    raise AssertionError(f"{channels} should be empty, but gave {unexpected}")


async def once_in_time(seconds, attempt):
    """What `attempt()` returns, once it has not taken longer than things last: a slow machine tries again."""
    while True:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                return await attempt()


@scenario()
async def test_each_channel_has_its_own_messages(ends: Ends):
    await ends.sender.send_async("first", {"value": "blue"})
    await ends.sender.send_async("second", {"value": "green"})
    await ends.sender.send_async("second", {"value": "yellow"})
    values = [message["value"] for _, message in await take(ends.receiver, ["second"], 2)]
    assert sorted(values) == ["green", "yellow"]
    assert await take(ends.receiver, ["first"], 1) == [("first", {"value": "blue"})]
    assert await nothing_on(ends.receiver, ["first", "second"])


@scenario(capacity=500)
async def test_a_channel_is_first_in_first_out(ends: Ends):
    for number in range(300):
        await ends.sender.send_async("queue", {"number": number})
    numbers = [message["number"] for _, message in await take(ends.receiver, ["queue"], 300)]
    assert numbers == list(range(300))


@scenario()
async def test_a_waiting_receiver_is_woken(ends: Ends):
    waiting = asyncio.ensure_future(ends.receiver.receive_batch(["one", "two", "local.x!"]))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    await ends.sender.send_async("local.x!y", {"a": 1})
    assert await waiting == [("local.x!y", {"a": 1})]


@scenario()
async def test_no_more_than_the_limit_is_taken(ends: Ends):
    for number in range(5):
        await ends.sender.send_async("queue", {"number": number})
    assert len(await ends.receiver.receive_batch(["queue"], limit=2)) <= 2
    assert len(await ends.receiver.receive_batch(["queue"], limit=1)) == 1


@scenario()
async def test_process_local_channels_are_received_by_their_prefix(ends: Ends):
    await ends.sender.send_async("reply.abc!one", {"number": 1})
    await ends.sender.send_async("reply.abc!two", {"number": 2})
    await ends.sender.send_async("reply.xyz!one", {"number": 3})
    assert await take(ends.receiver, ["reply.abc!"], 2) == [
        ("reply.abc!one", {"number": 1}),
        ("reply.abc!two", {"number": 2}),
    ]
    assert await take(ends.receiver, ["reply.xyz!"], 1) == [("reply.xyz!one", {"number": 3})]


@scenario()
async def test_names_against_the_rules_are_refused(ends: Ends):
    for name in ("", "spa ce", "a/b", "umläut", "a!b!c", "a?b!c", "x" * 100, b"bytes", 5, "bare!", "bare?"):
        with pytest.raises(TypeError):
            await ends.sender.send_async(name, {})
    for name in ("", "spa ce", "umläut", "x" * 100, "local!part", "bare?"):
        with pytest.raises(TypeError):
            await ends.receiver.receive_batch([name])
    for names in ([], "name"):
        with pytest.raises(TypeError):
            await ends.receiver.receive_batch(names)
    await ends.sender.send_async("x" * 99, {})
    assert await take(ends.receiver, ["x" * 99], 1)


@scenario()
async def test_messages_against_the_rules_are_refused(ends: Ends):
    for message in (None, "text", [("a", 1)], {"__asgi_channel__": "x!y"}):
        with pytest.raises(TypeError):
            await ends.sender.send_async("channel", message)


@scenario(OURS)
async def test_values_that_no_message_may_hold_are_refused(ends: Ends):
    for value in (object(), {1: "key"}, [lambda: None], test_names_against_the_rules_are_refused):
        with pytest.raises(TypeError):
            await ends.sender.send_async("channel", {"value": value})
    assert await nothing_on(ends.receiver, ["channel"])


@scenario()
async def test_new_channels_are_single_reader_names(ends: Ends):
    names = {ends.receiver.new_channel("answer?") for _ in range(100)}
    assert len(names) == 100
    assert all(name.startswith("answer?") and len(name) > len("answer?") for name in names)
    for pattern in ("answer!", "answer", "a?b"):
        with pytest.raises(TypeError):
            ends.receiver.new_channel(pattern)


@scenario(OURS)
async def test_single_reader_channels_carry_messages(ends: Ends):
    name = ends.receiver.new_channel("answer?")
    await ends.sender.send_async(name, {"a": 1})
    assert await take(ends.receiver, [name], 1) == [(name, {"a": 1})]


@scenario()
async def test_values_come_back_as_they_were(ends: Ends):
    message = {
        "bytes": bytes(range(256)) * 3,
        "text": "nul \0, umlaut ä, snowman ☃, 𝄞",
        "empty": b"",
        "empty text": "",
        "integers": [0, -1, 2**63 - 1, -(2**63)],
        "float": 1.5,
        "flags": [True, False, None],
        "nested": {"list": [[b"name", b"value"], [b"\xff\x00", b"\r\n"]], "dict": {"a": {"b": "c"}}},
    }
    await ends.sender.send_async("channel", message)
    [(_, received)] = await take(ends.receiver, ["channel"], 1)
    assert received == message
    assert [type(value) for value in received["flags"]] == [bool, bool, type(None)]
    assert type(received["bytes"]) is bytes and type(received["text"]) is str


@scenario()
async def test_what_was_sent_does_not_change_afterwards(ends: Ends):
    message = {"list": [1, [2]], "dict": {"a": 1}}
    await ends.sender.group_add_async("group", "one")
    await ends.sender.group_add_async("group", "two")
    await ends.sender.send_async("channel", message)
    await ends.sender.send_group_async("group", message)
    message["list"][1].append(3)
    message["dict"]["b"] = 2
    message["more"] = True
    for channel in ("channel", "one", "two"):
        [(_, received)] = await take(ends.receiver, [channel], 1)
        assert received == {"list": [1, [2]], "dict": {"a": 1}}
        received["list"][1].append(4)


@scenario(expiry=soon)
async def test_messages_expire(ends: Ends):
    await ends.sender.send_async("channel", {"number": 1})
    await ends.sender.send_async("local.x!y", {"number": 2})
    await asyncio.sleep(ends.sender.expiry * 2.1)
    assert await nothing_on(ends.receiver, ["channel", "local.x!"])

    async def sent_and_received():
        await ends.sender.send_async("channel", {"number": 3})
        return await take(ends.receiver, ["channel"], 1)

    assert await once_in_time(ends.sender.expiry, sent_and_received) == [("channel", {"number": 3})]


@scenario(capacity=3)
async def test_a_full_channel_refuses_and_takes_again(ends: Ends):
    for number in range(3):
        await ends.sender.send_async("channel", {"number": number})
    with pytest.raises(ChannelFull):
        await ends.sender.send_async("channel", {"number": 3})
    assert issubclass(ends.sender.ChannelFull, ChannelFull)
    assert issubclass(ends.sender.MessageTooLarge, MessageTooLarge)
    await take(ends.receiver, ["channel"], 1)
    await ends.sender.send_async("channel", {"number": 4})
    numbers = [message["number"] for _, message in await take(ends.receiver, ["channel"], 3)]
    assert numbers == [1, 2, 4]


@scenario(capacity=3)
async def test_capacity_counts_all_channels_of_a_process(ends: Ends):
    for number in range(3):
        await ends.sender.send_async(f"local.x!{number}", {})
    with pytest.raises(ChannelFull):
        await ends.sender.send_async("local.x!3", {})
    await ends.sender.send_async("local.y!3", {})


@scenario(OURS, capacity=3, channel_capacity={"http.*": 1, "http.response*": 7, "reply.*": 2})
async def test_the_first_capacity_that_matches_counts(ends: Ends):
    for channel, capacity in (("other", 3), ("http.request", 1), ("http.response.x!y", 1), ("reply.x!y", 2)):
        for _ in range(capacity):
            await ends.sender.send_async(channel, {})
        with pytest.raises(ChannelFull):
            await ends.sender.send_async(channel, {})


@scenario()
async def test_groups_reach_their_members(ends: Ends):
    await ends.sender.group_add_async("group", "one")
    await ends.receiver.group_add_async("group", "two")
    await ends.receiver.group_add_async("group", "local.x!y")
    await ends.sender.group_add_async("group", "three")
    await ends.receiver.group_discard_async("group", "three")
    await ends.sender.group_discard_async("group", "never")
    await ends.sender.group_add_async("other", "four")
    await ends.sender.send_group_async("group", {"a": 1})
    for channel in ("one", "two"):
        assert await take(ends.receiver, [channel], 1) == [(channel, {"a": 1})]
    assert await take(ends.receiver, ["local.x!"], 1) == [("local.x!y", {"a": 1})]
    assert await nothing_on(ends.receiver, ["one", "two", "three", "four", "local.x!"])
    await ends.sender.send_group_async("nobody", {"a": 1})


@scenario(capacity=1)
async def test_groups_pass_over_full_members(ends: Ends):
    await ends.sender.group_add_async("group", "full")
    await ends.sender.group_add_async("group", "empty")
    await ends.sender.send_async("full", {"number": 1})
    await ends.sender.send_group_async("group", {"number": 2})
    assert await take(ends.receiver, ["full"], 1) == [("full", {"number": 1})]
    assert await take(ends.receiver, ["empty"], 1) == [("empty", {"number": 2})]
    assert await nothing_on(ends.receiver, ["full", "empty"])


@scenario(group_expiry=soon)
async def test_memberships_expire(ends: Ends):
    assert ends.sender.group_expiry == soon(ends.kind)
    await ends.sender.group_add_async("group", "one")
    await asyncio.sleep(ends.sender.group_expiry * 2.1)

    async def sent_to_a_new_member():
        await ends.sender.group_add_async("group", "two")
        await ends.sender.send_group_async("group", {"a": 1})
        return await take(ends.receiver, ["two"], 1)

    assert await once_in_time(ends.sender.group_expiry, sent_to_a_new_member) == [("two", {"a": 1})]
    assert await nothing_on(ends.receiver, ["one"])


@scenario(OURS)
async def test_group_names_have_no_marker(ends: Ends):
    for name in ("", "a!b", "a?", "x" * 100, "ä"):
        with pytest.raises(TypeError):
            await ends.sender.group_add_async(name, "channel")
        with pytest.raises(TypeError):
            await ends.sender.send_group_async(name, {})
    with pytest.raises(TypeError):
        await ends.sender.group_add_async("group", "bare!")


@scenario()
async def test_flush_forgets_messages_and_groups(ends: Ends):
    await ends.sender.send_async("channel", {})
    await ends.sender.send_async("local.x!y", {})
    await ends.sender.group_add_async("group", "member")
    await ends.sender.flush_async()
    await ends.sender.send_group_async("group", {})
    assert await nothing_on(ends.receiver, ["channel", "local.x!", "member"])


@scenario()
async def test_a_megabyte_passes(ends: Ends):
    body = random.Random(1).randbytes(MEGABYTE)
    await ends.sender.send_async("bytes", {"body": body})
    await ends.sender.send_async("text", {"text": "x" * MEGABYTE})
    [(_, received)] = await take(ends.receiver, ["bytes"], 1)
    assert received["body"] == body
    [(_, received)] = await take(ends.receiver, ["text"], 1)
    assert received["text"] == "x" * MEGABYTE


@scenario(OURS)
async def test_larger_messages_are_refused(ends: Ends):
    for message in ({"body": bytes(2 * MEGABYTE)}, {"list": ["x" * 1000] * 2000}):
        with pytest.raises(MessageTooLarge):
            await ends.sender.send_async("channel", message)
    await ends.sender.group_add_async("group", "channel")
    with pytest.raises(MessageTooLarge):
        await ends.sender.send_group_async("group", {"body": bytes(2 * MEGABYTE)})
    assert await nothing_on(ends.receiver, ["channel"])


@scenario(OURS, capacity=10_000)
async def test_ten_thousand_channels(ends: Ends):
    for start in range(0, 10_000, 500):
        numbers = range(start, start + 500)
        await asyncio.gather(*(ends.sender.send_async(f"c.{n}", {"number": n}) for n in numbers))
        await asyncio.gather(*(ends.sender.send_async(f"local.x!{n}", {"number": n}) for n in numbers))
    received = dict(await take(ends.receiver, ["local.x!"], 10_000))
    assert received == {f"local.x!{n}": {"number": n} for n in range(10_000)}
    for start in range(0, 10_000, 500):
        channels = [f"c.{n}" for n in range(start, start + 500)]
        received = dict(await take(ends.receiver, channels, 500))
        assert received == {f"c.{n}": {"number": n} for n in range(start, start + 500)}


@scenario(capacity=1000)
async def test_each_message_goes_to_one_of_many_receivers(ends: Ends):
    received: list[int] = []

    async def receive_for_ever(layer):
        while True:
            received.extend(message["number"] for _, message in await layer.receive_batch(["work"], limit=3))

    layers = [ends.receiver, ends.sender] if ends.kind in OURS else [ends.receiver]
    receivers = [asyncio.ensure_future(receive_for_ever(layer)) for layer in layers for _ in range(10)]
    for number in range(200):
        await ends.sender.send_async("work", {"number": number})
    while len(received) < 200:
        await asyncio.sleep(0.01)
    assert await nothing_on(ends.receiver, ["work"], 0.05)
    for receiver in receivers:
        receiver.cancel()
    assert sorted(received) == list(range(200))


@scenario()
async def test_many_receivers_each_with_a_channel_of_its_own(ends: Ends):
    waiting = [asyncio.ensure_future(ends.receiver.receive_batch([f"own.{n}!"])) for n in range(25)]
    await asyncio.sleep(0.01)
    for number in reversed(range(25)):
        await ends.sender.send_async(f"own.{number}!x", {"number": number})
    assert await asyncio.gather(*waiting) == [[(f"own.{n}!x", {"number": n})] for n in range(25)]


@scenario(capacity=1000)
async def test_cancelled_receives_lose_nothing(ends: Ends):
    """Receives are cancelled at all sorts of moments while messages arrive: each is seen once, in order."""
    moments = random.Random(7)
    received: list[int] = []
    patience = 0.003

    async def send_all():
        for number in range(300):
            await ends.sender.send_async("local.x!y", {"number": number})
            if number % 3 == 0:
                await asyncio.sleep(moments.random() * 0.004)

    async def receive_all():
        nonlocal patience
        while len(received) < 300:
            before = len(received)
            receiving = asyncio.ensure_future(ends.receiver.receive_batch(["local.x!", "other"], limit=4))
            await asyncio.wait([receiving], timeout=moments.random() * patience)
            receiving.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                received.extend(message["number"] for _, message in await receiving)
            # Where a round trip takes longer than any receive may, none would ever end.
            patience = 0.003 if len(received) > before else patience * 1.2

    await asyncio.gather(send_all(), receive_all())
    assert received == list(range(300))


@scenario()
async def test_what_a_cancelled_receive_was_to_get_goes_to_another(ends: Ends):
    """Another process asks for a shared channel after a receive on it was cancelled here."""
    for number in range(5):
        receiving = asyncio.ensure_future(ends.receiver.receive_batch(["shared", "else"]))
        await asyncio.sleep(0.02)
        receiving.cancel()
        await asyncio.wait([receiving])
        await ends.sender.send_async("shared", {"number": number})
        assert await take(ends.sender, ["shared"], 1) == [("shared", {"number": number})]


@scenario()
async def test_a_closed_layer_has_given_back_what_it_held(ends: Ends):
    receiving = asyncio.ensure_future(ends.receiver.receive_batch(["shared"]))
    await asyncio.sleep(0.02)
    receiving.cancel()
    await ends.sender.send_async("shared", {"number": 1})
    await ends.receiver.close_async()
    assert await take(ends.sender, ["shared"], 1) == [("shared", {"number": 1})]


@scenario(capacity=10_000)
async def test_a_busy_channel_does_not_starve_another(ends: Ends):
    for number in range(50):
        await ends.sender.send_async("busy", {"number": number})
    await ends.sender.send_async("quiet", {})
    for _ in range(40):
        channels = {channel for channel, _ in await ends.receiver.receive_batch(["busy", "quiet"], limit=1)}
        if channels == {"quiet"}:
            break
    else:
        raise AssertionError("the quiet channel never had its turn")
