"""The files of a local layer: the lock whose holder is the broker, its socket, and what a broker has left.

Called by the local layer; calls nothing. Beside the socket `PATH` stand `PATH.lock` and, between two brokers,
`PATH.left`. Only processes of the same user (or of users that were named) are let in.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import socket
import stat
import struct
import tempfile
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

import msgpack

from daphne.errors import ConfigurationError, LayerUnavailable

BACKLOG = 256

log = logging.getLogger("daphne.layers.local")


class Place:
    """Where one local layer is. `mode` is the socket's file mode; `users` are the ids of users let in besides
    this process's own."""

    def __init__(self, path: str | None, mode: int = 0o600, users: Collection[int] = ()) -> None:
        self.path = os.path.abspath(path) if path else default_path()
        self._mode = mode
        self._users = {os.getuid(), 0, *users}
        self._lock: int | None = None

    def try_lock(self) -> bool:
        """Become the broker, unless another process is. LayerUnavailable if the path cannot be used."""
        try:
            lock = self._open_lock()
        except OSError as error:
            raise LayerUnavailable(f"the local layer's path {self.path} cannot be used: {error}") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            return False
        self._lock = lock
        return True

    def _open_lock(self) -> int:
        path = f"{self.path}.lock"
        try:
            # Without O_CREAT, which Linux refuses for a file of another user in a directory like /tmp.
            return os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, self._mode)
        with contextlib.suppress(PermissionError):  # somebody else has made it in the meantime
            os.fchmod(lock, self._mode)  # whatever the umask: other users are let in by it, too
        return lock

    def unlock(self) -> None:
        """Let another process be the broker."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def listen(self) -> socket.socket:
        """The broker's listening socket; it replaces the file of an earlier broker in one step."""
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        new_path = f"{self.path}.{os.getpid()}"
        try:
            Path(new_path).unlink(missing_ok=True)
            listener.bind(new_path)
            os.chmod(new_path, self._mode)
            listener.listen(BACKLOG)
            listener.setblocking(False)
            os.rename(new_path, self.path)
        except OSError as error:
            listener.close()
            raise LayerUnavailable(f"the local layer cannot listen on {self.path}: {error}") from error
        return listener

    def stop_listening(self) -> None:
        """Remove the socket's file, while still holding the lock."""
        Path(self.path).unlink(missing_ok=True)

    def is_trusted(self, connection: Any) -> bool:
        """Whether the process at the other end belongs to a user who is let in (Linux: SO_PEERCRED)."""
        if not hasattr(socket, "SO_PEERCRED"):
            return True  # the file mode alone decides
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        return struct.unpack("3i", credentials)[1] in self._users

    def leave(self, dumped: dict[str, Any]) -> None:
        """Keep what the broker holds for the next one, which may be a later process, of another user even."""
        left = Path(f"{self.path}.left")
        new = Path(f"{left}.{os.getpid()}")
        try:
            if not any(dumped.values()):
                left.unlink(missing_ok=True)
                return
            new.touch(mode=0o600)
            new.write_bytes(msgpack.packb({"at": time.time(), **dumped}, use_bin_type=True))
            new.chmod(0o600 | self._mode & 0o040)  # strangers are kept from the socket, but not by its mode
            new.rename(left)
        except OSError as error:  # a full disk, a directory that is gone: the end goes on
            log.error("What the broker of the local layer holds is lost: %s", error)
            new.unlink(missing_ok=True)

    def take_over(self) -> tuple[dict[str, Any], float] | None:
        """What the last broker left, and how many seconds ago."""
        left = Path(f"{self.path}.left")
        try:
            if left.stat().st_uid not in self._users:
                return None
            dumped = msgpack.unpackb(left.read_bytes(), raw=False, use_list=False)
            left.unlink()
            return dumped, max(0.0, time.time() - dumped.pop("at"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            log.error("What the last broker of the local layer left cannot be read, and is lost: %s", error)
            return None


def default_path() -> str:
    """A socket in the user's own run-time directory. ConfigurationError if that is not the user's alone."""
    directory = os.environ.get("XDG_RUNTIME_DIR") or f"{tempfile.gettempdir()}/daphne-{os.getuid()}"
    os.makedirs(directory, mode=0o700, exist_ok=True)
    status = os.stat(directory)
    if status.st_uid != os.getuid() or stat.S_IMODE(status.st_mode) & 0o022:
        raise ConfigurationError(f"{directory} can be written by others: give the local layer a path")
    return os.path.join(directory, "daphne-layer.sock")
