"""What a channel layer costs: CPU time of two processes for one message there and one back.

`python -m benchmarks.layers local|redis ADDRESS [--clients N] [--messages N]`; ADDRESS is a path for the
socket of the local layer, or the URL of a Redis. Calls `daphne.layers`.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
import time
from typing import Any

MESSAGE = {"reply_channel": "", "path": "/chat", "order": 12, "text": "hello world"}
CAPACITY = 10_000


def made(kind: str, address: str) -> Any:
    """The layer."""
    if kind == "local":
        from daphne.layers import local

        return local.ChannelLayer(address, capacity=CAPACITY)
    from daphne.layers import redis

    return redis.ChannelLayer(hosts=[address], capacity=CAPACITY)


async def front(options: argparse.Namespace) -> None:
    """Start the other process, send from many clients, wait for each answer, and print the cost."""
    layer = made(options.kind, options.address)
    await layer.flush_async()
    arguments = [options.kind, options.address, "--echo"]
    other = subprocess.Popen([sys.executable, "-m", "benchmarks.layers", *arguments])
    answers: dict[str, asyncio.Future[None]] = {}

    async def client(number: int, messages: int) -> None:
        channel = f"websocket.send.{layer.client_prefix}!{number}"
        for _ in range(messages):
            answers[channel] = asyncio.get_running_loop().create_future()
            await layer.send_async("websocket.receive", {**MESSAGE, "reply_channel": channel})
            await answers[channel]

    async def read() -> None:
        while True:
            for channel, _ in await layer.receive_batch([f"websocket.send.{layer.client_prefix}!"]):
                answers[channel].set_result(None)

    reading = asyncio.ensure_future(read())
    await client(0, 100)
    each = options.messages // options.clients
    cpu, wall = time.process_time(), time.perf_counter()
    await asyncio.gather(*(client(number, each) for number in range(options.clients)))
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    count = each * options.clients
    print(f"{options.kind}, {options.clients} clients: {cpu / count * 1e6:.1f} µs here, ", end="")
    print(f"{wall / count * 1e6:.1f} µs on the clock, ", end="", flush=True)
    await layer.send_async("websocket.receive", {"stop": True})
    await asyncio.to_thread(other.wait)
    reading.cancel()
    await layer.close_async()


async def echo(options: argparse.Namespace) -> None:
    """The other process: answer until told to stop, and print the cost."""
    layer = made(options.kind, options.address)
    count, cpu = 0, time.process_time()
    while True:
        batch = await layer.receive_batch(["websocket.connect", "websocket.receive"])
        if any("stop" in message for _, message in batch):
            break
        count += len(batch)
        await asyncio.gather(*(layer.send_async(message["reply_channel"], message) for _, message in batch))
    print(f"{(time.process_time() - cpu) / count * 1e6:.1f} µs there for each echo")
    await layer.close_async()


def main() -> None:
    """Run one end."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=["local", "redis"])
    parser.add_argument("address")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--messages", type=int, default=20_000)
    parser.add_argument("--echo", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    try:
        from uvloop import run
    except ImportError:
        run = asyncio.run
    run(echo(options) if options.echo else front(options))


if __name__ == "__main__":
    main()
