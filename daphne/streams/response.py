"""What an application may send as a response head; checked once, before the first byte goes out.

Called by the streams for responses, denials, trailers and early hints, on every wire (R10 and R11 of the
hostile-input rules); and by workers, so that an application that runs in one is told at once, too.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from daphne.errors import ApplicationError
from daphne.streams.head import Headers, is_token

_CONTROLS = bytes(code for code in range(32) if code != 9) + b"\x7f"
_MOST_KNOWN = 1024
_LONGEST_KNOWN = 256
_PLAIN: Final = 0
_CONTENT_LENGTH: Final = 1
_HOP: Final = 2
_CONNECTION: Final = 3
_STANDARD: Final = 4

_KINDS = {
    b"content-length": _CONTENT_LENGTH,
    b"connection": _CONNECTION,
    b"date": _STANDARD,
    b"server": _STANDARD,
    # Framing and the connection belong to the protocol, not to the application (ASGI "Response Start").
    b"transfer-encoding": _HOP,
    b"keep-alive": _HOP,
    b"proxy-connection": _HOP,
    b"upgrade": _HOP,
}
_CHANGING = frozenset((b"date", b"etag", b"last-modified", b"location", b"set-cookie"))


class _Field:
    """A field that has been checked."""

    __slots__ = ("kind", "line", "name", "number", "pair", "value")

    def __init__(self, name: bytes, value: bytes) -> None:
        self.name = name
        self.value = value
        self.kind = _KINDS.get(name, _PLAIN)
        self.pair: Any = (name, value)
        self.line = name + b": " + value
        """The field in HTTP/1."""
        self.number = -1
        """What a Content-Length says; -1 if that is no number."""
        if self.kind == _CONTENT_LENGTH and value.isdigit() and len(value) < 19:
            self.number = int(value)


_known_fields: Final[dict[Any, _Field]] = {}
"""Fields that have been checked: most of what applications send is the same every time."""

BODILESS: Final = frozenset((204, 304))
"""Final status codes without a body (RFC 9110 section 6.4.1)."""


class ResponseHead:
    """A checked response head, ready for any wire."""

    __slots__ = ("close", "content_length", "headers", "lines", "own_standard", "status")

    def __init__(self, status: int) -> None:
        self.status = status
        self.headers: Headers = []
        """Names lower-case; without the fields that belong to the connection."""
        self.lines: list[bytes] = []
        """The same as lines of HTTP/1, without their ends."""
        self.content_length: int | None = None
        self.close = False
        """Whether the application asked for `connection: close`."""
        self.own_standard = False
        """Whether the application gave a Date or Server field of its own."""

    @property
    def bodiless(self) -> bool:
        """Whether the status forbids a body."""
        return self.status in BODILESS

    def add(self, name: bytes, value: bytes) -> None:
        """Add a field that needs no check."""
        self.headers.append((name, value))
        self.lines.append(name + b": " + value)

    def take_special(self, field: _Field) -> bool:
        """Note what a field of a special kind says; whether it goes out as the application wrote it."""
        if field.kind == _CONTENT_LENGTH:
            first = self.content_length is None
            if field.number < 0 or not (first or self.content_length == field.number):
                raise ApplicationError(f"Content-Length is {field.value[:40]!r}, or not the same twice")
            self.content_length = field.number
            return first and self.status != 204  # RFC 9110 section 8.6
        if field.kind == _CONNECTION:
            self.close = self.close or b"close" in field.value.lower()
        elif field.kind == _STANDARD:
            self.own_standard = True
            return True
        return False


def check_response(status: Any, headers: Iterable[Any]) -> ResponseHead:
    """Judge a response head from the application.

    See `check_status`; names must be tokens and values free of control characters but the tab, all as bytes.
    Raises ApplicationError otherwise.
    """
    head = ResponseHead(check_status(status))
    fields: list[Any] = head.headers
    lines = head.lines
    for given in headers:
        field = _checked(given)
        if field.kind == _PLAIN or head.take_special(field):
            fields.append(field.pair)
            lines.append(field.line)
    return head


def check_status(status: Any) -> int:
    """A final status code: an int from 200 to 999 (RFC 9110 section 15 ends at 599; few proxies go further),
    or an enumeration's, such as `http.HTTPStatus`. Raises ApplicationError otherwise.
    """
    if not isinstance(status, int):
        raise ApplicationError(f"Status expected to be `int`, but got `{type(status)}`")
    if not 200 <= status <= 999:
        raise ApplicationError(f"Status {status} is no final status code (200 to 999)")
    return int(status)


def check_body(body: Any) -> bytes:
    """A piece of a body. Raises ApplicationError for what is not like bytes."""
    if type(body) is bytes:
        return body
    if not isinstance(body, bytes | bytearray | memoryview):
        raise ApplicationError(f"Body expected to be `bytes`, but got `{type(body)}`")
    return bytes(body)


def check_fields(headers: Iterable[Any]) -> Headers:
    """Header fields as pairs of a lower-case token and a value without control characters.

    Raises ApplicationError for anything that is not a pair of bytes like that.
    """
    return [_checked(field).pair for field in headers]


def check_plain_fields(headers: Iterable[Any]) -> Headers:
    """The same without those that frame a message or belong to the connection: for trailers (RFC 9110 section
    6.5.1) and for the answer to a WebSocket handshake.
    """
    checked = [_checked(field) for field in headers]
    return [field.pair for field in checked if field.kind in (_PLAIN, _STANDARD)]


def _checked(given: Any) -> _Field:
    try:
        field = _known_fields.get(given)
    except TypeError:  # a list instead of a tuple
        field = None
    return _check_field(given) if field is None else field


def _check_field(given: Any) -> _Field:
    try:
        name, value = given
    except (TypeError, ValueError):
        raise ApplicationError(f"Header {given!r} is not a pair of name and value") from None
    for part, what in ((name, "name"), (value, "value")):
        if type(part) is not bytes:
            raise ApplicationError(f"Header {what} {part!r} expected to be `bytes`, but got `{type(part)}`")
    if not is_token(name):
        raise ApplicationError(f"Invalid header name {name!r}")
    if len(value.translate(None, _CONTROLS)) != len(value):
        raise ApplicationError(f"Header value with a control character in {name!r}")
    # White space around a value is no part of it, and malformed in HTTP/2 (RFC 9113 section 8.2.1).
    field = _Field(name.lower(), value.strip(b" \t"))
    if len(value) <= _LONGEST_KNOWN and field.name not in _CHANGING:
        if len(_known_fields) >= _MOST_KNOWN:
            _known_fields.clear()
        _known_fields[name, value] = field
    return field
