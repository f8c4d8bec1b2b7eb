"""The pages of the project."""

import importlib
import os

from django.http import HttpResponse, JsonResponse
from django.urls import path


def scope(request):
    """What the server said of the request."""
    known = ("type", "scheme", "http_version", "root_path", "path")
    return JsonResponse({name: request.scope[name] for name in known})


def upload(request):
    """The length of what was sent."""
    return HttpResponse(str(len(request.body)))


def broken(request):
    """Fail."""
    raise RuntimeError("broken on purpose")


def value(request):
    """What a module says that a test changes while the server runs."""
    return HttpResponse(importlib.import_module(os.environ["PROJECT_CHANGING"]).VALUE)


urlpatterns = [
    path("scope", scope),
    path("upload", upload),
    path("broken", broken),
    path("plain", lambda request: HttpResponse("plain")),
    path("value", value),
]
