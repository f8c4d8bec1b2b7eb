"""daphne.reactor.listeners: unix sockets and inherited ones; TCP is tested with the ports."""

from __future__ import annotations

import os
import socket
import stat
import threading
from pathlib import Path

import pytest
from twisted.internet.error import CannotListenError

from daphne.reactor import listeners
from daphne.reactor.listeners import adopted_listener, unix_listener


def stale_socket(path: Path) -> None:
    """What a killed server leaves behind."""
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(path))
        killed.listen()


def is_served(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(path)) == 0


@pytest.mark.parametrize("mode", [0o666, 0o600, 0o660])
def test_the_socket_has_its_mode_whatever_the_umask(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "socket"
    before = os.umask(0o077)
    try:
        listener, _ = unix_listener(str(path), 10, mode)
    finally:
        os.umask(before)
    with listener:
        assert stat.S_IMODE(path.stat().st_mode) == mode


def test_a_stale_socket_is_replaced_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    stale_socket(path)
    listener, cleanup = unix_listener(str(path), 10, 0o666)
    with listener:
        assert is_served(path)
        assert os.listdir(tmp_path) == ["socket"]
    cleanup()
    assert os.listdir(tmp_path) == []


def test_a_lock_file_of_twisted_is_of_no_account(tmp_path: Path) -> None:
    """In containers such a file names process 1, which always lives."""
    path = tmp_path / "socket"
    stale_socket(path)
    os.symlink("1", f"{path}.lock")
    listener, _ = unix_listener(os.fsencode(path), 10, 0o666)
    with listener:
        assert is_served(path)


@pytest.mark.parametrize("backlog_is_full", [False, True])
def test_a_live_socket_is_never_replaced(tmp_path: Path, backlog_is_full: bool) -> None:
    path = tmp_path / "socket"
    clients = []
    with socket.socket(socket.AF_UNIX) as living:
        living.bind(str(path))
        living.listen(0)
        if backlog_is_full:
            for _ in range(5):
                client = socket.socket(socket.AF_UNIX)
                client.setblocking(False)
                client.connect_ex(str(path))
                clients.append(client)
        inode = path.stat().st_ino
        with pytest.raises(CannotListenError, match="another process"):
            unix_listener(str(path), 10, 0o666)
        assert path.stat().st_ino == inode
    for client in clients:
        client.close()


def test_a_socket_that_may_not_be_tried_is_left_alone(tmp_path: Path) -> None:
    """A datagram socket is somebody's too."""
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagrams:
        datagrams.bind(str(path))
        with pytest.raises(CannotListenError):
            unix_listener(str(path), 10, 0o666)
        assert path.exists()


def test_a_file_that_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    path.write_text("precious")
    with pytest.raises(CannotListenError, match="no socket"):
        unix_listener(str(path), 10, 0o666)
    assert path.read_text() == "precious"


@pytest.mark.parametrize("path", ["nowhere/socket", "x" * 200])
def test_a_path_that_cannot_be_bound(tmp_path: Path, path: str) -> None:
    with pytest.raises(CannotListenError):
        unix_listener(str(tmp_path / path), 10, 0o666)


def test_cleaning_up_leaves_the_socket_of_a_newer_server_alone(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    old, cleanup_old = unix_listener(str(path), 10, 0o666)
    path.unlink()
    new, cleanup_new = unix_listener(str(path), 10, 0o666)
    cleanup_old()
    old.close()
    with new:
        assert is_served(path)
    cleanup_new()
    cleanup_new()
    assert not path.exists()


def test_of_servers_that_start_at_once_one_gets_the_stale_socket(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    for _ in range(10):
        stale_socket(path)
        won, lost = [], []
        start = threading.Barrier(8)

        def take() -> None:
            start.wait()  # noqa: B023
            try:
                won.append(unix_listener(str(path), 10, 0o666)[0])  # noqa: B023
            except CannotListenError as problem:
                lost.append(problem)  # noqa: B023

        threads = [threading.Thread(target=take) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (len(won), len(lost)) == (1, 7)
        won[0].close()
        path.unlink()


def test_a_directory_that_stays_locked_does_not_stop_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fcntl

    monkeypatch.setattr(listeners, "DIRECTORY_LOCK_TRIES", 2)
    descriptor = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        listener, _ = unix_listener(str(tmp_path / "socket"), 10, 0o666)
        listener.close()
    finally:
        os.close(descriptor)


@pytest.mark.skipif(os.geteuid() == 0 and not hasattr(os, "seteuid"), reason="needs another user")
def test_a_directory_that_may_not_be_read_serves_all_the_same(tmp_path: Path) -> None:
    tmp_path.chmod(0o333)
    try:
        listener, _ = unix_listener(str(tmp_path / "socket"), 10, 0o666)
        listener.close()
    finally:
        tmp_path.chmod(0o755)


@pytest.mark.skipif(not os.path.exists("/proc/net/unix"), reason="only Linux has abstract names")
def test_an_abstract_name_is_no_file(tmp_path: Path) -> None:
    name = f"\0daphne-test-{os.getpid()}-{tmp_path.name}"
    listener, cleanup = unix_listener(name, 10, 0o666)
    with listener, socket.socket(socket.AF_UNIX) as client:
        assert client.connect_ex(name) == 0
        with pytest.raises(CannotListenError):
            unix_listener(name, 10, 0o666)
    cleanup()


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6, socket.AF_UNIX])
def test_an_inherited_socket_is_known_by_itself(tmp_path: Path, family: socket.AddressFamily) -> None:
    with socket.socket(family) as inherited:
        inherited.bind(
            {socket.AF_UNIX: str(tmp_path / "s")}.get(
                family, ("::1" if family == socket.AF_INET6 else "127.0.0.1", 0)
            )
        )
        inherited.listen()
        with adopted_listener(inherited.fileno()) as adopted:
            assert adopted.family == family
            assert adopted.getsockname() == inherited.getsockname()
            assert adopted.fileno() != inherited.fileno()


def test_what_is_no_listening_stream_socket_is_refused(tmp_path: Path) -> None:
    with socket.socket() as idle, pytest.raises(CannotListenError, match="does not listen"):
        adopted_listener(idle.fileno())
    with socket.socket(type=socket.SOCK_DGRAM) as datagrams, pytest.raises(CannotListenError, match="stream"):
        adopted_listener(datagrams.fileno())
    with open(os.devnull) as file, pytest.raises(CannotListenError, match="non-socket"):
        adopted_listener(file.fileno())
    for descriptor in (-1, 99_999, 10**20):
        with pytest.raises(CannotListenError):
            adopted_listener(descriptor)
