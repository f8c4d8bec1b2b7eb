"""daphne.protocols.files: files as response bodies, over real sockets, TLS and in memory."""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from daphne.protocols import files
from daphne.reactor import LoopReactor
from daphne.service import Service
from daphne.settings import Settings
from daphne.testing import Response, read_response
from tests.certificates import issue
from tests.protocols.bench import Bench, request, responses

DEADLINE = 60.0
SIZES = [0, 1, 65536, 262145, 3_000_000]
Serve = Callable[..., Bench]


def sends(path: Path, headers: list[tuple[bytes, bytes]] | None = None, status: int = 200) -> Any:
    """An application that answers with a file."""

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": status, "headers": headers or []})
        await send({"type": "http.response.pathsend", "path": str(path)})

    return application


@pytest.fixture
def file(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A file of the size that the test is given."""
    path = tmp_path / "file"
    size = getattr(request, "param", 100_000)
    path.write_bytes((os.urandom(4096) * (size // 4096 + 1))[:size])
    return path


class Sockets:
    """A service on a real socket of each kind, and what its clients get."""

    def __init__(self, application: Any, endpoint: str, context: ssl.SSLContext | None, uvloop: bool) -> None:
        self.service = Service(application, Settings(lifespan="off"))
        self.endpoint = endpoint
        self.context = context
        self.uvloop = uvloop

    def run(self, client: Callable[[Any, Any], Any]) -> Any:
        async def main() -> Any:
            await self.service.start(LoopReactor(asyncio.get_running_loop()), [self.endpoint])
            host = self.service.ports[0].getHost()
            try:
                if hasattr(host, "port"):
                    name = "localhost" if self.context else None
                    streams = await asyncio.open_connection(
                        "127.0.0.1", host.port, ssl=self.context, server_hostname=name, limit=1 << 16
                    )
                else:
                    streams = await asyncio.open_unix_connection(host.name, limit=1 << 16)
                return await asyncio.wait_for(client(*streams), DEADLINE)
            finally:
                await asyncio.wait_for(self.service.stop(), DEADLINE)

        if self.uvloop:
            return pytest.importorskip("uvloop").run(main())
        return asyncio.run(main())


@pytest.fixture(params=["tcp", "unix", "tls", "tcp-uvloop", "tls-uvloop"])
def sockets(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Any], Sockets]:
    """Make a service on each kind of socket and on each loop."""
    kind, _, loop = request.param.partition("-")
    context, endpoint = None, "tcp:0:interface=127.0.0.1"
    if kind == "unix":
        endpoint = f"unix:{tmp_path / 'socket'}"
    elif kind == "tls":
        issued = issue(tmp_path, "localhost", ("localhost",))
        context = ssl.create_default_context(cafile=str(issued.certificate_path))
        endpoint = f"ssl:0:privateKey={issued.both}:interface=127.0.0.1"
    return lambda application: Sockets(application, endpoint, context, bool(loop))


async def asks(reader: Any, writer: Any, *requests: bytes) -> list[Response]:
    """The responses to requests that are sent together; the last one closes."""
    writer.write(b"".join(requests))
    data = await reader.read(-1)
    writer.close()
    found = []
    while data:
        method = requests[len(found)].split(b" ")[0].decode()
        part = read_response(data, method, ended=True)
        assert part is not None
        found.append(part[0])
        data = part[1]
    return found


CLOSE = request("GET", "/", "Connection: close")


@pytest.mark.parametrize("file", SIZES, indirect=True)
def test_a_whole_file(sockets: Callable[[Any], Sockets], file: Path) -> None:
    async def client(reader: Any, writer: Any) -> None:
        found = await asks(reader, writer, request(), request("HEAD"), CLOSE)
        size = b"%d" % file.stat().st_size
        assert [response.header(b"content-length") for response in found] == [size] * 3
        content = file.read_bytes()
        assert [response.body for response in found] == [content, b"", content]

    sockets(sends(file)).run(client)


def test_a_client_that_reads_slowly_gets_it_all(sockets: Callable[[Any], Sockets], tmp_path: Path) -> None:
    path = tmp_path / "big"
    path.write_bytes(os.urandom(65536) * 300)

    async def client(reader: Any, writer: Any) -> None:
        writer.write(CLOSE)
        data = b""
        while piece := await reader.read(1 << 18):
            data += piece
            if len(data) < 2_000_000:
                await asyncio.sleep(0.01)
        writer.close()
        part = read_response(data)
        assert part is not None and part[0].body == path.read_bytes()

    sockets(sends(path)).run(client)


def test_a_client_that_leaves_in_the_middle(sockets: Callable[[Any], Sockets], tmp_path: Path) -> None:
    path = tmp_path / "big"
    with path.open("wb") as big:
        big.truncate(1 << 30)
    ended: list[BaseException] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        try:
            await sends(path)(scope, receive, send)
        except BaseException as error:
            ended.append(error)
            raise

    async def client(reader: Any, writer: Any) -> None:
        before = len(os.listdir("/proc/self/fd"))
        writer.write(request())
        await reader.read(100_000)
        writer.transport.abort()
        while not ended or len(os.listdir("/proc/self/fd")) >= before:
            await asyncio.sleep(0.01)

    sockets(application).run(client)
    assert isinstance(ended[0], OSError)


def test_a_client_that_is_cut_off_while_it_is_waited_for(
    sockets: Callable[[Any], Sockets], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "big"
    with path.open("wb") as big:
        big.truncate(1 << 30)

    async def client(reader: Any, writer: Any) -> None:
        writer.write(request())
        await reader.readexactly(1)
        (connection,) = service.service.site.connections
        while not connection.write_paused:
            await asyncio.sleep(0.01)
        connection.transport.abortConnection()
        while service.service.runner.streams:
            await asyncio.sleep(0.01)
        writer.transport.abort()

    service = sockets(sends(path))
    service.run(client)
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []


def test_a_file_that_shrinks_is_cut(sockets: Callable[[Any], Sockets], tmp_path: Path) -> None:
    path = tmp_path / "shrinking"
    with path.open("wb") as big:
        big.truncate(1 << 26)

    async def client(reader: Any, writer: Any) -> None:
        writer.write(request())
        data = await reader.read(100_000)
        os.truncate(path, 1000)
        while piece := await reader.read(1 << 20):
            data += piece
        assert data.startswith(b"HTTP/1.1 200 OK")
        assert len(data) < 1 << 26

    with contextlib.suppress(ConnectionResetError, ssl.SSLError):  # cut is cut
        sockets(sends(path)).run(client)


def test_sendfile_is_what_sends(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[int] = []
    sendfile = os.sendfile

    def counting(*arguments: Any) -> int:
        sent.append(sendfile(*arguments))
        return sent[-1]

    monkeypatch.setattr(files.os, "sendfile", counting)

    async def client(reader: Any, writer: Any) -> None:
        assert (await asks(reader, writer, CLOSE))[0].body == file.read_bytes()

    Sockets(sends(file), "tcp:0:interface=127.0.0.1", None, False).run(client)
    assert sum(sent) == 100_000


# ---- the response around it, in memory ------------------------------------------------------------------


def test_a_content_length_that_is_right(serve: Serve, file: Path) -> None:
    (response,) = serve(sends(file, headers=[(b"content-length", b"100000")])).responses(request())
    assert response.body == file.read_bytes()


@pytest.mark.parametrize("length", [b"99999", b"100001"])
def test_a_content_length_that_is_wrong_is_a_500(serve: Serve, file: Path, length: bytes) -> None:
    assert serve(sends(file, headers=[(b"content-length", length)])).responses(request())[0].status == 500


@pytest.mark.parametrize("status", [204, 304])
def test_statuses_without_a_body(serve: Serve, file: Path, status: int) -> None:
    connection = serve(sends(file, status=status)).exchange(request(), request())
    assert [(response.status, response.body) for response in responses(connection)] == [(status, b"")] * 2


def test_trailers_have_no_place_after_a_file(serve: Serve, file: Path) -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "trailers": True})
        await send({"type": "http.response.pathsend", "path": str(file)})
        await send({"type": "http.response.trailers", "headers": [(b"x", b"1")]})

    connection = serve(application).exchange(request(), request())
    assert [response.body for response in responses(connection)] == [file.read_bytes()] * 2


def test_http_1_0(serve: Serve, file: Path) -> None:
    (response,) = serve(sends(file)).responses(request(version="1.0"))
    assert response.body == file.read_bytes()


def test_a_folder_is_no_file(serve: Serve, tmp_path: Path) -> None:
    assert serve(sends(tmp_path)).responses(request())[0].status == 500
