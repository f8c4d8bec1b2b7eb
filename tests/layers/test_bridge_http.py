"""HTTP over a layer, with a classic consumer on the other side: the contract's messages and nothing else."""

from __future__ import annotations

import logging

import pytest

from daphne.errors import LayerUnavailable
from daphne.layers.bridge_exchange import HTTPExchange
from daphne.layers.inbox import Inbox
from daphne.layers.memory import ChannelLayer
from tests.layers.driver import (
    CheckedLayer,
    Client,
    bridged,
    empty,
    http_scope,
    in_loop,
    let_go_of,
    one,
    until,
)


def refusing(problem, layer=None):
    """A layer that raises `problem` out of every send of a request."""

    class Refusing(ChannelLayer):
        async def send_async(self, channel, message):
            if channel == "http.request":
                raise problem
            await super().send_async(channel, message)

    return Refusing()


@in_loop
async def test_a_request_and_its_answer():
    layer = CheckedLayer()
    async with bridged(layer) as bridge:
        client = Client(bridge, http_scope("/page")).request(b"body")
        channel, message = await one(layer, "http.request")
        assert (channel, message["path"], message["body"]) == ("http.request", "/page", b"body")
        reply = {"status": 200, "headers": [(b"X-A", b"1")], "content": b"hi"}
        await layer.send_async(message["reply_channel"], reply)
        assert await client.response() == (200, b"hi")
        assert client.sent[0]["headers"] == [(b"x-a", b"1")]
        disconnect = {"reply_channel": message["reply_channel"], "path": "/page"}
        assert await one(layer, "http.disconnect") == ("http.disconnect", disconnect)


@in_loop
async def test_b3_reply_channels_begin_as_classic_consumers_expect():
    """B3: `daphne.response...` made Channels' WebsocketCloseException kill the worker."""
    layer = CheckedLayer()
    async with bridged(layer) as bridge:
        client = Client(bridge, http_scope()).request()
        reply_channel = (await one(layer, "http.request"))[1]["reply_channel"]
        assert reply_channel.startswith("http.response.")
        assert len("__wait__." + reply_channel) < 100
        await layer.send_async(reply_channel, {"status": 204})
        await client.response()


@in_loop
async def test_a_stream_ends_with_an_empty_message():
    layer = CheckedLayer()
    async with bridged(layer) as bridge:
        client = Client(bridge, http_scope()).request()
        name = (await one(layer, "http.request"))[1]["reply_channel"]
        await layer.send_async(name, {"status": 200, "content": b"one", "more_content": True})
        await layer.send_async(name, {"content": b"two", "more_content": True})
        await layer.send_async(name, {"more_content": False})
        assert await client.response() == (200, b"onetwo")


@in_loop
@pytest.mark.parametrize("bad", [{"content": b"no status"}, {"status": "200"}, {"status": 200, "headers": 5}])
async def test_b2_a_bad_first_message_is_answered_500_and_poisons_nothing(bad, caplog):
    """B2: the request was poisoned, and its client hung for ever."""
    layer = ChannelLayer()
    async with bridged(layer) as bridge:
        client = Client(bridge, http_scope()).request()
        name = (await one(layer, "http.request"))[1]["reply_channel"]
        await layer.send_async(name, bad)
        status, page = await client.response()
        assert status == 500 and b"HTTP processing error" in page
        assert "HTTP/WS send decode error" in caplog.text
        await layer.send_async(name, {"status": 200})  # too late, and only for the log
        other = Client(bridge, http_scope()).request()
        await layer.send_async((await one(layer, "http.request"))[1]["reply_channel"], {"status": 200})
        assert (await other.response())[0] == 200


@pytest.mark.parametrize("same_files", [True, False])
@in_loop
async def test_a_file_that_cannot_be_sent_ends_the_exchange_unbegun(same_files, caplog):
    layer = CheckedLayer()
    layer.same_files = same_files
    async with bridged(layer) as bridge:
        client = Client(bridge, http_scope()).request()
        name = (await one(layer, "http.request"))[1]["reply_channel"]
        client.refuses = FileNotFoundError("it has vanished") if same_files else None
        reply = {"status": 200, "daphne": {"path": __file__.encode()}}
        await layer.send_async(name, reply)
        await client.task  # the stream answers what is left unanswered with 500
        assert client.sent == []
        assert ("vanished" if same_files else "one machine") in caplog.text


@in_loop
async def test_a_second_status_is_passed_over_and_the_stream_goes_on(caplog):
    layer = ChannelLayer()
    async with bridged(layer) as bridge:
        client = Client(bridge, http_scope()).request()
        name = (await one(layer, "http.request"))[1]["reply_channel"]
        await layer.send_async(name, {"status": 200, "content": b"a", "more_content": True})
        await layer.send_async(name, {"status": 200, "content": b"dropped", "more_content": True})
        await layer.send_async(name, {"content": b"b"})
        assert await client.response() == (200, b"ab")
        assert "second 'status'" in caplog.text


@in_loop
async def test_r13_content_that_is_no_bytes_cuts_the_response(caplog):
    """The body was aborted, and the connection hung."""
    layer = ChannelLayer()
    async with bridged(layer) as bridge:
        client = Client(bridge, http_scope()).request()
        name = (await one(layer, "http.request"))[1]["reply_channel"]
        await layer.send_async(name, {"status": 200, "content": b"a", "more_content": True})
        await layer.send_async(name, {"content": "text"})
        await client.task
        assert client.sent[-1]["more_body"], "a cut response must not look complete"


@in_loop
async def test_a_server_push_is_dropped():
    layer = ChannelLayer()
    async with bridged(layer) as bridge:
        client = Client(bridge, http_scope()).request()
        name = (await one(layer, "http.request"))[1]["reply_channel"]
        await layer.send_async(name, {"request": {"path": "/style.css"}})
        await layer.send_async(name, {"status": 200, "content": b"page"})
        assert await client.response() == (200, b"page")


# Bodies (B6: whole bodies in memory and in one message)


@in_loop
async def test_a_body_up_to_the_chunk_size_goes_in_one_message():
    layer = CheckedLayer()
    async with bridged(layer, body_chunk_size=10) as bridge:
        client = Client(bridge, http_scope())
        client.give(body=b"12345", more_body=True)
        client.give(body=b"67890", more_body=False)
        message = (await one(layer, "http.request"))[1]
        assert message["body"] == b"1234567890" and "body_channel" not in message
        await layer.send_async(message["reply_channel"], {"status": 200})
        await client.response()


async def read_body(layer, message):
    """As Channels 1 does: the body, then what comes over the body channel."""
    body, pieces = message["body"], []
    more = "body_channel" in message
    while more:
        piece = (await one(layer, message["body_channel"]))[1]
        pieces.append(piece)
        body += piece["content"]
        more = piece.get("more_content", False)
    return body, pieces


@in_loop
@pytest.mark.parametrize("events", [[25], [4, 21], [8, 8, 9], [10, 10, 5], [11, 14, 0]])
async def test_b6_a_longer_body_goes_over_a_channel_of_its_own(events):
    layer = CheckedLayer()
    body = b"0123456789abcdefghijklmno"
    async with bridged(layer, body_chunk_size=10) as bridge:
        client = Client(bridge, http_scope(method="POST"))
        rest = body
        for number, size in enumerate(events):
            client.give(body=rest[:size], more_body=number + 1 < len(events))
            rest = rest[size:]
        message = (await one(layer, "http.request"))[1]
        assert message["body_channel"].startswith("http.request.body?")
        received, pieces = await read_body(layer, message)
        assert received == body
        assert max(len(piece["content"]) for piece in pieces) <= 10 and len(message["body"]) <= 10
        await layer.send_async(message["reply_channel"], {"status": 200})
        await client.response()


@in_loop
async def test_b6_a_full_body_channel_stops_the_reading_of_the_client():
    layer = CheckedLayer(channel_capacity={"http.request.body*": 2})
    async with bridged(layer, body_chunk_size=10) as bridge:
        client = Client(bridge, http_scope(method="POST"))
        for number in range(10):
            client.give(body=b"%010d" % number, more_body=number < 9)
        message = (await one(layer, "http.request"))[1]
        await until(lambda: client.unread == 6)  # two to see that it is long, two in the channel
        body, _ = await read_body(layer, message)
        assert body == b"".join(b"%010d" % number for number in range(10))
        await layer.send_async(message["reply_channel"], {"status": 200})
        await client.response()


@in_loop
async def test_a_body_that_pauses_does_not_wait_for_its_end(loop):
    """A client may want to see the beginning of the response before it sends more."""
    layer = CheckedLayer()
    async with bridged(layer) as bridge:
        client = Client(bridge, http_scope(method="POST"))
        client.give(body=b"first", more_body=True)
        await until(lambda: not client.unread)
        loop.turn(1.1)
        message = (await one(layer, "http.request"))[1]
        assert message["body"] == b"first"
        await layer.send_async(
            message["reply_channel"], {"status": 200, "content": b"go", "more_content": True}
        )
        await client.next_sent(2)
        client.give(body=b"second", more_body=False)
        assert (await read_body(layer, message))[0] == b"firstsecond"
        await layer.send_async(message["reply_channel"], {"content": b"done"})
        assert await client.response() == (200, b"godone")


@in_loop
async def test_b25_an_upload_whose_client_leaves_is_closed():
    """B25: abandoned uploads stayed in memory."""
    layer = CheckedLayer()
    async with bridged(layer, body_chunk_size=10) as bridge:
        client = Client(bridge, http_scope(method="POST"))
        client.give(body=b"0123456789abc", more_body=True)
        message = (await one(layer, "http.request"))[1]
        client.leave()
        assert (await one(layer, message["body_channel"]))[1]["content"] == b"abc"
        assert (await one(layer, message["body_channel"]))[1]["closed"] is True
        await client.task


@in_loop
async def test_a_client_that_leaves_within_its_body_is_no_request():
    layer = CheckedLayer()
    async with bridged(layer) as bridge:
        client = Client(bridge, http_scope(method="POST"))
        client.give(body=b"beginning", more_body=True)
        client.leave()
        await client.task
        assert client.sent == [] and empty(layer, "http.request", "http.disconnect")


@in_loop
async def test_a_request_that_has_ended_leaves_nothing_to_the_collector(loop):
    """One that takes its time has a task beside its own, which is cancelled at its end."""
    with let_go_of(HTTPExchange, Inbox):
        layer = CheckedLayer()
        async with bridged(layer, body_chunk_size=10) as bridge:
            for body in (b"", b"one that goes in pieces"):
                client = Client(bridge, http_scope(method="POST")).request(body)
                message = (await one(layer, "http.request"))[1]
                loop.turn(1)
                await until(lambda client=client: client.waits)
                await layer.send_async(message["reply_channel"], {"status": 200})
                assert await client.response() == (200, b"")
        del client, layer, bridge


# A full channel, a layer that is away


@in_loop
async def test_b5_a_full_channel_is_waited_for(loop):
    """B5: bursts beyond the capacity were answered 503 at once."""
    layer = CheckedLayer(capacity=1)
    async with bridged(layer) as bridge:
        clients = [Client(bridge, http_scope(f"/{number}")).request() for number in range(5)]
        for number in range(5):
            message = (await one(layer, "http.request"))[1]
            assert message["path"] == f"/{number}"  # in the order of their coming
            await layer.send_async(message["reply_channel"], {"status": 200})
        for client in clients:
            assert (await client.response())[0] == 200


@in_loop
async def test_a_channel_that_stays_full_is_503(loop, caplog):
    layer = CheckedLayer(capacity=1)
    async with bridged(layer) as bridge:
        first = Client(bridge, http_scope()).request()
        await until(lambda: layer.global_statistics()["messages_pending"] == 1)
        second = Client(bridge, http_scope()).request()
        await until(lambda: layer.global_statistics()["channel_full_count"])
        loop.turn(4.0)
        assert not second.task.done()
        loop.turn(1.1)
        status, page = await second.response()
        assert status == 503 and b"Request queue full." in page
        assert (b"connection", b"close") in second.sent[0]["headers"]
        assert "http.request is full" in caplog.text
        message = (await one(layer, "http.request"))[1]
        await layer.send_async(message["reply_channel"], {"status": 200})
        assert (await first.response())[0] == 200
        # B24: no http.disconnect without an http.request; there is the one of the first client only.
        assert (await one(layer, "http.disconnect"))[1]["reply_channel"] == message["reply_channel"]
        assert empty(layer, "http.disconnect")


@in_loop
@pytest.mark.parametrize(
    ("problem", "status"),
    [(LayerUnavailable("the layer is away"), 503), (ChannelLayer.MessageTooLarge("too large"), 413)],
)
async def test_b14_a_layer_that_cannot_take_a_request(problem, status, caplog):
    """B14: nothing was shed while the layer was away."""
    async with bridged(refusing(problem)) as bridge:
        client = Client(bridge, http_scope()).request()
        assert (await client.response())[0] == status
        assert str(problem) in caplog.text


# Time limits


@in_loop
@pytest.mark.parametrize(("setting", "seconds"), [(None, 120), (7, 7)])
async def test_no_answer_in_time_is_503(loop, setting, seconds):
    layer = CheckedLayer()
    async with bridged(layer, http_timeout=setting) as bridge:
        client = Client(bridge, http_scope()).request()
        message = (await one(layer, "http.request"))[1]
        loop.turn(seconds - 1)
        await until(lambda: bridge.replies.find(message["reply_channel"]))
        loop.turn(0.5)
        assert not client.task.done()
        loop.turn(1)
        status, page = await client.response()
        assert status == 503 and b"Worker server failed to respond within time limit." in page


@in_loop
async def test_b1_a_stream_that_outlives_the_limit_is_cut_and_others_keep_theirs(loop):
    """B1: the one timeout checker of the process died of it, and with it every later 503 and ping."""
    layer = CheckedLayer()
    async with bridged(layer, http_timeout=5) as bridge:
        streaming = Client(bridge, http_scope()).request()
        name = (await one(layer, "http.request"))[1]["reply_channel"]
        await layer.send_async(name, {"status": 200, "content": b"a", "more_content": True})
        await streaming.next_sent(2)
        await until(lambda: streaming._arrival.is_set() is False)
        loop.turn(0.1)
        await until(lambda: streaming.unread == 0)
        loop.turn(5.1)
        await streaming.task
        assert streaming.sent[-1]["more_body"], "R13: cut, not ended"
        later = Client(bridge, http_scope()).request()
        await one(layer, "http.request")
        loop.turn(0.1)
        await until(lambda: later.unread == 0)
        loop.turn(5.1)
        assert (await later.response())[0] == 503


@in_loop
async def test_no_limit_is_no_limit(loop):
    layer = CheckedLayer()
    async with bridged(layer, http_timeout=0) as bridge:
        client = Client(bridge, http_scope()).request()
        name = (await one(layer, "http.request"))[1]["reply_channel"]
        loop.turn(100_000)
        await layer.send_async(name, {"status": 200})
        assert (await client.response())[0] == 200


# Clients that leave or do not read


@in_loop
async def test_a_client_that_leaves_while_it_waits(loop):
    layer = CheckedLayer()
    async with bridged(layer) as bridge:
        client = Client(bridge, http_scope("/slow")).request()
        name = (await one(layer, "http.request"))[1]["reply_channel"]
        client.leave()
        loop.turn(0.1)
        await client.task
        assert await one(layer, "http.disconnect") == (
            "http.disconnect",
            {"reply_channel": name, "path": "/slow"},
        )
        assert bridge.replies.find(name) is None


@in_loop
async def test_a_client_that_leaves_within_the_answer():
    layer = CheckedLayer()
    async with bridged(layer) as bridge:
        client = Client(bridge, http_scope()).request()
        name = (await one(layer, "http.request"))[1]["reply_channel"]
        client.gone = True
        await layer.send_async(name, {"status": 200})
        await client.task
        assert (await one(layer, "http.disconnect"))[1]["reply_channel"] == name


@in_loop
async def test_b4_replies_for_others_pass_one_that_is_not_taken():
    """B4: one queue for all replies of a process, so that a slow client's filled it for everybody."""
    layer = CheckedLayer(capacity=5)
    async with bridged(layer) as bridge:
        slow = Client(bridge, http_scope()).request()
        slow.can_take.clear()
        name = (await one(layer, "http.request"))[1]["reply_channel"]
        for number in range(50):
            await layer.send_async(
                name,
                {**({"status": 200} if not number else {}), "content": b"%d" % number, "more_content": True},
            )
            await until(lambda: empty_queue(layer, name))
        quick = Client(bridge, http_scope()).request()
        await layer.send_async((await one(layer, "http.request"))[1]["reply_channel"], {"status": 200})
        assert (await quick.response())[0] == 200
        slow.can_take.set()
        await layer.send_async(name, {"content": b"end"})
        assert (await slow.response())[1] == b"".join(b"%d" % number for number in range(50)) + b"end"


def empty_queue(layer, name):
    return layer.channel_statistics(name.partition("!")[0] + "!")["messages_pending"] == 0


@in_loop
async def test_a_classic_stream_that_its_client_does_not_take_is_cut_at_a_bound(caplog):
    layer = CheckedLayer()
    async with bridged(layer) as bridge:
        client = Client(bridge, http_scope()).request()
        client.can_take.clear()
        name = (await one(layer, "http.request"))[1]["reply_channel"]
        await layer.send_async(name, {"status": 200, "more_content": True})
        await until(lambda: client.sent)
        for _ in range(70):
            await layer.send_async(name, {"content": bytes(1024 * 1024), "more_content": True})
            await until(lambda: empty_queue(layer, name))
        client.can_take.set()
        await client.task
        assert client.sent[-1].get("more_body", True)
        assert "is cut" in caplog.text


# Unknown channels


@in_loop
async def test_b23_a_reply_that_comes_too_late_is_worth_a_debug_line_only(caplog):
    caplog.set_level(logging.DEBUG)
    layer = ChannelLayer()
    async with bridged(layer) as bridge:
        bridge.replies.start()
        await layer.send_async(bridge.replies.http_prefix + "nobody", {"status": 200})
        await until(lambda: "Message on unknown channel" in caplog.text)
        assert all(record.levelno == logging.DEBUG for record in caplog.records)
