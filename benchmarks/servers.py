"""The servers: how each is started. The access log is off for all; everything else is as its authors ship it.

Read by `benchmarks.scenarios` and `benchmarks.running`; calls `environments` for paths only. A `command` gets
a `Launch` and returns the words to run, in the folder `served`, where the targets are importable.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.environments import Places
from benchmarks.load.outcome import HOST

HERE = Path(__file__).parent
APPLICATION = "plain:application"
KEEP_ALIVE = "60"  # seconds; this daphne's default, so that idle connections stay on all


@dataclass(frozen=True)
class Launch:
    """One start of a server: on which port, for which target (`module:name`), clear or TLS."""

    places: Places
    port: int
    target: str
    tls: bool = False

    @property
    def certificate(self) -> str:
        return str(self.places.certificate)

    @property
    def key(self) -> str:
        return str(self.places.key)

    def endpoint(self) -> list[str]:
        """Where to listen, in daphne's flags (of any of its ages)."""
        if not self.tls:
            return ["-b", HOST, "-p", str(self.port)]
        return [
            "-e",
            f"ssl:port={self.port}:interface={HOST}:privateKey={self.key}:certKey={self.certificate}",
        ]


@dataclass(frozen=True)
class Server:
    """A row of the tables. `distributions` are the packages whose versions belong to the name.

    `target` is served instead of the scenario's: a channel layer. `needs` are the programs beside the server:
    `redis` before it, `classic_worker` (the load's worker over Redis) or `worker` (this project's) after it.
    They run on the load's core and are not counted.
    """

    name: str
    environment: str
    distributions: tuple[str, ...]
    command: Callable[[Launch], list[str]]
    target: str = ""
    needs: tuple[str, ...] = ()


def daphne(launch: Launch, *options: str) -> list[str]:
    return [
        str(launch.places.python("this")),
        "-m",
        "daphne",
        "-v",
        "0",
        *launch.endpoint(),
        *options,
        launch.target,
    ]


def daphne_with_worker(launch: Launch) -> list[str]:
    return daphne(launch, "--worker", APPLICATION)


def uvicorn(launch: Launch) -> list[str]:
    kinds = ["--loop", "uvloop", "--http", "httptools", "--ws", "websockets-sansio"]
    tls = ["--ssl-certfile", launch.certificate, "--ssl-keyfile", launch.key] if launch.tls else []
    quiet = ["--no-access-log", "--log-level", "warning", "--timeout-keep-alive", KEEP_ALIVE]
    where = ["--host", HOST, "--port", str(launch.port)]
    return [launch.places.program("this", "uvicorn"), *kinds, *quiet, *where, *tls, launch.target]


def granian(launch: Launch) -> list[str]:
    kinds = ["--interface", "asgi", "--loop", "uvloop", "--workers", "1"]
    tls = ["--ssl-certificate", launch.certificate, "--ssl-keyfile", launch.key] if launch.tls else []
    quiet = ["--no-access-log", "--log-level", "warning"]
    room = ["--backlog", "4096", "--backpressure", "4096"]  # its default refuses 2,000 open WebSockets
    where = ["--host", HOST, "--port", str(launch.port)]
    return [launch.places.program("this", "granian"), *kinds, *quiet, *room, *where, *tls, launch.target]


def hypercorn(launch: Launch) -> list[str]:
    kinds = [
        "--worker-class",
        "uvloop",
        "--workers",
        "1",
        "--log-level",
        "warning",
        "--keep-alive",
        KEEP_ALIVE,
    ]
    tls = ["--certfile", launch.certificate, "--keyfile", launch.key] if launch.tls else []
    many = ["--config", "file:hypercorn_settings.py"]
    return [
        launch.places.program("this", "hypercorn"),
        *kinds,
        *many,
        "--bind",
        f"{HOST}:{launch.port}",
        *tls,
        launch.target,
    ]


def gunicorn(launch: Launch) -> list[str]:
    kinds = ["--worker-class", "asgi", "--workers", "1", "--log-level", "warning", "--keep-alive", KEEP_ALIVE]
    room = ["--worker-connections", "4096"]  # its default refuses 2,000 open connections
    tls = ["--certfile", launch.certificate, "--keyfile", launch.key] if launch.tls else []
    where = ["--bind", f"{HOST}:{launch.port}"]
    return [launch.places.program("this", "gunicorn"), *kinds, *room, *where, *tls, launch.target]


def older_daphne(environment: str) -> Callable[[Launch], list[str]]:
    def command(launch: Launch) -> list[str]:
        return [launch.places.program(environment, "daphne"), "-v", "0", *launch.endpoint(), launch.target]

    return command


def lower_bound(launch: Launch) -> list[str]:
    tls = [launch.certificate, launch.key] if launch.tls else []
    return [str(launch.places.python("this")), str(HERE / "lower_bound.py"), str(launch.port), *tls]


THIS = ("daphne", "uvloop")
CLASSIC = ("daphne", "asgi_redis", "Twisted")
MEMORY, LOCAL, REDIS = "own_layers:memory", "own_layers:local", "own_layers:redis"

SERVERS = {
    server.name: server
    for server in [
        Server("daphne", "this", THIS, daphne),
        Server("uvicorn", "this", ("uvicorn", "uvloop", "httptools", "websockets"), uvicorn),
        Server("granian", "this", ("granian", "uvloop"), granian),
        Server("hypercorn", "this", ("hypercorn", "uvloop"), hypercorn),
        Server("gunicorn", "this", ("gunicorn", "gunicorn_h1c", "uvloop"), gunicorn),
        Server("daphne4", "daphne4", ("daphne", "Twisted"), older_daphne("daphne4")),
        Server("bound", "this", ("uvloop",), lower_bound),
        Server("memory", "this", THIS, daphne_with_worker, MEMORY),
        Server("local", "this", THIS, daphne, LOCAL, ("worker",)),
        Server("redis", "this", (*THIS, "redis"), daphne, REDIS, ("redis", "classic_worker")),
        Server("redis-worker", "this", (*THIS, "redis"), daphne, REDIS, ("redis", "worker")),
        Server("daphne1-memory", "daphne1", CLASSIC, older_daphne("daphne1"), "classic_memory:channel_layer"),
        Server(
            "daphne1-redis", "daphne1", CLASSIC, older_daphne("daphne1"), "classic_redis:channel_layer",
            ("redis", "classic_worker"),
        ),
    ]
}  # fmt: skip
