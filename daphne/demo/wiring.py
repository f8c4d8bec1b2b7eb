"""The channel layer of the demonstration, which carries both its requests and its chat.

Called by `daphne.demo` (the server's target) and by `chat`; calls `daphne.layers`.
"""

from __future__ import annotations

from daphne.layers.memory import ChannelLayer

channel_layer = ChannelLayer()
