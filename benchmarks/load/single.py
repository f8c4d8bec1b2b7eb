"""One request and its answer over a plain blocking socket: for checks before a load, and for long transfers.

Called by the other modules of this package and by `benchmarks.running` (to see that a server answers).
"""

import socket
import ssl
from dataclasses import dataclass

from benchmarks.load.outcome import HOST, Target

TIMEOUT = 20.0


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes
    length: int  # of head and body as they came over the wire


def connect(target: Target) -> socket.socket:
    plain = socket.create_connection((HOST, target.port), timeout=TIMEOUT)
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if not target.tls:
        return plain
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # the certificate was made for this run
    return context.wrap_socket(plain)


def request_head(
    target: Target, path: str, method: str = "GET", headers: dict[str, str] | None = None
) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", f"Host: {target.address}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join([*lines, "", ""]).encode()


def read_head(connection: socket.socket) -> tuple[int, int | None, bytes, int]:
    """Read a response head: its status, its content-length if any, what followed it, its own length."""
    data = bytearray()
    while b"\r\n\r\n" not in data:
        piece = connection.recv(65536)
        if not piece:
            raise ConnectionError("the server closed the connection before the end of a response head")
        data += piece
    head, _, rest = bytes(data).partition(b"\r\n\r\n")
    status_line, *lines = head.split(b"\r\n")
    length = None
    for line in lines:
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length":
            length = int(value)
    return int(status_line.split(b" ")[1]), length, rest, len(head) + 4


def exchange(connection: socket.socket, request: bytes) -> Answer:
    """Send one request and read its answer, which must have a content-length."""
    connection.sendall(request)
    status, length, rest, head_length = read_head(connection)
    if length is None:
        raise ConnectionError(f"the answer (status {status}) has no content-length")
    body = bytearray(rest)
    while len(body) < length:
        piece = connection.recv(262144)
        if not piece:
            raise ConnectionError(f"the server closed the connection after {len(body)} of {length} bytes")
        body += piece
    return Answer(status, bytes(body), head_length + length)


def ask(target: Target, path: str = "/") -> Answer:
    """One GET on a connection of its own."""
    with connect(target) as connection:
        return exchange(connection, request_head(target, path))
