"""WebSocket over a layer, with a classic consumer on the other side: the states of the contract."""

from __future__ import annotations

import logging

import pytest

from daphne.errors import LayerUnavailable
from daphne.layers.memory import ChannelLayer
from tests.layers.driver import CheckedLayer, Client, bridged, empty, in_loop, one, until, websocket_scope

ACCEPT = {"type": "websocket.accept"}


async def connecting(bridge, layer, **changes):
    """A WebSocket whose `websocket.connect` has been taken: (client, name of its reply channel)."""
    client = Client(bridge, websocket_scope(**changes))
    return client, (await one(layer, "websocket.connect"))[1]["reply_channel"]


async def opened(bridge, layer, **changes):
    client, name = await connecting(bridge, layer, **changes)
    await layer.send_async(name, {"accept": True})
    await client.next_sent()
    return client, name


@in_loop
async def test_connect_receive_send_disconnect():
    layer = CheckedLayer()
    async with bridged(layer) as bridge:
        client, name = await connecting(bridge, layer)
        assert name.startswith("websocket.send.")
        assert client.sent == []
        await layer.send_async(name, {"accept": True})
        assert await client.next_sent() == ACCEPT
        client.give("websocket.receive", text="hello")
        client.give("websocket.receive", bytes=b"", text=None)
        common = {"reply_channel": name, "path": "/chat"}
        assert (await one(layer, "websocket.receive"))[1] == {**common, "order": 1, "text": "hello"}
        assert (await one(layer, "websocket.receive"))[1] == {**common, "order": 2, "bytes": b""}
        await layer.send_async(name, {"bytes": b"there"})
        assert await client.next_sent(2) == {"type": "websocket.send", "bytes": b"there"}
        client.leave(1001)
        await client.task
        assert (await one(layer, "websocket.disconnect"))[1] == {**common, "code": 1001, "order": 3}


@in_loop
async def test_a_close_frame_without_a_code_is_none_for_classic_consumers():
    layer = CheckedLayer()
    async with bridged(layer) as bridge:
        client, _ = await opened(bridge, layer)
        client.leave(1005)
        await client.task
        assert (await one(layer, "websocket.disconnect"))[1]["code"] is None


@in_loop
async def test_a_refusal_is_followed_by_a_disconnect():
    layer = CheckedLayer()
    async with bridged(layer) as bridge:
        client, name = await connecting(bridge, layer)
        await layer.send_async(name, {"accept": False, "text": "ignored"})
        await client.task
        assert client.sent == [{"type": "websocket.close"}]
        message = (await one(layer, "websocket.disconnect"))[1]
        assert (message["code"], message["order"]) == (1006, 1)


@in_loop
async def test_b22_a_second_refusal_or_close_is_ignored():
    """B22: a WebSocket that was rejected twice failed in its clean-up."""
    layer = ChannelLayer()
    async with bridged(layer) as bridge:
        client, name = await connecting(bridge, layer)
        await layer.send_async(name, {"close": True})
        await layer.send_async(name, {"accept": False})
        await layer.send_async(name, {"close": 4000, "text": "late"})
        await client.task
        assert client.sent == [{"type": "websocket.close"}]


@in_loop
async def test_the_application_closes_and_hears_the_echo():
    layer = CheckedLayer()
    async with bridged(layer) as bridge:
        client, name = await opened(bridge, layer)
        await layer.send_async(name, {"text": "bye", "close": 4000})
        await layer.send_async(name, {"text": "dropped in the closing state"})
        await client.task
        assert client.sent[1:] == [
            {"type": "websocket.send", "text": "bye"},
            {"type": "websocket.close", "code": 4000},
        ]
        assert (await one(layer, "websocket.disconnect"))[1]["code"] == 4000


@in_loop
@pytest.mark.parametrize("bad", [{"text": "a", "bytes": b"a", "accept": True}, {"accept": True, "oops": 1}])
async def test_b21_a_bad_reply_is_ignored_as_a_whole_and_named_in_the_log(bad, caplog):
    layer = ChannelLayer()
    async with bridged(layer) as bridge:
        client, name = await connecting(bridge, layer)
        await layer.send_async(name, bad)
        await until(lambda: "HTTP/WS send decode error" in caplog.text)
        assert client.sent == []
        await layer.send_async(name, {"text": "accepts by itself"})
        assert (await client.next_sent(2))["text"] == "accepts by itself"
        client.leave()
        await client.task


@in_loop
async def test_what_the_stream_refuses_to_send_is_answered_by_the_stream(caplog):
    """An application that asks for what the handshake cannot do must not leave its client waiting."""
    from daphne.errors import ApplicationError

    layer = ChannelLayer()
    async with bridged(layer) as bridge:
        client, name = await connecting(bridge, layer)
        client.refuses = ApplicationError("Subprotocol 'x' was not offered")
        await layer.send_async(name, {"accept": True, "daphne": {"subprotocol": "x"}})
        await client.task  # returns with nothing sent: the stream answers 500
        assert client.sent == [] and "was not offered" in caplog.text


# A full channel, a layer that is away


@in_loop
async def test_b5_a_connect_for_which_there_is_no_room_is_503(loop, caplog):
    layer = CheckedLayer(capacity=1)
    async with bridged(layer) as bridge:
        first = Client(bridge, websocket_scope())
        await until(lambda: layer.global_statistics()["messages_pending"] == 1)
        second = Client(bridge, websocket_scope())
        await until(lambda: layer.global_statistics()["channel_full_count"])
        loop.turn(5.1)
        await second.task
        assert second.sent[0]["type"] == "websocket.http.response.start" and second.sent[0]["status"] == 503
        assert b"Connection queue at capacity" in second.sent[1]["body"]
        assert "due to connect backpressure" in caplog.text
        first.leave()
        await first.task


@in_loop
async def test_without_the_denial_extension_it_is_a_plain_refusal():
    class Away(ChannelLayer):
        async def send_async(self, channel, message):
            raise LayerUnavailable("away")

    async with bridged(Away()) as bridge:
        client = Client(bridge, websocket_scope(extensions={}))
        await client.task
        assert client.sent == [{"type": "websocket.close"}]


@in_loop
async def test_a_receive_channel_that_stays_full_closes_with_1013(loop, caplog):
    layer = CheckedLayer(channel_capacity={"websocket.receive": 1})
    async with bridged(layer) as bridge:
        client, name = await opened(bridge, layer)
        for number in range(10):
            client.give("websocket.receive", text=str(number))
        await until(lambda: layer.global_statistics()["channel_full_count"])
        assert client.unread == 8, "while the channel is full the client is not read"
        loop.turn(5.1)
        assert await client.next_sent(2) == {"type": "websocket.close", "code": 1013}
        assert "due to receive backpressure" in caplog.text
        await client.task
        # 1.x never told the application; now it hears of the end as of any other.
        assert (await one(layer, "websocket.disconnect"))[1]["code"] == 1013


@in_loop
async def test_a_full_receive_channel_keeps_order_and_loses_nothing():
    layer = CheckedLayer(channel_capacity={"websocket.receive": 2})
    async with bridged(layer) as bridge:
        client, _ = await opened(bridge, layer)
        for number in range(30):
            client.give("websocket.receive", text=str(number))
        texts = [(await one(layer, "websocket.receive"))[1]["text"] for _ in range(30)]
        assert texts == [str(number) for number in range(30)]
        client.leave()
        await client.task


@in_loop
async def test_b14_an_open_websocket_waits_for_a_layer_that_is_away(loop):
    """B14: an outage of the layer ended connections."""

    class Shaky(CheckedLayer):
        away = False

        async def send_async(self, channel, message):
            if self.away:
                raise LayerUnavailable("away")
            await super().send_async(channel, message)

    layer = Shaky()
    async with bridged(layer) as bridge:
        client, _ = await opened(bridge, layer)
        layer.away = True
        client.give("websocket.receive", text="kept")
        await until(lambda: client.unread == 0)
        for _ in range(20):
            loop.turn(30)
            await until(lambda: True)
        layer.away = False
        loop.turn(1)
        assert (await one(layer, "websocket.receive"))[1]["text"] == "kept"
        client.leave()
        await client.task


@in_loop
async def test_a_message_too_large_for_the_layer_closes_with_1009():
    layer = CheckedLayer(max_message_size=10_000)
    async with bridged(layer) as bridge:
        client, _ = await opened(bridge, layer)
        client.give("websocket.receive", text="x" * 20_000)
        assert await client.next_sent(2) == {"type": "websocket.close", "code": 1009}
        await client.task


# The client's end


@in_loop
async def test_a_client_that_leaves_while_connecting():
    layer = CheckedLayer()
    async with bridged(layer) as bridge:
        client, name = await connecting(bridge, layer)
        client.leave()
        await client.task
        expected = {"reply_channel": name, "path": "/chat", "code": 1006, "order": 1}
        assert (await one(layer, "websocket.disconnect"))[1] == expected
        assert bridge.replies.find(name) is None


@in_loop
async def test_b23_replies_after_the_end_are_debug_lines(caplog):
    caplog.set_level(logging.DEBUG)
    layer = ChannelLayer()
    async with bridged(layer) as bridge:
        client, name = await opened(bridge, layer)
        client.leave()
        await client.task
        await layer.send_async(name, {"text": "late"})
        await until(lambda: "Message on unknown channel" in caplog.text)
        assert not [record for record in caplog.records if record.levelno > logging.DEBUG]


@in_loop
async def test_a_full_disconnect_channel_is_no_error():
    layer = CheckedLayer(capacity=1)
    async with bridged(layer) as bridge:
        for _ in range(3):
            client, _ = await opened(bridge, layer)
            client.leave()
            await client.task
        await one(layer, "websocket.disconnect")
        assert empty(layer, "websocket.disconnect")


@in_loop
async def test_a_server_that_stops_tells_the_application():
    layer = CheckedLayer()
    async with bridged(layer) as bridge:
        client, name = await opened(bridge, layer)
        client.task.cancel()
        await until(client.task.done)
        assert (await one(layer, "websocket.disconnect"))[1]["code"] == 1006
