"""A small Django project in one file: two of the usual middlewares and one ordinary (synchronous) view."""

from django.conf import settings

settings.configure(
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    SECRET_KEY="not a secret: this site serves a benchmark on loopback",
    MIDDLEWARE=[
        "django.middleware.security.SecurityMiddleware",
        "django.middleware.common.CommonMiddleware",
    ],
)

from django.core.asgi import get_asgi_application  # noqa: E402  (settings come first)
from django.http import HttpResponse  # noqa: E402
from django.urls import path  # noqa: E402


def greet(request):
    return HttpResponse("Hello, world!", content_type="text/plain")


urlpatterns = [path("", greet)]
application = get_asgi_application()
