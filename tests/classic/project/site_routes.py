"""Views and consumers of the Channels 1 project in classic_site.py."""

import hashlib

from channels import Group
from channels.routing import route
from django.conf.urls import url
from django.http import HttpResponse, StreamingHttpResponse


def page(request):
    """Says what the request was."""
    return HttpResponse("%s %s" % (request.method, request.get_full_path()), content_type="text/plain")


def upload(request):
    """Says what was sent, by its length and digest."""
    body = request.body
    return HttpResponse("%d %s" % (len(body), hashlib.sha256(body).hexdigest()))


def stream(request):
    """Three pieces."""
    return StreamingHttpResponse(iter(["one ", "two ", "three"]))


def connect(message):
    """Accept, and join the room."""
    message.reply_channel.send({"accept": True})
    Group("room").add(message.reply_channel)


def receive(message):
    """What one says goes to all."""
    if message.content.get("text") == "bye":
        message.reply_channel.send({"close": 4001})
    elif "text" in message.content:
        Group("room").send({"text": message.content["text"]})
    else:
        message.reply_channel.send({"bytes": message.content["bytes"]})


def disconnect(message):
    """Leave the room."""
    Group("room").discard(message.reply_channel)


urlpatterns = [url(r"^upload$", upload), url(r"^stream$", stream), url(r"", page)]
channel_routing = [
    route("websocket.connect", connect),
    route("websocket.receive", receive),
    route("websocket.disconnect", disconnect),
]
