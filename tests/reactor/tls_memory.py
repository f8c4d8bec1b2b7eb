"""A TLS connection in memory, whose client makes its records itself where no TLS library would make such.

Called by the tests of records; calls `daphne.testing.connections` for the bytes in between, the `ssl` module
for the client's handshake, and cryptography to encrypt what the test wants to have encrypted.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from twisted.internet.protocol import Factory, Protocol

from daphne.reactor.certificates import TLSOptions, make_context
from daphne.reactor.tls_transport import TLSTransport
from daphne.testing.connections import MemoryConnection, MemoryPort, MemoryTransport

DATA, HANDSHAKE = 23, 22
"""Content types of records (RFC 8446 section 5.1)."""

RENEGOTIATION = b"\x01\0\0\0"
"""The beginning of a client's hello (RFC 5246 section 7.4.1.2)."""

KEY_UPDATE, ANSWERED_KEY_UPDATE = b"\x18\0\0\x01\0", b"\x18\0\0\x01\x01"
"""Messages (section 4.6.3); the second demands one in return."""

MOST_TURNS = 1000


class Collects(Protocol):
    """Keeps what happens to it."""

    lost: Any = None
    on_data: Callable[[], None] = staticmethod(lambda: None)

    def __init__(self) -> None:
        self.pieces: list[bytes] = []

    def dataReceived(self, data: bytes) -> None:
        self.pieces.append(data)
        self.on_data()

    def connectionLost(self, reason: Any = None) -> None:
        self.lost = reason

    @property
    def data(self) -> bytes:
        return b"".join(self.pieces)


class Records:
    """Encrypts records of TLS 1.3 (RFC 8446 section 5.2) with keys that come from a secret (section 7.3)."""

    def __init__(self, log: Path) -> None:
        self._use(_logged(log, "CLIENT_TRAFFIC_SECRET_0"))

    def _use(self, secret: bytes) -> None:
        self._secret, self._number = secret, 0
        self._key, self._iv = AESGCM(self._expanded(b"key", 32)), self._expanded(b"iv", 12)

    def _expanded(self, label: bytes, length: int) -> bytes:
        label = b"tls13 " + label
        info = length.to_bytes(2, "big") + bytes([len(label)]) + label + b"\0"
        return HKDFExpand(hashes.SHA384(), length, info).derive(self._secret)

    def record(self, content: bytes, kind: int = DATA) -> bytes:
        header = b"\x17\x03\x03" + (len(content) + 17).to_bytes(2, "big")
        nonce = int.from_bytes(self._iv, "big") ^ self._number
        self._number += 1
        return header + self._key.encrypt(nonce.to_bytes(12, "big"), content + bytes([kind]), header)

    def key_update(self, message: bytes = KEY_UPDATE) -> bytes:
        """The message's record; what follows is under the next keys (section 7.2)."""
        record = self.record(message, HANDSHAKE)
        self._use(self._expanded(b"traffic upd", 48))
        return record


class OldRecords:
    """The same for TLS 1.2 with AES-256-GCM (RFC 5288 section 3); `greeting` is the server's first record."""

    def __init__(self, log: Path, greeting: bytes) -> None:
        server, client = greeting[11:43], _logged(log, "CLIENT_RANDOM", 1)
        seed = b"key expansion" + server + client
        block, part = b"", seed
        while len(block) < 68:  # RFC 5246 sections 5 and 6.3
            part = hmac.digest(_logged(log, "CLIENT_RANDOM"), part, "sha384")
            block += hmac.digest(_logged(log, "CLIENT_RANDOM"), part + seed, "sha384")
        self._key, self._iv = AESGCM(block[:32]), block[64:68]
        self._number = 1  # 0 was the end of the handshake

    def record(self, content: bytes, kind: int = DATA) -> bytes:
        number = self._number.to_bytes(8, "big")
        self._number += 1
        header = bytes([kind]) + b"\x03\x03"
        sealed = self._key.encrypt(
            self._iv + number, content, number + header + len(content).to_bytes(2, "big")
        )
        return header + (8 + len(sealed)).to_bytes(2, "big") + number + sealed


def _logged(log: Path, label: str, at: int = 2) -> bytes:
    """What a key log says of the last client: a secret, or (at 1) what it is the secret of."""
    lines = [line.split() for line in log.read_text().splitlines() if line.startswith(label + " ")]
    return bytes.fromhex(lines[-1][at])


class MemoryTLSPort(MemoryPort):
    """A TLSPort that nobody can connect to but by `connect`."""

    def __init__(self, loop: asyncio.AbstractEventLoop, options: TLSOptions) -> None:
        factory: Any = Factory.forProtocol(Collects)
        super().__init__(loop, factory)
        self.tls = options
        self.context = make_context(options, factory)

    def connect(self, client: Any = ("127.0.0.1", 50000)) -> MemoryConnection:
        connection = MemoryConnection(self.loop)
        self.transport: Any = TLSTransport(self)  # type: ignore[arg-type]
        names = {"peername": client, "sockname": self.address}
        connection.server = MemoryTransport(self.loop, connection, self.transport, names)
        connection.server.begin()
        return connection


class TLSClient:
    """One connection to a MemoryTLSPort, and the loop that turns only when the client says so."""

    def __init__(self, port: MemoryTLSPort, context: ssl.SSLContext) -> None:
        self._loop = port.loop
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname="localhost")
        self.connection = port.connect()
        self.transport = port.transport
        self.greeting = b""
        """What the server has sent first."""

    @property
    def protocol(self) -> Collects:
        """The server's protocol; there is one from the end of the handshake on."""
        protocol: Collects = self.transport.protocol
        return protocol

    def turn(self) -> None:
        """One turn of the loop."""
        self._loop.call_soon(self._loop.stop)
        self._loop.run_forever()

    def turn_until(self, condition: Callable[[], Any]) -> int:
        """Turn the loop until the condition is true, and say how often that was."""
        for turns in range(MOST_TURNS):
            if condition():
                return turns
            self.turn()
        raise AssertionError("the condition did not become true")

    def shake_hands(self) -> Collects:
        """To the end, on both sides."""
        while True:
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                self.send(self._outgoing.read())
                self.turn_until(lambda: self.connection.received or self.connection.ended)
                taken = self.take()
                self.greeting = self.greeting or taken
                if not taken:
                    raise EOFError("the server has ended the handshake") from None
            else:
                break
        self.send(self._outgoing.read())
        self.turn_until(lambda: self.transport.connected or self.connection.ended)
        return self.protocol

    def encrypted(self, *pieces: bytes) -> bytes:
        """The bytes of a record for each piece."""
        for piece in pieces:
            self.tls.write(piece)
        return self._outgoing.read()

    def goodbye(self) -> bytes:
        """The bytes of a close_notify."""
        with contextlib.suppress(ssl.SSLWantReadError):
            self.tls.unwrap()
        return self._outgoing.read()

    def send(self, data: bytes) -> None:
        if data:
            self.connection.send(data)

    def take(self) -> bytes:
        """What has arrived, still encrypted."""
        data = bytes(self.connection.received)
        self.connection.received.clear()
        self._incoming.write(data)
        return data

    def read(self, most: int = 1 << 20) -> bytes:
        """What has arrived, decrypted; empty after the server's close_notify."""
        self.take()
        return self.tls.read(most)
