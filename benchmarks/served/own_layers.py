"""The channel layers of this project, made when asked for: `memory`, `local`, `redis`."""

import os


def __getattr__(name):
    if name == "memory":
        from daphne.layers.memory import ChannelLayer

        return ChannelLayer(capacity=1000)
    if name == "local":
        from daphne.layers.local import ChannelLayer

        return ChannelLayer(os.environ["BENCHMARK_LAYER_SOCKET"], capacity=1000)
    if name == "redis":
        from daphne.layers.redis import ChannelLayer

        return ChannelLayer(hosts=[os.environ["BENCHMARK_REDIS"]], capacity=1000)
    raise AttributeError(name)
