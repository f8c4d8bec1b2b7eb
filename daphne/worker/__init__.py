"""Workers: they take requests and WebSockets off a channel layer and run an ASGI application for them.

`Worker` is the whole of it; `daphne-worker` (`cli`) runs one in a process of its own, and `daphne --worker`
in the server's. The mirror of `daphne.layers.bridge`.
"""

from daphne.worker.consume import Worker

__all__ = ["Worker"]
