"""A redis-server of the test's own: on a unix socket or a free port, keeping nothing on disk.

Used by the kinds of layers and by the tests of the Redis layer.
"""

from __future__ import annotations

import socket
import subprocess
import tempfile
import time
from pathlib import Path

from tests.programs import require_program

START_LIMIT = 10.0


class RedisServer:
    """Started by `start`, ended by `stop`; may be started again on the same address."""

    def __init__(self, *options: str, port: int = 0, sentinel_of: int = 0) -> None:
        self._program = require_program("redis-server")
        self._directory = tempfile.TemporaryDirectory(prefix="daphne-redis-")
        self.path = str(Path(self._directory.name, "socket"))
        self.port = port
        self.url = f"unix://{self.path}"
        self._arguments = ["--save", "", "--appendonly", "no", *options]
        if sentinel_of:
            configuration = Path(self._directory.name, "sentinel.conf")
            configuration.write_text(f"sentinel monitor master 127.0.0.1 {sentinel_of} 1\n")
            self._arguments = [str(configuration), "--sentinel"]
        self._process: subprocess.Popen | None = None

    def start(self) -> RedisServer:
        self._process = subprocess.Popen(
            [self._program, *self._arguments, "--port", str(self.port), "--bind", "127.0.0.1"]
            + ["--unixsocket", self.path, "--dir", self._directory.name],
            stdout=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + START_LIMIT
        while not self._answers():
            assert self._process.poll() is None, "redis-server ended at once"
            assert time.monotonic() < deadline, "redis-server does not listen"
            time.sleep(0.01)
        return self

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def close(self) -> None:
        self.stop()
        self._directory.cleanup()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as client:
            try:
                client.connect(self.path)
            except OSError:
                return False
        return True


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
