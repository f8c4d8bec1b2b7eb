"""HTTP through bridge and worker: the application sees and does what it would in the server itself."""

from __future__ import annotations

import asyncio
import re

import pytest

from daphne.errors import ApplicationError, ClientDisconnected, LayerUnavailable, MessageTooLarge
from daphne.layers.memory import ChannelLayer
from tests.layers.driver import CheckedLayer, Client, bridged, empty, http_scope, in_loop, one, until, working


async def read_all(receive):
    body = b""
    while True:
        event = await receive()
        if event["type"] == "http.disconnect":
            return None
        body += event["body"]
        if not event["more_body"]:
            return body


async def echo(scope, receive, send):
    body = await read_all(receive)
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"x-path", scope["path"].encode())]}
    )
    await send({"type": "http.response.body", "body": body})


async def answer(send, body=b"", **more):
    await send({"type": "http.response.start", "status": 200, **more})
    await send({"type": "http.response.body", "body": body})


@in_loop
async def test_a_request_is_one_message_there_and_one_back():
    layer = CheckedLayer()
    async with bridged(layer) as bridge, working(layer, echo):
        assert await Client(bridge, http_scope("/a")).request(b"hi").response() == (200, b"hi")
        # request, reply; no take of what is answered already, and (B24) no http.disconnect, which nobody
        # would consume
        assert layer.global_statistics()["messages_count"] == 2
        assert empty(layer, "http.disconnect")


@in_loop
@pytest.mark.parametrize("size", [0, 1, 262144, 262145, 3_000_000])
async def test_bodies_of_any_size_both_ways(size):
    layer = CheckedLayer()
    body = bytes(range(256)) * (size // 256 + 1)
    body = body[:size]
    async with bridged(layer) as bridge, working(layer, echo):
        client = Client(bridge, http_scope(method="POST"))
        for start in range(0, max(size, 1), 65536):
            client.give(body=body[start : start + 65536], more_body=start + 65536 < size)
        assert await client.response() == (200, body)


@in_loop
@pytest.mark.parametrize("capacity", [7, 8, 9, 100])
async def test_a_response_goes_on_although_its_replies_overtake_the_take(capacity):
    """Replies that fill the window fill a channel of 8, too: the worker can say that it took the request only
    after they have been read and passed on."""

    async def application(scope, receive, send):
        await send({"type": "http.response.start", "status": 200})
        for _ in range(40):
            await send({"type": "http.response.body", "body": bytes(65536), "more_body": True})
        await send({"type": "http.response.body"})

    layer = CheckedLayer(capacity=capacity)
    async with bridged(layer) as bridge, working(layer, application):
        assert await Client(bridge, http_scope()).request().response() == (200, bytes(40 * 65536))


@in_loop
async def test_the_scope_is_that_of_the_server():
    seen = []

    async def application(scope, receive, send):
        seen.append(scope)
        await answer(send)

    layer = CheckedLayer()
    scope = http_scope("/é", raw_path=b"/%C3%A9", http_version="2", root_path="/x")
    async with bridged(layer) as bridge, working(layer, application):
        await Client(bridge, scope).request().response()
    assert seen == [scope]


@in_loop
async def test_trailers_and_early_hints_go_through():
    events = [
        {"type": "http.response.early_hint", "links": [b"</a>; rel=preload"]},
        {"type": "http.response.start", "status": 200, "headers": [], "trailers": True},
        {"type": "http.response.body", "body": b"a", "more_body": True},
        {"type": "http.response.body", "body": b"b", "more_body": False},
        {"type": "http.response.trailers", "headers": [(b"x", b"y")], "more_trailers": False},
    ]

    async def application(scope, receive, send):
        for event in events:
            await send(event)

    layer = CheckedLayer()
    async with bridged(layer) as bridge, working(layer, application):
        client = Client(bridge, http_scope()).request()
        await client.next_sent(5)
        await client.task
        assert client.sent == events


@in_loop
async def test_an_application_that_raises_is_500_at_once(caplog):
    async def application(scope, receive, send):
        raise RuntimeError("secret")

    layer = CheckedLayer()
    async with bridged(layer) as bridge, working(layer, application):
        status, page = await Client(bridge, http_scope()).request().response()
        assert status == 500 and b"secret" not in page and "secret" in caplog.text


@in_loop
async def test_an_application_that_returns_without_an_answer_is_500(caplog):
    async def application(scope, receive, send):
        await send({"type": "http.response.start", "status": 200})

    layer = CheckedLayer()
    async with bridged(layer) as bridge, working(layer, application):
        assert (await Client(bridge, http_scope()).request().response())[0] == 500
        assert "without a complete response" in caplog.text


@in_loop
async def test_r13_an_application_that_raises_within_its_answer_is_cut():
    async def application(scope, receive, send):
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"a", "more_body": True})
        raise RuntimeError

    layer = CheckedLayer()
    async with bridged(layer) as bridge, working(layer, application):
        client = Client(bridge, http_scope()).request()
        await client.task
        assert client.sent[-1]["more_body"] is True


@in_loop
async def test_events_out_of_place_raise_in_the_application():
    errors = []

    async def application(scope, receive, send):
        for event in (
            {"type": "http.response.body", "body": b"early"},
            {"type": "http.response.start", "status": "200"},
            {"type": "websocket.accept"},
        ):
            try:
                await send(event)
            except Exception as error:
                errors.append(type(error).__name__)
        await send({"type": "http.response.start", "status": 200})
        with pytest.raises(Exception, match="Body expected"):
            await send({"type": "http.response.body", "body": "text"})
        await send({"type": "http.response.body"})
        with pytest.raises(Exception, match="Unexpected event"):
            await send({"type": "http.response.body"})

    layer = CheckedLayer()
    async with bridged(layer) as bridge, working(layer, application):
        assert await Client(bridge, http_scope()).request().response() == (200, b"")
    assert errors == ["ApplicationError"] * 3


@in_loop
async def test_after_the_answer_receive_gives_a_disconnect():
    seen = []

    async def application(scope, receive, send):
        await answer(send)
        await receive()
        seen.append(await receive())

    layer = CheckedLayer()
    async with bridged(layer) as bridge, working(layer, application):
        await Client(bridge, http_scope()).request().response()
        await until(lambda: seen)
    assert seen == [{"type": "http.disconnect"}]


@in_loop
async def test_a_client_that_leaves_is_a_disconnect_and_an_error_in_send(loop):
    seen = []

    async def application(scope, receive, send):
        await receive()
        seen.append(await receive())
        with pytest.raises(ClientDisconnected):
            await send({"type": "http.response.start", "status": 200})
        seen.append("raised")

    layer = CheckedLayer()
    async with bridged(layer) as bridge, working(layer, application):
        client = Client(bridge, http_scope()).request()
        await until(lambda: bridge.workers._workers)
        client.leave()
        loop.turn(0.1)
        await client.task
        await until(lambda: len(seen) == 2)
    assert seen == [{"type": "http.disconnect"}, "raised"]


@in_loop
async def test_a_client_that_had_left_before_its_request_was_taken():
    seen = []

    async def application(scope, receive, send):
        while (await receive())["type"] != "http.disconnect":
            pass
        seen.append("disconnect")

    layer = CheckedLayer()
    async with bridged(layer) as bridge:
        client = Client(bridge, http_scope()).request()
        await until(lambda: layer.global_statistics()["messages_pending"])
        client.leave()
        await client.task
        async with working(layer, application):
            await until(lambda: seen)
        await one(layer, "http.disconnect")  # the one for classic consumers: nobody had taken it then


@in_loop
async def test_an_upload_whose_client_leaves(loop):
    seen = []

    async def application(scope, receive, send):
        seen.append(await read_all(receive))

    layer = CheckedLayer()
    async with bridged(layer, body_chunk_size=1000) as bridge, working(layer, application):
        client = Client(bridge, http_scope(method="POST"))
        client.give(body=b"x" * 1500, more_body=True)
        await until(lambda: client.unread == 0)
        client.leave()
        await until(lambda: seen)
        await client.task
    assert seen == [None]


# Flow control end to end


@in_loop
async def test_an_application_that_does_not_read_stops_the_reading_of_the_client():
    go_on = asyncio.Event()
    seen = []

    async def application(scope, receive, send):
        await go_on.wait()
        seen.append(len(await read_all(receive)))
        await answer(send)

    layer = CheckedLayer(capacity=1000)
    async with bridged(layer) as bridge, working(layer, application):
        client = Client(bridge, http_scope(method="POST"))
        for number in range(100):
            client.give(body=bytes(65536), more_body=number < 99)
        await asyncio.sleep(0.1)
        taken = (100 - client.unread) * 65536
        assert taken < 2_000_000, f"{taken} bytes are under way for an application that reads nothing"
        go_on.set()
        assert (await client.response())[0] == 200
    assert seen == [100 * 65536]


@in_loop
async def test_a_client_that_does_not_read_makes_the_application_wait():
    sent = []

    async def application(scope, receive, send):
        await send({"type": "http.response.start", "status": 200})
        for number in range(100):
            await send({"type": "http.response.body", "body": bytes(65536), "more_body": True})
            sent.append(number)
        await send({"type": "http.response.body", "body": b"end"})

    layer = CheckedLayer(capacity=1000)
    async with bridged(layer) as bridge, working(layer, application):
        client = Client(bridge, http_scope()).request()
        client.can_take.clear()
        await asyncio.sleep(0.1)
        assert len(sent) < 20, f"{len(sent)} events are under way for a client that takes nothing"
        client.can_take.set()
        status, body = await client.response()
        assert len(body) == 100 * 65536 + 3


@in_loop
async def test_a_slow_client_does_not_hold_up_another():
    async def application(scope, receive, send):
        await send({"type": "http.response.start", "status": 200})
        for _ in range(20):
            await send({"type": "http.response.body", "body": bytes(65536), "more_body": True})
        await send({"type": "http.response.body"})

    layer = CheckedLayer(capacity=4)
    async with bridged(layer) as bridge, working(layer, application):
        slow = Client(bridge, http_scope()).request()
        slow.can_take.clear()
        await slow.next_sent()
        quick = Client(bridge, http_scope()).request()
        assert len((await quick.response())[1]) == 20 * 65536
        slow.can_take.set()
        assert len((await slow.response())[1]) == 20 * 65536


# Concurrency and choice


@in_loop
async def test_a_worker_takes_no_more_than_it_has_room_for():
    running = []
    go_on = asyncio.Event()

    async def application(scope, receive, send):
        running.append(scope["path"])
        await go_on.wait()
        await answer(send)

    layer = CheckedLayer()
    async with bridged(layer) as bridge, working(layer, application, concurrency=2):
        clients = [Client(bridge, http_scope(f"/{number}")).request() for number in range(5)]
        await until(lambda: len(running) == 2)
        await asyncio.sleep(0.05)
        assert running == ["/0", "/1"]
        assert layer.channel_statistics("http.request")["messages_pending"] == 3
        go_on.set()
        for client in clients:
            assert (await client.response())[0] == 200


@in_loop
async def test_two_workers_share_the_work():
    async def name(name, scope, receive, send):
        await asyncio.sleep(0.01)
        await answer(send, name)

    layer = CheckedLayer()

    def application(label):
        return lambda scope, receive, send: name(label, scope, receive, send)

    async with (
        bridged(layer) as bridge,
        working(layer, application(b"a"), concurrency=1),
        working(layer, application(b"b"), concurrency=1),
    ):
        clients = [Client(bridge, http_scope()).request() for _ in range(10)]
        bodies = [(await client.response())[1] for client in clients]
    assert {b"a", b"b"} == set(bodies)


@in_loop
@pytest.mark.parametrize("choice", [{"only_channels": ["websocket.*"]}, {"exclude_channels": ["http.*"]}])
async def test_channels_are_chosen_by_globs(choice):
    layer = CheckedLayer()
    async with working(layer, echo, **choice) as worker:
        assert worker.channels == ["websocket.connect"]


def test_a_choice_that_leaves_nothing_is_an_error():
    from daphne.errors import ConfigurationError
    from daphne.worker import Worker

    with pytest.raises(ConfigurationError):
        Worker(CheckedLayer(), echo, only_channels=["nothing.*"])


# Classic front ends and classic consumers beside us


@in_loop
async def test_a_classic_front_end_is_answered_in_classic_messages():
    layer = ChannelLayer()
    async with working(layer, echo):
        request = {
            "reply_channel": "daphne.response.abc!def",
            "http_version": "1.1",
            "method": "POST",
            "scheme": "http",
            "path": "/p",
            "root_path": "",
            "query_string": b"",
            "headers": [[b"host", b"x"]],
            "body": b"hi",
            "client": None,
            "server": None,
        }
        await layer.send_async("http.request", request)
        channel, reply = await receive_on(layer, "daphne.response.abc!")
        assert reply == {"status": 200, "headers": [(b"x-path", b"/p")], "content": b"hi"}


async def receive_on(layer, prefix):
    return (await layer.receive_batch([prefix]))[0]


@in_loop
async def test_a_classic_consumer_beside_our_worker():
    """Whoever takes a request answers it, in his own way."""
    layer = CheckedLayer()

    async def classic():
        while True:
            _, message = await one(layer, "http.request")
            await layer.send_async(message["reply_channel"], {"status": 203, "content": b"classic"})

    consumer = asyncio.ensure_future(classic())
    async with bridged(layer) as bridge, working(layer, echo):
        answers = {(await Client(bridge, http_scope()).request().response())[0] for _ in range(20)}
        assert answers == {200, 203}
    consumer.cancel()


# A garbage message ends nothing


@in_loop
async def test_a_message_that_cannot_be_understood_is_logged_and_passed_over(caplog):
    layer = CheckedLayer()
    async with bridged(layer) as bridge, working(layer, echo):
        layer.send("http.request", {"no": "reply channel"})
        assert await Client(bridge, http_scope()).request(b"x").response() == (200, b"x")
        assert "could not be understood" in caplog.text


@in_loop
async def test_a_message_that_cannot_be_answered_is_logged_and_passed_over(caplog):
    request = {"http_version": "1.1", "method": "GET", "path": "/", "query_string": b"", "headers": []}
    layer = CheckedLayer()
    async with bridged(layer) as bridge, working(layer, echo):
        names = {"reply_channel": "http.response.no name!a", "body_channel": "http.request.body?a"}
        layer.send("http.request", {**request, **names, "daphne": {"extensions": ""}})
        assert await Client(bridge, http_scope()).request(b"x").response() == (200, b"x")
    assert "could not be understood" in caplog.text


@in_loop
async def test_what_a_front_end_says_and_cannot_be_understood_is_logged_and_passed_over(caplog):
    async def application(scope, receive, send):
        assert await read_all(receive) == b"all of it"
        await answer(send, b"good")

    layer = CheckedLayer()
    async with bridged(layer, body_chunk_size=4) as bridge, working(layer, application) as worker:
        client = Client(bridge, http_scope(method="POST"))
        client.give(body=b"all ", more_body=True)
        client.give(body=b"of", more_body=True)
        [run] = await until(lambda: worker._runs)
        prefix = run.front_end.own_prefix
        layer.send(prefix + run.local, {"type": "daphne.ack"})
        layer.send(prefix + "control", {"type": "daphne.gone"})
        await until(lambda: caplog.text.count("could not be understood") == 2)
        client.give(body=b" it", more_body=False)
        assert await client.response() == (200, b"good")


@in_loop
@pytest.mark.parametrize("prompt", [True, False], ids=["at once", "in a while"])
@pytest.mark.parametrize("begun", [True, False], ids=["within", "before"])
async def test_a_reply_that_is_too_large_for_the_layer_ends_the_response(begun, prompt):
    raised = []

    async def application(scope, receive, send):
        await send({"type": "http.response.start", "status": 200})
        if begun:
            await send({"type": "http.response.body", "body": b"a", "more_body": True})
        try:
            await send({"type": "http.response.body", "body": bytes(5000)})
        except MessageTooLarge as error:
            raised.append(error)  # whether it ends with that or not

    class Layer(CheckedLayer):
        if not prompt:

            def give(self, channel, message):
                return False

    layer = Layer(max_message_size=4000)
    async with bridged(layer) as bridge, working(layer, application):
        client = Client(bridge, http_scope()).request()
        await until(client.task.done, "the end of the response")
        assert raised
        # The stream answers 500 where nothing has been sent, and cuts what has begun.
        assert [event.get("body") for event in client.sent] == ([None, b"a"] if begun else [])


@in_loop
@pytest.mark.parametrize(
    ("event", "says"),
    [
        ({"headers": [("x", "y")]}, "Header name 'x' expected to be `bytes`, but got `<class 'str'>`"),
        ({"headers": [(b"x", 5)]}, "Header value 5 expected to be `bytes`"),
        ({"headers": [(b"x", b"y", b"z")]}, "is not a pair of name and value"),
        ({"status": 99}, "Status 99 is no final status code"),
        ({"status": "200"}, "Status expected to be `int`"),
        ({"type": "http.response.early_hint", "links": ["x"]}, "Header value 'x' expected to be `bytes`"),
    ],
)
async def test_what_cannot_be_sent_raises_at_once_as_in_the_server_itself(event, says):
    """It made every client wait for --http-timeout: the response counted as sent."""

    async def application(scope, receive, send):
        with pytest.raises(ApplicationError, match=re.escape(says)):
            await send({"type": "http.response.start", "status": 200, **event})
        if scope["path"] == "/again":
            await answer(send, b"good")

    layer = CheckedLayer()
    async with bridged(layer) as bridge, working(layer, application):
        assert (await Client(bridge, http_scope()).request().response())[0] == 500
        assert await Client(bridge, http_scope("/again")).request().response() == (200, b"good")


class Failing(CheckedLayer):
    """Loses the messages with the content `lost`; carries those with `unsure`, and says it may not have."""

    def __init__(self, *, lost=None, unsure=None):
        super().__init__()
        self.lost, self.unsure = lost, unsure

    def give(self, channel, message):
        return "content" not in message and super().give(channel, message)

    async def send_async(self, channel, message):
        content = message.get("content")
        if content is not None and content == self.lost:
            return
        await super().send_async(channel, message)
        if content is not None and content == self.unsure:
            self.unsure = None
            raise LayerUnavailable("the connection has gone")


async def in_parts(scope, receive, send):
    await receive()
    await send({"type": "http.response.start", "status": 200, "trailers": True})
    for part in (b"one ", b"two ", b"three ", b""):
        await send({"type": "http.response.body", "body": part, "more_body": bool(part)})
    await send({"type": "http.response.trailers", "headers": [(b"a", b"b")]})


@in_loop
@pytest.mark.parametrize("part", [b"one ", b"two ", b"three ", b""])
async def test_a_part_of_a_response_that_a_failing_layer_carried_twice_comes_once(part):
    layer = Failing(unsure=part)
    async with bridged(layer) as bridge, working(layer, in_parts):
        client = Client(bridge, http_scope()).request()
        await until(client.task.done)
        assert [event.get("body") for event in client.sent[1:]] == [b"one ", b"two ", b"three ", b"", None]
        assert layer.unsure is None


@in_loop
@pytest.mark.parametrize("part", [b"two ", b"three ", b""])
async def test_a_response_of_which_a_failing_layer_lost_a_part_is_cut(part, caplog):
    layer = Failing(lost=part)
    async with bridged(layer) as bridge, working(layer, in_parts):
        client = Client(bridge, http_scope()).request()
        await until(client.task.done)
        assert client.sent[-1]["type"] == "http.response.body" and client.sent[-1]["more_body"]
        assert "the layer lost a part of it" in caplog.text


async def upload(bridge):
    """A body in four parts, the first of them in the request itself."""
    client = Client(bridge, http_scope(method="POST"))
    for letter in b"abcd":
        client.give(body=bytes([letter]) * 1000, more_body=letter != ord("d"))
    await until(client.task.done)
    return client.sent


@in_loop
@pytest.mark.parametrize("letter", [b"b", b"c", b"d"])
async def test_a_part_of_a_body_that_a_failing_layer_carried_twice_comes_once(letter):
    layer = Failing(unsure=letter * 1000)
    async with bridged(layer, body_chunk_size=1000) as bridge, working(layer, echo):
        sent = await upload(bridge)
        assert sent[1]["body"] == b"".join(bytes([letter]) * 1000 for letter in b"abcd")
        assert layer.unsure is None


@in_loop
async def test_a_body_of_which_a_failing_layer_lost_a_part_is_answered_502(caplog):
    layer = Failing(lost=b"b" * 1000)
    async with bridged(layer, body_chunk_size=1000) as bridge, working(layer, echo):
        assert (await upload(bridge))[0]["status"] == 502
        assert "The layer lost a part of the body of POST '/'" in caplog.text
