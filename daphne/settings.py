"""Every setting of the server, once: name, type, default, bounds, help, flag.

Called by everything that needs a setting; calls `daphne.options` for the kinds of values.

From the metadata of these fields come the flags of the command line, the environment variables (`DAPHNE_` and
the flag in capitals), the keys of a configuration file and of Django's settings, and the check of the
README's tables. Sizes are bytes and times are seconds. Nothing else in the project has a default for any of
these.

`settings_from` makes the settings from what was written anywhere; `environment_values` picks what is ours
from the environment.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Mapping
from typing import Any

from daphne.errors import InvalidSettings
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
THIS_MACHINE = ("127.0.0.0/8", "::1", "unix")
TOP = 2**31 - 1


def _option(
    default: Any, kind: Kind, group: str, flags: str, text: str, *, repeatable: bool = False, off: Any = None
) -> Any:
    """One field. `flags` are its spellings; a field without any is for Python and files only."""
    off = False if isinstance(kind, Switch) else off
    option = Option(kind, group, tuple(flags.split()), text, repeatable, default is None, off)
    return dataclasses.field(default=default, metadata={"option": option})


# fmt: off
# (a table, two lines to an option)
@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings of one server. Wrong values raise InvalidSettings, which names all of them."""

    # What runs
    worker: str | None = _option(None, Text("TARGET"), TARGET, "--worker",
        "run workers for this ASGI application in the server's own process (channel layers only)")
    lifespan: str = _option("auto", Choice(("auto", "on", "off")), TARGET, "--lifespan",
        "the application's lifespan; with on, it must support it")
    uvloop: str = _option("auto", Choice(("auto", "on", "off")), TARGET, "--uvloop",
        "run on uvloop; auto: where it is installed")
    root_path: str = _option("", Text("PATH"), TARGET, "--root-path",
        "the root_path given to the application")
    verbosity: int = _option(1, Whole(0, 3), LOGGING, "-v --verbosity",
        "0 warnings, 1 information, 2 debug, 3 also asyncio's own debug mode")
    log_fmt: str = _option(SERVER_LOG_FORMAT, LogFormat(), LOGGING, "--log-fmt",
        "format of the server's log lines")
    access_log: str | None = _option(None, Text("PATH"), LOGGING, "--access-log",
        "file for the access log, - for standard output (default: standard output when verbosity is 1 "
        "or more)")
    access_log_format: str | None = _option(None, Text("FORMAT"), LOGGING, "--access-log-format",
        "format of the access log in gunicorn's letters, such as '%(h)s %(r)s %(s)s', or json")

    # Where it listens
    host: str | None = _option(None, Text("ADDRESS"), LISTENERS, "-b --bind",
        "address to listen on (default: 127.0.0.1, unless another listener is given)")
    port: int | None = _option(None, Whole(0, 65535), LISTENERS, "-p --port",
        "port to listen on, 0 for one that the system chooses (default: 8000, likewise)")
    unix_socket: str | None = _option(None, Text("PATH"), LISTENERS, "-u --unix-socket",
        "path of a unix socket to listen on")
    unix_socket_mode: int = _option(0o666, Octal(), LISTENERS, "--unix-socket-mode",
        "permissions of the unix socket, in octal")
    file_descriptor: int | None = _option(None, Whole(0, TOP), LISTENERS, "--fd",
        "inherited listening socket")
    endpoints: tuple[str, ...] = _option((), Words("STRING"), LISTENERS, "-e --endpoint",
        "Twisted endpoint string to listen on; repeatable", repeatable=True)

    # HTTP
    server_name: str = _option("daphne", FieldText(), HTTP, "-s --server-name",
        "value of the Server response header", off="")
    date_header: bool = _option(True, Switch(), HTTP, "--date-header",
        "add the Date response header")
    auto_content_length: bool = _option(True, Switch(), HTTP, "",
        "give a response of one event its Content-Length")
    strict_host: bool = _option(True, Switch(), HTTP, "",
        "refuse an HTTP/1.1 request without Host")
    scope_extensions: bool = _option(True, Switch(), HTTP, "",
        "give scopes their extensions, state and newer keys")
    http_timeout: float | None = _option(None, Seconds(), HTTP, "-t --http-timeout",
        "time for the whole response after the request, 0 for no limit (default: 120 for channel "
        "layers, else no limit)")
    request_buffer_size: int | None = _option(None, Whole(1), HTTP, "",
        "size of the pieces in which a request body is handed on")
    keep_alive_timeout: float = _option(60, Seconds(), HTTP, "--keep-alive-timeout",
        "time an idle connection is kept, 0 for no limit")
    half_close_timeout: float = _option(1, Seconds(), HTTP, "--half-close-timeout",
        "time from a client's end of input until its application hears of it")
    max_requests_per_connection: int = _option(0, Whole(0, TOP), HTTP, "--max-requests-per-connection",
        "requests after which a connection is closed, 0 for no limit")

    # Limits on HTTP
    request_head_timeout: float = _option(10, Seconds(), LIMITS, "--request-head-timeout",
        "time for a request's head to arrive, 0 for no limit")
    min_body_rate: int = _option(240, Whole(0, TOP), LIMITS, "--min-body-rate",
        "bytes a second at which a request body must arrive, 0 for no limit")
    min_response_rate: int = _option(240, Whole(0, TOP), LIMITS, "--min-response-rate",
        "bytes a second at which a response must be taken, 0 for no limit")
    rate_grace: float = _option(5, Seconds(), LIMITS, "--rate-grace",
        "time before the two rates above are looked at")
    max_request_line: int = _option(16384, Whole(64, TOP), LIMITS, "--max-request-line",
        "bytes in a request line")
    max_header_size: int = _option(65536, Whole(256, TOP), LIMITS, "--max-header-size",
        "bytes in all header fields of a request")
    max_header_count: int = _option(128, Whole(1, TOP), LIMITS, "--max-header-count",
        "header fields in a request")
    max_body_size: int = _option(0, Whole(0), LIMITS, "--max-body-size",
        "bytes in a request body, 0 for no limit")
    read_buffer_size: int = _option(65536, Whole(1024, TOP), LIMITS, "--read-buffer-size",
        "unread bytes of a request body after which reading pauses")
    write_buffer_size: int = _option(65536, Whole(1024, TOP), LIMITS, "--write-buffer-size",
        "unsent bytes after which the application's send() waits")
    max_connections: int = _option(0, Whole(0, TOP), LIMITS, "--max-connections",
        "connections in all, 0 for as many as file descriptors allow")
    max_connections_per_peer: int = _option(0, Whole(0, TOP), LIMITS, "--max-connections-per-peer",
        "connections from one address, 0 for no limit")

    # WebSocket
    websocket_timeout: float | None = _option(None, Seconds(None), WEBSOCKET, "--websocket-timeout",
        "time after which a WebSocket is closed, 0 or -1 for no limit (default: a channel layer's "
        "group_expiry, else 86400)")
    websocket_connect_timeout: float = _option(5, Seconds(None), WEBSOCKET, "--websocket-connect-timeout",
        "time for the application to accept or refuse, 0 or -1 for no limit")
    websocket_handshake_timeout: float = _option(5, Seconds(None), WEBSOCKET, "--websocket-handshake-timeout",
        "time for the whole opening handshake, 0 or -1 for no limit")
    websocket_max_message_size: int = _option(1048576, Whole(0), WEBSOCKET, "--websocket-max-message-size",
        "bytes in a received message, 0 for no limit")
    websocket_max_frame_size: int = _option(1048576, Whole(0), WEBSOCKET, "--websocket-max-frame-size",
        "bytes in a received frame, 0 for no limit")
    websocket_max_queue: int = _option(65536, Whole(1, TOP), WEBSOCKET, "--websocket-max-queue",
        "bytes of unread messages after which reading pauses")
    websocket_max_fragments: int = _option(1024, Whole(1, TOP), WEBSOCKET, "--websocket-max-fragments",
        "fragments in a received message")
    websocket_max_messages_per_second: int = _option(0, Whole(0, TOP), WEBSOCKET,
        "--websocket-max-messages-per-second",
        "messages from one client in a second, 0 for no limit")
    ping_interval: float = _option(20, Seconds(), WEBSOCKET, "--ping-interval",
        "idle time before a ping is sent, 0 for no pings")
    ping_timeout: float = _option(30, Seconds(), WEBSOCKET, "--ping-timeout",
        "time for the answer to a ping before the connection is dropped, 0 for no limit")
    ws_protocols: tuple[str, ...] = _option((), Subprotocols(), WEBSOCKET, "--ws-protocol",
        "subprotocols to choose from when the application chooses none")
    ws_per_message_deflate: bool = _option(False, Switch(), WEBSOCKET, "--ws-per-message-deflate",
        "accept compression (permessage-deflate)")

    # Application
    application_close_timeout: float = _option(10, Seconds(), APPLICATION, "--application-close-timeout",
        "time for an application to end after its client has gone, before it is cancelled")

    # Proxies in front
    proxy_headers: bool = _option(False, Switch(), TRUST, "--proxy-headers",
        "take client address, port and scheme from forwarded headers of trusted proxies")
    trusted_proxies: tuple[str, ...] = _option(THIS_MACHINE, Peers(), TRUST, "--trusted-proxies",
        "peers whose forwarded headers and Daphne-Root-Path are believed: addresses, networks, unix, * "
        "or none")
    proxy_headers_host: str = _option("X-Forwarded-For", FieldName(), TRUST, "--proxy-headers-host",
        "header with the client's address (needs --proxy-headers)")
    proxy_headers_port: str = _option("X-Forwarded-Port", FieldName(), TRUST, "--proxy-headers-port",
        "header with the client's port (needs --proxy-headers)")
    proxy_headers_proto: str = _option("X-Forwarded-Proto", FieldName(), TRUST, "",
        "header with the client's scheme")

    # HTTP/2
    http2: bool = _option(True, Switch(), HTTP2, "--http2",
        "offer HTTP/2")
    http2_max_concurrent_streams: int = _option(100, Whole(1, TOP), HTTP2, "--http2-max-concurrent-streams",
        "open streams on a connection")
    http2_max_header_list_size: int = _option(65536, Whole(256, TOP), HTTP2, "--http2-max-header-list-size",
        "bytes in a decoded header list")
    http2_max_continuation_frames: int = _option(16, Whole(0, TOP), HTTP2, "--http2-max-continuation-frames",
        "CONTINUATION frames in a header block")
    http2_max_resets_per_second: int = _option(100, Whole(1, TOP), HTTP2, "--http2-max-resets-per-second",
        "streams reset by the client")
    http2_max_frames_per_second: int = _option(1000, Whole(1, TOP), HTTP2, "--http2-max-frames-per-second",
        "control and empty frames from the client")
    http2_stream_window: int = _option(262144, Whole(65535, TOP), HTTP2, "--http2-stream-window",
        "bytes a client may send ahead on a stream")
    http2_connection_window: int = _option(1048576, Whole(65535, TOP), HTTP2, "--http2-connection-window",
        "bytes a client may send ahead on a connection")
    http2_stall_timeout: float = _option(60, Seconds(), HTTP2, "--http2-stall-timeout",
        "time a client may keep its window shut while data waits, 0 for no limit")

    # Stopping
    graceful_timeout: float = _option(30, Seconds(), STOP, "--graceful-timeout",
        "time for requests to finish after SIGTERM")
    drain_window: float = _option(5, Seconds(), STOP, "--drain-window",
        "time over which the closing of WebSockets is spread")
    stall_timeout: float = _option(0, Seconds(), STOP, "--stall-timeout",
        "log every stack when the event loop has stood still for this time, 0 for never")

    # Channel layer
    force_sync: bool = _option(False, Switch(), LAYER, "--force-sync",
        "never use the layer's receive_twisted")
    channel_full_timeout: float = _option(5, Seconds(), LAYER, "--channel-full-timeout",
        "time for a full channel to have room again before 503 or close 1013")
    body_chunk_size: int = _option(262144, Whole(1, TOP), LAYER, "--body-chunk-size",
        "bytes of a request body in one message; longer ones go over a channel of their own")
    channel_layer_socket: str | None = _option(None, Text("PATH"), LAYER, "--channel-layer-socket",
        "path of the local channel layer's socket, in place of the layer's own")
    worker_timeout: float = _option(5, Seconds(0.1), LAYER, "--worker-timeout",
        "silence after which a worker counts as dead")
    on_worker_loss: str = _option("resume", Choice(("resume", "close")), LAYER, "--on-worker-loss",
        "what becomes of the WebSockets of a worker that is lost")
    # fmt: on

    def __post_init__(self) -> None:
        problems = []
        for name, option in OPTIONS.items():
            try:
                object.__setattr__(self, name, option.read(getattr(self, name)))
            except ValueError as error:
                problems.append(f"{name}: {error}")
        if problems:
            raise InvalidSettings(problems)


OPTIONS: dict[str, Option] = {field.name: field.metadata["option"] for field in dataclasses.fields(Settings)}
"""Every option by the name of its field."""

COMMAND_LINE = "command line"
ENVIRONMENT = "environment"


def settings_from(*sources: tuple[str, Mapping[str, Any]]) -> Settings:
    """Make the settings from what was written in `sources`, of which later ones win.

    A source is its name, which stands in messages, and a mapping. The name is `COMMAND_LINE`, `ENVIRONMENT`
    or that of a file. A key is a field's name or its flag, with hyphens or underscores; a value is text or
    an object of the proper type. Raises InvalidSettings with every unknown key and every wrong value of all
    sources.
    """
    chosen: dict[str, Any] = {}
    problems: list[str] = []
    for source, values in sources:
        for key, value in values.items():
            try:
                chosen.update(_read_entry(key, value))
            except ValueError as error:
                problems.append(f"{_label(source, key)}: {error}")
    problems.extend(_problems_together(chosen))
    if problems:
        raise InvalidSettings(problems)
    if "websocket_connect_timeout" in chosen:  # as in daphne 4, it stands for both where only one is given
        chosen.setdefault("websocket_handshake_timeout", chosen["websocket_connect_timeout"])
    return Settings(**chosen)


def environment_values(environ: Mapping[str, str]) -> dict[str, str]:
    """Pick the variables that stand for a flag: `DAPHNE_` and the flag in capitals.

    An empty one counts as not set, but where empty text is a value of its own (DAPHNE_SERVER_NAME). One that
    Kubernetes wrote (DAPHNE_PORT=tcp://10.0.0.1:80, for a service that is called daphne) is passed over.
    """
    values = {}
    for flag, name in _FLAGS.items():
        text = environ.get("DAPHNE_" + _key(flag).upper())
        if text is None or (text == "" and OPTIONS[name].off != "") or re.match("(tcp|udp|sctp)://", text):
            continue
        values[_key(flag)] = text
    return values


def _key(text: str) -> str:
    return text.lower().removeprefix("--").replace("-", "_")


_FLAGS = {flag: name for name, option in OPTIONS.items() for flag in (option.flag, option.off_flag) if flag}
"""The field that a long flag sets."""
_KEYS = {name: name for name in OPTIONS} | {_key(flag): name for flag, name in _FLAGS.items()}
"""The field that a key sets."""


def _read_entry(key: str, value: object) -> dict[str, Any]:
    name = _KEYS.get(_key(key))
    if name is None:
        near = difflib.get_close_matches(_key(key), _KEYS, 1)
        raise ValueError("there is no such setting" + (f"; did you mean {near[0]}?" if near else ""))
    option = OPTIONS[name]
    if _key(key) != _key(option.off_flag):
        return {name: option.read(value)}
    if not Switch().read(value):
        return {name: True} if option.off is False else {}
    return {name: option.off}


def _label(source: str, key: str) -> str:
    if source == COMMAND_LINE:
        return OPTIONS[_KEYS[key]].flag
    return "DAPHNE_" + _key(key).upper() if source == ENVIRONMENT else f"{source}: {key}"


def _problems_together(chosen: Mapping[str, Any]) -> list[str]:
    """What is wrong with the settings together, each of which is allowed."""
    names = ("proxy_headers_host", "proxy_headers_port")
    if chosen.get("proxy_headers"):
        return []
    return [f"{OPTIONS[name].flag}: only together with --proxy-headers" for name in names if name in chosen]
