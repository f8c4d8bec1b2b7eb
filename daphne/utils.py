"""Names that code written for daphne 1.x and 4.x imports: X-Forwarded headers and header rules.

A door: nothing in the server calls it. The server's own reading of proxies' headers, from right to left and
only from trusted peers, is daphne.streams.forwarded.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from daphne.application.target import load_target

HEADER_NAME_RE = re.compile(rb"^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$")
"""What a header name consists of (RFC 9110 section 5.6.2)."""

INVALID_HEADER_VALUE_BYTES = frozenset(b"\x00\n\x0b\x0c\r\x85")
"""Bytes that daphne 4 refused in header values."""

Address = list[Any]


def import_by_path(path: str) -> Any:
    """The object at `package.module.attribute` or `package.module:attribute`; raises TargetError."""
    if ":" not in path:
        module, _, attribute = path.rpartition(".")
        path = f"{module}:{attribute}"
    return load_target(path)


def header_value(headers: Mapping[Any, Any], name: bytes | str) -> str:
    """The first value of a header as text; `headers` maps names to a value or a list of values."""
    value = headers[name]
    if isinstance(value, list):
        value = value[0]
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)


def parse_x_forwarded_for(
    headers: Any,
    address_header_name: str | None = "X-Forwarded-For",
    port_header_name: str | None = "X-Forwarded-Port",
    proto_header_name: str | None = "X-Forwarded-Proto",
    original_addr: Any = None,
    original_scheme: str | None = None,
) -> tuple[Any, str | None]:
    """The client's `[host, port]` and the scheme as the X-Forwarded headers say, else the originals.

    `headers` is a mapping or a Twisted `Headers`. The host is the left-most entry, the port 0 by default.
    """
    found = {_as_text(name).lower(): value for name, value in _pairs(headers)}
    if not address_header_name or address_header_name.lower() not in found:
        return original_addr, original_scheme
    host = header_value(found, address_header_name.lower()).split(",")[0].strip()
    port = _header(found, port_header_name)
    scheme = _header(found, proto_header_name)
    return [host, int(port) if port.isdecimal() else 0], scheme or original_scheme


def _pairs(headers: Any) -> Iterable[tuple[Any, Any]]:
    raw = getattr(headers, "getAllRawHeaders", None)
    pairs: Iterable[tuple[Any, Any]] = raw() if raw is not None else headers.items()
    return pairs


def _as_text(name: bytes | str) -> str:
    return name.decode("latin-1") if isinstance(name, bytes) else name


def _header(found: Mapping[str, Any], name: str | None) -> str:
    if not name or name.lower() not in found:
        return ""
    return header_value(found, name.lower()).strip()
