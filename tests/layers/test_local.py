"""The local layer beside what all layers do: brokers that leave or die, who is let in, watching, idleness."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
import signal
import socket
import stat
import struct
import subprocess
import sys
import tempfile
import threading
import time
import traceback

import psutil
import pytest

from daphne.errors import ConfigurationError, LayerUnavailable, MessageTooLarge
from daphne.layers import blocking, local_broker, memory
from daphne.layers.adapters import adapt
from daphne.layers.local import ChannelLayer
from daphne.layers.local_client import Attachment
from daphne.layers.local_frames import SENT, UNASKED
from daphne.layers.local_place import Place, default_path
from daphne.layers.mailboxes import Mailboxes
from daphne.layers.names import Capacities

PEER = """
import asyncio, sys
from daphne.layers.local import ChannelLayer

async def main():
    layer = ChannelLayer(sys.argv[1])
    await layer.send_async("hello", {"broker": layer.is_broker, "prefix": layer.client_prefix})
    while True:
        for channel, message in await layer.receive_batch([f"peer.{layer.client_prefix}!", "work"]):
            if "stop" in message:
                return await layer.close_async()
            await layer.send_async("answers", {"broker": layer.is_broker, **message})

asyncio.run(main())
"""

LEAVER = """
import asyncio, sys
from daphne.layers.local import ChannelLayer

async def main():
    layer = ChannelLayer(sys.argv[1])
    await layer.send_async("hello", {})
    print(flush=True)
    sys.stdin.readline()
    last = [asyncio.create_task(layer.send_async("last", {"number": number})) for number in range(20)]
    for _ in range(5):
        await asyncio.sleep(0)  # they are written, and wait for the broker's answer
    await layer.close_async()
    await asyncio.gather(*last, return_exceptions=True)

asyncio.run(main())
"""


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "layer.sock")


@contextlib.asynccontextmanager
async def layers(path, count, **options):
    opened = [ChannelLayer(path, **options) for _ in range(count)]
    for layer in opened:
        await layer.group_channels_async("attach")
    yield opened
    for layer in reversed(opened):
        await layer.close_async()


@contextlib.contextmanager
def peer(path):
    process = subprocess.Popen([sys.executable, "-c", PEER, path])
    try:
        yield process
    finally:
        process.kill()
        process.wait()


async def one(layer, *channels):
    async with asyncio.timeout(60):
        [(_, message)] = await layer.receive_batch(channels, limit=1)
        return message


def run(scenario):
    async def limited():
        async with asyncio.timeout(60):
            return await scenario

    return asyncio.run(limited())


def test_the_first_is_the_broker_and_others_attach(path):
    async def scenario():
        async with layers(path, 3) as (first, second, third):
            assert [layer.is_broker for layer in (first, second, third)] == [True, False, False]
            with peer(path):
                hello = await one(third, "hello")
                assert hello["broker"] is False
                await second.send_async("work", {"number": 1})
                assert (await one(first, "answers"))["number"] == 1

    run(scenario())


def test_a_broker_that_leaves_hands_everything_on(path):
    async def scenario():
        async with layers(path, 2) as (first, second):
            for number in range(5):
                await second.send_async("queue", {"number": number})
            await second.group_add_async("group", "member")
            waiting = asyncio.ensure_future(second.receive_batch(["other"]))
            await asyncio.sleep(0.05)
            await first.close_async()
            await second.send_async("queue", {"number": 5})
            assert second.is_broker
            assert [(await one(second, "queue"))["number"] for _ in range(6)] == list(range(6))
            assert await second.group_channels_async("group") == ["member"]
            await first.send_async("other", {"from": "the former broker"})
            assert await waiting == [("other", {"from": "the former broker"})]

    run(scenario())


def test_nothing_is_lost_while_brokers_change_under_load(path):
    """Every process in turn is the broker and leaves, while messages flow between the two others."""

    async def scenario():
        async with layers(path, 3, capacity=10_000) as opened:
            sender, receiver, third = opened
            received = []

            async def receive():
                while len(received) < 900:
                    received.extend(m["number"] for _, m in await receiver.receive_batch(["to.x!"], limit=7))

            receiving = asyncio.ensure_future(receive())
            for number in range(900):
                await sender.send_async("to.x!y", {"number": number})
                if number % 100 == 50:
                    broker = next(layer for layer in opened if layer.is_broker)
                    await broker.close_async()
                    await third.group_channels_async("attach")
            await receiving
            assert received == list(range(900))

    run(scenario())


def test_what_the_last_process_left_waits_for_the_next(path):
    async def leave():
        layer = ChannelLayer(path, expiry=60)
        await layer.send_async("queue", {"number": 1})
        await layer.send_async("local.x!y", {"body": b"\0" * 1000})
        await layer.group_add_async("group", "local.x!y")
        await layer.close_async()

    asyncio.run(leave())
    left = f"{path}.left"
    assert stat.S_IMODE(os.stat(left).st_mode) == 0o600

    async def find():
        layer = ChannelLayer(path)
        assert await one(layer, "queue") == {"number": 1}
        assert await one(layer, "local.x!") == {"body": b"\0" * 1000}
        assert await layer.group_channels_async("group") == ["local.x!y"]
        await layer.flush_async()
        await layer.close_async()

    run(find())
    assert not os.path.exists(left)


def test_a_loop_that_ends_in_order_hands_on(path):
    """`asyncio.run` without `close_async`, as `async_to_sync` in a thread does it."""
    layer = ChannelLayer(path)
    for number in range(3):
        asyncio.run(layer.send_async("queue", {"number": number}))
    assert not layer.is_broker
    assert [layer.receive(["queue"])[1]["number"] for _ in range(3)] == [0, 1, 2]


async def peer_is_broker(path):
    while not os.path.exists(path):
        await asyncio.sleep(0.005)


@pytest.mark.parametrize("cancelled", [True, False])
def test_a_process_that_leaves_in_order_warns_of_nothing(cancelled, path, caplog):
    """As each worker does in a rolling deploy."""

    async def scenario():
        async with layers(path, 2) as (_first, second):
            receiving = asyncio.create_task(second.receive_batch(["mine.x!"]))
            await asyncio.sleep(0.02)
            if cancelled:
                receiving.cancel()
                await asyncio.wait([receiving])
            await second.close_async()
            receiving.cancel()
            await asyncio.wait([receiving])

    run(scenario())
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_the_last_words_of_a_process_are_read_though_the_broker_writes_to_it_first(path):
    """A worker that ended in order so left requests unanswered, where the machine had much else to do."""

    async def scenario():
        async with layers(path, 1) as [layer]:
            pipe = subprocess.PIPE
            leaver = subprocess.Popen([sys.executable, "-c", LEAVER, path], stdin=pipe, stdout=pipe)
            await asyncio.to_thread(leaver.stdout.readline)
            leaver.stdin.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                leaver.wait(1)  # this loop stands still meanwhile
            leaver.stdout.close()
            [client] = layer._broker._clients
            client.write_frame((UNASKED, SENT, []))
            client.flush_frames()
            assert [(await one(layer, "last"))["number"] for _ in range(20)] == list(range(20))
            assert await asyncio.to_thread(leaver.wait) == 0

    run(scenario())


@pytest.mark.parametrize("error", [None, ConnectionResetError(104, "reset")], ids=["idle", "busy"])
def test_the_death_of_a_broker_is_logged(error, caplog):
    """The kernel resets the connections of one that dies before it has read everything."""

    async def scenario():
        attachment = Attachment(lambda _: None)
        answer = asyncio.ensure_future(attachment.call("flush"))
        await asyncio.sleep(0)
        attachment.connection_lost(error)
        await asyncio.wait([answer])
        assert isinstance(answer.exception(), LayerUnavailable)
        assert isinstance(attachment.admitted.exception(), ConnectionError)

    run(scenario())
    assert "what it held with it" in caplog.text


def test_a_broker_that_dies_is_replaced_at_once(path, caplog):
    async def scenario():
        with peer(path) as broker:
            await peer_is_broker(path)
            async with layers(path, 2) as (layer, other):
                assert not layer.is_broker and not other.is_broker
                waiting = asyncio.ensure_future(other.receive_batch(["queue"]))
                await layer.send_async("elsewhere", {})
                await asyncio.sleep(0.05)
                broker.send_signal(signal.SIGKILL)
                broker.wait()
                died, attempts = time.monotonic(), 0
                while True:
                    try:
                        await layer.send_async("queue", {"number": 1})
                        break
                    except LayerUnavailable:
                        attempts += 1  # what was asked of the dead one
                assert await waiting == [("queue", {"number": 1})]
                assert attempts <= 2 and time.monotonic() - died < 10
                assert layer.is_broker != other.is_broker

    run(scenario())
    assert "The broker of the local layer has gone" in caplog.text


def test_a_process_that_dies_is_noticed_at_once(path, monkeypatch):
    monkeypatch.setattr(local_broker, "UNCLAIMED", 1000)  # no later look finds it

    async def scenario():
        async with layers(path, 2) as (first, second):
            with peer(path) as process:
                prefix = f"peer.{(await one(first, 'hello'))['prefix']}!"
                watches = [asyncio.ensure_future(layer.watch_async(prefix)) for layer in (first, second)]
                cancelled = asyncio.ensure_future(second.watch_async(prefix))
                await asyncio.sleep(0.1)
                cancelled.cancel()
                assert not any(watch.done() for watch in watches)
                process.send_signal(signal.SIGKILL)
                await asyncio.gather(*watches)
                await first.send_async(prefix + "x", {})  # still a name like any other

    run(scenario())


def test_a_process_that_leaves_is_noticed_as_well(path):
    async def scenario():
        async with layers(path, 1) as (first,):
            with peer(path) as process:
                prefix = f"peer.{(await one(first, 'hello'))['prefix']}!"
                watch = asyncio.ensure_future(first.watch_async(prefix))
                await first.send_async(f"{prefix}x", {"stop": True})
                await watch
                assert process.wait(60) == 0

    run(scenario())


def test_a_prefix_that_nobody_claims_counts_as_gone_after_a_moment(path, monkeypatch):
    monkeypatch.setattr(local_broker, "UNCLAIMED", 0.5)

    async def scenario():
        async with layers(path, 2) as (first, second):
            # In this order, as they are sent by one connection: what is not claimed is looked at last.
            claimed = asyncio.ensure_future(second.watch_async("late.x!"))
            await asyncio.sleep(0)
            receiving = asyncio.ensure_future(second.receive_batch(["late.x!"]))
            await asyncio.sleep(0)
            never = asyncio.ensure_future(second.watch_async("never.x!"))
            await never
            assert not claimed.done()
            for waiting in (claimed, receiving):
                waiting.cancel()

    run(scenario())


def test_prefixes_on_which_nobody_receives_any_more_are_forgotten(path, monkeypatch):
    """A prefix for each WebSocket, say: the broker's process must not remember all that it ever had."""
    monkeypatch.setattr(local_broker, "UNCLAIMED", 0)

    async def scenario():
        boxes = Mailboxes(0, 100, Capacities(100))
        broker = local_broker.Broker(Place(path, 0o600, ()), boxes)
        gone = []
        boxes.wait(["received.x!"], lambda: None)
        for prefix in ("received.x!", "watched.x!"):
            broker.claim((prefix,), broker)
        broker.add_watch("watched.x!", lambda: gone.append("watched"))
        for number in range(100):
            broker.claim((f"one.{number}!",), broker)
            broker.claim(("busy.x!",), broker)
        for prefix in ("one.0!", "one.80!", "busy.x!", "received.x!"):
            broker.add_watch(prefix, functools.partial(gone.append, prefix))
        await asyncio.sleep(0.01)
        assert gone == ["one.0!", "one.80!"]

    run(scenario())


def test_watches_outlive_the_broker(path):
    async def scenario():
        async with layers(path, 2) as (first, second):
            with peer(path) as process:
                prefix = f"peer.{(await one(first, 'hello'))['prefix']}!"
                watch = asyncio.ensure_future(second.watch_async(prefix))
                await asyncio.sleep(0.05)
                await first.close_async()
                await second.send_async(f"{prefix}x", {"number": 1})
                assert (await one(second, "answers"))["number"] == 1
                assert not watch.done()
                process.send_signal(signal.SIGKILL)
                await watch

    run(scenario())


# Who is let in


def test_the_socket_is_the_users_own(path):
    async def scenario():
        async with layers(path, 1, mode=0o600):
            assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
            assert stat.S_ISSOCK(os.stat(path).st_mode)

    run(scenario())
    assert not os.path.exists(path)


class ConnectionOf:
    """A connection whose other end belongs to the user `uid`."""

    def __init__(self, uid):
        self.uid = uid

    def getsockopt(self, level, option, size):
        assert (level, option) == (socket.SOL_SOCKET, socket.SO_PEERCRED)
        return struct.pack("3i", 1234, self.uid, 0)


def test_processes_of_other_users_are_refused(path):
    stranger = os.getuid() + 4711
    assert Place(path).is_trusted(ConnectionOf(os.getuid()))
    assert not Place(path).is_trusted(ConnectionOf(stranger))
    assert Place(path, users=[stranger]).is_trusted(ConnectionOf(stranger))


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_a_stranger_is_cut_off(caplog):
    """Even where the file's mode would let it in."""

    async def scenario(path):
        async with layers(path, 1, mode=0o666):
            child = os.fork()
            if child == 0:
                os._exit(received_as_another_user(path))
            assert (await asyncio.to_thread(os.waitpid, child, 0))[1] == 0

    with tempfile.TemporaryDirectory(prefix="daphne-local-") as directory:
        os.chmod(directory, 0o755)
        run(scenario(f"{directory}/layer.sock"))
    assert "Refused a process of another user" in caplog.text


def received_as_another_user(path):
    """0 if the broker says that it serves others, and ends the connection."""
    try:
        os.setuid(65534)
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(path)
            connection.settimeout(60)
            return 0 if b"serves other users" in connection.recv(100) and not connection.recv(1) else 8
    except ConnectionResetError:
        return 0
    except OSError:
        return 9


def begin_as(uid, group, talk):
    """Run `talk()` in a process of that user; its id."""
    child = os.fork()
    if child:
        return child
    try:
        os.umask(0o022)
        os.setgroups([group])
        os.setgid(group)
        os.setuid(uid)
        run(talk())
        os._exit(0)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(1)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_users_that_are_named_are_let_in_whatever_the_umask():
    front, worker, group = 54321, 54322, 54323

    def layer():
        return ChannelLayer(path, mode=0o660, users=(front, worker))

    async def hold_until_asked():
        held = layer()
        await held.send_async("work", {"number": 1})
        assert held.is_broker
        assert await one(held, "answers") == {"number": 2}
        await held.send_async("work", {"number": 3})  # which is left, for the next broker
        await held.close_async()

    async def work():
        attached = layer()
        assert await one(attached, "work") == {"number": 1}
        assert not attached.is_broker
        await attached.send_async("answers", {"number": 2})
        await attached.close_async()

    async def take_over():
        broker = layer()
        assert await one(broker, "work") == {"number": 3}
        assert broker.is_broker
        await broker.close_async()

    with tempfile.TemporaryDirectory(prefix="daphne-local-") as directory:
        path = f"{directory}/layer.sock"
        os.chown(directory, front, group)
        os.chmod(directory, 0o770)
        first = begin_as(front, group, hold_until_asked)
        try:
            while not os.path.exists(path):
                assert os.waitpid(first, os.WNOHANG) == (0, 0)
                time.sleep(0.01)
            second = begin_as(worker, group, work)
            assert os.waitpid(second, 0)[1] == 0
        finally:
            assert os.waitpid(first, 0)[1] == 0
        third = begin_as(worker, group, take_over)
        assert os.waitpid(third, 0)[1] == 0


def test_what_the_last_broker_left_and_cannot_be_read_keeps_nobody_from_being_the_next(path, caplog):
    async def scenario():
        async with layers(path, 1) as (layer,):
            await layer.send_async("queue", {"a": 1})
            assert await one(layer, "queue") == {"a": 1}

    with open(f"{path}.left", "wb") as left:
        left.write(b"\xc1 is no MessagePack")
    run(scenario())
    assert "cannot be read, and is lost" in caplog.text


def test_a_broker_that_cannot_leave_its_messages_says_so_and_ends(tmp_path, caplog):
    async def scenario():
        layer = ChannelLayer(str(directory / "layer.sock"))
        await layer.send_async("queue", {"a": 1})
        for name in os.listdir(directory):
            os.unlink(directory / name)
        directory.rmdir()
        await layer.close_async()
        assert not layer.is_broker

    directory = tmp_path / "gone"
    directory.mkdir()
    run(scenario())
    assert "holds is lost" in caplog.text


def test_a_broker_of_another_user_is_not_trusted(path, monkeypatch):
    async def scenario():
        async with layers(path, 1):
            monkeypatch.setattr(Place, "is_trusted", lambda self, connection: False)
            with pytest.raises(LayerUnavailable, match="another user"):
                await ChannelLayer(path).send_async("queue", {})

    run(scenario())


@pytest.mark.parametrize("data", [b"\xff\xff\xff\xff", b"\0\0\0\x02\xc1\xc1", b"\0\0\0\x01\x05"])
def test_what_is_no_frame_ends_the_connection(path, data):
    async def scenario():
        async with layers(path, 1) as (first,):
            reader, writer = await asyncio.open_unix_connection(path)
            assert await reader.readexactly(8) == b"\0\0\0\x04\x93\0\0\x03"
            writer.write(data)
            with contextlib.suppress(ConnectionResetError):
                assert await reader.read() == b""
            writer.close()
            await first.send_async("queue", {"a": 1})
            assert await one(first, "queue") == {"a": 1}

    run(scenario())


def taking(layer, prefix):
    """What the owner of `prefix` in this layer's process takes."""
    taken = []
    layer.attend(prefix, lambda channel, message: taken.append((channel, message)))
    return taken


async def until(condition):
    while not condition():
        await asyncio.sleep(0.001)


def test_what_is_attended_at_the_broker_is_given_without_an_answer(path):
    async def scenario():
        async with layers(path, 2) as (first, second):
            assert not second.give("mine.x!a", {"number": 0}), "nobody attends it"
            taken = taking(first, "mine.x!")
            await until(lambda: second.give("mine.x!a", {"number": 0}))
            for number in range(1, 500, 2):  # more than the capacity, and in order with what is answered
                assert second.give("mine.x!b", {"number": number})
                await second.send_async("mine.x!c", {"number": number + 1})
            assert [message["number"] for _, message in taken] == list(range(501))
            assert {channel for channel, _ in taken} == {"mine.x!a", "mine.x!b", "mine.x!c"}
            assert not second.give("shared", {"number": 0}), "that may be full"
            first.forsake("mine.x!")
            await until(lambda: not second.give("mine.x!a", {"late": True}))
            assert (await first.statistics_async("mine.x!"))["messages_count"] >= 501

    run(scenario())


def test_what_is_given_waits_behind_what_waits(path):
    """Messages of before somebody attended the prefix come first, whatever the capacity."""

    async def scenario():
        async with layers(path, 2, capacity=3) as (first, second):
            for number in range(3):
                await second.send_async("mine.x!a", {"number": number})
            taken = taking(first, "mine.x!")
            given = 0
            while given < 5:
                given += second.give("mine.x!a", {"number": 3 + given})
                await asyncio.sleep(0)
            await second.pending_async("mine.x!")
            batch = await first.receive_batch(["mine.x!"])
            assert [message["number"] for _, message in batch] == list(range(8)) and not taken

    run(scenario())


def test_what_is_given_has_the_same_limit_of_size(path):
    async def scenario():
        async with layers(path, 2, max_message_size=1000) as (first, second):
            taken = taking(first, "mine.x!")
            await until(lambda: second.give("mine.x!a", {}))
            for layer in (first, second):
                with pytest.raises(MessageTooLarge):
                    layer.give("mine.x!a", {"content": b"x" * 1000})
                with pytest.raises(TypeError):
                    layer.give("mine.x!a", {"content": 1 << 70})
            await second.pending_async("mine.x!")
            assert taken == [("mine.x!a", {})]

    run(scenario())


def test_what_is_given_to_a_broker_that_leaves_is_not_lost(path):
    async def scenario():
        async with layers(path, 2) as (first, second):
            taken = taking(first, "mine.x!")
            await until(lambda: second.give("mine.x!a", {"number": 0}))
            await until(lambda: taken)
            for number in range(1, 20):
                assert second.give("mine.x!a", {"number": number})
            first.forsake("mine.x!")
            await first.close_async()
            batch = [] if len(taken) == 20 else await second.receive_batch(["mine.x!"])
            assert [message["number"] for _, message in taken + batch] == list(range(20))

    run(scenario())


def test_an_operation_that_does_not_exist_is_refused(path):
    async def scenario():
        async with layers(path, 2) as (_, second):
            for operation in ("nonsense", "_send"):
                with pytest.raises(Exception, match=operation):
                    await second._call(operation)

    run(scenario())


# Use


def test_the_classic_interface_works_from_any_thread(path):
    first, second = ChannelLayer(path), ChannelLayer(path)
    answers = []

    def receive(layer):
        while (answer := layer.receive(["queue"], block=True))[0] is None:
            pass
        answers.append(answer)

    threads = [threading.Thread(target=receive, args=[layer]) for layer in (first, second, first, second)]
    for thread in threads:
        thread.start()
    for number in range(4):
        second.send("queue", {"number": number})
    for thread in threads:
        thread.join(60)
    assert sorted(message["number"] for _, message in answers) == [0, 1, 2, 3]
    first.group_add("group", "member")
    second.send_group("group", {"a": 1})
    assert first.receive(["member"]) == ("member", {"a": 1})
    assert second.channel_statistics("queue")["messages_count"] == 4
    assert second.global_statistics()["messages_pending"] == 0
    first.flush()


def test_a_blocking_receive_returns_after_a_while(path, monkeypatch):
    monkeypatch.setattr(blocking, "BLOCKING_RECEIVE", 0.1)
    layer = ChannelLayer(path)
    assert layer.receive(["queue"], block=True) == (None, None)
    layer.send("queue", {"a": 1})
    assert layer.receive(["queue"], block=True) == ("queue", {"a": 1})


@pytest.mark.parametrize("value", [2**64, {"a": {1: 2}}, object()])
def test_what_cannot_travel_is_refused(path, value):
    with pytest.raises(TypeError):
        ChannelLayer(path).send("queue", {"value": value})


def test_several_megabytes_come_in_several_answers(path):
    async def scenario():
        async with layers(path, 2) as (first, second):
            for number in range(6):
                await first.send_async("queue", {"number": number, "body": b"x" * 700_000})
            batches = []
            while sum(map(len, batches)) < 6:
                batches.append(await second.receive_batch(["queue"]))
            assert max(map(len, batches)) == 2
            assert [message["number"] for batch in batches for _, message in batch] == list(range(6))

    run(scenario())


def test_a_forked_child_has_a_connection_of_its_own(path):
    layer = ChannelLayer(path)
    layer.send("queue", {"number": 1})
    child = os.fork()
    if child == 0:
        status = 1
        try:
            channel, message = layer.receive(["queue"])
            layer.send("answer", {"prefix": layer.client_prefix, **message})
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    channel, message = layer.receive(["answer"], block=True)
    assert message["number"] == 1 and message["prefix"] != layer.client_prefix


def test_nothing_is_done_while_nothing_happens(path):
    async def scenario():
        async with layers(path, 2) as opened:
            waiting = [asyncio.ensure_future(layer.receive_batch(["queue", "x.y!"])) for layer in opened]
            await asyncio.sleep(0.1)
            used = psutil.Process().cpu_times()
            await asyncio.sleep(1)
            idle = psutil.Process().cpu_times()
            assert idle.user + idle.system - used.user - used.system <= 0.05
            for receiving in waiting:
                receiving.cancel()

    run(scenario())


def test_a_path_that_cannot_be_used_is_said(tmp_path):
    async def scenario():
        with pytest.raises(LayerUnavailable, match="cannot be used"):
            await ChannelLayer(str(tmp_path / "missing" / "layer.sock")).send_async("queue", {})

    run(scenario())


def test_a_message_size_that_no_frame_holds_is_refused(path):
    with pytest.raises(ConfigurationError, match="max_message_size is 62914560 at most"):
        ChannelLayer(path, max_message_size=64 * 1024 * 1024)


def test_the_largest_messages_travel_in_a_batch_with_others(path):
    size = 60 * 1024 * 1024

    async def scenario():
        async with layers(path, 2, max_message_size=size) as (first, second):
            for body in (bytes(1024 * 1024 - 1000), bytes(size - 100)):
                await second.send_async("queue", {"body": body})
            received = []
            while len(received) < 2:
                received += await second.receive_batch(["queue"])
            assert [len(message["body"]) for _, message in received] == [1024 * 1024 - 1000, size - 100]

    run(scenario())


def test_a_close_that_is_cancelled_still_tells_whoever_waits(path):
    async def scenario():
        problems = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: problems.append(context))
        async with layers(path, 2) as (_first, second):
            waiting = asyncio.create_task(second.watch_async("nobody.x!"))
            await asyncio.sleep(0.01)
            closing = asyncio.create_task(second.close_async())
            await asyncio.sleep(0)
            closing.cancel()
            await asyncio.wait([closing])
            await asyncio.sleep(0.05)
            waiting.cancel()
            await asyncio.wait([waiting])
        assert not problems

    run(scenario())


def test_the_default_path_is_the_users_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    tmp_path.chmod(0o700)
    assert default_path() == str(tmp_path / "daphne-layer.sock")
    tmp_path.chmod(0o777)
    with pytest.raises(ConfigurationError):
        default_path()
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    assert default_path() == str(tmp_path / f"daphne-{os.getuid()}" / "daphne-layer.sock")


def test_the_socket_may_be_named_on_the_command_line(path):
    async def main():
        layer = adapt(ChannelLayer("/nowhere/at/all"), socket=path)
        await layer.send_async("a", {"number": 1})
        assert os.path.exists(path)
        await layer.close_async()

    asyncio.run(main())
    with pytest.raises(ConfigurationError, match="channel-layer-socket"):
        adapt(memory.ChannelLayer(), socket="x")


def test_files_are_shared_unless_other_users_are_let_in(tmp_path):
    assert ChannelLayer(str(tmp_path / "layer")).same_files
    assert not ChannelLayer(str(tmp_path / "layer"), users=[12345]).same_files
