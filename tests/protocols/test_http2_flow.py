"""daphne.protocols.http2_exchange and http2_output: windows in both directions, and whose turn it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from h2.settings import SettingCodes

from daphne.errors import ClientDisconnected
from tests.protocols.bench import Bench, Event, Told, answering, echo
from tests.protocols.http2_client import Client, Headers

Serve = Callable[..., Bench]
START: Event = {"type": "http.response.start", "status": 200, "headers": []}
WINDOW = SettingCodes.INITIAL_WINDOW_SIZE


def part(body: bytes, more: bool = True) -> Event:
    return {"type": "http.response.body", "body": body, "more_body": more}


# ---- what the client may send ------------------------------------------------------------------------


def test_an_application_that_does_not_read_does_not_open_the_window(serve: Serve) -> None:
    told = Told()
    bench = serve(told, http2_stream_window=100_000)
    client = Client(bench)
    stream_id = client.start("POST", ended=False)
    assert client.send(stream_id, b"x" * 500_000) == 100_000
    assert client.send(stream_id, b"x") == 0
    event = bench.loop.run(told.receives[0]())
    assert len(event["body"]) == 100_000
    client.flush()
    assert client.send(stream_id, b"x") == 0  # it may still be busy with that
    waiting = bench.loop.create_task(told.receives[0]())
    client.flush()
    assert client.send(stream_id, b"y" * 500_000) == 100_000
    assert waiting.result()["body"][:1] == b"y"
    client.machine.reset_stream(stream_id)
    client.flush()
    told.finish()


def test_an_application_that_reads_gets_any_amount(serve: Serve) -> None:
    async def counts(scope: Any, receive: Any, send: Any) -> None:
        size = 0
        while (event := await receive()).get("more_body"):
            size += len(event["body"])
        await answering(b"%d" % size)(scope, receive, send)

    client = Client(serve(counts, http2_stream_window=65535, http2_connection_window=65535))
    assert client.fetch("POST", body=b"x" * 1_000_000).body == b"1000000"


def test_uploads_that_nobody_reads_do_not_stop_one_that_is_read(serve: Serve) -> None:
    told = Told()

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await (echo if scope["path"] == "/echo" else told)(scope, receive, send)

    client = Client(serve(application, http2_stream_window=65535, http2_connection_window=100_000))
    for index in range(20):
        assert client.send(client.start("POST", ended=False), b"x" * 65535) == 65535, index
    assert len(client.fetch("POST", "/echo", body=b"x" * 300_000).body) == 300_000 + len("POST /echo ")
    client.connection.close()
    client.bench.loop.settle()
    for index in range(20):
        told.finish(index)


def test_body_events_of_a_given_size_larger_than_the_window(serve: Serve) -> None:
    told = Told()
    bench = serve(told, request_buffer_size=300_000, http2_stream_window=65535)
    client = Client(bench)
    stream_id = client.start("POST", ended=False)
    waiting = bench.loop.create_task(told.receives[0]())
    assert client.send(stream_id, b"x" * 300_000) == 300_000
    assert len(waiting.result()["body"]) == 300_000
    client.connection.close()
    bench.loop.settle()
    told.finish()


def test_window_updates_are_few(serve: Serve) -> None:
    client = Client(serve(echo))
    updates = 0
    receive_data = client.machine.receive_data

    def counted(data: bytes) -> Any:
        nonlocal updates
        events = receive_data(data)
        updates += sum(type(event).__name__ == "WindowUpdated" for event in events)
        return events

    client.machine.receive_data = counted
    client.fetch("POST", body=b"x" * 1_000_000)
    assert 0 < updates <= 12  # half a window of 256 KB on the stream, half of 1 MB on the connection


def test_a_small_upload_needs_no_window_update(serve: Serve) -> None:
    client = Client(serve(echo))
    stream_id = client.start("POST", ended=False)
    client.send(stream_id, b"x" * 1000)
    assert client.machine.local_flow_control_window(stream_id) == 262144 - 1000


# ---- what the client takes ---------------------------------------------------------------------------


def streaming(sizes: list[int]) -> Any:
    """An application that sends parts for ever and notes how much it has got rid of."""

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        while True:
            await send(part(b"x" * 1000))
            sizes.append(1000)

    return application


def test_send_waits_while_the_streams_window_is_shut(serve: Serve) -> None:
    sizes: list[int] = []
    client = Client(serve(streaming(sizes), write_buffer_size=10_000), {WINDOW: 5000}, acknowledge=False)
    stream_id = client.start()
    assert len(client.answers[stream_id].body) == 5000
    assert 10_000 <= sum(sizes) <= 16_000
    client.machine.increment_flow_control_window(50_000, stream_id)
    client.flush()
    assert len(client.answers[stream_id].body) == 55_000
    assert 60_000 <= sum(sizes) <= 66_000
    client.machine.reset_stream(stream_id)
    client.flush()


def test_one_stream_that_is_stalled_does_not_stall_another(serve: Serve) -> None:
    client = Client(serve(streaming([])), {WINDOW: 1000}, acknowledge=False)
    stalled = client.start()
    assert len(client.answers[stalled].body) == 1000
    other = client.start()
    client.machine.increment_flow_control_window(30_000, other)
    client.flush()
    assert len(client.answers[other].body) == 31_000
    assert len(client.answers[stalled].body) == 1000
    client.connection.close()


def test_a_connection_window_that_is_shut_holds_bodies_and_nothing_else(serve: Serve) -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        size = int(scope["path"][1:])
        await answering(b"x" * size, headers=[(b"x", b"y")])(scope, receive, send)

    client = Client(serve(application), {WINDOW: 1 << 20}, acknowledge=False)
    large = client.start(path="/100000")
    assert len(client.answers[large].body) == 65535
    small = client.start(path="/10")
    empty = client.start(path="/0")
    assert (client.answers[small].status, client.answers[small].body) == (200, b"")
    assert client.answers[empty].ended
    client.machine.increment_flow_control_window(1 << 20)
    client.flush()
    assert client.answers[large].ended
    assert client.answers[small].body == b"x" * 10


def test_a_client_that_does_not_read_makes_send_wait(serve: Serve) -> None:
    sizes: list[int] = []
    client = Client(serve(streaming(sizes)), {WINDOW: 1 << 30})
    client.machine.increment_flow_control_window((1 << 31) - 1 - 65535)
    client.connection.stop_reading()
    stream_id = client.start()
    held = sum(sizes)
    assert held <= 65536 * 4  # the transport's buffer, the stream's, and one write
    client.bench.loop.advance(10)
    assert sum(sizes) == held
    client.connection.take(200_000)
    client.flush()
    assert held < sum(sizes) <= held + 65536 * 4
    client.machine.reset_stream(stream_id)
    client.connection.close()


def test_answers_to_a_client_that_does_not_read_do_not_pile_up(serve: Serve) -> None:
    client = Client(serve(answering(b"x" * 4000)), {WINDOW: 1 << 30})
    client.machine.increment_flow_control_window(1 << 30)
    client.connection.stop_reading()
    for _ in range(60):
        client.start()
    unsent = len(client.connection.server._unsent)
    assert 65536 < unsent < 65536 * 2
    client.connection.resume_reading()
    client.flush()
    assert all(answer.ended for stream, answer in client.answers.items() if stream)


def test_a_window_that_shrinks_below_nothing(serve: Serve) -> None:
    client = Client(serve(streaming([])), {WINDOW: 10_000}, acknowledge=False)
    stream_id = client.start()
    assert len(client.answers[stream_id].body) == 10_000
    # h2 keeps no window of less than nothing: change it by hand.
    client.machine.streams[stream_id]._inbound_window_manager.current_window_size += 5000
    client.machine.update_settings({WINDOW: 5000})
    client.flush()
    client.machine.streams[stream_id]._inbound_window_manager.current_window_size = 0
    client.machine.increment_flow_control_window(5000, stream_id)  # which makes it 0
    client.flush()
    assert len(client.answers[stream_id].body) == 10_000
    client.machine.increment_flow_control_window(7, stream_id)
    client.flush()
    assert len(client.answers[stream_id].body) == 10_007
    client.connection.close()


def test_a_larger_initial_window_opens_that_of_every_stream(serve: Serve) -> None:
    client = Client(serve(streaming([])), {WINDOW: 1000}, acknowledge=False)
    streams = [client.start(), client.start()]
    client.machine.update_settings({WINDOW: 3000})
    client.flush()
    assert [len(client.answers[stream].body) for stream in streams] == [3000, 3000]
    client.connection.close()


@pytest.mark.parametrize("on_stream", [True, False])
def test_a_window_beyond_the_largest(serve: Serve, on_stream: bool) -> None:
    told = Told()
    client = Client(serve(told), {WINDOW: 65535})
    stream_id = client.start()
    frame = (
        bytes.fromhex("0000040800") + (stream_id if on_stream else 0).to_bytes(4, "big") + b"\x7f\xff\xff\xff"
    )
    client.connection.send(frame)
    client.flush()
    if on_stream:
        assert client.answers[stream_id].reset == 3
    else:
        assert client.goaways[-1][1] == 3
    told.finish()


def test_a_client_that_leaves_wakes_who_waits_for_it(serve: Serve) -> None:
    told = Told()
    bench = serve(told)
    client = Client(bench, {WINDOW: 0})
    stream_id = client.start()
    bench.loop.run(told.sends[0](START))
    waiting = bench.loop.create_task(told.sends[0](part(b"x" * 100_000)))
    bench.loop.settle()
    assert not waiting.done()
    client.machine.reset_stream(stream_id)
    client.flush()
    assert isinstance(waiting.exception(), ClientDisconnected)
    told.finish()


# ---- the order ---------------------------------------------------------------------------------------


def order_of(client: Client, streams: list[int]) -> list[int]:
    """Open the connection's window and see in which order the bodies come; each stream once, at its end."""
    client.order.clear()
    client.machine.increment_flow_control_window(1 << 24)
    client.flush()
    assert all(client.answers[stream].ended for stream in streams)
    return [stream for at, stream in enumerate(client.order) if stream not in client.order[at + 1 :]]


def blocked(serve: Serve, size: int = 100_000) -> Client:
    """A client whose connection window is used up by one answer."""
    client = Client(serve(answering(b"x" * size)), {WINDOW: 1 << 24}, acknowledge=False)
    client.start()
    return client


def priority(value: bytes) -> Headers:
    return [(b"priority", value)]


def test_the_most_urgent_goes_first(serve: Serve) -> None:
    client = blocked(serve)
    values = [b"u=7", b"u=0", b"u=4, i", b"u=2"]
    streams = [client.start(headers=priority(value)) for value in values]
    order = [stream for stream in order_of(client, streams) if stream in streams]
    assert order == [streams[1], streams[3], streams[2], streams[0]]


def test_without_priorities_all_move_on_together(serve: Serve) -> None:
    client = blocked(serve)
    streams = [1, client.start(), client.start(), client.start()]
    order_of(client, streams)
    first = client.order[: len(client.order) // 2]
    assert {stream: first.count(stream) for stream in streams[1:]}.keys() == set(streams[1:])
    counts = [first.count(stream) for stream in streams[1:]]
    assert max(counts) - min(counts) <= 1


def test_sequential_answers_go_one_after_the_other_and_incremental_ones_together(serve: Serve) -> None:
    client = blocked(serve)
    one, two = (client.start(headers=priority(b"u=1")) for _ in range(2))
    three, four = (client.start(headers=priority(b"u=2, i")) for _ in range(2))
    order_of(client, [one, two, three, four])
    order = [stream for stream in client.order if stream != 1]
    assert order[: order.index(two)] == [one] * order.index(two)
    assert order.count(one) == order.index(two)
    together = order[order.index(three) :]
    assert set(together) == {three, four}
    assert together[:6] == [three, four] * 3


def test_a_priority_update_for_a_stream_under_way(serve: Serve) -> None:
    client = blocked(serve)
    streams = [client.start(), client.start()]
    client.connection.send(priority_update(streams[1], b"u=0"))
    assert order_of(client, streams)[0] == streams[1]


def test_a_priority_update_for_a_stream_to_come_counts_more_than_its_field(serve: Serve) -> None:
    client = blocked(serve)
    client.connection.send(priority_update(5, b"u=0"))
    streams = [client.start(headers=priority(b"u=1")), client.start(headers=priority(b"u=7"))]
    assert streams[1] == 5
    assert order_of(client, streams)[0] == 5


def priority_update(stream_id: int, value: bytes) -> bytes:
    payload = stream_id.to_bytes(4, "big") + value
    return len(payload).to_bytes(3, "big") + b"\x10\0" + bytes(4) + payload


def test_a_stalled_urgent_answer_lets_others_pass(serve: Serve) -> None:
    client = Client(serve(answering(b"x" * 10_000)), {WINDOW: 100}, acknowledge=False)
    urgent = client.start(headers=priority(b"u=0"))
    other = client.start(headers=priority(b"u=7"))
    client.machine.increment_flow_control_window(10_000, other)
    client.flush()
    assert client.answers[other].ended
    assert len(client.answers[urgent].body) == 100
    client.machine.increment_flow_control_window(10_000, urgent)
    client.flush()
    assert client.answers[urgent].ended


def test_the_client_in_these_tests_sees_what_is_too_much() -> None:
    import h2.connection

    machine = h2.connection.H2Connection()
    machine.initiate_connection()
    machine.send_headers(1, [(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/")])
    machine.receive_data(bytes.fromhex("000000040000000000") + bytes.fromhex("000001010400000001") + b"\x88")
    frame = bytes.fromhex("004000000000000001") + b"x" * 16384
    with pytest.raises(h2.exceptions.FlowControlError):
        for _ in range(5):
            machine.receive_data(frame)
