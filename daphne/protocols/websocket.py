"""The WebSocket framing protocol: Autobahn's, with a stream in place of its handshake and a short path for
whole data frames.

Made by http1 and http2 when the application accepts; reads and writes frames on the transport that it is
given (a connection, or one HTTP/2 stream) and passes messages to its WebSocketStream.

Autobahn's own parser takes whatever is not a complete, masked ping or pong or unfragmented, uncompressed data
frame within the limits: close frames, fragments, compressed messages and every violation. This file is the
only one that touches Autobahn's insides.
"""

from __future__ import annotations

import base64
import hashlib
import logging
import struct
from typing import TYPE_CHECKING, Any

from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from autobahn.websocket.compress import (
    PERMESSAGE_COMPRESSION_EXTENSION,
    PerMessageDeflateOffer,
    PerMessageDeflateOfferAccept,
)
from autobahn.websocket.protocol import TrafficStats
from autobahn.websocket.utf8validator import Utf8Validator
from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from daphne.errors import ClientDisconnected, ConnectionFailed
from daphne.protocols.http2_limits import Bucket
from daphne.protocols.masking import unmask
from daphne.protocols.outflow import Outflow
from daphne.streams import closecodes
from daphne.streams.deadlines import Deadline
from daphne.streams.head import Headers
from daphne.streams.websocket import WebSocketStream

if TYPE_CHECKING:
    from daphne.protocols.site import Site

logger = logging.getLogger("daphne.ws_protocol")

_MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_VIEW_FROM = 65536
"""Bytes of payload from which a view costs less than a copy."""
_SLICE = 4096
"""Bytes that Autobahn's parser gets at a time: it copies what it has not read for every frame."""
_LINGER = 2.0
"""Seconds that the peer has to read our close frame after we failed the connection."""
_COSTLY_IN_A_ROW = 64
"""Pings, pongs and fragments after which others get a turn: the loop reads some megabytes of one client in a
turn."""
_TOO_MANY_MESSAGES = "too many messages"
_FLUSH = 60.0
"""Seconds that the peer has to read what is left after its own end."""

_SHORT = tuple(tuple(bytes((first, size)) for size in range(126)) for first in (0x81, 0x82))
_pack_medium = struct.Struct("!BBH").pack
_pack_long = struct.Struct("!BBQ").pack


def handshake_accept(key: bytes) -> bytes:
    """The value of Sec-WebSocket-Accept for the client's key (RFC 6455 section 4.2.2, point 5.4)."""
    return base64.b64encode(hashlib.sha1(key + _MAGIC).digest())


class WebSocketFactory(WebSocketServerFactory):  # type: ignore[misc]
    """Autobahn's factory: the options that its protocols read. One per site."""

    def __init__(self, site: Site) -> None:
        # The reactor is only asked for so that Autobahn does not import the global one.
        super().__init__(server=site.settings.server_name, reactor=site.loop)
        settings = site.settings
        self.site = site
        self.setProtocolOptions(
            versions=[13],
            failByDrop=True,
            utf8validateIncoming=True,
            maxFramePayloadSize=settings.websocket_max_frame_size,
            maxMessagePayloadSize=settings.websocket_max_message_size,
            openHandshakeTimeout=0,
            closeHandshakeTimeout=0,
            perMessageCompressionAccept=_accept_deflate if settings.ws_per_message_deflate else _accept_none,
        )
        # The protocol's options and its start values, once for all connections instead of in each.
        attributes = {name: getattr(self, name) for name in WebSocketServerProtocol.CONFIG_ATTRS}
        del attributes["perMessageCompressionAccept"]
        self.connection_class: type[WebSocketConnection] = type(
            "WebSocketConnection",
            (WebSocketConnection,),
            {"__slots__": (), "factory": self, "site": site, **attributes},
        )


def _accept_deflate(offers: list[Any]) -> Any:
    """Accept the first permessage-deflate offer, without context takeover (RFC 7692 section 7.1.1)."""
    for offer in offers:
        if isinstance(offer, PerMessageDeflateOffer):
            return PerMessageDeflateOfferAccept(
                offer,
                request_no_context_takeover=offer.accept_no_context_takeover,
                no_context_takeover=True,
                window_bits=offer.request_max_window_bits or None,
            )
    return None


def _accept_none(offers: list[Any]) -> None:
    return None


def open_socket(site: Site, stream: WebSocketStream, extensions: str) -> WebSocketConnection:
    """The framing protocol for an accepted handshake; `extensions` is what the client offered.

    The caller writes `handshake_fields` in its answer and then gives the socket its transport with
    `makeConnection`.
    """
    return site.websocket_factory.connection_class(stream, extensions)


@implementer(IPushProducer, IHalfCloseableProtocol)
class WebSocketConnection(Outflow, WebSocketServerProtocol):  # type: ignore[misc]
    """One open WebSocket. `transport` is Twisted's, or one HTTP/2 stream that looks like it."""

    site: Site
    factory: WebSocketFactory
    transport: Any

    # Start values of Autobahn's parser (its _connectionMade sets them in every instance).
    data = b""
    current_frame: Any = None
    inside_message = False
    message_data: Any = None
    failedByMe = False
    websocket_version = 13
    trackedTimings = None
    trafficStats = TrafficStats()  # which nobody reads
    autoPingTimeoutCall = None
    autoPingPending = None
    wasMaxMessagePayloadSizeExceeded = False
    wasMaxFramePayloadSizeExceeded = False
    _perMessageCompress: Any = None

    _pending: list[bytes] | None = None
    """Pieces of a data frame that is not complete yet."""
    _pending_size = 0
    _wanted = 0
    _with_autobahn = False
    """Whether Autobahn's parser is within a frame or a message."""
    _fragments = 0
    _pinged_at = 0.0
    _lifetime: Any = None
    _muted = False
    _costly = 0
    """Pings, pongs and fragments since others had a turn."""

    def __init__(self, stream: WebSocketStream, extensions: str) -> None:
        # Not Autobahn's __init__: its futures and transport details are not used.
        self.stream = stream
        self.state = self.STATE_OPEN
        self.handshake_fields: Headers = []
        self._heard_at = self.site.loop.time()
        self._heartbeat = Deadline(self.site.loop, self._heartbeat_due)
        self._deliver = stream.message_received
        rate = self.site.settings.websocket_max_messages_per_second
        if rate:
            self._messages = Bucket(self.site.loop, rate, "websocket_max_messages_per_second")
            self._deliver = self._deliver_at_rate
        if extensions and self.site.settings.ws_per_message_deflate:
            self._negotiate(extensions)

    def _negotiate(self, extensions: str) -> None:
        """Choose among the offered extensions; a malformed one is passed over (RFC 7692 section 5.1)."""
        offers = []
        for name, parameters in self._parseExtensionsHeader(extensions):
            known = PERMESSAGE_COMPRESSION_EXTENSION.get(name)
            if known is not None:
                try:
                    offers.append(known["Offer"].parse(parameters))
                except Exception:  # Autobahn raises no narrower class for a malformed offer
                    continue
        accept = self.factory.perMessageCompressionAccept(offers)
        if accept is not None:
            extension = PERMESSAGE_COMPRESSION_EXTENSION[accept.EXTENSION_NAME]
            self._perMessageCompress = extension["PMCE"].create_from_offer_accept(True, accept)
            self.handshake_fields.append(
                (b"Sec-WebSocket-Extensions", accept.get_extension_string().encode("ascii"))
            )

    @property
    def utf8validator(self) -> Any:
        """Autobahn's incremental validator, made when a message needs it."""
        validator = self.__dict__.get("_validator")
        if validator is None:
            validator = self.__dict__["_validator"] = Utf8Validator()
        return validator

    # ---- the transport's calls -------------------------------------------------------------------

    def connectionMade(self) -> None:
        """The handshake is done and the transport is ours."""
        site = self.site
        site.connections.add(self)
        self.transport.registerProducer(self, True)
        if site.settings.ping_interval > 0:
            self._heartbeat.set(site.settings.ping_interval)
        if site.settings.websocket_timeout > 0:
            self._lifetime = site.loop.call_later(site.settings.websocket_timeout, self._lifetime_over)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The transport is gone: code 1006 unless a close frame came first."""
        self.state = self.STATE_CLOSED
        self.site.connections.discard(self)
        self.site.admission.leave(self.transport)
        self._heartbeat.close()
        if self._lifetime is not None:
            self._lifetime.cancel()
        self._pending = None
        self.stream.socket_closed(closecodes.ABNORMAL, "")
        self.stop_writing()

    def readConnectionLost(self) -> None:
        """The peer sends no more, not even a close frame."""
        self.transport.unregisterProducer()
        self.transport.loseConnection()
        if self.state == self.STATE_OPEN:
            self._abort_after(_FLUSH)

    def writeConnectionLost(self) -> None:
        """We send no more; nothing to do."""

    # ---- reading ---------------------------------------------------------------------------------

    def dataReceived(self, data: bytes) -> None:
        """Take bytes from the client, however they are split."""
        if self._muted:
            return
        self._heard_at = self.site.loop.time()
        if self._pending is not None:
            self._pending.append(data)
            self._pending_size += len(data)
            if self._pending_size < self._wanted:
                return
            data = b"".join(self._pending)
            self._pending = None
        self._costly = 0
        while data and not (self._reading_paused or self._muted or self.state == self.STATE_CLOSED):
            data = self._to_autobahn(data) if self._with_autobahn else self._read_frames(data)
            if self._costly >= _COSTLY_IN_A_ROW:
                break
        if (self._reading_paused or self._costly >= _COSTLY_IN_A_ROW) and not self._muted:
            # The rest waits for the application, or for others to have their turn.
            if data:
                self._pending, self._pending_size, self._wanted = [data], len(data), 0
            if not self._reading_paused:
                self.transport.pauseProducing()
                self.site.loop.call_soon(self._read_on)

    def _read_on(self) -> None:
        """Take what has waited."""
        if not (self._reading_paused or self._muted or self.state == self.STATE_CLOSED):
            self.transport.resumeProducing()
            self.dataReceived(b"")

    def _read_frames(self, data: bytes) -> bytes:
        """Read whole frames as long as there are any of the usual kinds; what is for Autobahn's parser."""
        at, size = 0, len(data)
        while size - at >= 6:
            first, second = data[at], data[at + 1]
            if first in (0x89, 0x8A) and 0x80 <= second <= 0xFD:
                end = at + 6 + (second & 0x7F)
                if end > size:
                    self._hold(data[at:], end - at)
                    return b""
                payload = unmask(data[at + 2 : at + 6], data[at + 6 : end])
                (self._onPing if first == 0x89 else self._onPong)(bytes(payload))
                at = end
                if self._costly >= _COSTLY_IN_A_ROW:
                    return data[at:]
                continue
            if first not in (0x81, 0x82) or second < 0x80 or self._perMessageCompress is not None:
                break
            length = second & 0x7F
            start = at + 6
            if length > 125:
                extended = 2 if length == 126 else 8
                start += extended
                if start > size:
                    self._hold(data[at:], start - at)
                    return b""
                length = int.from_bytes(data[at + 2 : at + 2 + extended], "big")
                if length < (126 if extended == 2 else 65536):
                    break
            if (
                0 < self.maxFramePayloadSize < length
                or 0 < self.maxMessagePayloadSize < length
                or length >> 63
            ):
                break
            end = start + length
            if end > size:
                self._hold(data[at:], end - at)
                return b""
            masked = data[start:end] if length < _VIEW_FROM else memoryview(data)[start:end]
            payload = unmask(data[start - 4 : start], masked)
            at = end
            if first == 0x81:
                try:
                    self._deliver(payload.decode("utf-8"))
                except UnicodeDecodeError:
                    self._fail_connection(closecodes.INVALID_PAYLOAD, "text that is not UTF-8")
                    return b""
            else:
                self._deliver(bytes(payload))
            if self._reading_paused:
                return data[at:]
        rest = data[at:] if at else data
        plain = (0x89, 0x8A) if self._perMessageCompress is not None else (0x81, 0x82, 0x89, 0x8A)
        short = 0 < len(rest) < 6 and rest[0] in plain
        if short and (len(rest) == 1 or rest[1] >= 0x80):
            self._hold(rest, 2 if len(rest) == 1 else 6)
            return b""
        self._with_autobahn = bool(rest)
        return rest

    def _hold(self, data: bytes, wanted: int) -> None:
        """Keep the pieces of one frame until `wanted` bytes of it are there."""
        if wanted > len(data):
            self._pending = [data]
            self._pending_size = len(data)
            self._wanted = wanted

    def _to_autobahn(self, data: bytes) -> bytes:
        """Let Autobahn's parser go on until it is at the end of a message; what it has not seen."""
        at = 0
        while at < len(data) and not self._muted and self.state != self.STATE_CLOSED:
            rest = 0
            if self.current_frame is not None:
                rest = self.current_frame.length - self.current_frame_masker.pointer()
            step = self._next_step(data, at) or max(_SLICE, rest)
            self.data += data[at : at + step]
            at += step
            self.consumeData()
            if self._reading_paused or self._costly >= _COSTLY_IN_A_ROW:
                break
            if self.current_frame is None and not self.inside_message and not self.data:
                self._with_autobahn = False
                break
        return data[at:]

    def _next_step(self, data: bytes, at: int) -> int:
        """The size of a whole control frame at `at`, so that what follows can take the short path; or 0."""
        if self.data or self.current_frame is not None or len(data) - at < 6 or not 0x88 <= data[at] <= 0x8A:
            return 0
        size = 6 + (data[at + 1] & 0x7F)
        return size if data[at + 1] >= 0x80 and size <= 131 and size <= len(data) - at else 0

    # ---- Autobahn's calls ------------------------------------------------------------------------

    def onMessageFrameBegin(self, length: int) -> None:
        """A data frame begins: besides Autobahn's limits on size, count the fragments."""
        self._costly += 1
        if self.message_data:
            self._fragments += 1
            if 0 < self.site.settings.websocket_max_fragments < self._fragments:
                self._fail_connection(closecodes.POLICY_VIOLATION, "too many fragments")
        else:
            self._fragments = 1
        super().onMessageFrameBegin(length)

    def onMessageEnd(self) -> None:
        """A message that came over Autobahn's path is complete."""
        if not self.failedByMe:
            message = b"".join(self.message_data)
            self._deliver(message if self.message_is_binary else message.decode("utf-8"))
        self.message_data = None

    def _deliver_at_rate(self, message: str | bytes) -> None:
        """Hand a message on, as long as they are no more than `websocket_max_messages_per_second`."""
        if self._muted:
            return
        try:
            self._messages.take()
        except ConnectionFailed:
            self._fail_connection(closecodes.POLICY_VIOLATION, _TOO_MANY_MESSAGES)
        else:
            self.stream.message_received(message)

    def sendData(self, data: bytes, sync: bool = False, chopsize: int | None = None) -> None:
        """Each frame that Autobahn makes (pongs, compressed messages) goes out at once, past its queue."""
        self.transport.write(data)

    def _onPing(self, payload: bytes) -> None:
        """Answer, but a peer that does not read gets no pongs to pile up."""
        self._costly += 1
        if not self.write_paused and self.state == self.STATE_OPEN:
            self.transport.write(bytes((0x8A, len(payload))) + payload)

    def _onPong(self, payload: bytes) -> None:
        """Any frame counts as life (dataReceived noted it); nothing more to do."""
        self._costly += 1

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
        if self.state == self.STATE_OPEN:
            self._write_close(code, reasonRaw or b"")
        self._end(closecodes.NO_STATUS if code is None else code, reason)
        self.transport.unregisterProducer()
        self.transport.loseConnection()
        self._abort_after(_FLUSH)
        return True

    def _fail_connection(self, code: int = closecodes.GOING_AWAY, reason: str = "") -> None:
        """_Fail the WebSocket Connection_ (RFC 6455 section 7.1.7): say why and read no further."""
        if self._muted or self.state == self.STATE_CLOSED:
            return
        self.failedByMe = True
        limit = self._limit_of(code, reason)
        if limit:
            self.site.limit_fired(limit, self.stream.scope["client"])
        else:
            logger.info("WebSocket from %s closed with %s: %s", self.stream.scope["client"], code, reason)
        if self.state == self.STATE_OPEN:
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
        self.state = self.STATE_CLOSING
        self._pending = None
        self.data = b""
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
        self._heartbeat.close()
        self._heartbeat = Deadline(self.site.loop, self.transport.abortConnection)
        self._heartbeat.set(seconds)

    # ---- Socket: the stream's calls --------------------------------------------------------------

    def send_message(self, payload: bytes, binary: bool) -> None:
        """Write one message as one frame."""
        if self._perMessageCompress is not None:
            self.sendMessage(payload, binary)
            return
        size = len(payload)
        if size < 126:
            self.transport.write(_SHORT[binary][size] + payload)
        elif size < 65536:
            self.transport.write(_pack_medium(0x81 + binary, 126, size) + payload)
        else:
            self.transport.write(_pack_long(0x81 + binary, 127, size))
            self.transport.write(payload)

    def close(self, code: int, reason: bytes) -> None:
        """Write a close frame and give the peer `websocket_handshake_timeout` to answer it."""
        if self.state != self.STATE_OPEN:
            return
        self._write_close(code, reason)
        self.state = self.STATE_CLOSING
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
            if self._pending is None:
                self.transport.resumeProducing()
            else:
                self.site.loop.call_soon(self._read_on)

    _reading_paused = False

    async def writable(self) -> None:
        """Return once the peer has taken enough, or raise ClientDisconnected."""
        await self.wait_for_room()
        if self.stream.disconnected:
            raise ClientDisconnected("the WebSocket is closed")

    # ---- time ------------------------------------------------------------------------------------

    def _heartbeat_due(self) -> None:
        """Ping after `ping_interval` seconds without a byte; drop `ping_timeout` seconds after that."""
        settings, now = self.site.settings, self.site.loop.time()
        if self._reading_paused or self.write_paused:
            self._pinged_at = 0.0
            self._heartbeat.set(settings.ping_interval)
        elif self._heard_at < self._pinged_at and settings.ping_timeout > 0:
            due = self._pinged_at + settings.ping_timeout
            if due > now:
                self._heartbeat.set(due - now)
            else:
                logger.info("WebSocket from %s dropped: no pong in ping_timeout", self.stream.scope["client"])
                self.transport.abortConnection()
        elif self._heard_at + settings.ping_interval > now:
            self._pinged_at = 0.0
            self._heartbeat.set(self._heard_at + settings.ping_interval - now)
        else:
            # Not the time of the last byte any more: a pong may come at the same tick as its ping.
            self._pinged_at, self._heard_at = now, 0.0
            self.transport.write(b"\x89\x04" + int(now * 1000).to_bytes(8, "big")[-4:])
            waits = [settings.ping_interval, *([settings.ping_timeout] if settings.ping_timeout > 0 else [])]
            self._heartbeat.set(min(waits))

    def _lifetime_over(self) -> None:
        self._lifetime = None
        logger.info("WebSocket from %s closed: it reached websocket_timeout", self.stream.scope["client"])
        self.stream.close_with(closecodes.NORMAL)

    def drain(self) -> None:
        """The server stops (RFC 6455 section 7.4.1, 1001)."""
        self.stream.close_with(closecodes.GOING_AWAY)
