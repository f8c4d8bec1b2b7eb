"""The lower bound: a bare uvloop protocol that counts the ends of requests and writes a constant for each.

It parses nothing, checks nothing and has no application; no server can be quicker on this event loop. Run as
a script by `benchmarks.servers`: `lower_bound.py PORT [CERTIFICATE KEY]`. It answers the GET scenarios only.
"""

import asyncio
import ssl
import sys

import uvloop

END = b"\r\n\r\n"
ANSWER = (
    b"HTTP/1.1 200 OK\r\ndate: Sun, 22 Nov 2026 12:00:00 GMT\r\nserver: bound\r\n"
    b"content-type: text/plain; charset=utf-8\r\ncontent-length: 13\r\n\r\nHello, world!"
)


class Constant(asyncio.Protocol):
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.write = transport.write

    def data_received(self, data: bytes) -> None:
        self.write(ANSWER * data.count(END))


async def serve(port: int, context: ssl.SSLContext | None) -> None:
    server = await asyncio.get_running_loop().create_server(
        Constant, "127.0.0.1", port, ssl=context, backlog=2048
    )
    await server.serve_forever()


def main(port: str, certificate: str | None = None, key: str | None = None) -> None:
    context = None
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
    uvloop.run(serve(int(port), context))


if __name__ == "__main__":
    main(*sys.argv[1:])
