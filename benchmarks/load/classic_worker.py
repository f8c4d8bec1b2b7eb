"""A worker of the channel-layer era over Redis, in as few round trips as it can: it must not be what limits
the server.

Run as a script on the load's core by `benchmarks.running`, with the port of Redis; calls
`served.classic_answers`. It reads and writes the classic wire format: lists of keys, bodies in MessagePack
under those keys.
"""

import os
import sys
from pathlib import Path
from typing import Any

import msgpack
import redis

sys.path.insert(0, str(Path(__file__).parents[1] / "served"))

from classic_answers import CONSUMED, answer

PREFIX = "asgi:"
EXPIRY = 60
BATCH = 256


class RedisWorker:
    """Takes whatever waits on the consumed channels, answers it, and writes all answers at once."""

    def __init__(self, port: int) -> None:
        self.redis = redis.Redis(port=port)
        self.queues = [PREFIX + channel for channel in CONSUMED]

    def run(self) -> None:
        while True:
            first = self.redis.blpop(self.queues, timeout=5)
            if first is not None:
                queue, key = first
                keys = [key, *(self.redis.lpop(queue, BATCH) or [])]
                self.answer_all(queue.decode().removeprefix(PREFIX), keys)

    def answer_all(self, channel: str, keys: list[bytes]) -> None:
        pipeline = self.redis.pipeline(transaction=False)
        pipeline.mget(keys)
        pipeline.delete(*keys)
        bodies, _ = pipeline.execute()
        replies = self.redis.pipeline(transaction=False)
        for body in bodies:
            if body is not None:
                message = msgpack.unpackb(body)
                reply = answer(channel, message)
                if reply is not None:
                    push(replies, message["reply_channel"], reply)
        replies.execute()


def push(pipeline: Any, channel: str, reply: dict[str, Any]) -> None:
    queue = PREFIX + channel[: channel.index("!") + 1]
    key = PREFIX + os.urandom(16).hex()
    pipeline.set(key, msgpack.packb({**reply, "__asgi_channel__": channel}), ex=EXPIRY)
    pipeline.rpush(queue, key)
    pipeline.expire(queue, EXPIRY + 1)


if __name__ == "__main__":
    RedisWorker(int(sys.argv[1])).run()
