"""asgi_redis 1.4's channel layer on the Redis of this run; the worker is a process of its own.

asgi_redis asks MessagePack for text by an argument that newer versions have dropped; they give text by
themselves, and they are in C where the last one with that argument is not. So the argument is taken away, in
favour of the old server.
"""

import os

import msgpack
from asgi_redis import RedisChannelLayer

if msgpack.version[0] >= 1:
    unpackb = msgpack.unpackb

    def unpackb_text(packed, encoding=None, **options):
        return unpackb(packed, **options)

    msgpack.unpackb = unpackb_text

channel_layer = RedisChannelLayer(hosts=[os.environ["BENCHMARK_REDIS"]], capacity=1000)
