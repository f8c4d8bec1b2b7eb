"""Connections to one Redis server on one event loop: commands of many callers in one write, reconnecting.

Called by the Redis layer; calls `redis_address` to open a connection, then reads and writes it itself, with
hiredis: redis-py's own way through streams costs ten times as much for each command.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import Any

import hiredis
from redis.exceptions import RedisError

from daphne.errors import LayerUnavailable
from daphne.layers import redis_scripts
from daphne.layers.redis_address import Address, notice_silence
from daphne.layers.redis_scripts import Script

FIRST_PAUSE, LONGEST_PAUSE = 0.05, 2.0
"""Seconds between attempts to reach a server that has gone: doubled from the first to the longest."""
ANSWER_LIMIT = 3.0
"""Seconds that a command may go unanswered; then Redis counts as gone, though the kernel of its machine keeps
the connection up. Fewer than heartbeats may be missing (`--worker-timeout`): nobody is taken for dead."""
CLOSE_LIMIT = 1.0
"""Seconds that closing waits for the connections' farewells (TLS has one)."""
SPARED = 8
"""Connections that are kept for further receives. An application may have had one for each WebSocket."""

_pack: Any = hiredis.pack_command
log = logging.getLogger("daphne.layers.redis")


class ReplyError(LayerUnavailable):
    """Redis refused a command."""


class Pipe(asyncio.Protocol):
    """One open connection. Replies come in the order of the commands, so no command waits for another's."""

    def __init__(self, connection: Any, on_lost: Callable[[Pipe, str], None]) -> None:
        self._connection = connection
        self._on_lost = on_lost
        self._loop = asyncio.get_running_loop()
        self._reader = hiredis.Reader(replyError=ReplyError)
        self._commands: list[bytes] = []
        self._replies: deque[asyncio.Future[Any]] = deque()
        self.client_id = 0
        self.silent = False
        """Whether it was given up because Redis did not answer."""
        self._asked_or_heard_at = 0.0
        self._watch: asyncio.TimerHandle | None = None
        self.closed: asyncio.Future[None] = self._loop.create_future()
        # The one private attribute of redis-py that is used: its streams end here.
        self._transport: asyncio.Transport = connection._writer.transport
        self._transport.set_protocol(self)
        notice_silence(self._transport.get_extra_info("socket"))

    def submit(self, *command: str | bytes | int | float) -> asyncio.Future[Any]:
        """Send a command, with all others of this turn of the loop. The future raises LayerUnavailable, after
        `ANSWER_LIMIT` at the latest."""
        if not self._replies:
            self._asked_or_heard_at = self._loop.time()
        if self._watch is None:
            self._watch_for(ANSWER_LIMIT)
        return self._send(command)

    def block(self, *command: str | bytes | int | float) -> asyncio.Future[Any]:
        """As `submit`, on a connection of its own, for a command that Redis may answer at any time."""
        self._stop_watch()
        return self._send(command)

    def _send(self, command: tuple[str | bytes | int | float, ...]) -> asyncio.Future[Any]:
        reply: asyncio.Future[Any] = self._loop.create_future()
        if self._transport.is_closing():
            reply.set_exception(LayerUnavailable("the connection to Redis is closed"))
            return reply
        self._replies.append(reply)
        self._commands.append(_pack(command))
        if len(self._commands) == 1:
            self._loop.call_soon(self._write)
        return reply

    async def run(self, script: Script, keys: list[str], arguments: list[Any]) -> Any:
        """Run a script; its text travels only when Redis does not know it (any more)."""
        try:
            return await self.submit("EVALSHA", script.digest, len(keys), *keys, *arguments)
        except ReplyError as error:
            if not str(error).startswith("NOSCRIPT"):
                raise
        return await self.submit("EVAL", script.text, len(keys), *keys, *arguments)

    def close(self) -> None:
        """Close the connection; commands under way fail."""
        self._transport.close()

    def give_up(self) -> None:
        """End the connection of a Redis that does not answer, without waiting for anything."""
        self.silent = True
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Called by the loop."""
        self._asked_or_heard_at = self._loop.time()
        try:
            self._reader.feed(data)
            while (reply := self._reader.gets()) is not False:
                self._resolve(reply)
        except hiredis.ProtocolError as error:
            log.error("Redis sent what is no reply: %s", error)
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the loop."""
        reason = str(exc) if exc else "the connection was closed"
        if self.silent:
            reason = f"it has not answered for {ANSWER_LIMIT:g} seconds"
        self._stop_watch()
        while self._replies:
            reply = self._replies.popleft()
            if not reply.done():
                reply.set_exception(LayerUnavailable(f"Redis has gone: {reason}"))
        self._leaving = asyncio.ensure_future(self._connection.disconnect(nowait=True))
        self._leaving.add_done_callback(lambda _: self.closed.set_result(None))
        self._on_lost(self, reason)

    def _watch_for(self, seconds: float) -> None:
        self._watch = self._loop.call_later(seconds, self._look, self._loop.time() + seconds)

    def _stop_watch(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None

    def _look(self, due: float) -> None:
        self._watch = None
        if not self._replies or self._transport.is_closing():
            return
        now = self._loop.time()
        if now > due + ANSWER_LIMIT / 2:  # this process stood still, and the answer may be waiting to be read
            self._asked_or_heard_at = now
        left = self._asked_or_heard_at + ANSWER_LIMIT - now
        if left > 0:
            self._watch_for(left)
        else:
            self.give_up()

    def _write(self) -> None:
        commands, self._commands = self._commands, []
        self._transport.write(b"".join(commands))

    def _resolve(self, reply: Any) -> None:
        waiting = self._replies.popleft()
        if isinstance(reply, ReplyError):
            if not waiting.done():
                waiting.set_exception(reply)
            if "READONLY" in str(reply):  # no master any more: Sentinel knows another
                self._transport.close()
        elif not waiting.done():
            waiting.set_result(reply)


class Server:
    """One Redis server: the connection that all commands share, and further ones for commands that block."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._pool = address.pool()
        self._loop = asyncio.get_running_loop()
        self._opening: asyncio.Task[None] | None = None
        self._first_attempt: asyncio.Future[None] = self._loop.create_future()
        self._idle: list[Pipe] = []
        self._pipes: set[Pipe] = set()
        self._closed = False
        self.commands: Pipe | None = None
        self.down = ""
        """Why the server cannot be reached, or an empty string."""
        self.up = asyncio.Event()

    async def pipe(self) -> Pipe:
        """The connection for commands. LayerUnavailable, at once, while the server cannot be reached."""
        if self.commands is None:
            self._open()
            if not self._first_attempt.done():
                await asyncio.shield(self._first_attempt)
            if self.commands is None:
                raise LayerUnavailable(f"Redis at {self._address.name} cannot be reached: {self.down}")
        return self.commands

    async def run(self, script: Script, keys: list[str], arguments: list[Any]) -> Any:
        """Run a script. LayerUnavailable as above, or when Redis refuses."""
        return await (self.commands or await self.pipe()).run(script, keys, arguments)

    async def blocker(self) -> Pipe:
        """A connection for one command that blocks, to be given back by `release`; waits for the server."""
        pause = FIRST_PAUSE
        while True:
            if not self.up.is_set():
                self._open()
                await self.up.wait()
            if self._idle:
                return self._idle.pop()
            try:
                return await self._identified(await self._connect())
            except (OSError, RedisError, LayerUnavailable) as error:
                log.warning("No further connection to Redis at %s: %s", self._address.name, error)
                await asyncio.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE)

    async def _identified(self, pipe: Pipe) -> Pipe:
        """The connection, once it is known by which number its command can be unblocked."""
        try:
            pipe.client_id = await pipe.submit("CLIENT", "ID")
        except BaseException:
            pipe.close()  # nobody else knows of it
            raise
        return pipe

    def release(self, pipe: Pipe) -> None:
        """Keep the connection for the next command that blocks, if there are not enough of them."""
        if pipe not in self._pipes or self._closed:
            return
        if len(self._idle) < SPARED:
            self._idle.append(pipe)
        else:
            pipe.close()

    async def close(self) -> None:
        """Close all connections."""
        self._closed = True
        if self._opening:
            self._opening.cancel()
        for pipe in list(self._pipes):
            pipe.close()
        sentinel = getattr(self._pool, "sentinel_manager", None)
        for client in sentinel.sentinels if sentinel else ():
            await client.aclose()
        if self._pipes:
            await asyncio.wait([pipe.closed for pipe in self._pipes], timeout=CLOSE_LIMIT)

    def _open(self) -> None:
        if self._opening is None and not self._closed:
            self._opening = asyncio.ensure_future(self._open_until_it_works())
            self._opening.add_done_callback(self._opened)

    def _opened(self, opening: asyncio.Task[None]) -> None:
        self._opening = None
        if opening.cancelled():
            return
        if error := opening.exception():
            log.error("Connecting to Redis at %s failed for good", self._address.name, exc_info=error)
            self._say_down(repr(error))
        elif self.commands is None:  # lost again already
            self._open()

    async def _open_until_it_works(self) -> None:
        pause = FIRST_PAUSE
        while True:
            try:
                pipe = await self._connect()
                await self._load_scripts(pipe)
                break
            except (OSError, RedisError, LayerUnavailable) as error:
                self._say_down(str(error) or type(error).__name__)
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)
        if self.down:
            log.info("Redis at %s can be reached again", self._address.name)
        self.down = ""
        self.commands = pipe
        self.up.set()
        self._attempted()

    async def _load_scripts(self, pipe: Pipe) -> None:
        try:
            for script in redis_scripts.ALL:
                await pipe.submit("SCRIPT", "LOAD", script.text)
        except ReplyError:
            pipe.close()
            raise

    async def _connect(self) -> Pipe:
        connection = self._pool.make_connection()
        await connection.connect()
        pipe = Pipe(connection, self._lost)
        self._pipes.add(pipe)
        return pipe

    def _lost(self, pipe: Pipe, reason: str) -> None:
        self._pipes.discard(pipe)
        if pipe in self._idle:
            self._idle.remove(pipe)
        if pipe is self.commands:
            self.commands = None
            self.up.clear()
            if pipe.silent:  # nothing comes of what blocks there, either
                for blocked in list(self._pipes):
                    blocked.give_up()
            if not self._closed:
                self._say_down(reason)
                self._open()

    def _say_down(self, reason: str) -> None:
        if reason != self.down:
            log.warning(
                "Redis at %s cannot be reached, trying again until it can: %s", self._address.name, reason
            )
        self.down = reason
        self._attempted()

    def _attempted(self) -> None:
        if not self._first_attempt.done():
            self._first_attempt.set_result(None)
