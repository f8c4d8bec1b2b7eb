"""What an application may send as a response head; checked once, before the first byte goes out.

Called by the streams for responses, denials, trailers and early hints, on every wire (R10 and R11 of the
hostile-input rules).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from daphne.errors import ApplicationError
from daphne.streams.head import Headers, is_token

_CONTROLS = bytes(code for code in range(32) if code != 9) + b"\x7f"
_MOST_NAMES = 1024
_PLAIN, _CONTENT_LENGTH, _HOP, _CONNECTION, _DATE, _SERVER = range(6)

_KINDS = {
    b"content-length": _CONTENT_LENGTH,
    b"connection": _CONNECTION,
    b"date": _DATE,
    b"server": _SERVER,
    # Framing and the connection belong to the protocol, not to the application (ASGI "Response Start").
    b"transfer-encoding": _HOP,
    b"keep-alive": _HOP,
    b"proxy-connection": _HOP,
    b"upgrade": _HOP,
}
_names: dict[bytes, tuple[bytes, int]] = {}


class ResponseHead:
    """A checked response head, ready for any wire."""

    __slots__ = ("close", "content_length", "has_date", "has_server", "headers", "status")

    def __init__(self, status: int) -> None:
        self.status = status
        self.headers: Headers = []
        """Names lower-case; without the fields that belong to the connection."""
        self.content_length: int | None = None
        self.close = False
        """Whether the application asked for `connection: close`."""
        self.has_date = False
        self.has_server = False

    @property
    def bodiless(self) -> bool:
        """Whether the status forbids a body (RFC 9110 section 6.4.1)."""
        return self.status in (204, 304)


def check_response(status: Any, headers: Iterable[Any]) -> ResponseHead:
    """Judge a response head from the application.

    `status` must be an int from 200 to 999 (RFC 9110 section 15 ends at 599; a few proxies go further), names
    tokens and values free of control characters but the tab, all as bytes. Raises ApplicationError otherwise.
    """
    if type(status) is not int:
        raise ApplicationError(f"Status expected to be `int`, but got `{type(status)}`")
    if not 200 <= status <= 999:
        raise ApplicationError(f"Status {status} is no final status code (200 to 999)")
    head = ResponseHead(status)
    append = head.headers.append
    for name, value in check_fields(headers):
        known = _names.get(name) or _learn(name)
        lower, kind = known
        if kind:
            if kind == _HOP:
                continue
            if kind == _CONNECTION:
                head.close = head.close or b"close" in value.lower()
                continue
            if kind == _CONTENT_LENGTH:
                if not value.isdigit() or (head.content_length or int(value)) != int(value):
                    raise ApplicationError(f"Content-Length is {value!r}")
                if head.content_length is not None:
                    continue
                head.content_length = int(value)
            elif kind == _DATE:
                head.has_date = True
            else:
                head.has_server = True
        append((lower, value))
    return head


def check_fields(headers: Iterable[Any]) -> list[tuple[bytes, bytes]]:
    """Header fields as a list of pairs of bytes, each name a token, each value without control characters.

    Raises ApplicationError for anything else.
    """
    fields = headers if type(headers) is list else list(headers)
    try:
        values = b"\n".join([value for _, value in fields])
        if len(values.translate(None, _CONTROLS)) + len(fields) - bool(fields) != len(values):
            raise ApplicationError("Header value with a control character")
        for name, _ in fields:
            if name not in _names:
                _learn(name)
    except (TypeError, AttributeError, ValueError) as error:
        if isinstance(error, ApplicationError):
            raise
        raise _wrong_type(fields) from None
    return fields


def _learn(name: bytes) -> tuple[bytes, int]:
    if type(name) is not bytes:
        raise TypeError
    if not is_token(name):
        raise ApplicationError(f"Invalid header name {name!r}")
    lower = name.lower()
    known = (lower, _KINDS.get(lower, _PLAIN))
    if len(_names) < _MOST_NAMES:
        _names[name] = known
    return known


def _wrong_type(fields: list[Any]) -> ApplicationError:
    """The error that names the first field that is not a pair of bytes."""
    for field in fields:
        try:
            name, value = field
        except (TypeError, ValueError):
            return ApplicationError(f"Header {field!r} is not a pair of name and value")
        for part, what in ((name, "name"), (value, "value")):
            if type(part) is not bytes:
                return ApplicationError(
                    f"Header {what} {part!r} expected to be `bytes`, but got `{type(part)}`"
                )
    return ApplicationError("Header fields could not be read")
