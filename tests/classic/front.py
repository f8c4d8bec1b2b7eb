"""The front end's target: the Redis layer, at the address in CLASSIC_REDIS."""

import os

from daphne.layers.redis import ChannelLayer

channel_layer = ChannelLayer(hosts=[os.environ["CLASSIC_REDIS"]])
