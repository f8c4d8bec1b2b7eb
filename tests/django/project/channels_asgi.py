"""The project with Channels: consumers that use what a server must bring to them."""

import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.django.project.settings")
django.setup()

from channels.generic.http import AsyncHttpConsumer  # noqa: E402
from channels.generic.websocket import AsyncWebsocketConsumer, JsonWebsocketConsumer  # noqa: E402
from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from channels.security.websocket import AllowedHostsOriginValidator  # noqa: E402
from django.core.asgi import get_asgi_application  # noqa: E402
from django.urls import path  # noqa: E402


class Chat(AsyncWebsocketConsumer):
    """Tells everybody in the room what anybody says."""

    groups = ["room"]

    async def receive(self, text_data=None, bytes_data=None):
        """Say it to the group; `quit` closes, with a reason."""
        if text_data == "quit":
            await self.close(4321, "as you wish")
        else:
            await self.channel_layer.group_send("room", {"type": "said", "text": text_data})

    async def said(self, event):
        """Pass on what the group heard."""
        await self.send(event["text"])


class Greeting(JsonWebsocketConsumer):
    """A synchronous consumer, which Channels runs in a thread; accepts with a subprotocol and a header."""

    def connect(self):
        """Accept."""
        self.accept(subprotocol=self.scope["subprotocols"][-1], headers=[(b"x-greeting", b"hello")])

    def receive_json(self, content, **kwargs):
        """Answer in JSON."""
        self.send_json({"got": content})


class Denied(AsyncWebsocketConsumer):
    """Answers the handshake with a response of its own."""

    async def connect(self):
        """Deny."""
        await self.base_send(
            {"type": "websocket.http.response.start", "status": 451, "headers": [(b"x-why", b"law")]}
        )
        await self.base_send({"type": "websocket.http.response.body", "body": b"not here"})


class Refused(AsyncWebsocketConsumer):
    """Refuses as most consumers do."""

    async def connect(self):
        """Refuse."""
        await self.close()


class Counting(AsyncHttpConsumer):
    """Streams a response in parts, and says how much was sent."""

    async def handle(self, body):
        """Answer in three parts."""
        await self.send_headers(headers=[(b"content-type", b"text/plain")])
        for part in (b"%d" % len(body), b" bytes ", b"came"):
            await self.send_body(part, more_body=True)
        await self.send_body(b"")


application = ProtocolTypeRouter(
    {
        "http": URLRouter([path("counting", Counting.as_asgi()), path("", get_asgi_application())]),
        "websocket": AllowedHostsOriginValidator(
            URLRouter(
                [
                    path("chat", Chat.as_asgi()),
                    path("greeting", Greeting.as_asgi()),
                    path("denied", Denied.as_asgi()),
                    path("refused", Refused.as_asgi()),
                ]
            )
        ),
    }
)
