"""The WebSocket framing protocol: Autobahn's, with a stream in place of its handshake.

Inherited by websocket_autobahn.AutobahnConnection, which is made when the application accepts; writes frames
on the transport that it is given (a connection, or one HTTP/2 stream), reads them with websocket_reader,
passes messages to its WebSocketStream, and sees to pings, deadlines and the closing handshake.
"""

from __future__ import annotations

import logging
import struct
from math import inf
from typing import TYPE_CHECKING, Any

from mypy_extensions import mypyc_attr
from twisted.internet.interfaces import IHalfCloseableProtocol, IProtocol, IPushProducer
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from zope.interface import classImplements

from daphne.errors import ConnectionFailed
from daphne.protocols.http2_limits import Bucket
from daphne.protocols.waiting import until_writable
from daphne.protocols.websocket_reader import CLOSED, CLOSING, OPEN, WebSocketReader
from daphne.streams import closecodes
from daphne.streams.deadlines import Deadline
from daphne.streams.head import Headers
from daphne.streams.websocket import Pending, WebSocketStream

if TYPE_CHECKING:
    from daphne.protocols.site import Site

logger = logging.getLogger("daphne.ws_protocol")

_LINGER = 2.0
"""Seconds that the peer has to read our close frame after we failed the connection."""
_TOO_MANY_MESSAGES = "too many messages"
_FLUSH = 60.0
"""Seconds that the peer has to read what is left after its own end."""

_SHORT = tuple(tuple(bytes((first, size)) for size in range(126)) for first in (0x81, 0x82))
_pack_medium = struct.Struct("!BBH").pack
_pack_long = struct.Struct("!BBQ").pack


@mypyc_attr(allow_interpreted_subclasses=True)
class WebSocketConnection(WebSocketReader):
    """One open WebSocket. `transport` is Twisted's, or one HTTP/2 stream that looks like it."""

    failedByMe = False
    wasMaxFramePayloadSizeExceeded = False
    _pinged_at = 0.0
    _lives_until: float = inf
    """When `websocket_timeout` is over."""
    _ends = False
    """Whether the connection is to be cut when `_heartbeat` is due."""
    _rate: Bucket | None = None

    def __init__(self, site: Site, stream: WebSocketStream) -> None:
        # Not Autobahn's __init__: its futures and transport details are not used.
        self.site = site
        self.stream = stream
        self.longest = site.longest_message
        self.handshake_fields: Headers = []
        """What the answer to the handshake says beside the key."""
        self._heard_at = site.loop.time()
        self._heartbeat = Deadline(site.schedule, self._heartbeat_due)
        rate = site.settings.websocket_max_messages_per_second
        if rate:
            self._rate = Bucket(site.loop, rate, "websocket_max_messages_per_second")

    def compress_with(self, extension: Any, agreed: str) -> None:
        """Compress messages with a permessage extension; `agreed` is the answer to the client's offer."""
        self._perMessageCompress = extension
        self.handshake_fields.append((b"Sec-WebSocket-Extensions", agreed.encode("ascii")))

    # ---- the transport's calls -------------------------------------------------------------------

    def connectionMade(self) -> None:
        """The handshake is done and the transport is ours."""
        site = self.site
        settings = site.settings
        site.connections.add(self)
        self.transport.registerProducer(self, True)
        if settings.websocket_timeout > 0:
            self._lives_until = self._heard_at + settings.websocket_timeout
        self._look_in(settings.ping_interval or inf, self._heard_at)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The transport is gone: code 1006 unless a close frame came first."""
        self.state = CLOSED
        self.site.connections.discard(self)
        self.site.admission.leave(self.transport)
        self._heartbeat.forget()
        self._drop_input()
        self.stream.socket_closed(closecodes.ABNORMAL, "")
        self.stop_writing()
        # So that both go without the garbage collector.
        self.stream.socket = None

    def readConnectionLost(self) -> None:
        """The peer sends no more, not even a close frame."""
        self.transport.unregisterProducer()
        self.transport.loseConnection()
        if self.state == OPEN:
            self._abort_after(_FLUSH)

    def writeConnectionLost(self) -> None:
        """We send no more; nothing to do."""

    # ---- the reader's calls ----------------------------------------------------------------------

    def _deliver(self, message: str | bytes) -> None:
        """Hand a message on, as long as they are no more than `websocket_max_messages_per_second`."""
        if self._rate is not None:
            if self._muted:
                return
            try:
                self._rate.take()
            except ConnectionFailed:
                self._fail_connection(closecodes.POLICY_VIOLATION, _TOO_MANY_MESSAGES)
                return
        self.stream.message_received(message)

    def _onPing(self, payload: bytes) -> None:
        """Answer, but a peer that does not read gets no pongs to pile up."""
        self._frames_left -= 1
        if not self.write_paused and self.state == OPEN:
            self.transport.write(bytes((0x8A, len(payload))) + payload)

    def _onPong(self, payload: bytes) -> None:
        """Any frame counts as life (dataReceived noted it); nothing more to do."""
        self._frames_left -= 1

    def onCloseFrame(self, code: int | None, reasonRaw: bytes | None) -> bool:
        """The peer closes, or answers our close (RFC 6455 section 7)."""
        if code is not None and not closecodes.may_be_sent(code):
            self._fail_connection(closecodes.PROTOCOL_ERROR, f"invalid close code {code}")
            return True
        try:
            reason = (reasonRaw or b"").decode("utf-8")
        except UnicodeDecodeError:
            self._fail_connection(closecodes.INVALID_PAYLOAD, "close reason that is not UTF-8")
            return True
        if self.state == OPEN:
            self._write_close(code, reasonRaw or b"")
        self._end(closecodes.NO_STATUS if code is None else code, reason)
        self.transport.unregisterProducer()
        self.transport.loseConnection()
        self._abort_after(_FLUSH)
        return True

    def _fail_connection(self, code: int = closecodes.GOING_AWAY, reason: str = "") -> None:
        """_Fail the WebSocket Connection_ (RFC 6455 section 7.1.7): say why and read no further."""
        if self._muted or self.state == CLOSED:
            return
        self.failedByMe = True
        limit = self._limit_of(code, reason)
        if limit:
            self.site.limit_fired(limit, self.stream.client)
        else:
            logger.info("WebSocket from %s closed with %s: %s", self.stream.client, code, reason)
        if self.state == OPEN:
            self._write_close(code, closecodes.reason_bytes(reason))
        self._end(closecodes.ABNORMAL, reason)
        self._linger()

    def _limit_of(self, code: int, reason: str) -> str:
        """The setting that was overstepped where we fail the connection so, if it is one."""
        if code == closecodes.POLICY_VIOLATION:
            many = reason == _TOO_MANY_MESSAGES
            return "websocket_max_messages_per_second" if many else "websocket_max_fragments"
        if code != closecodes.TOO_BIG:
            return ""
        frame = self.wasMaxFramePayloadSizeExceeded
        return "websocket_max_frame_size" if frame else "websocket_max_message_size"

    def _end(self, code: int, reason: str) -> None:
        self._muted = True
        self.state = CLOSING
        self._drop_input()
        self.stream.socket_closed(code, reason)

    def _linger(self) -> None:
        """Close our side and read on for a moment: a reset must not overtake the close frame."""
        self.transport.resumeProducing()
        self.transport.unregisterProducer()
        lose = getattr(self.transport, "loseWriteConnection", None)
        if lose is None:
            self.transport.loseConnection()
        else:
            lose()
        self._abort_after(_LINGER)

    def _abort_after(self, seconds: float) -> None:
        """Give the peer `seconds` for its part of the end."""
        self._ends = True
        self._heartbeat.set(seconds)

    # ---- Socket: the stream's calls --------------------------------------------------------------

    def send_message(self, payload: bytes, binary: bool) -> None:
        """Write one message as one frame."""
        if self._perMessageCompress is not None:
            self.send_compressed(payload, binary)
            return
        size = len(payload)
        if size < 126:
            self.transport.write(_SHORT[binary][size] + payload)
        elif size < 65536:
            self.transport.write(_pack_medium(0x81 + binary, 126, size) + payload)
        else:
            self.transport.writeSequence((_pack_long(0x81 + binary, 127, size), payload))

    def send_compressed(self, payload: bytes, binary: bool) -> None:
        """Have Autobahn compress a message and write it."""
        raise NotImplementedError

    def close(self, code: int, reason: bytes) -> None:
        """Write a close frame and give the peer `websocket_handshake_timeout` to answer it."""
        if self.state != OPEN:
            return
        self._write_close(code, reason)
        self.state = CLOSING
        self.resume_reading()
        self._abort_after(max(self.site.settings.websocket_handshake_timeout, 1))

    def _write_close(self, code: int | None, reason: bytes) -> None:
        payload = b"" if code is None else code.to_bytes(2, "big") + reason
        self.transport.write(bytes((0x88, len(payload))) + payload)

    def pause_reading(self) -> None:
        """Let the peer wait: the application has not taken what is there."""
        self._reading_paused = True
        self.transport.pauseProducing()

    def resume_reading(self) -> None:
        """Read on."""
        if self._reading_paused:
            self._reading_paused = False
            if self._backlog:
                self._wait_for_turn()
            else:
                self.transport.resumeProducing()

    def writable(self) -> Pending:
        """Return once the peer has taken enough, or raise ClientDisconnected."""
        return until_writable(self, self.stream, "the WebSocket is closed")

    # ---- time ------------------------------------------------------------------------------------

    def _look_in(self, seconds: float, now: float) -> None:
        """Let `_heartbeat` be due in `seconds`, or earlier at the end of the socket's life."""
        seconds = min(seconds, self._lives_until - now)
        if seconds < inf:
            self._heartbeat.set(seconds)

    def _heartbeat_due(self) -> None:
        """Ping after `ping_interval` seconds without a byte; drop `ping_timeout` seconds after that."""
        settings, now = self.site.settings, self.site.loop.time()
        interval = settings.ping_interval or inf
        if self._ends:
            self.transport.abortConnection()
        elif now >= self._lives_until:
            logger.info("WebSocket from %s closed: it reached websocket_timeout", self.stream.client)
            self.stream.close_with(closecodes.NORMAL)
        elif self._reading_paused or self.write_paused:
            self._pinged_at = 0.0
            self._look_in(interval, now)
        elif self._heard_at < self._pinged_at and settings.ping_timeout > 0:
            due = self._pinged_at + settings.ping_timeout
            if due > now:
                self._look_in(due - now, now)
            else:
                logger.info("WebSocket from %s dropped: no pong in ping_timeout", self.stream.client)
                self.transport.abortConnection()
        elif self._heard_at + interval > now:
            self._pinged_at = 0.0
            self._look_in(self._heard_at + interval - now, now)
        else:
            # Not the time of the last byte any more: a pong may come at the same tick as its ping.
            self._pinged_at, self._heard_at = now, 0.0
            self.transport.write(b"\x89\x04" + int(now * 1000).to_bytes(8, "big")[-4:])
            self._look_in(min(interval, settings.ping_timeout if settings.ping_timeout > 0 else inf), now)

    def drain(self) -> None:
        """The server stops (RFC 6455 section 7.4.1, 1001)."""
        self.stream.close_with(closecodes.GOING_AWAY)


classImplements(WebSocketConnection, IProtocol, IPushProducer, IHalfCloseableProtocol)
