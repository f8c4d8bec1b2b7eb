"""A small Starlette application: one route, one plain-text answer."""

from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route


async def greet(request):
    return PlainTextResponse("Hello, world!")


application = Starlette(routes=[Route("/", greet)])
