"""The chat: what guests hear of each other, which lines are refused, and how it goes on after a hand-over."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from daphne.demo import room
from daphne.demo.wiring import channel_layer
from daphne.errors import LayerUnavailable
from tests.demo.exchange import Exchange, exchange


async def hear(guest: Exchange, kind: str) -> dict[str, Any]:
    """The next line of this kind; others are passed over."""
    while True:
        event = await guest.leave()
        if event["type"] == "websocket.send":
            line: dict[str, Any] = json.loads(event["text"])
            if line["kind"] == kind:
                return line


def tell(guest: Exchange, **line: Any) -> None:
    guest.arrive("websocket.receive", text=json.dumps(line))


@asynccontextmanager
async def entering(**scope: Any) -> AsyncIterator[tuple[Exchange, str]]:
    """A guest that has been welcomed, and its name; it leaves at the end of the block."""
    async with exchange("websocket", "/chat", **scope) as guest:
        guest.arrive("websocket.connect")
        assert (await guest.leave())["type"] == "websocket.accept"
        name = (await hear(guest, "welcome"))["name"]
        await hear(guest, "joined")
        yield guest, name
        guest.arrive("websocket.disconnect", code=1000)
        await guest.end()


def test_two_guests_hear_each_other() -> None:
    async def talk() -> None:
        async with entering() as (ann, ann_name):
            async with entering() as (bob, bob_name):
                assert (await hear(ann, "joined"))["name"] == bob_name != ann_name
                tell(ann, say=" Hello ")
                for guest in (ann, bob):
                    assert await hear(guest, "said") == {"kind": "said", "name": ann_name, "text": "Hello"}
                tell(bob, name="Bob")
                assert await hear(ann, "renamed") == {"kind": "renamed", "name": "Bob", "text": bob_name}
                tell(bob, say="")
                tell(bob, say="x" * 600)
                assert (await hear(ann, "said"))["text"] == "x" * 500
            assert (await hear(ann, "left"))["name"] == "Bob"

    asyncio.run(talk())


def test_the_welcome_says_which_protocol_carries_the_socket() -> None:
    async def enter() -> dict[str, Any]:
        async with exchange("websocket", "/chat", http_version="2", scheme="wss") as guest:
            guest.arrive("websocket.connect")
            return await hear(guest, "welcome")

    assert asyncio.run(enter())["text"] == "WebSocket over HTTP/2, wss"


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        ({"bytes": b"\x00"}, 1003),
        ({"text": "not json"}, 1008),
        ({"text": "[]"}, 1008),
        ({"text": "7"}, 1008),
        ({"text": '{"shout": "x"}'}, 1008),
        ({"text": '{"say": 7}'}, 1008),
        ({"text": None, "bytes": b""}, 1003),
    ],
)
def test_what_is_no_line_closes_the_socket(frame: dict[str, Any], code: int) -> None:
    async def offend() -> None:
        async with exchange("websocket", "/chat") as guest:
            guest.arrive("websocket.connect")
            guest.arrive("websocket.receive", **frame)
            assert (await guest.end())[-1]["code"] == code

    asyncio.run(offend())


def test_a_guest_who_does_not_read_is_closed_and_the_others_go_on() -> None:
    async def fall_behind() -> None:
        async with entering() as (ann, _), exchange("websocket", "/chat", most_unread=1) as slow:
            slow.arrive("websocket.connect")
            assert (await slow.leave())["type"] == "websocket.accept"
            slow_name = (await hear(ann, "joined"))["name"]
            for number in range(room.OUTBOX):
                tell(ann, say=str(number))
                assert (await hear(ann, "said"))["text"] == str(number)
            tell(ann, say="the last straw")
            assert (await hear(ann, "left"))["name"] == slow_name
            last = await slow.leave()
            while last["type"] == "websocket.send":
                last = await slow.leave()
            assert (last["type"], last["code"]) == ("websocket.close", 1013)
            assert await slow.end() == []

    asyncio.run(fall_behind())


def test_the_last_guest_leaves_nothing_running() -> None:
    async def come_and_go() -> None:
        async with entering():
            assert len(asyncio.all_tasks()) > 1
        assert asyncio.all_tasks() == {asyncio.current_task()}
        async with entering() as (guest, name):
            tell(guest, say="again")
            assert (await hear(guest, "said"))["name"] == name

    asyncio.run(come_and_go())


def test_rooms_of_several_processes_are_one_chat() -> None:
    async def talk() -> None:
        here, there = room.Room(channel_layer), room.Room(channel_layer)
        ann, bob = room.Guest("Ann"), room.Guest("Bob")
        await here.enter(ann)
        await there.enter(bob)
        await here.say({"kind": "said"})
        assert await asyncio.wait_for(bob.outbox.get(), 60) == {"kind": "said"}
        assert await asyncio.wait_for(ann.outbox.get(), 60) == {"kind": "said"}
        await here.leave(ann)
        await there.say({"kind": "again"})
        assert await asyncio.wait_for(bob.outbox.get(), 60) == {"kind": "again"}
        assert ann.outbox.empty()
        await there.leave(bob)

    asyncio.run(talk())


KEEPS_STATE = {"daphne.state": {"max_size": 65536}}


class TestHandOver:
    """The scope extensions `daphne.state` and `daphne.resume`: one connection, several runs."""

    def test_the_name_is_saved_only_where_the_server_keeps_it(self) -> None:
        async def enter() -> None:
            async with exchange("websocket", "/chat", extensions=KEEPS_STATE) as guest:
                guest.arrive("websocket.connect")
                assert (await guest.leave())["type"] == "websocket.accept"
                saved = await guest.leave()
                while saved["type"] != "daphne.state":
                    saved = await guest.leave()
                tell(guest, name="Ann")
                while saved != {"type": "daphne.state", "state": {"name": "Ann"}}:
                    saved = await guest.leave()

        asyncio.run(enter())

    def test_the_chat_goes_on_under_the_saved_name_and_greets_nobody(self) -> None:
        async def resume() -> None:
            resume = {"connection": "c", "count": 1, "state": {"name": "Ann"}}
            resumed = {**KEEPS_STATE, "daphne.resume": resume}
            chat = exchange("websocket", "/chat", extensions=resumed)
            async with entering() as (bob, bob_name), chat as ann:
                ann.arrive("websocket.connect")
                assert (await ann.leave())["type"] == "websocket.accept"
                tell(ann, say="still here")
                first = await bob.leave()
                assert json.loads(first["text"]) == {"kind": "said", "name": "Ann", "text": "still here"}
                assert json.loads((await ann.leave())["text"])["kind"] == "said"
                assert bob_name != "Ann"

        asyncio.run(resume())

    def test_a_restarting_worker_does_not_say_that_its_guests_left(self) -> None:
        async def restart() -> None:
            async with entering() as (bob, _):
                async with exchange("websocket", "/chat", extensions=KEEPS_STATE) as ann:
                    ann.arrive("websocket.connect")
                    await hear(bob, "joined")
                    ann.arrive("websocket.disconnect", code=1012, reason="worker restart")
                    await ann.end()
                tell(bob, say="who left?")
                line = json.loads((await bob.leave())["text"])
                assert line["kind"] == "said"

        asyncio.run(restart())


class CutOffLayer:
    """A channel layer that cannot be reached while `cut_off` is true, and whose next `deaf` receives fail."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.cut_off = False
        self.deaf = 0

    def __getattr__(self, name: str) -> Any:
        async def call(*args: Any) -> Any:
            if self.cut_off or (name == "receive_batch" and self.deaf):
                self.deaf -= name == "receive_batch"
                raise LayerUnavailable("it is cut off")
            return await getattr(self.inner, name)(*args)

        return call


@pytest.fixture
def layer(monkeypatch: pytest.MonkeyPatch) -> CutOffLayer:
    layer = CutOffLayer(channel_layer)
    monkeypatch.setattr(room, "channel_layer", layer)
    monkeypatch.setattr(room, "RETRY_AFTER", 0.01)
    return layer


def test_a_guest_is_told_when_nobody_can_hear(layer: CutOffLayer) -> None:
    async def lose_it() -> None:
        async with entering() as (ann, _):
            layer.cut_off = True
            tell(ann, say="Hello?")
            assert "it is cut off" in (await hear(ann, "trouble"))["text"]
            async with exchange("websocket", "/chat") as bob:
                bob.arrive("websocket.connect")
                assert (await bob.end())[-1]["code"] == 1013
            layer.cut_off = False
            tell(ann, say="Hello.")
            assert (await hear(ann, "said"))["text"] == "Hello."

    asyncio.run(lose_it())


def test_listening_goes_on_when_the_layer_is_back(layer: CutOffLayer) -> None:
    async def wait_for_it() -> None:
        layer.deaf = 3
        async with entering() as (ann, name):
            tell(ann, say="Hello.")
            assert (await hear(ann, "said"))["name"] == name

    asyncio.run(wait_for_it())
    assert layer.deaf == 0
