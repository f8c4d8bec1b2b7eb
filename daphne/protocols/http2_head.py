"""From the header list of an HTTP/2 request to a validated RequestHead (RFC 9113 section 8, RFC 8441).

Called by http2_exchange with each decoded field block; calls streams.head, where the rules that hold on
every wire stand.

What RFC 9113 calls malformed raises StreamReset(PROTOCOL_ERROR); what is well-formed but not served raises
RequestRefused with the status that HTTP/1.1 answers the same request with.
"""

from __future__ import annotations

from daphne.errors import RequestRefused, StreamReset
from daphne.protocols.http2_frames import PROTOCOL_ERROR
from daphne.settings import Settings
from daphne.streams.head import (
    DROPPED,
    PLAIN,
    Headers,
    RequestHead,
    is_token,
    learn_field_name,
)

_METHODS = frozenset((b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS", b"CONNECT"))
"""Those that need no look at their characters."""
_PSEUDO = frozenset((b":method", b":scheme", b":authority", b":path", b":protocol"))
_FORBIDDEN = frozenset(b"connection proxy-connection keep-alive transfer-encoding upgrade".split())
"""Fields that belong to an HTTP/1.1 connection (RFC 9113 section 8.2.2)."""
_WATCHED = frozenset(b"host content-length expect daphne-root-path te cookie priority".split())
_WATCH, _MALFORMED = 1, 3
_CONTROLS = bytes(code for code in range(32) if code != 9) + b"\x7f"
_MOST_NAMES = 1024

_kinds: dict[bytes, int] = {}
"""Name -> what to do with the field; filled as names come, within a bound."""


def _malformed(what: str) -> StreamReset:
    return StreamReset(PROTOCOL_ERROR, what)


def _learn(name: bytes) -> int:
    """Judge a field name that is not in `_kinds` yet (RFC 9113 sections 8.2.1 and 8.2.2)."""
    if not is_token(name) or name != name.lower() or name in _FORBIDDEN:
        return _MALFORMED
    kind = learn_field_name(name)[1]
    if kind != DROPPED:
        kind = _WATCH if name in _WATCHED else PLAIN
    if len(_kinds) < _MOST_NAMES and len(name) <= 64:
        _kinds[name] = kind
    return kind


class HTTP2Head:
    """What one field block asks for: the head that every wire has, and what only HTTP/2 says."""

    __slots__ = ("head", "priority", "protocol")

    def __init__(self, head: RequestHead) -> None:
        self.head = head
        self.protocol: bytes | None = None
        """The `:protocol` of an extended CONNECT (RFC 8441 section 4)."""
        self.priority: bytes | None = None
        """The value of the `priority` field (RFC 9218 section 5)."""


def read_head(fields: Headers, size: int, settings: Settings) -> HTTP2Head:
    """Validate a request's header list. `size` is that of the whole list as RFC 9113 section 6.5.2 counts
    it.
    """
    _check_size(fields, size, settings)
    _check_values(fields)
    pseudo: dict[bytes, bytes] = {}
    for name, value in fields:
        if name[:1] != b":":
            break
        if name in pseudo or name not in _PSEUDO:
            raise _malformed("a pseudo-header field that is repeated or unknown")
        pseudo[name] = value
    method, path = pseudo.get(b":method"), pseudo.get(b":path")
    if method is None or not (method in _METHODS or is_token(method)):
        raise _malformed("no :method, or one that is no token")
    request = HTTP2Head(RequestHead(method.decode("ascii"), path or b"", "2", []))
    request.protocol = pseudo.get(b":protocol")
    if len(fields) - len(pseudo) > settings.max_header_count:
        raise RequestRefused(431, "too many header fields", limit="max_header_count")
    if len(fields) > len(pseudo):
        _take_fields(request, fields[len(pseudo) :])
    if method == b"CONNECT":
        _check_connect(pseudo)
    elif request.protocol is not None or path is None:
        raise _malformed(":protocol without CONNECT, or no :path")
    _take_scheme(request.head, pseudo)
    _take_authority(request.head, pseudo.get(b":authority"), settings)
    _take_path(request.head, settings)
    return request


def _check_size(fields: Headers, size: int, settings: Settings) -> None:
    if size > settings.http2_max_header_list_size:
        raise RequestRefused(431, "header list too large", limit="http2_max_header_list_size")
    if size - 32 * len(fields) > settings.max_header_size:
        raise RequestRefused(431, "header too large", limit="max_header_size")


def _check_values(fields: Headers) -> None:
    """No control character but the tab, and no white space at either end (RFC 9113 section 8.2.1, RFC
    9110 section 5.5).
    """
    values = b"\n".join([b"", *[value for _, value in fields], b""])
    if len(values.translate(None, _CONTROLS)) + len(fields) + 1 != len(values):
        raise _malformed("a field value with a control character")
    if b"\n " in values or b" \n" in values or b"\n\t" in values or b"\t\n" in values:
        raise _malformed("a field value that begins or ends with white space")


def _take_fields(request: HTTP2Head, fields: Headers) -> None:
    """Take the fields that are no pseudo-headers."""
    append = request.head.headers.append
    cookies: list[bytes] = []
    for field in fields:
        name = field[0]
        kind = _kinds.get(name)
        if kind is None:
            kind = _learn(name)
        if kind == PLAIN:
            append(field)
        elif kind == _WATCH:
            if name == b"cookie":
                if not cookies:
                    append(field)
                cookies.append(field[1])
            else:
                _take_watched(request, name, field[1])
        elif kind == _MALFORMED:
            raise _malformed("a field name that is malformed or belongs to HTTP/1.1")
    if len(cookies) > 1:
        _join_cookies(request.head.headers, cookies)


def _take_watched(request: HTTP2Head, name: bytes, value: bytes) -> None:
    head = request.head
    if name == b"te":
        if value.lower() != b"trailers":
            raise _malformed("te that is not trailers")
    elif name == b"priority":
        request.priority = value if request.priority is None else request.priority + b"," + value
    elif name == b"expect":
        head.take_special(name, value)
    else:
        try:
            head.take_special(name, value)
        except RequestRefused as refusal:
            raise _malformed(refusal.reason) from None
    if name != b"daphne-root-path":
        head.headers.append((name, value))


def _join_cookies(headers: Headers, cookies: list[bytes]) -> None:
    """One field again of the crumbs that a client may make of it (RFC 9113 section 8.2.3)."""
    at = next(index for index, (name, _) in enumerate(headers) if name == b"cookie")
    headers[at] = (b"cookie", b"; ".join(cookies))


def _check_connect(pseudo: dict[bytes, bytes]) -> None:
    """A CONNECT names an authority and nothing more, unless it is extended (RFC 9113 section 8.5, RFC
    8441 section 4).
    """
    if b":authority" not in pseudo:
        raise _malformed("CONNECT without :authority")
    protocol = pseudo.get(b":protocol")
    if protocol is None:
        if b":scheme" in pseudo or b":path" in pseudo:
            raise _malformed("CONNECT with :scheme or :path")
        raise RequestRefused(501, "CONNECT")
    if b":scheme" not in pseudo or b":path" not in pseudo:
        raise _malformed("extended CONNECT without :scheme or :path")
    if protocol != b"websocket":
        raise RequestRefused(501, "extended CONNECT to another protocol than websocket")


def _take_scheme(head: RequestHead, pseudo: dict[bytes, bytes]) -> None:
    scheme = pseudo.get(b":scheme")
    if scheme is None:
        raise _malformed("no :scheme")
    head.scheme = scheme.lower()
    if head.scheme not in (b"http", b"https"):
        raise RequestRefused(400, "a scheme that this server does not serve")


def _take_authority(head: RequestHead, authority: bytes | None, settings: Settings) -> None:
    """`:authority` stands for Host; where both are, they must agree (RFC 9113 section 8.3.1)."""
    if authority is None:
        if head.host is None and settings.strict_host:
            raise RequestRefused(400, "neither :authority nor Host")
        return
    if not authority or authority[:1] == b":":
        raise RequestRefused(400, "malformed :authority")
    host, head.host = head.host, None
    head.take_special(b"host", authority)
    if host is None:
        head.headers.insert(0, (b"host", authority))
    elif host.lower() == authority.lower():
        head.replace_host(authority)
    else:
        raise _malformed("Host differs from :authority")


def _take_path(head: RequestHead, settings: Settings) -> None:
    path = head.target
    if path[:1] != b"/" and not (path == b"*" and head.method == "OPTIONS"):
        raise _malformed(":path that is not in origin form")
    if len(head.method) + len(path) + len(" HTTP/2.0\r\n") + 1 > settings.max_request_line:
        raise RequestRefused(414, ":path too long", limit="max_request_line")
    head.take_target()


def check_trailers(fields: Headers) -> None:
    """Raise StreamReset unless these may be the trailers of a request; they are not looked at further
    (RFC 9113 section 8.1).
    """
    _check_values(fields)
    for name, _ in fields:
        if name[:1] == b":" or (_kinds.get(name) or _learn(name)) == _MALFORMED:
            raise _malformed("malformed trailers")
