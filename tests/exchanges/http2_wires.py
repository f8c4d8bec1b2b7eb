"""HTTP/2 in clear text and over TLS, from the client's side: h2's machine on a real socket.

Called by test_exchanges; calls `wires` for what HTTP/1.1 and HTTP/2 have in common.
"""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import Any

import h2.config
import h2.connection
import h2.events

from tests.certificates import issue
from tests.exchanges.scenarios import Answer, Request, Talk
from tests.exchanges.wires import Wire, answer_of, converse

Headers = list[tuple[bytes, bytes]]


class Exchange:
    """One stream on a connection of its own."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        config = h2.config.H2Configuration(client_side=True, header_encoding=None)
        self.machine = h2.connection.H2Connection(config)
        self.machine.initiate_connection()
        self.status = 0
        self.headers: Headers = []
        self.body = b""
        self._unsent = bytearray()
        self.ended = False
        self.reset = False

    def flush(self) -> None:
        """Send what the machine has to say."""
        self._writer.write(self.machine.data_to_send())

    async def advance(self) -> None:
        """Take what comes next."""
        self.flush()
        data = await self._reader.read(1 << 20)
        assert data, "the connection has ended"
        for event in self.machine.receive_data(data):
            if isinstance(event, h2.events.ResponseReceived):
                fields = [(bytes(name), bytes(value)) for name, value in event.headers]
                self.status, self.headers = int(dict(fields)[b":status"]), fields[1:]
            elif isinstance(event, h2.events.DataReceived):
                self.body += event.data
                self.machine.acknowledge_received_data(event.flow_controlled_length, 1)
            elif isinstance(event, h2.events.StreamEnded):
                self.ended = True
            elif isinstance(event, h2.events.StreamReset):
                self.reset = True
        self._send_unsent()
        self.flush()

    async def send(self, data: bytes) -> None:
        """Send a part of a body, as the windows open; what the server has told to stop goes no further."""
        self.write(data)
        while self._unsent and not self.reset:
            await self.advance()

    def _send_unsent(self) -> None:
        while self._unsent and not self.reset:
            room = min(self.machine.local_flow_control_window(1), self.machine.max_outbound_frame_size)
            if not room:
                break
            self.machine.send_data(1, bytes(self._unsent[:room]))
            del self._unsent[:room]

    def close(self) -> None:
        self._writer.close()

    # What `converse` asks of a reader and a writer

    async def read(self, count: int) -> bytes:
        """The next bytes of the body; none at its end."""
        while not (self.body or self.ended or self.reset):
            await self.advance()
        data, self.body = self.body[:count], self.body[count:]
        return data

    def write(self, data: bytes) -> None:
        """Send bytes, now or as the windows open."""
        self._unsent += data
        self._send_unsent()
        self.flush()


class Http2:
    """HTTP/2 by prior knowledge."""

    secure = False

    def endpoint(self, folder: Path) -> str:
        return "tcp:0:interface=127.0.0.1"

    async def open(self, port: Any) -> Exchange:
        return Exchange(*await asyncio.open_connection("127.0.0.1", port.getHost().port))

    def pseudo(self, method: str, target: str) -> Headers:
        scheme = b"https" if self.secure else b"http"
        return [
            (b":method", method.encode()),
            (b":scheme", scheme),
            (b":authority", b"localhost"),
            (b":path", target.encode()),
        ]

    async def request(self, port: Any, target: str, request: Request) -> Answer:
        exchange = await self.open(port)
        fields = [*self.pseudo(request.method, target), *request.headers]
        if request.length and (request.pieces or request.method in ("POST", "PUT", "PATCH")):
            fields.append((b"content-length", b"%d" % sum(map(len, request.pieces))))
        exchange.machine.send_headers(1, fields, end_stream=not request.pieces)
        for piece in request.pieces:
            await exchange.send(piece)
        if request.pieces and not exchange.reset:
            exchange.machine.end_stream(1)
        while not (exchange.ended or exchange.reset):
            await exchange.advance()
        exchange.close()
        return answer_of(exchange.status, exchange.headers, exchange.body, exchange.ended)

    async def talk(self, port: Any, target: str, talk: Talk) -> tuple[Headers, list[Any]]:
        exchange = await self.open(port)
        fields = [*self.pseudo("CONNECT", target), (b":protocol", b"websocket")]
        fields += [(b"sec-websocket-version", b"13"), *talk.headers]
        exchange.machine.send_headers(1, fields)
        while not exchange.status:
            await exchange.advance()
        if exchange.status != 200:
            exchange.close()
            return exchange.headers, [("refused", exchange.status)]
        heard = await converse(exchange, exchange, b"", talk)
        assert await exchange.read(1) == b"", "the stream ends after the close"
        exchange.machine.end_stream(1)
        exchange.flush()
        exchange.close()
        return exchange.headers, heard


class Http2Tls(Http2):
    """HTTP/2 over TLS, by ALPN."""

    secure = True

    def endpoint(self, folder: Path) -> str:
        issued = issue(folder, "localhost", ("localhost",))
        return f"ssl:0:privateKey={issued.key_path}:certKey={issued.certificate_path}:interface=127.0.0.1"

    async def open(self, port: Any) -> Exchange:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # without the system's authorities: they take 30 ms
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.set_alpn_protocols(["h2", "http/1.1"])
        reader, writer = await asyncio.open_connection("127.0.0.1", port.getHost().port, ssl=context)
        assert writer.get_extra_info("ssl_object").selected_alpn_protocol() == "h2"
        return Exchange(reader, writer)


HTTP2_WIRES: dict[str, Wire] = {"http2": Http2(), "http2-tls": Http2Tls()}
