"""The scenarios: what is asked of which servers, and what this daphne is to reach in each.

The table that `python -m benchmarks` runs; read by `comparison` and `report`. Calls the loads.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.load import connections, transfers
from benchmarks.load.h2load import H2Load
from benchmarks.load.outcome import Target
from benchmarks.load.websockets import echo
from benchmarks.load.wrk import BODY_BYTE, Wrk
from benchmarks.measure import Idle, Measurement, Throughput
from benchmarks.served.plain import DOWNLOAD_PIECES, GREETING, PIECE
from benchmarks.servers import APPLICATION

BEST = "best"  # in a goal: the peer with the lowest figure
KIB = 1024
MEMORY_GROWTH = 5_000_000  # bytes by which a transfer may raise the resident size

BROWSER_HEADERS = {
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0",
    "Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
    "Accept-Language": "en-GB,en;q=0.7,de;q=0.3",
    "Accept-Encoding": "gzip, deflate, br, zstd",
    "Referer": "http://127.0.0.1/overview?page=3&sort=date",
    "Cookie": "sessionid=8a6f0e31c5d94b7f9f4b7d2a1c3e5f60; csrftoken=Zk2mVq7xT1nB9sLw4cYh8dRf3gJp6eKa; "
    "theme=dark; consent=analytics%3Dno%26marketing%3Dno",
    "Upgrade-Insecure-Requests": "1",
    "Sec-Fetch-Dest": "document",
    "Sec-Fetch-Mode": "navigate",
    "Sec-Fetch-Site": "same-origin",
    "Sec-Fetch-User": "?1",
    "Priority": "u=0, i",
}


@dataclass(frozen=True)
class Goal:
    """This daphne's figure divided by a peer's: at most `reach`, better `aim`."""

    peer: str
    reach: float
    aim: float | None = None


@dataclass(frozen=True)
class Scenario:
    """One table. The first of `servers` is compared with each of the others.

    `figure` is the field of a measurement that is compared: `cpu` seconds per `unit`, or `held` bytes per
    connection; `absolute` are the figures to reach and to aim at where they are not ratios. With
    `grows_at_most` the memory growth (bytes) is judged too.
    """

    name: str
    title: str
    method: Callable[[Target, float], Measurement]
    servers: tuple[str, ...]
    goals: tuple[Goal, ...] = ()
    unit: str = "request"
    figure: str = "cpu"
    absolute: tuple[float, float] | None = None
    grows_at_most: int | None = None
    target: str = APPLICATION
    tls: bool = False


GREET = Wrk(expected=GREETING)
GREET_HTTP2 = H2Load(expected=GREETING)
ALL = ("daphne", "uvicorn", "granian", "hypercorn", "gunicorn", "daphne4")
EVERY_HTTP = (*ALL, "bound")
WITH_HTTP2 = ("daphne", "hypercorn", "granian")
GREET_GOALS = (Goal("uvicorn", 0.60, 0.50), Goal("granian", 0.85, 0.65))
BROWSER_GOALS = (Goal("uvicorn", 0.60, 0.50), Goal("granian", 1.10, 0.85))
TLS_GOALS = (Goal("granian", 0.75, 0.55), Goal("uvicorn", 0.80))
POST_GOALS = tuple(Goal(peer, 0.80, 0.60) for peer in ("uvicorn", "granian", "gunicorn"))


def websocket(size: int, text: bool = False, number: int = 32) -> Throughput:
    return Throughput(functools.partial(echo, connections=number, size=size, text=text))


SCENARIOS = {
    scenario.name: scenario
    for scenario in [
        Scenario("get", "HTTP/1.1 GET, 13 bytes, 64 connections", Throughput(GREET), EVERY_HTTP, GREET_GOALS),
        Scenario(
            "browser", "HTTP/1.1 GET with a browser's headers and cookies",
            Throughput(Wrk(expected=GREETING, headers=BROWSER_HEADERS)), EVERY_HTTP, BROWSER_GOALS,
        ),
        Scenario(
            "tls", "HTTP/1.1 GET over TLS, keep-alive", Throughput(GREET), EVERY_HTTP, TLS_GOALS, tls=True,
        ),
        Scenario(
            "post", "POST of 16 KiB, echoed",
            Throughput(Wrk("/echo", expected=BODY_BYTE * 16 * KIB, body_size=16 * KIB)), ALL, POST_GOALS,
        ),
        Scenario(
            "upload", "POST of 100 MiB, counted by the application", Throughput(transfers.upload, GREET), ALL,
            (Goal(BEST, 1.0),), unit="transfer", grows_at_most=MEMORY_GROWTH,
        ),
        Scenario(
            "download", "download of 100 MiB in pieces of 64 KiB",
            Throughput(transfers.download("/download", PIECE, DOWNLOAD_PIECES), GREET), ALL,
            (Goal(BEST, 1.0),), unit="transfer", grows_at_most=MEMORY_GROWTH,
        ),
        Scenario(
            "pathsend", "download of 100 MiB by http.response.pathsend",
            Throughput(transfers.download("/pathsend", PIECE, DOWNLOAD_PIECES), GREET), ("daphne", "granian"),
            (Goal(BEST, 1.0, 0.5),), unit="transfer", grows_at_most=MEMORY_GROWTH,
        ),
        Scenario(
            "ws-text", "WebSocket echo, 100 bytes of text, 32 connections", websocket(100, text=True), ALL,
            (Goal("uvicorn", 0.90, 0.65),), unit="message",
        ),
        Scenario(
            "ws-binary", "WebSocket echo, 16 KiB binary, 32 connections", websocket(16 * KIB), ALL,
            (Goal("uvicorn", 1.0, 0.7),), unit="message",
        ),
        Scenario(
            "ws-large", "WebSocket echo, 1 MiB binary, 8 connections", websocket(KIB * KIB, number=8), ALL,
            (Goal(BEST, 1.0),), unit="message",
        ),
        Scenario(
            "idle-http", "2,000 idle keep-alive connections", Idle(connections.idle_http), ALL,
            unit="connection", figure="held", absolute=(5 * KIB, 3 * KIB),
        ),
        Scenario(
            "idle-ws", "2,000 idle WebSockets", Idle(connections.idle_websockets), ALL,
            unit="connection", figure="held", absolute=(14 * KIB, 9 * KIB),
        ),
        Scenario(
            "churn-http", "1,000 HTTP connections opened and closed a second",
            Throughput(connections.Churn(websocket=False)), EVERY_HTTP, (Goal(BEST, 0.8),), unit="connection",
        ),
        Scenario(
            "churn-ws", "1,000 WebSockets opened and closed a second",
            Throughput(connections.Churn(websocket=True)), ALL, (Goal(BEST, 0.8),), unit="connection",
        ),
        Scenario(
            "starlette", "a Starlette application", Throughput(GREET), ALL, (Goal("uvicorn", 1.0),),
            target="starlette_site:application",
        ),
        Scenario(
            "django", "a Django view", Throughput(GREET), ALL, (Goal("uvicorn", 1.0),),
            target="django_site:application",
        ),
        Scenario(
            "h2", "HTTP/2 GET in clear text, 8 connections of 16 streams", Throughput(GREET_HTTP2),
            WITH_HTTP2, (Goal("hypercorn", 0.35, 0.20),),
        ),
        Scenario(
            "h2-tls", "HTTP/2 GET over TLS, 8 connections of 16 streams", Throughput(GREET_HTTP2),
            WITH_HTTP2, (Goal("hypercorn", 0.35, 0.20),), tls=True,
        ),
        Scenario(
            "layer-memory", "channel layer in memory, worker inside, GET", Throughput(GREET),
            ("memory", "daphne1-memory"), (Goal("daphne1-memory", 0.25),),
        ),
        Scenario(
            "layer-redis", "front end over Redis, classic worker, GET, 64 connections", Throughput(GREET),
            ("redis", "daphne1-redis"), (Goal("daphne1-redis", 0.20, 0.10),),
        ),
        Scenario(
            "layer-redis-ws", "front end over Redis, classic worker, WebSocket echo, 32 connections",
            websocket(100, text=True), ("redis", "daphne1-redis"), (Goal("daphne1-redis", 0.20, 0.10),),
            unit="message",
        ),
        Scenario(
            "layer-local", "front end over the local layer against Redis, one worker, GET, 64 connections",
            Throughput(GREET), ("local", "redis-worker"), (Goal("redis-worker", 0.5),),
        ),
        Scenario(
            "layer-local-ws", "front end over the local layer against Redis, one worker, WebSocket echo",
            websocket(100, text=True), ("local", "redis-worker"), (Goal("redis-worker", 0.5),),
            unit="message",
        ),
        Scenario(
            "layer-latency", "one request at a time, direct and over each layer: see p50",
            Throughput(Wrk(expected=GREETING, connections=1)), ("daphne", "memory", "local", "redis-worker"),
        ),
    ]
}  # fmt: skip
