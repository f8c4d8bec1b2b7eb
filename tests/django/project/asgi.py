"""The project as an ASGI application: Django for HTTP, an echo for WebSockets."""

import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.django.project.settings")

django_application = get_asgi_application()


async def echo(scope, receive, send):
    """Send back what comes; refuse at /refused."""
    await receive()
    if scope["path"] == "/refused":
        await send({"type": "websocket.close"})
        return
    await send({"type": "websocket.accept"})
    while (event := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": event["text"]})


async def application(scope, receive, send):
    """By the type of the connection."""
    await (echo if scope["type"] == "websocket" else django_application)(scope, receive, send)
