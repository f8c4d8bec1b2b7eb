"""WebSocket through bridge and worker, and a connection that goes from one worker to the next."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager

import pytest

from daphne.errors import ApplicationError, ClientDisconnected, LayerUnavailable
from daphne.worker import Worker
from tests.layers.driver import CheckedLayer, Client, bridged, in_loop, until, websocket_scope, working


async def echo(scope, receive, send):
    await receive()
    await send({"type": "websocket.accept"})
    while (event := await receive())["type"] == "websocket.receive":
        await send(
            {"type": "websocket.send", **{key: event[key] for key in ("text", "bytes") if key in event}}
        )


@in_loop
async def test_an_echo_stays_with_its_worker():
    layer = CheckedLayer()
    async with bridged(layer) as bridge, working(layer, echo), working(layer, echo):
        client = Client(bridge, websocket_scope())
        await client.next_sent()
        for number in range(20):
            client.give("websocket.receive", text=str(number))
        client.give("websocket.receive", bytes=b"")
        assert await client.next_sent(22) == {"type": "websocket.send", "bytes": b""}
        assert client.texts() == [str(number) for number in range(20)]
        client.leave(4000, "done")
        await client.task
        # Nothing goes to classic channels, where nobody would take it.
        await until(lambda: layer.global_statistics()["messages_pending"] == 0)


class Failing(CheckedLayer):
    """Loses clients' messages with the texts `lost`; carries those in `unsure`, and says it may not have."""

    def __init__(self, *, lost=(), unsure=()):
        super().__init__()
        self.lost, self.unsure = set(lost), set(unsure)

    def give(self, channel, message):
        return message.get("type") != "websocket.receive" and super().give(channel, message)

    async def send_async(self, channel, message):
        text = message.get("text") if message.get("type") == "websocket.receive" else None
        if text in self.lost:
            return
        await super().send_async(channel, message)
        if text in self.unsure:
            self.unsure.remove(text)
            raise LayerUnavailable("the connection has gone")


@in_loop
async def test_a_message_that_a_failing_layer_carried_twice_comes_once():
    layer = Failing(unsure={"1", "2"})
    async with bridged(layer) as bridge, working(layer, echo):
        client = Client(bridge, websocket_scope())
        for number in range(5):
            client.give("websocket.receive", text=str(number))
        await until(lambda: client.texts()[-1:] == ["4"], "the last message")
        assert client.texts() == ["0", "1", "2", "3", "4"] and not layer.unsure
        client.leave()
        await client.task


@in_loop
async def test_messages_that_a_failing_layer_lost_are_logged_and_take_no_room(caplog):
    lost = [*range(1, 301), *range(302, 602)]  # together more than a window holds
    layer = Failing(lost=map(str, lost))
    async with bridged(layer) as bridge, working(layer, echo):
        client = Client(bridge, websocket_scope())
        for number in range(700):
            client.give("websocket.receive", text=str(number))
        await until(lambda: client.texts()[-1:] == ["699"], "the last message")
        assert client.texts() == [str(number) for number in range(700) if number not in lost]
        assert caplog.text.count("the layer lost 300 messages") == 2
        client.leave()
        await client.task


class FailingBack(CheckedLayer):
    """The same for what workers send. Those in `failed` are not carried, which is said, and then they are."""

    def __init__(self, *, lost=(), unsure=(), failed=()):
        super().__init__()
        self.lost, self.unsure, self.failed = set(lost), set(unsure), set(failed)

    def give(self, channel, message):
        return ("text" not in message or "type" in message) and super().give(channel, message)

    async def send_async(self, channel, message):
        text = message.get("text") if "type" not in message else None
        if text in self.lost:
            return
        if text in self.failed:
            self.failed.remove(text)
            raise LayerUnavailable("there is no connection")
        await super().send_async(channel, message)
        if text in self.unsure:
            self.unsure.remove(text)
            raise LayerUnavailable("the connection has gone")


@in_loop
async def test_a_message_for_the_client_that_a_failing_layer_carried_twice_comes_once(caplog):
    layer = FailingBack(unsure={"0", "2", "3"}, lost={"5"}, failed={"4", "6"})
    async with bridged(layer) as bridge, working(layer, echo):
        client = Client(bridge, websocket_scope())
        for number in range(8):
            client.give("websocket.receive", text=str(number))
        await until(lambda: client.texts()[-1:] == ["7"], "the last message")
        assert client.texts() == ["0", "1", "2", "3", "4", "6", "7"] and not layer.unsure
        assert "the layer lost 1 messages for its client" in caplog.text
        client.leave()
        await client.task


@in_loop
async def test_an_application_whose_messages_a_failing_layer_all_lost_goes_on(caplog):
    async def application(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        for number in range(700):
            await send({"type": "websocket.send", "text": str(number)})
        await send({"type": "websocket.close"})

    layer = FailingBack(lost=map(str, range(600)))
    async with bridged(layer, worker_timeout=1) as bridge, working(layer, application, worker_timeout=1):
        client = Client(bridge, websocket_scope())
        await until(client.task.done)
        assert client.texts() == [str(number) for number in range(600, 700)]
        assert "the layer lost 511 messages for its client" in caplog.text


@in_loop
async def test_a_client_whose_messages_a_failing_layer_all_lost_is_read_on(caplog):
    layer = Failing(lost=map(str, range(600)))
    async with bridged(layer, worker_timeout=1) as bridge, working(layer, echo, worker_timeout=1):
        client = Client(bridge, websocket_scope())
        await client.next_sent()  # what comes before is kept for the worker
        for number in range(600):
            client.give("websocket.receive", text=str(number))
        await until(lambda: client.unread <= 600 - 511, "the end of reading")
        layer.lost.clear()
        await until(lambda: client.texts()[-1:] == ["599"], "the last message")
        assert client.texts() == [str(number) for number in range(510, 600)]
        assert "the layer lost 510 messages of its client" in caplog.text
        client.leave()
        await client.task


class ForgetfulLayer(CheckedLayer):
    """Takes each message of a client twice: the first time it goes away before it can say so."""

    def __init__(self):
        super().__init__()
        self.taken_unsaid = set()

    async def send_async(self, channel, message):
        await super().send_async(channel, message)
        order = message.get("order", 0) if message.get("type") == "websocket.receive" else 0
        if order and order not in self.taken_unsaid:
            self.taken_unsaid.add(order)
            raise LayerUnavailable("away")


@in_loop
async def test_what_the_layer_took_without_saying_so_is_delivered_once():
    layer = ForgetfulLayer()
    async with bridged(layer) as bridge, working(layer, echo):
        client = Client(bridge, websocket_scope())
        await client.next_sent()
        for number in range(5):
            client.give("websocket.receive", text=str(number))
        await until(lambda: "4" in client.texts())
        client.give("websocket.receive", text="last")
        await until(lambda: "last" in client.texts())
        assert client.texts() == ["0", "1", "2", "3", "4", "last"]
        assert layer.taken_unsaid == {1, 2, 3, 4, 5, 6}
        client.leave()
        await client.task


@in_loop
async def test_accept_with_subprotocol_and_headers_then_close_with_a_reason():
    async def application(scope, receive, send):
        assert scope["subprotocols"] == ["a", "b"]
        await receive()
        await send({"type": "websocket.accept", "subprotocol": "b", "headers": [(b"x", b"y")]})
        await send({"type": "websocket.close", "code": 4001, "reason": "enough"})
        seen.append(await receive())

    seen = []
    layer = CheckedLayer()
    async with bridged(layer) as bridge, working(layer, application):
        client = Client(bridge, websocket_scope(subprotocols=["a", "b"]))
        await client.task
        await until(lambda: seen)
    assert client.sent == [
        {"type": "websocket.accept", "subprotocol": "b", "headers": [(b"x", b"y")]},
        {"type": "websocket.close", "code": 4001, "reason": "enough"},
    ]
    assert seen[0]["code"] == 4001


@in_loop
async def test_a_denial_goes_through():
    events = [
        {"type": "websocket.http.response.start", "status": 401, "headers": [(b"a", b"b")]},
        {"type": "websocket.http.response.body", "body": b"no ", "more_body": True},
        {"type": "websocket.http.response.body", "body": b"entry", "more_body": False},
    ]

    async def application(scope, receive, send):
        for event in events:
            await send(event)

    layer = CheckedLayer()
    async with bridged(layer) as bridge, working(layer, application):
        client = Client(bridge, websocket_scope())
        await client.task
    assert client.sent == events


@in_loop
@pytest.mark.parametrize(
    ("raises", "accepted", "last"),
    [
        (True, False, {"type": "websocket.http.response.start", "status": 500}),
        (False, False, {"type": "websocket.http.response.start", "status": 500}),
        (True, True, {"type": "websocket.close", "code": 1011}),
        (False, True, {"type": "websocket.close", "code": 1000}),
    ],
)
async def test_however_an_application_ends_its_client_is_told(raises, accepted, last, caplog):
    async def application(scope, receive, send):
        await receive()
        if accepted:
            await send({"type": "websocket.accept"})
        if raises:
            raise RuntimeError("secret")

    layer = CheckedLayer()
    async with bridged(layer) as bridge, working(layer, application):
        client = Client(bridge, websocket_scope())
        await client.task
    ends = [event for event in client.sent if last.items() <= event.items()]
    assert len(ends) == 1, client.sent
    assert raises == ("secret" in caplog.text)


@in_loop
async def test_events_out_of_place_raise_in_the_application():
    errors = []

    async def application(scope, receive, send):
        wrong = [{"type": "websocket.send", "text": "early"}, {"type": "http.response.start", "status": 200}]
        for event in wrong:
            with pytest.raises(ApplicationError):
                await send(event)
        await send({"type": "websocket.accept"})
        wrong = [
            {"type": "websocket.accept"},
            {"type": "websocket.send"},
            {"type": "websocket.send", "text": "a", "bytes": b"a"},
            {"type": "websocket.send", "text": b"a"},
            {"type": "websocket.send", "bytes": "a"},
            {"type": "websocket.close", "code": 1006},
            {"type": "daphne.state", "state": {"not": b"JSON"}},
            {"type": "daphne.state", "state": float("nan")},
            {"type": "daphne.state", "state": "x" * 70_000},
        ]
        for event in wrong:
            with pytest.raises(ApplicationError):
                await send(event)
        await send({"type": "websocket.close"})
        with pytest.raises(ClientDisconnected):
            await send({"type": "websocket.send", "text": "late"})
        errors.append("all")

    layer = CheckedLayer()
    async with bridged(layer) as bridge, working(layer, application):
        client = Client(bridge, websocket_scope())
        await client.task
        await until(lambda: errors)


@in_loop
@pytest.mark.parametrize(
    ("accepted", "event", "says"),
    [
        (False, {"type": "websocket.accept", "subprotocol": "c"}, "Subprotocol 'c' was not offered"),
        (
            False,
            {"type": "websocket.accept", "headers": [("x", "y")]},
            "Header name 'x' expected to be `bytes`",
        ),
        (False, {"type": "websocket.http.response.start", "status": 42}, "Status 42 is no final status code"),
        (True, {"type": "websocket.close", "reason": 5}, "Close reason expected to be `str`"),
    ],
)
async def test_what_cannot_be_sent_raises_and_changes_nothing(accepted, event, says):
    """A reason that is no text left the client with an open socket that nobody had."""

    async def application(scope, receive, send):
        await receive()
        if accepted:
            await send({"type": "websocket.accept"})
        with pytest.raises(ApplicationError, match=says):
            await send(event)
        if not accepted:
            await send({"type": "websocket.accept", "subprotocol": ""})
        await send({"type": "websocket.send", "text": "as before"})

    layer = CheckedLayer()
    async with bridged(layer) as bridge, working(layer, application):
        client = Client(bridge, websocket_scope(subprotocols=["a", "b"]))
        await client.task
    assert client.texts() == ["as before"] and client.sent[-1]["code"] == 1000


@in_loop
async def test_an_application_that_does_not_receive_stops_the_reading_of_the_client():
    go_on = asyncio.Event()
    seen = []

    async def application(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        await go_on.wait()
        while (event := await receive())["type"] == "websocket.receive":
            seen.append(event["bytes"][0])

    layer = CheckedLayer(capacity=1000)
    async with bridged(layer) as bridge, working(layer, application):
        client = Client(bridge, websocket_scope())
        await client.next_sent()
        for number in range(100):
            client.give("websocket.receive", bytes=bytes([number]) + bytes(65535))
        await asyncio.sleep(0.1)
        assert client.unread > 80
        go_on.set()
        await until(lambda: len(seen) == 100)
        client.leave()
        await client.task
    assert seen == list(range(100))


@in_loop
async def test_a_client_that_does_not_read_makes_the_application_wait():
    sent = []

    async def application(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        for number in range(100):
            await send({"type": "websocket.send", "bytes": bytes([number]) + bytes(65535)})
            sent.append(number)
        await receive()

    layer = CheckedLayer(capacity=1000)
    async with bridged(layer) as bridge, working(layer, application):
        client = Client(bridge, websocket_scope())
        client.can_take.clear()
        await asyncio.sleep(0.1)
        assert len(sent) < 20
        client.can_take.set()
        await client.next_sent(101)
        assert [event["bytes"][0] for event in client.sent[1:]] == list(range(100))
        client.leave()
        await client.task


# Handing over


def recorder(name, log, ends=None):
    """An application that answers each message with its own name, and writes down what it sees."""

    async def application(scope, receive, send):
        log.append((name, "connect", scope["extensions"].get("daphne.resume")))
        await receive()
        await send({"type": "websocket.accept"})
        while (event := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": f"{name} {event['text']}"})
        log.append((name, "disconnect", event["code"], event["reason"]))
        if ends is not None:
            await ends(send)

    return application


@asynccontextmanager
async def started(layer, application, **options):
    worker = Worker(layer, application, lifespan="off", **options)
    task = asyncio.ensure_future(worker.run())
    yield worker
    await worker.drain()
    await task


@in_loop
async def test_a_draining_worker_hands_over_and_the_client_sees_nothing():
    log = []
    layer = CheckedLayer()
    async with bridged(layer) as bridge:
        first = Worker(layer, recorder("first", log), lifespan="off")
        running = asyncio.ensure_future(first.run())
        client = Client(bridge, websocket_scope())
        await client.next_sent()
        client.give("websocket.receive", text="1")
        await client.next_sent(2)
        async with started(layer, recorder("second", log)) as second:
            await first.drain()
            await running
            client.give("websocket.receive", text="2")
            await client.next_sent(3)
            connection = log[2][2].pop("connection")
            assert log == [
                ("first", "connect", None),
                ("first", "disconnect", 1012, "worker restart"),
                ("second", "connect", {"count": 1, "state": None}),
            ]
            async with started(layer, recorder("third", log)):
                await second.drain()
                client.give("websocket.receive", text="3")
                await client.next_sent(4)
                assert log[-1][2] == {"connection": connection, "count": 2, "state": None}
                assert client.texts() == ["first 1", "second 2", "third 3"]
                assert [event["type"] for event in client.sent] == ["websocket.accept"] + [
                    "websocket.send"
                ] * 3
                client.leave()
                await client.task


@in_loop
async def test_frames_in_between_are_kept_in_order_and_reading_pauses_at_a_bound():
    log = []
    layer = CheckedLayer()
    async with bridged(layer) as bridge:
        async with started(layer, recorder("first", log)):
            client = Client(bridge, websocket_scope())
            await client.next_sent()
        texts = [f"{number:05} " + "x" * 10_000 for number in range(100)]
        for text in texts:
            client.give("websocket.receive", text=text)
        await asyncio.sleep(0.05)
        assert 40 < client.unread < 60, "half a megabyte is kept, the rest waits in the socket"
        async with started(layer, recorder("second", log)):
            await client.next_sent(101)
            assert client.texts() == [f"second {text}" for text in texts]
            client.leave()
            await client.task


@in_loop
async def test_frames_on_their_way_to_the_old_worker_go_to_the_new_one():
    """What the application has not received when its worker drains is not lost and not doubled."""
    log = []
    stuck = asyncio.Event()

    async def stuck_application(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        event = await receive()
        await stuck.wait()
        await send({"type": "websocket.send", "text": f"first {event['text']}"})
        assert (await receive())["code"] == 1012

    layer = CheckedLayer()
    async with bridged(layer) as bridge:
        first = Worker(layer, stuck_application, lifespan="off")
        running = asyncio.ensure_future(first.run())
        client = Client(bridge, websocket_scope())
        await client.next_sent()
        for number in range(10):
            client.give("websocket.receive", text=str(number))
        await until(lambda: client.unread == 0)
        async with started(layer, recorder("second", log)):
            draining = asyncio.ensure_future(first.drain())
            await asyncio.sleep(0.02)
            client.give("websocket.receive", text="10")
            stuck.set()
            await draining
            await running
            await client.next_sent(12)
            assert client.texts() == ["first 0", *(f"second {number}" for number in range(1, 11))]
            client.leave()
            await client.task


@in_loop
async def test_what_the_old_one_still_sends_comes_before_the_new_ones_first_message():
    async def last_words(send):
        for number in range(30):
            await send({"type": "websocket.send", "text": f"last {number}"})
        await send({"type": "websocket.close", "code": 4000})  # not its connection any more

    log = []
    layer = CheckedLayer()
    async with bridged(layer) as bridge, started(layer, recorder("first", log, last_words)) as first:
        client = Client(bridge, websocket_scope())
        await client.next_sent()
        async with started(layer, recorder("second", log)):
            await first.drain()
            client.give("websocket.receive", text="a")
            await client.next_sent(32)
            assert client.texts() == [*(f"last {number}" for number in range(30)), "second a"]
            client.leave()
            await client.task


@in_loop
async def test_an_application_that_does_not_end_is_cancelled_after_the_drain_timeout(loop, caplog):
    async def stubborn(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        await asyncio.Event().wait()

    log = []
    layer = CheckedLayer()
    async with bridged(layer) as bridge:
        first = Worker(layer, stubborn, lifespan="off", drain_timeout=10)
        running = asyncio.ensure_future(first.run())
        client = Client(bridge, websocket_scope())
        await client.next_sent()
        async with started(layer, recorder("second", log)):
            draining = asyncio.ensure_future(first.drain())
            await asyncio.sleep(0.02)
            loop.turn(10.1)
            await draining
            await running
            client.give("websocket.receive", text="a")
            await client.next_sent(2)
            assert client.texts() == ["second a"] and "did not end in time" in caplog.text
            client.leave()
            await client.task


@in_loop
async def test_a_client_that_does_not_read_is_handed_over_too(loop, caplog):
    """What it has not taken waits at the front end, and does not hold the worker up."""
    caplog.set_level(logging.DEBUG)

    async def talker(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        assert (await receive())["text"] == "begin"
        for number in range(100):
            await send({"type": "websocket.send", "text": str(number) + " " * 65535})
            sent.append(number)

    log, sent = [], []
    layer = CheckedLayer(capacity=1000)
    async with bridged(layer) as bridge:
        first = Worker(layer, talker, lifespan="off", drain_timeout=10)
        running = asyncio.ensure_future(first.run())
        client = Client(bridge, websocket_scope())
        await client.next_sent()
        client.can_take.clear()
        client.give("websocket.receive", text="begin")
        await until(lambda: sent)
        async with started(layer, recorder("second", log)):
            draining = asyncio.ensure_future(first.drain())
            await asyncio.sleep(0.02)
            loop.turn(10.1)
            await until(lambda: draining.done(), "the end of the worker")
            await running
            client.can_take.set()
            await until(lambda: log)
            client.give("websocket.receive", text="a")
            await until(lambda: client.texts() and client.texts()[-1] == "second a")
            assert [int(text) for text in client.texts()[:-1]] == list(range(len(client.texts()) - 1))
            assert not [record for record in caplog.records if "died" in record.getMessage()]
            client.leave()
            await client.task


@in_loop
async def test_a_refusal_with_a_code_that_may_not_be_sent_is_a_refusal(caplog):
    async def application(scope, receive, send):
        await send({"type": "websocket.close", "code": 42})

    layer = CheckedLayer()
    async with bridged(layer) as bridge, working(layer, application):
        client = Client(bridge, websocket_scope())
        await client.task
    assert client.sent == [{"type": "websocket.close"}]
    assert not caplog.records


@in_loop
async def test_a_connection_that_is_not_accepted_yet_is_offered_again():
    log = []

    async def slow(scope, receive, send):
        await receive()
        assert (await receive())["code"] == 1012

    layer = CheckedLayer()
    async with bridged(layer) as bridge:
        async with started(layer, slow) as first:
            client = Client(bridge, websocket_scope())
            await until(lambda: first._runs)
        async with started(layer, recorder("second", log)):
            assert await client.next_sent() == {"type": "websocket.accept"}
            assert log == [("second", "connect", None)], "the client is not connected: nothing is resumed"
            client.leave()
            await client.task


@in_loop
async def test_state_goes_to_the_next_worker():
    states = []
    odd = [2**70, "\ud800"]  # what no layer would carry

    async def application(scope, receive, send):
        resume = scope["extensions"].get("daphne.resume") or {"state": {"count": 0, "odd": odd}}
        states.append(resume["state"])
        assert scope["extensions"]["daphne.state"]["max_size"] == 65536
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "daphne.state", "state": {"count": resume["state"]["count"] + 1, "odd": odd}})
        await receive()

    layer = CheckedLayer()
    async with bridged(layer) as bridge:
        client = None
        for number in range(3):
            async with started(layer, application):
                client = client or Client(bridge, websocket_scope())
                await until(lambda number=number: len(states) == number + 1)
                await client.next_sent()
        client.leave()
        await client.task
    assert states == [{"count": count, "odd": odd} for count in range(3)]


@in_loop
@pytest.mark.parametrize("how", ["setting", "scope", "refusal", "subprotocol"])
async def test_a_connection_that_cannot_be_resumed_closes_with_1012(how):
    count = 0

    async def application(scope, receive, send):
        nonlocal count
        count += 1
        if how == "scope":
            scope["extensions"]["daphne.worker_loss"]["action"] = "close"
        await receive()
        if how == "refusal" and "daphne.resume" in scope["extensions"]:
            await send({"type": "websocket.close"})
            return
        await send(
            {"type": "websocket.accept", "subprotocol": "ab"[count - 1] if how == "subprotocol" else None}
        )
        while (await receive())["type"] != "websocket.disconnect":
            pass

    layer = CheckedLayer()
    settings = {"on_worker_loss": "close"} if how == "setting" else {}
    async with bridged(layer, **settings) as bridge:
        async with started(layer, application):
            client = Client(bridge, websocket_scope(subprotocols=["a", "b"]))
            await client.next_sent()
        async with started(layer, application):
            await client.task
    assert client.sent[1:] == [{"type": "websocket.close", "code": 1012}]


@in_loop
async def test_a_client_that_leaves_during_the_hand_over_still_delivers_its_last_words():
    log, seen = [], []

    async def second(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        while True:
            event = await receive()
            seen.append(event.get("text") or event.get("code"))
            if event["type"] == "websocket.disconnect":
                return

    layer = CheckedLayer()
    async with bridged(layer) as bridge:
        async with started(layer, recorder("first", log)):
            client = Client(bridge, websocket_scope())
            await client.next_sent()
        client.give("websocket.receive", text="last words")
        client.leave(1001)
        await asyncio.sleep(0.02)
        assert not client.task.done()
        async with started(layer, second):
            await until(lambda: len(seen) == 2)
            await client.task
    assert seen == ["last words", 1001]


@in_loop
async def test_an_open_connection_that_no_worker_takes_is_closed_in_the_end(loop, caplog):
    log = []
    layer = CheckedLayer(expiry=60)
    async with bridged(layer) as bridge:
        async with started(layer, recorder("first", log)):
            client = Client(bridge, websocket_scope())
            await client.next_sent()
        for _ in range(20):
            loop.turn(30)
            await asyncio.sleep(0.005)
        await client.task
        assert client.sent[-1] == {"type": "websocket.close", "code": 1012}
        assert "no worker took it over" in caplog.text
        assert layer.channel_statistics("websocket.connect")["messages_count"] >= 5, "it was offered again"


# Deaths


@in_loop
async def test_a_worker_that_falls_silent_loses_its_connections_to_others(loop, caplog):
    """Here the dead worker is a hand-made one: it takes, accepts, and is never heard of again."""
    caplog.set_level(logging.INFO)
    log = []
    layer = CheckedLayer()
    async with bridged(layer, worker_timeout=5) as bridge:
        client = Client(bridge, websocket_scope())
        prefix = "daphne.worker.dead." + layer.client_prefix + "!"
        [(_, connect)] = await layer.receive_batch(["websocket.connect"])
        name = connect["reply_channel"]
        await layer.send_async(name, {"accept": True, "daphne": {"worker": prefix}})
        await client.next_sent()
        for number in range(5):
            client.give("websocket.receive", text=str(number))
        await until(lambda: client.unread == 0)
        held = await layer.receive_batch([prefix], limit=2)  # it dies with two messages in its hands
        assert [message["text"] for _, message in held] == ["0", "1"]
        async with started(layer, recorder("second", log)):
            for _ in range(8):
                loop.turn(1)
                await asyncio.sleep(0.01)
            await until(lambda: len(client.texts()) == 3 or loop.turn(0.2))
            assert client.texts() == ["second 2", "second 3", "second 4"], "what it had not taken goes on"
            lost = [
                record.getMessage()
                for record in caplog.records
                if "was with the worker" in record.getMessage()
            ]
            assert len(lost) == 2 and "message 1" in lost[0] and "message 2" in lost[1]
            assert len([e for e in client.sent if e["type"] == "websocket.accept"]) == 1
            # If it was only frozen, it is told to let go.
            assert (await layer.receive_batch([prefix]))[0][1] == {"type": "daphne.lost"}
            client.leave()
            await client.task


@in_loop
async def test_a_connection_over_which_workers_die_again_and_again_is_given_up(loop):
    layer = CheckedLayer()
    async with bridged(layer, worker_timeout=1) as bridge:
        client = Client(bridge, websocket_scope())
        for number in range(4):
            [(_, connect)] = await layer.receive_batch(["websocket.connect"])
            prefix = f"daphne.worker.dead{number}." + layer.client_prefix + "!"
            await layer.send_async(connect["reply_channel"], {"accept": True, "daphne": {"worker": prefix}})
            await until(lambda number=number: bridge.workers._workers)
            await until(
                lambda: (
                    loop.turn(0.2)
                    or layer.channel_statistics("websocket.connect")["messages_pending"]
                    or client.task.done()
                )
            )
        await client.task
        assert client.sent == [{"type": "websocket.accept"}, {"type": "websocket.close", "code": 1012}]


@in_loop
async def test_a_front_end_that_falls_silent_ends_its_runs(loop, caplog):
    seen = []

    async def application(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        seen.append((await receive())["code"])
        with pytest.raises(ClientDisconnected):
            await send({"type": "websocket.send", "text": "nobody"})
        seen.append("raised")

    from daphne.layers import messages, messages_websocket

    layer = CheckedLayer()
    async with started(layer, application, worker_timeout=5):
        scope = websocket_scope()
        connect = messages_websocket.websocket_connect(
            scope, "websocket.send.dead.x!abc", messages.scope_extra(scope, False)
        )
        await layer.send_async("websocket.connect", connect)
        await until(lambda: loop.turn(0.2) or len(seen) == 2)
        assert seen == [1006, "raised"] and "has been silent" in caplog.text


@in_loop
async def test_heartbeats_keep_a_silent_connection_alive(loop):
    log = []
    layer = CheckedLayer()
    async with (
        bridged(layer, worker_timeout=1) as bridge,
        started(layer, recorder("only", log), worker_timeout=1),
    ):
        client = Client(bridge, websocket_scope())
        await client.next_sent()
        for _ in range(100):
            loop.turn(0.2)
            await asyncio.sleep(0.001)
        client.give("websocket.receive", text="still there")
        await client.next_sent(2)
        assert client.texts() == ["only still there"] and len(log) == 1
        client.leave()
        await client.task
