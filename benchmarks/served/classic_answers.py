"""What a worker of the channel-layer era answers: the greeting to a request, an echo to a WebSocket message.

Used by `classic_memory` (in the server's process) and by `benchmarks.load.classic_worker` (over Redis). Plain
enough for Python 2.7 and 3.6, where old servers may run.
"""

CONSUMED = ["http.request", "websocket.connect", "websocket.receive", "websocket.disconnect"]
GREETING = b"Hello, world!"
HEADERS = [
    [b"content-type", b"text/plain; charset=utf-8"],
    [b"content-length", str(len(GREETING)).encode("ascii")],
]


def answer(channel, message):
    """The message for the reply channel, or None."""
    if channel == "http.request":
        return {"status": 200, "headers": HEADERS, "content": GREETING}
    if channel == "websocket.connect":
        return {"accept": True}
    if channel == "websocket.receive":
        if message.get("text") is not None:
            return {"text": message["text"]}
        return {"bytes": message["bytes"]}
    return None
