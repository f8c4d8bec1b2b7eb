"""The ways in which a client's connection comes to a server: directly, by a proxy, on an inherited socket.

Called by `conftest`; calls `tests/servers.py`, and the programs themselves with `docs/examples/`,
so that what operators are told to use is what is tested.

Each is a context manager that takes the target's command line and a folder of its own, and gives an address.
"""

from __future__ import annotations

import os
import re
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from tests.programs import require_program
from tests.servers import (
    ROOT,
    Address,
    daphne,
    listening,
    running,
    serving,
    serving_on_unix_socket,
    serving_tls,
)

EXAMPLES = ROOT / "docs" / "examples"
Front = Callable[[tuple[str, ...], Path], AbstractContextManager[Address]]


@contextmanager
def over_tcp(target: tuple[str, ...], folder: Path) -> Iterator[Address]:
    """IPv4, on a port of its own."""
    with serving(*target, folder=folder) as server:
        yield server.address


@contextmanager
def over_tls(target: tuple[str, ...], folder: Path) -> Iterator[Address]:
    """TLS, with HTTP/2 for those who ask for it."""
    with serving_tls(*target, folder=folder) as server:
        yield server.address


@contextmanager
def over_unix_socket(target: tuple[str, ...], folder: Path) -> Iterator[Address]:
    """A unix socket that the server makes."""
    with serving_on_unix_socket(*target, folder=folder) as server:
        yield server.address


def on_inherited(family: socket.AddressFamily) -> Front:
    """`--fd`: a socket that another process has opened, and that the server finds among its descriptors."""

    @contextmanager
    def front(target: tuple[str, ...], folder: Path) -> Iterator[Address]:
        with listening(family, folder) as (listener, address):
            number = listener.fileno()
            command = daphne("--fd", str(number), *target)
            with running(command, folder / "daphne.log", pass_fds=[number]) as server:
                server.wait_for(re.compile(rf"Starting server at fd:fileno={number}"))
                yield address

    return front


@contextmanager
def from_systemd(target: tuple[str, ...], folder: Path) -> Iterator[Address]:
    """A socket handed down in systemd's manner (`LISTEN_FDS`), by systemd's own program."""
    program = require_program("systemd-socket-activate")
    address = Address(path=str(folder / "systemd.sock"))
    keep = [f"--setenv={name}={os.environ[name]}" for name in ("PATH", "PYTHONPATH") if name in os.environ]
    command = [program, "--fdname=web", *keep, "-l", str(address.path)]
    command += daphne("-e", "systemd:domain=UNIX:index=0", *target)
    with running(command, folder / "daphne.log") as server:
        server.wait_until(lambda: Path(str(address.path)).exists(), "the socket")
        address.connect().close()  # the first connection is what starts the server
        server.wait_for(re.compile("Starting server at systemd:domain=UNIX:index=0"))
        yield address


@contextmanager
def from_circus(target: tuple[str, ...], folder: Path) -> Iterator[Address]:
    """Two servers on one socket that Circus has opened."""
    circusd = Path(sys.executable).with_name("circusd")
    text = (EXAMPLES / "circus.ini").read_text("utf-8")
    text = text.replace("project.asgi:application", " ".join(target))
    text = text.replace("cmd = daphne", f"cmd = {' '.join(daphne())}")
    text = text.replace("working_dir = /srv/project", f"working_dir = {ROOT}")
    text = text.replace("user = daphne\n", "")
    text = re.sub(r"endpoint = tcp://127.0.0.1:(\d+)", rf"endpoint = ipc://{folder}/\1", text)
    text = text.replace("port = 8000", "port = 0").replace("numprocesses = 4", "numprocesses = 2")
    (folder / "circus.ini").write_text(text, "utf-8")
    command = [str(circusd), "--log-level", "debug", str(folder / "circus.ini")]
    with running(command, folder / "circus.log") as circus:
        found = circus.wait_for(re.compile(r"Socket bound at ([0-9.]+):(\d+)"))
        circus.wait_for(re.compile("Starting server at fd:fileno="))
        yield Address(found[1], int(found[2]))


@contextmanager
def from_supervisor(target: tuple[str, ...], folder: Path) -> Iterator[Address]:
    """Two servers on one socket that supervisord has opened and hands down as descriptor 0."""
    supervisord = require_program("supervisord")
    address = Address(path=str(folder / "supervisor.sock"))
    text = (EXAMPLES / "supervisor.conf").read_text("utf-8")
    text = text.replace("tcp://127.0.0.1:8000", f"unix://{address.path}")
    text = text.replace("project.asgi:application", " ".join(target))
    text = text.replace("command=daphne", f"command={' '.join(daphne())}")
    text = text.replace("directory=/srv/project", f"directory={ROOT}")
    text = text.replace("user=daphne\n", "")
    text = text.replace("/var/log/supervisor", str(folder))
    text = text.replace("numprocs=4", "numprocs=2")
    configuration = folder / "supervisor.conf"
    own = f"[supervisord]\nnodaemon=true\nlogfile={folder}/own.log\npidfile={folder}/supervisor.pid\n"
    configuration.write_text(own + text, "utf-8")
    with running([supervisord, "-c", str(configuration)], folder / "supervisor.log") as supervisor:
        supervisor.wait_until(address.accepts, f"the socket {address.path}")
        yield address


@contextmanager
def behind_nginx(target: tuple[str, ...], folder: Path) -> Iterator[Address]:
    """nginx on a port, the server behind it on a unix socket."""
    nginx = require_program("nginx")
    with (
        serving_on_unix_socket("--proxy-headers", *target, folder=folder) as server,
        reserved_port() as port,
    ):
        address = Address("127.0.0.1", port)
        configuration = nginx_configuration(folder, str(server.address.path), address)
        with running([nginx, "-p", str(folder), "-c", str(configuration)], folder / "nginx.log") as proxy:
            proxy.wait_until(address.accepts, "nginx to listen")
            yield address


@contextmanager
def reserved_port() -> Iterator[int]:
    """A port that nobody else is given meanwhile, and that a program with SO_REUSEPORT can listen on."""
    with socket.socket() as bound:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


def nginx_configuration(folder: Path, socket_path: str, address: Address) -> Path:
    """The example's site, within the little that nginx needs around it to run in `folder`."""
    site = (EXAMPLES / "nginx.conf").read_text("utf-8")
    site = site.replace("unix:/run/daphne/daphne.sock", f"unix:{socket_path}")
    site = re.sub(r"listen 80;.*", f"listen {address.host}:{address.port} reuseport;", site)
    site = re.sub(r"listen \[::\]:80;.*\n", "", site)
    temporary = "".join(
        f"{kind}_temp_path {folder}/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    text = (
        f"daemon off; master_process off; pid {folder}/nginx.pid; error_log stderr info;\n"
        f"events {{ worker_connections 256; }}\n"
        f"http {{ access_log {folder}/access.log;\n{temporary}{site}\n}}\n"
    )
    path = folder / "nginx.conf"
    path.write_text(text, "utf-8")
    return path


FRONTS: dict[str, Front] = {
    "tcp": over_tcp,
    "tls": over_tls,
    "unix": over_unix_socket,
    "fd-ipv4": on_inherited(socket.AF_INET),
    "fd-ipv6": on_inherited(socket.AF_INET6),
    "fd-unix": on_inherited(socket.AF_UNIX),
    "systemd": from_systemd,
    "circus": from_circus,
    "supervisor": from_supervisor,
    "nginx": behind_nginx,
}
INHERITED = {"fd-ipv4", "fd-ipv6", "fd-unix", "systemd", "circus", "supervisor"}
"""Those in which the server finds its socket open already."""
