"""Long transfers: bodies of 100 MiB, one after the other on new connections, counted to the byte.

Called by `benchmarks.scenarios`; calls `single`.
"""

import socket
import time
from collections.abc import Callable

from benchmarks.load import single
from benchmarks.load.outcome import Load, Target, percentile

UPLOAD_BYTES = 100 * 1024 * 1024
UPLOAD_PIECE = b"\xa5" * 262144


def upload(target: Target, seconds: float) -> Load:
    """POST `UPLOAD_BYTES`; the application answers how many it counted."""
    request = single.request_head(target, "/count", "POST", {"Content-Length": str(UPLOAD_BYTES)})

    def once(connection: socket.socket) -> str | None:
        connection.sendall(request)
        for _ in range(UPLOAD_BYTES // len(UPLOAD_PIECE)):
            connection.sendall(UPLOAD_PIECE)
        answer = single.exchange(connection, b"")
        right = answer.status == 200 and answer.body == b"%d" % UPLOAD_BYTES
        return None if right else f"the upload was answered {answer.status} {answer.body[:60]!r}"

    return repeat(target, seconds, once)


def download(path: str, expected: bytes, repetitions: int) -> Callable[[Target, float], Load]:
    """GET `path`, whose answer must be `expected` as many times over as said."""
    size = len(expected) * repetitions

    def load(target: Target, seconds: float) -> Load:
        request = single.request_head(target, path)
        buffer = bytearray(len(expected))

        def once(connection: socket.socket) -> str | None:
            connection.sendall(request)
            status, length, rest, _ = single.read_head(connection)
            if status != 200 or length != size:
                return f"the download was answered {status}, length {length}"
            return read_pieces(connection, rest, buffer, expected, repetitions)

        return repeat(target, seconds, once)

    return load


def read_pieces(
    connection: socket.socket, rest: bytes, buffer: bytearray, expected: bytes, repetitions: int
) -> str | None:
    """Read the body piece by piece and compare each piece; `rest` came with the head."""
    filled = len(rest)
    whole, part = divmod(filled, len(expected))
    if rest != expected * whole + expected[:part]:
        return "the download's first bytes differ"
    view = memoryview(buffer)
    view[:part] = expected[:part]
    for _ in range(whole, repetitions):
        while part < len(expected):
            count = connection.recv_into(view[part:])
            if not count:
                return "the server closed the connection inside a download"
            part += count
        if buffer != expected:
            return "a piece of the download differs"
        part = 0
    return None


def repeat(target: Target, seconds: float, once: Callable[[socket.socket], str | None]) -> Load:
    """Transfer again and again until `seconds` are over, at least twice, each time on a new connection."""
    durations: list[float] = []
    began = time.perf_counter()
    while len(durations) < 2 or time.perf_counter() - began < seconds:
        started = time.perf_counter()
        try:
            with single.connect(target) as connection:
                problem = once(connection)
        except OSError as error:
            problem = f"the transfer failed: {error}"
        if problem:
            return Load(len(durations), time.perf_counter() - began, problems=[problem])
        durations.append(time.perf_counter() - started)
    elapsed = time.perf_counter() - began
    return Load(len(durations), elapsed, percentile(durations, 0.50), percentile(durations, 0.99))
