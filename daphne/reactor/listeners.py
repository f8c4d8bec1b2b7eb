"""Sockets that listen: TCP, unix and inherited ones.

Called by `daphne.reactor`, which makes ports of them; calls the operating system. What cannot listen raises
twisted.internet.error.CannotListenError, as Twisted's own `listen...` methods do.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
import time
from collections.abc import Callable, Iterator
from typing import Any

from twisted.internet.abstract import isIPv6Address
from twisted.internet.error import CannotListenError

BACKLOG = 1024
"""Connections that may wait to be accepted; with Twisted's 50, many clients at once wait for a second."""

DIRECTORY_LOCK_TRIES = 100
DIRECTORY_LOCK_PAUSE = 0.01


def tcp_listener(port: Any, backlog: int, interface: str) -> socket.socket:
    """Listen on TCP. `port` is a number or a Twisted Binding; `interface` an address, "" is all IPv4."""
    reuse_port = False
    if not isinstance(port, int):
        interface, port, reuse_port = port._address or "", port._port, port._reusePort
    family = socket.AF_INET6 if isIPv6Address(interface) else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # asyncio looks for the number
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind(_resolved(family, interface, port))
        listener.listen(backlog)
    except (OSError, OverflowError) as problem:
        listener.close()
        raise CannotListenError(interface, port, problem) from problem
    return listener


def _resolved(family: int, interface: str, port: int) -> Any:
    if family == socket.AF_INET6:
        # The scope of a link-local address (fe80::1%eth0) becomes a number only here.
        return socket.getaddrinfo(interface, port, family, flags=socket.AI_NUMERICHOST)[0][4]
    return (interface, port)


def adopted_listener(descriptor: int) -> socket.socket:
    """A duplicate of an inherited listening stream socket of any family."""
    try:
        listener = socket.socket(fileno=os.dup(descriptor))
    except (OSError, OverflowError) as problem:
        raise CannotListenError(None, descriptor, problem) from problem
    try:
        if listener.type != socket.SOCK_STREAM:
            raise OSError(errno.EPROTOTYPE, "it is not a stream socket")
        if not listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            raise OSError(errno.EINVAL, "the socket does not listen")
    except OSError as problem:
        listener.close()
        raise CannotListenError(None, descriptor, problem) from problem
    return listener


def unix_listener(path: str | bytes, backlog: int, mode: int) -> tuple[socket.socket, Callable[[], None]]:
    """Listen on a unix socket with these permissions; also gives what removes the path before it closes.

    A stale socket is replaced, a live one never: only a socket that refuses connections is stale. Nothing
    else than the path is left in the directory, and a lock file that Twisted has left there is of no account.
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if path[:1] in ("\0", b"\0"):
            # An abstract name of Linux: it is no file.
            listener.bind(path)
            listener.listen(backlog)
            return listener, lambda: None
        with _locked_directory(os.path.dirname(path) or os.curdir):
            _remove_stale_socket(path)
            with contextlib.suppress(OSError):
                # On Linux the file is then made with no more rights than these.
                os.fchmod(listener.fileno(), mode)
            listener.bind(path)
            os.chmod(path, mode)
            listener.listen(backlog)
            made = os.stat(path)
    except OSError as problem:
        listener.close()
        raise CannotListenError(None, path, problem) from problem
    return listener, lambda: _remove_own_socket(path, made)


@contextlib.contextmanager
def _locked_directory(directory: str | bytes) -> Iterator[None]:
    """Keep two servers that start at once from both taking one stale socket; the lock leaves no file.

    It is a courtesy between servers, so whoever cannot get it (no right to read the directory, a lock held
    for longer than a second) goes on without.
    """
    import fcntl  # not on Windows, where there is no unix socket either

    try:
        descriptor = os.open(directory, os.O_RDONLY)
    except PermissionError:
        yield
        return
    try:
        for _ in range(DIRECTORY_LOCK_TRIES):
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                time.sleep(DIRECTORY_LOCK_PAUSE)
        yield
    finally:
        os.close(descriptor)


def _remove_stale_socket(path: str | bytes) -> None:
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            raise OSError(errno.EEXIST, "there is a file of that name, which is no socket")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        with contextlib.suppress(ConnectionRefusedError):
            with contextlib.suppress(BlockingIOError):  # its queue is full: it is alive
                probe.connect(path)
            raise OSError(errno.EADDRINUSE, "another process serves this socket")
    os.unlink(path)


def _remove_own_socket(path: str | bytes, made: os.stat_result) -> None:
    """Remove the path, unless somebody has put another socket there; open, ours keeps its inode to itself."""
    with contextlib.suppress(OSError):
        now = os.stat(path)
        if (now.st_dev, now.st_ino) == (made.st_dev, made.st_ino):
            os.unlink(path)
