"""Two HTTP/2 clients in memory: h2's own machine, which finds fault with everything that a server may not
send, and one that writes any frame at all.

Called by the tests of HTTP/2; calls h2, hyperframe and hpack, and a `Bench` for the server and the clock.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import h2.config
import h2.connection
import h2.events
import h2.settings
import hpack
from hyperframe import frame as frames

from tests.protocols.bench import Bench

Headers = list[tuple[bytes, bytes]]
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def request_fields(
    method: str = "GET", path: str = "/", headers: Headers | None = None, **pseudo: str
) -> Headers:
    """The header list of a request; `pseudo` replaces or adds pseudo-headers, empty text takes one away."""
    fields = {"method": method, "scheme": "http", "authority": "example.org", "path": path, **pseudo}
    return [(b":" + name.encode(), text.encode()) for name, text in fields.items() if text] + (headers or [])


@dataclass
class Answer:
    """What has come on one stream."""

    status: int = 0
    headers: Headers = field(default_factory=list)
    body: bytes = b""
    trailers: Headers = field(default_factory=list)
    interim: list[tuple[int, Headers]] = field(default_factory=list)
    ended: bool = False
    reset: int | None = None


class Client:
    """h2's client machine on a connection in memory.

    Every byte that the server sends goes through the machine, which raises for what RFC 9113 does not allow.
    """

    def __init__(
        self, bench: Bench, settings: dict[int, int] | None = None, acknowledge: bool = True, **options: Any
    ) -> None:
        """`acknowledge`: open the windows again as data comes. `options` are those of h2's configuration."""
        self.bench = bench
        self.acknowledge = acknowledge
        self.connection = bench.connect()
        self.machine = h2.connection.H2Connection(
            h2.config.H2Configuration(client_side=True, header_encoding=None, **options)
        )
        self.answers: dict[int, Answer] = {}
        self.goaways: list[tuple[int, int]] = []
        """(last stream, code) of every GOAWAY."""
        self.pongs: list[bytes] = []
        self.order: list[int] = []
        """The stream of every DATA frame, in the order in which they came."""
        if settings:
            self.machine.local_settings = h2.settings.Settings(client=True, initial_values=settings)
        self.machine.initiate_connection()
        self.flush()

    def flush(self) -> None:
        """Let both sides speak until neither has anything to say."""
        self.bench.loop.settle()
        while True:
            data = bytes(self.connection.received)
            del self.connection.received[:]
            for event in self.machine.receive_data(data) if data else ():
                self._take(event)
            out = self.machine.data_to_send()
            if out:
                self.connection.send(out)
            self.bench.loop.settle()
            if not out and not self.connection.received:
                return

    def _take(self, event: Any) -> None:
        answer = self.answers.setdefault(getattr(event, "stream_id", None) or 0, Answer())
        match event:
            case h2.events.InformationalResponseReceived():
                answer.interim.append(_head(event.headers))
            case h2.events.ResponseReceived():
                answer.status, answer.headers = _head(event.headers)
            case h2.events.DataReceived():
                answer.body += event.data
                self.order.append(event.stream_id)
                if self.acknowledge and event.flow_controlled_length:
                    self.machine.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            case h2.events.TrailersReceived():
                answer.trailers = [tuple(pair) for pair in event.headers]
            case h2.events.StreamEnded():
                answer.ended = True
            case h2.events.StreamReset():
                answer.reset = int(event.error_code or 0)
            case h2.events.ConnectionTerminated():
                self.goaways.append((event.last_stream_id or 0, int(event.error_code or 0)))
            case h2.events.PingAckReceived():
                self.pongs.append(event.ping_data)

    def start(
        self,
        method: str = "GET",
        path: str = "/",
        headers: Headers | None = None,
        ended: bool = True,
        **pseudo: str,
    ) -> int:
        """Send a request's head; the number of its stream."""
        stream_id = self.machine.get_next_available_stream_id()
        fields = request_fields(method, path, headers, **pseudo)
        self.machine.send_headers(stream_id, fields, end_stream=ended)
        self.answers[stream_id] = Answer()
        self.flush()
        return stream_id

    def send(self, stream_id: int, data: bytes, ended: bool = False) -> int:
        """Send as much of a body as the windows take; how much that was."""
        sent = 0
        while sent < len(data):
            room = min(
                self.machine.local_flow_control_window(stream_id),
                self.machine.max_outbound_frame_size,
                len(data) - sent,
            )
            if not room:
                break
            self.machine.send_data(stream_id, data[sent : sent + room])
            sent += room
            self.flush()
        if ended and sent == len(data):
            self.machine.end_stream(stream_id)
            self.flush()
        return sent

    def fetch(
        self,
        method: str = "GET",
        path: str = "/",
        headers: Headers | None = None,
        body: bytes = b"",
        **pseudo: str,
    ) -> Answer:
        """Send a request and its body; what has come then."""
        stream_id = self.start(method, path, headers, ended=not body, **pseudo)
        if body:
            self.send(stream_id, body, ended=True)
        return self.answers[stream_id]


def _head(headers: Any) -> tuple[int, Headers]:
    fields = [(bytes(name), bytes(value)) for name, value in headers]
    return int(dict(fields)[b":status"]), fields[1:]


class RawClient:
    """A client that sends any frame and looks at every frame that comes."""

    def __init__(self, bench: Bench, greet: bool = True) -> None:
        """`greet`: begin as a client must, with the preface and SETTINGS, and acknowledge the server's."""
        self.bench = bench
        self.connection = bench.connect()
        self.encoder = hpack.Encoder()
        self._decoder = hpack.Decoder()
        self._rest = b""
        self.frames: list[Any] = []
        """Every frame that has come."""
        if greet:
            self.send(PREFACE, frames.SettingsFrame(), frames.SettingsFrame(flags=["ACK"]))

    def send(self, *parts: Any) -> None:
        """Send frames, or bytes, and take what comes back."""
        self.connection.send(b"".join(p if isinstance(p, bytes) else p.serialize() for p in parts))
        self.bench.loop.settle()
        self.take()

    def take(self) -> None:
        """Take apart what has come."""
        data = self._rest + bytes(self.connection.received)
        del self.connection.received[:]
        while len(data) >= 9:
            frame, size = frames.Frame.parse_frame_header(memoryview(data[:9]))
            if len(data) < 9 + size:
                break
            frame.parse_body(memoryview(data[9 : 9 + size]))
            self.frames.append(frame)
            data = data[9 + size :]
        self._rest = data

    def headers(
        self, stream_id: int, fields: Headers, *flags: str, block: bytes | None = None
    ) -> frames.HeadersFrame:
        """A HEADERS frame; END_HEADERS and END_STREAM unless other `flags` are given."""
        frame = frames.HeadersFrame(stream_id, flags=flags or ("END_HEADERS", "END_STREAM"))
        frame.data = self.encoder.encode(fields) if block is None else block
        return frame

    def of(self, kind: type) -> list[Any]:
        """The frames of one type that have come."""
        return [frame for frame in self.frames if type(frame) is kind]

    @property
    def goaway(self) -> int | None:
        """The code of the last GOAWAY, if one has come."""
        found = self.of(frames.GoAwayFrame)
        return found[-1].error_code if found else None

    @property
    def resets(self) -> dict[int, int]:
        """The code of each RST_STREAM by its stream."""
        return {frame.stream_id: frame.error_code for frame in self.of(frames.RstStreamFrame)}

    def statuses(self) -> dict[int, int]:
        """The status of each answer by its stream."""
        return {
            frame.stream_id: int(dict(self._decoder.decode(frame.data, raw=True))[b":status"])
            for frame in self.of(frames.HeadersFrame)
        }


def setting(**values: int) -> frames.SettingsFrame:
    """A SETTINGS frame; names are those of hyperframe in lower case."""
    return frames.SettingsFrame(
        settings={getattr(frames.SettingsFrame, name.upper()): value for name, value in values.items()}
    )
