"""Files as response bodies: by sendfile(2) where the socket is ours and in clear text, else in pieces.

Called by http1_response (and http2 for the pieces) for `http.response.pathsend`.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any

from daphne.errors import ApplicationError, ClientDisconnected

_PIECE = 262144
"""Bytes that are read from a file at a time."""


async def send_file(connection: Any, stream: Any, descriptor: int, size: int) -> None:
    """Write the first `size` bytes of the open file `descriptor` as body of `stream`.

    Raises ClientDisconnected when the client leaves, ApplicationError when the file turns out to be shorter.
    """
    loop_transport = getattr(connection.transport, "loop_transport", None)
    # The class is asked: a wrapper that encrypts (Twisted's TLS) shows the attributes of what is below it,
    # past which everything would go in clear.
    ours = hasattr(type(connection.transport), "loop_transport")
    if loop_transport is None or not ours or connection.transport.ssl_object is not None:
        await send_pieces(connection, stream, descriptor, size)
        return
    socket = loop_transport.get_extra_info("socket")
    if socket is None:  # a connection in memory
        await send_pieces(connection, stream, descriptor, size)
        return
    # From here on the transport must hold nothing back, or bytes would overtake each other.
    low, high = loop_transport.get_write_buffer_limits()
    loop_transport.set_write_buffer_limits(high=0)
    try:
        if loop_transport.get_write_buffer_size():
            connection.pauseProducing()
        await connection.writable(stream)
        if loop_transport.get_write_buffer_size():
            await send_pieces(connection, stream, descriptor, size)
        else:
            await _sendfile(connection, stream, socket, descriptor, size)
    finally:
        if connection.transport.connected:  # uvloop raises otherwise, in place of what was raised above
            loop_transport.set_write_buffer_limits(high=high, low=low)


async def _sendfile(connection: Any, stream: Any, socket: Any, descriptor: int, size: int) -> None:
    loop = connection.site.loop
    # The loop watches the socket's own descriptor for the transport: wait on a second one for it.
    target = os.dup(socket.fileno())
    offset = 0
    try:
        while offset < size:
            if stream.disconnected:
                raise ClientDisconnected("the client has disconnected")
            try:
                count = os.sendfile(target, descriptor, offset, min(size - offset, 1 << 20))
            except BlockingIOError:
                connection.pauseProducing()
                loop.add_writer(target, connection.resumeProducing)
                try:
                    await connection.writable(stream)
                finally:
                    loop.remove_writer(target)
                continue
            except OSError as error:
                raise ClientDisconnected(str(error)) from error
            if not count:
                raise ApplicationError("the file has become shorter while it was sent")
            offset += count
            await asyncio.sleep(0)
    finally:
        os.close(target)


async def send_pieces(connection: Any, stream: Any, descriptor: int, size: int) -> None:
    """The same through the transport's buffer, reading in the loop's threads."""
    offset = 0
    while offset < size:
        piece = await connection.site.loop.run_in_executor(
            None, os.pread, descriptor, min(_PIECE, size - offset), offset
        )
        if stream.disconnected:
            raise ClientDisconnected("the client has disconnected")
        if not piece:
            raise ApplicationError("the file has become shorter while it was sent")
        connection.respond_more(stream, piece, True)
        offset += len(piece)
        if connection.write_paused:
            await connection.writable(stream)
