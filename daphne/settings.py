"""Every setting of the server, once: name, type, default, bounds, help, flag.

Called by everything that needs a setting; calls `daphne.options` for the kinds of values.

From the metadata of these fields come the flags of the command line, the environment variables (`DAPHNE_` and the flag
in capitals), the keys of a configuration file and of Django's settings, and the check of the README's table. Sizes are
bytes and times are seconds. Nothing else in the project has a default for any of these.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from daphne.options import (
    Choice,
    FieldName,
    FieldText,
    Kind,
    LogFormat,
    Octal,
    Option,
    Peers,
    Seconds,
    Subprotocols,
    Switch,
    Text,
    Whole,
    Words,
)

TARGET = "Target and process"
LOGGING = "Logging"
LISTENERS = "Listeners"
HTTP = "HTTP"
LIMITS = "Limits on HTTP"
WEBSOCKET = "WebSocket"
APPLICATION = "Application"
TRUST = "Proxies in front"
HTTP2 = "HTTP/2"
STOP = "Stopping"
LAYER = "Channel layer"

SERVER_LOG_FORMAT = "%(asctime)-15s %(levelname)-8s %(message)s"
TOP = 2**31 - 1


def _option(
    default: Any,
    kind: Kind,
    group: str,
    text: str,
    *flags: str,
    short: str = "",
    flag: bool = True,
    repeatable: bool = False,
) -> Any:
    """One field. Without `flags` its flag is made of its name; with `flag=False` it has none."""
    option = Option(
        kind, group, text, flags or (("",) if flag else ()), short, repeatable, optional=default is None
    )
    return dataclasses.field(default=default, metadata={"option": option})


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings of one server. Wrong values raise ConfigurationError, all of them in one."""

    # What runs
    worker: str | None = _option(
        None, Text(), TARGET, "run workers for this ASGI application in the server's own process (channel layers only)"
    )
    lifespan: str = _option(
        "auto", Choice(("auto", "on", "off")), TARGET, "the application's lifespan; with on, it must support it"
    )
    uvloop: str = _option("auto", Choice(("auto", "on", "off")), TARGET, "run on uvloop; auto: where it is installed")
    root_path: str = _option("", Text(), TARGET, "the root_path given to the application")
    verbosity: int = _option(
        1, Whole(0, 3), LOGGING, "0 warnings, 1 information, 2 debug, 3 also asyncio's own debug mode", short="-v"
    )
    log_fmt: str = _option(SERVER_LOG_FORMAT, LogFormat(), LOGGING, "format of the server's log lines")
    access_log: str | None = _option(
        None,
        Text(),
        LOGGING,
        "file for the access log, - for standard output (default: standard output when verbosity is 1 or more)",
    )
    access_log_format: str | None = _option(
        None, Text(), LOGGING, "format of the access log in gunicorn's letters, such as '%%(h)s %%(r)s %%(s)s', or json"
    )

    # Where it listens
    host: str | None = _option(None, Text(), LISTENERS, "address to listen on", "--bind", short="-b")
    port: int | None = _option(
        None, Whole(0, 65535), LISTENERS, "port to listen on; 0 lets the system choose one", short="-p"
    )
    unix_socket: str | None = _option(None, Text(), LISTENERS, "path of a unix socket to listen on", short="-u")
    unix_socket_mode: int = _option(0o666, Octal(), LISTENERS, "permissions of the unix socket, in octal")
    file_descriptor: int | None = _option(None, Whole(0, TOP), LISTENERS, "inherited listening socket", "--fd")
    endpoints: tuple[str, ...] = _option(
        (), Words(), LISTENERS, "Twisted endpoint string to listen on", "--endpoint", short="-e", repeatable=True
    )

    # HTTP
    server_name: str = _option("daphne", FieldText(), HTTP, "value of the Server response header", short="-s")
    date_header: bool = _option(True, Switch(), HTTP, "add the Date response header")
    auto_content_length: bool = _option(
        True, Switch(), HTTP, "give a response of one event its Content-Length", flag=False
    )
    strict_host: bool = _option(True, Switch(), HTTP, "refuse an HTTP/1.1 request without Host", flag=False)
    scope_extensions: bool = _option(
        True, Switch(), HTTP, "give scopes their extensions, state and newer keys", flag=False
    )
    http_timeout: float | None = _option(
        None,
        Seconds(),
        HTTP,
        "time for the whole response after the request, 0 for no limit (default: 120 for channel layers, else no limit)",
        short="-t",
    )
    request_buffer_size: int | None = _option(
        None, Whole(1), HTTP, "size of the pieces in which a request body is handed on", flag=False
    )
    keep_alive_timeout: float = _option(60, Seconds(), HTTP, "time an idle connection is kept, 0 for no limit")
    half_close_timeout: float = _option(
        1, Seconds(), HTTP, "time for a client to close after the server has closed its side"
    )
    max_requests_per_connection: int = _option(
        0, Whole(0, TOP), HTTP, "requests after which a connection is closed, 0 for no limit"
    )

    # Limits on HTTP
    request_head_timeout: float = _option(
        10, Seconds(), LIMITS, "time for a request's head to arrive, 0 for no limit"
    )
    min_body_rate: int = _option(
        240, Whole(0, TOP), LIMITS, "bytes a second at which a request body must arrive, 0 for no limit"
    )
    min_response_rate: int = _option(
        240, Whole(0, TOP), LIMITS, "bytes a second at which a response must be taken, 0 for no limit"
    )
    rate_grace: float = _option(5, Seconds(), LIMITS, "time before the two rates above are looked at")
    max_request_line: int = _option(16384, Whole(64, TOP), LIMITS, "bytes in a request line")
    max_header_size: int = _option(65536, Whole(256, TOP), LIMITS, "bytes in all header fields of a request")
    max_header_count: int = _option(128, Whole(1, TOP), LIMITS, "header fields in a request")
    max_body_size: int = _option(0, Whole(0), LIMITS, "bytes in a request body, 0 for no limit")
    read_buffer_size: int = _option(
        65536, Whole(1024, TOP), LIMITS, "unread bytes of a request body after which reading pauses"
    )
    write_buffer_size: int = _option(
        65536, Whole(1024, TOP), LIMITS, "unsent bytes after which the application's send() waits"
    )
    max_connections: int = _option(
        0, Whole(0, TOP), LIMITS, "connections in all, 0 for as many as file descriptors allow"
    )
    max_connections_per_peer: int = _option(0, Whole(0, TOP), LIMITS, "connections from one address, 0 for no limit")

    # WebSocket
    websocket_timeout: float = _option(
        86400,
        Seconds(None),
        WEBSOCKET,
        "time after which a WebSocket is closed, 0 or -1 for no limit",
        "--websocket-timeout",
        "--websocket_timeout",
    )
    websocket_connect_timeout: float = _option(
        5,
        Seconds(None),
        WEBSOCKET,
        "time for the application to accept or refuse, 0 or -1 for no limit",
        "--websocket-connect-timeout",
        "--websocket_connect_timeout",
    )
    websocket_handshake_timeout: float = _option(
        5,
        Seconds(None),
        WEBSOCKET,
        "time for the whole opening handshake, 0 or -1 for no limit",
        "--websocket-handshake-timeout",
        "--websocket_handshake_timeout",
    )
    websocket_max_message_size: int = _option(
        1048576, Whole(0), WEBSOCKET, "bytes in a received message, 0 for no limit"
    )
    websocket_max_frame_size: int = _option(1048576, Whole(0), WEBSOCKET, "bytes in a received frame, 0 for no limit")
    websocket_max_queue: int = _option(
        65536, Whole(1, TOP), WEBSOCKET, "bytes of unread messages after which reading pauses"
    )
    websocket_max_fragments: int = _option(1024, Whole(1, TOP), WEBSOCKET, "fragments in a received message")
    ping_interval: float = _option(20, Seconds(), WEBSOCKET, "idle time before a ping is sent, 0 for no pings")
    ping_timeout: float = _option(
        30, Seconds(), WEBSOCKET, "time for the answer to a ping before the connection is dropped, 0 for no limit"
    )
    ws_protocols: tuple[str, ...] = _option(
        (), Subprotocols(), WEBSOCKET, "subprotocols to choose from when the application chooses none", "--ws-protocol"
    )
    ws_per_message_deflate: bool = _option(False, Switch(), WEBSOCKET, "accept compression (permessage-deflate)")

    # Application
    application_close_timeout: float = _option(
        10, Seconds(), APPLICATION, "time for an application to end after its client has gone, before it is cancelled"
    )

    # Proxies in front
    proxy_headers: bool = _option(
        False, Switch(), TRUST, "take client address, port and scheme from forwarded headers of trusted proxies"
    )
    trusted_proxies: tuple[str, ...] = _option(
        ("127.0.0.0/8", "::1", "unix"),
        Peers(),
        TRUST,
        "peers whose forwarded headers and Daphne-Root-Path are believed: addresses, networks, unix, * or none",
    )
    proxy_headers_host: str = _option(
        "X-Forwarded-For", FieldName(), TRUST, "header with the client's address (needs --proxy-headers)"
    )
    proxy_headers_port: str = _option(
        "X-Forwarded-Port", FieldName(), TRUST, "header with the client's port (needs --proxy-headers)"
    )
    proxy_headers_proto: str = _option(
        "X-Forwarded-Proto", FieldName(), TRUST, "header with the client's scheme", flag=False
    )

    # HTTP/2
    http2: bool = _option(True, Switch(), HTTP2, "offer HTTP/2")
    http2_max_concurrent_streams: int = _option(100, Whole(1, TOP), HTTP2, "open streams on a connection")
    http2_max_header_list_size: int = _option(65536, Whole(256, TOP), HTTP2, "bytes in a decoded header list")
    http2_max_continuation_frames: int = _option(16, Whole(0, TOP), HTTP2, "CONTINUATION frames in a header block")
    http2_max_resets_per_second: int = _option(100, Whole(1, TOP), HTTP2, "streams reset by the client")
    http2_max_frames_per_second: int = _option(1000, Whole(1, TOP), HTTP2, "control and empty frames from the client")
    http2_stream_window: int = _option(262144, Whole(65535, TOP), HTTP2, "bytes a client may send ahead on a stream")
    http2_connection_window: int = _option(
        1048576, Whole(65535, TOP), HTTP2, "bytes a client may send ahead on a connection"
    )
    http2_stall_timeout: float = _option(
        60, Seconds(), HTTP2, "time a client may keep its window shut while data waits, 0 for no limit"
    )

    # Stopping
    graceful_timeout: float = _option(30, Seconds(), STOP, "time for requests to finish after SIGTERM")
    drain_window: float = _option(5, Seconds(), STOP, "time over which the closing of WebSockets is spread")
    stall_timeout: float = _option(
        0, Seconds(), STOP, "log every stack when the event loop has stood still for this time, 0 for never"
    )

    # Channel layer
    force_sync: bool = _option(False, Switch(), LAYER, "never use the layer's receive_twisted")
    channel_full_timeout: float = _option(
        5, Seconds(), LAYER, "time for a full channel to have room again before 503 or close 1013"
    )
    body_chunk_size: int = _option(
        262144, Whole(1, TOP), LAYER, "bytes of a request body in one message; longer ones go over a channel of their own"
    )
    channel_layer_socket: str | None = _option(None, Text(), LAYER, "path of the local channel layer's socket")
    worker_timeout: float = _option(5, Seconds(), LAYER, "silence after which a worker counts as dead")
    on_worker_loss: str = _option(
        "resume", Choice(("resume", "close")), LAYER, "what becomes of the WebSockets of a worker that is lost"
    )
