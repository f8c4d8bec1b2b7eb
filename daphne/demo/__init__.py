"""The demonstration: one page that shows what the server does, over every protocol and in every mode.

    daphne daphne.demo:application                                       inside the server
    daphne --worker daphne.demo:application daphne.demo:channel_layer    behind a channel layer

Several processes share one chat over another channel layer (see `wiring`):

    DEMO_CHANNEL_LAYER=local daphne daphne.demo:channel_layer
    DEMO_CHANNEL_LAYER=local daphne-worker daphne.demo:channel_layer daphne.demo:application

Called by the operator through `daphne`; calls `routes`, and `wiring` for the layer that carries the chat.
It is also a small example of an ASGI 3 application without a framework.
"""

from __future__ import annotations

from daphne.demo.routes import application
from daphne.demo.wiring import channel_layer

__all__ = ["application", "channel_layer"]
