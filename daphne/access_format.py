"""Formats of the access log: gunicorn's letters, such as `%(h)s "%(r)s" %(s)s`, or one JSON object a line.

Called by `daphne.cli`; calls `daphne.access` for escaping. A format is compiled once, into the list of what
it needs, and nothing else is computed for a line.

    h  client's address           m  method                  T  seconds, whole     p  process id, as <1234>
    l  -                          U  path without query      D  microseconds       {name}i  request header
    u  user of basic access       q  query                   M  milliseconds       {name}o  response header
    t  time, as [22/Nov/2026:     H  protocol                L  seconds, decimal   {name}e  variable of the
       12:00:00 +0000]            s  status                  B  bytes of body               environment
    r  request line               f  referer, a  user agent  b  the same, - for 0  %%  a per cent sign

What is not known is `-`. For a WebSocket, `m` is the step in its life (WSCONNECT ...), and it has no status,
size or time.
"""

from __future__ import annotations

import base64
import binascii
import datetime
import functools
import json
import os
import re
import time
from collections.abc import Callable

from daphne.access import MONTHS, WEBSOCKET_VERBS, Details, escape
from daphne.errors import ConfigurationError

Line = Callable[[str, str, Details], str]
Part = Callable[[str, Details], str]
"""Gives one part of a line; called with the method, or the step of a WebSocket, and the details."""

_PART = re.compile(r"%\((?:(?P<letter>[a-zA-Z])|\{(?P<name>[^{}]+)\}(?P<where>[ioe]))\)s|(?P<percent>%%)|%")


def compile_format(text: str) -> Line:
    """Make of a format, or the word `json`, a function that gives the line for an action of the server.

    Raises ConfigurationError for a format with a part that there is not.
    """
    if text == "json":
        return _json_line
    parts: list[str | Part] = []
    end = 0
    for match in _PART.finditer(text):
        parts += [text[end : match.start()], _part(match, text)]
        end = match.end()
    parts = [part for part in (*parts, text[end:]) if part != ""]

    def line(protocol: str, action: str, details: Details) -> str:
        method = WEBSOCKET_VERBS[action] if protocol == "websocket" else details["method"]
        return "".join([part if isinstance(part, str) else part(method, details) for part in parts])

    return line


def _part(match: re.Match[str], text: str) -> str | Part:
    if match["percent"]:
        return "%"
    if match["letter"] in _LETTERS:
        return _LETTERS[match["letter"]]
    if match["where"] == "e":
        return escape(os.environ.get(match["name"], "-"))
    if match["where"]:
        return _header_part("request_headers" if match["where"] == "i" else "response_headers", match["name"])
    raise ConfigurationError(
        f"--access-log-format: {text[match.start() : match.start() + 8]!r} is no part of a format; "
        "see the letters in the documentation, and write a per cent sign as %%"
    )


def _header_part(headers: str, name: str) -> Part:
    wanted = name.lower().encode("utf-8")
    return lambda method, details: escape(_header(details, headers, wanted) or "-")


def _header(details: Details, headers: str, wanted: bytes) -> str:
    """The value of a header, several joined by commas, one character a byte; empty if there is none."""
    values = [value for name, value in details.get(headers) or () if name.lower() == wanted]
    return b", ".join(values).decode("latin-1")


def _host(method: str, details: Details) -> str:
    client = details["client"]
    return escape(client.rpartition(":")[0]) if client else "-"


def _user(method: str, details: Details) -> str:
    scheme, _, credentials = _header(details, "request_headers", b"authorization").partition(" ")
    if scheme.lower() != "basic":
        return "-"
    try:
        user = base64.b64decode(credentials, validate=True).partition(b":")[0]
    except (binascii.Error, ValueError):
        return "-"
    return escape(user.decode("latin-1")) or "-"


def _time(method: str, details: Details) -> str:
    return _local_time(int(time.time()))


@functools.lru_cache(maxsize=2)
def _local_time(seconds: int) -> str:
    now = datetime.datetime.fromtimestamp(seconds).astimezone()
    return f"[{now:%d}/{MONTHS[now.month]}/{now:%Y:%H:%M:%S %z}]"


def _request(method: str, details: Details) -> str:
    line = f"{method} {details['path']}"
    if "method" in details and _version(details):
        line += f" HTTP/{_version(details)}"
    return escape(line)


def _protocol(method: str, details: Details) -> str:
    return f"HTTP/{_version(details)}" if _version(details) else "-"


def _version(details: Details) -> str | None:
    """None for a request that was refused before its version was read."""
    version = details.get("http_version")
    return version if version != "-" else None


def _seconds(form: Callable[[float], str]) -> Part:
    def part(method: str, details: Details) -> str:
        taken = details.get("time_taken")
        return "-" if taken is None else form(taken)

    return part


_LETTERS: dict[str, Part] = {
    "h": _host,
    "l": lambda method, details: "-",
    "u": _user,
    "t": _time,
    "r": _request,
    "m": lambda method, details: escape(method),
    "U": lambda method, details: escape(details["path"].partition("?")[0]),
    "q": lambda method, details: escape(details["path"].partition("?")[2]),
    "H": _protocol,
    "s": lambda method, details: str(details.get("status") or "-"),
    "B": lambda method, details: str(details.get("size", "-")),
    "b": lambda method, details: str(details.get("size") or "-"),
    "f": _header_part("request_headers", "referer"),
    "a": _header_part("request_headers", "user-agent"),
    "T": _seconds(lambda taken: str(int(taken))),
    "D": _seconds(lambda taken: str(round(taken * 1_000_000))),
    "M": _seconds(lambda taken: str(round(taken * 1_000))),
    "L": _seconds(lambda taken: f"{taken:.6f}"),
    "p": lambda method, details: f"<{os.getpid()}>",
}


def _json_line(protocol: str, action: str, details: Details) -> str:
    """One object; what is not known is null, and what an action does not have is not there."""
    path, _, query = details["path"].partition("?")
    entry = {
        "time": datetime.datetime.now().astimezone().isoformat(timespec="milliseconds"),
        "protocol": protocol,
        "action": action,
        "client": details["client"],
        "path": path,
        "query": query,
        "http_version": _version(details),
    }
    for name in ("method", "scheme", "status", "size", "time_taken"):
        if name in details:
            entry[name] = details[name]
    if "time_taken" in entry:
        entry["time_taken"] = round(entry["time_taken"], 6)
    entry["user_agent"] = _header(details, "request_headers", b"user-agent") or None
    entry["referer"] = _header(details, "request_headers", b"referer") or None
    return json.dumps(entry)
