"""The validated request head: what every protocol parses once, and everything else judges by.

Made by protocols/ (one per request), read by scope, streams and the WebSocket handshake. The rules here are
those that hold on every wire; framing rules of one wire stand in that wire's module.
"""

from __future__ import annotations

import re
from ipaddress import IPv6Address
from typing import Final

from daphne.errors import RequestRefused

Headers = list[tuple[bytes, bytes]]

PLAIN: Final = 0
SPECIAL: Final = 1
DROPPED: Final = 2

_SPECIAL_NAMES = frozenset(
    b"host content-length transfer-encoding connection upgrade expect daphne-root-path".split()
)
_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_AUTHORITY = re.compile(
    rb"(?:\[([0-9A-Fa-f:.]+)\]|(?:[0-9A-Za-z\-._~!$&'()*+,;=]|%[0-9A-Fa-f]{2})*)(?::([0-9]{0,5}))?",
)
_OUTSIDE_TARGETS: Final = bytes(code if 32 < code < 127 and code != 35 else 47 for code in range(256))
"""A translation that changes what is not printable ASCII, and "#": a fragment is no part of a target."""
_MOST_NAMES = 1024

# As integers: `in` finds these at once, where for bytes of length one it first fails to read a number.
PERCENT: Final = 37
_QUESTION_MARK: Final = 63

COMMON_FIELDS: Final = frozenset(
    b"accept accept-encoding accept-language cache-control connection content-type dnt host origin pragma "
    b"priority sec-ch-ua sec-ch-ua-mobile sec-ch-ua-platform sec-fetch-dest sec-fetch-mode sec-fetch-site "
    b"sec-fetch-user sec-gpc sec-websocket-extensions sec-websocket-version te upgrade "
    b"upgrade-insecure-requests user-agent via x-forwarded-proto x-requested-with".split()
)
"""Fields of which many clients send the same few lines, as HPACK assumes; none that carries a secret."""

field_names: Final[dict[bytes, tuple[bytes, int]]] = {}
"""Name as received -> (lower-case name, PLAIN, SPECIAL or DROPPED); filled as names come, within a bound."""


def learn_field_name(name: bytes) -> tuple[bytes, int]:
    """Judge a field name that is not in `field_names` yet.

    Names with `_` are dropped, since CGI-style servers behind us cannot tell them from those with `-`
    (CVE-2015-0219); so is `Proxy` (CVE-2016-5385).
    """
    lower = name.lower()
    if b"_" in lower or lower == b"proxy":
        kind = DROPPED
    elif lower in _SPECIAL_NAMES:
        kind = SPECIAL
    else:
        kind = PLAIN
    if len(field_names) < _MOST_NAMES and len(lower) <= 64:
        field_names[name] = (lower, kind)
    return lower, kind


_hosts: Final[set[bytes]] = set()
"""Host values that have been found well-formed; a server is asked for few."""


def _check_host(value: bytes) -> None:
    if not is_authority(value):
        raise RequestRefused(400, "malformed Host field")
    if len(_hosts) < _MOST_NAMES and len(value) <= 255:
        _hosts.add(value)


def is_token(value: bytes) -> bool:
    """Whether `value` is an RFC 9110 section 5.6.2 token."""
    return _TOKEN.fullmatch(value) is not None


def token_list(value: bytes) -> list[bytes]:
    """The lower-cased elements of a list field (RFC 9110 section 5.6.1), empty ones left out."""
    return [token for item in value.lower().split(b",") if (token := item.strip(b" \t"))]


_known_lists: Final[dict[bytes, tuple[bytes, ...]]] = {}
"""What `Connection` and `Upgrade` have said, and the elements of it: always one of a few things."""


def _tokens(value: bytes) -> tuple[bytes, ...]:
    known = _known_lists.get(value)
    if known is None:
        known = tuple(token_list(value))
        if len(_known_lists) < _MOST_NAMES and len(value) <= 64:
            _known_lists[value] = known
    return known


def is_authority(value: bytes) -> bool:
    """Whether `value` is a well-formed `host [":" port]` (RFC 9110 section 7.2, RFC 3986 section 3.2)."""
    match = _AUTHORITY.fullmatch(value)
    if match is None:
        return False
    address, port = match.groups()
    try:
        if address is not None:
            IPv6Address(address.decode("ascii"))
    except ValueError:
        return False
    return not port or int(port) <= 65535


class RequestHead:
    """One request's head, validated. All bytes are as received, except that names are lower-case."""

    __slots__ = (
        "chunked",
        "connection",
        "content_length",
        "expects_continue",
        "framed",
        "headers",
        "host",
        "http_version",
        "method",
        "query_string",
        "raw_path",
        "root_path",
        "scheme",
        "target",
        "upgrade",
    )

    def __init__(self, method: str, target: bytes, http_version: str, headers: Headers) -> None:
        self.method = method
        self.target = target
        """The request target as it stood on the wire (in HTTP/2: `:path`)."""
        self.http_version = http_version
        self.headers = headers
        self.raw_path = target
        self.query_string = b""
        self.scheme: bytes | None = None
        """The scheme of an absolute target or of HTTP/2's `:scheme`; not how the connection is secured."""
        self.host: bytes | None = None
        self.content_length: int | None = None
        self.chunked = False
        self.framed = False
        """Whether a body or another protocol may follow the head."""
        self.connection: tuple[bytes, ...] = ()
        """The options of the Connection field, lower-case."""
        self.upgrade: tuple[bytes, ...] = ()
        """The protocols of the Upgrade field, lower-case."""
        self.expects_continue = False
        self.root_path: bytes | None = None
        """The value of `Daphne-Root-Path`, which only trusted peers may set."""

    def take_special(self, name: bytes, value: bytes) -> None:
        """Note what a SPECIAL field says.

        Raises RequestRefused for what can be read in two ways: repeated Host, repeated or non-decimal
        Content-Length (RFC 9112 section 6.3), an expectation that is not `100-continue` (RFC 9110 section
        10.1.1).
        """
        if name == b"host":
            if self.host is not None:
                raise RequestRefused(400, "more than one Host field")
            if value not in _hosts:
                _check_host(value)
            self.host = value
        elif name == b"connection":
            self.connection += _tokens(value)
        elif name == b"content-length":
            if self.content_length is not None:
                raise RequestRefused(400, "more than one Content-Length field")
            if not value.isdigit() or len(value) > 18:
                raise RequestRefused(400, "malformed Content-Length field")
            self.content_length = int(value)
            self.framed = True
        elif name == b"transfer-encoding":
            if self.chunked:
                raise RequestRefused(400, "more than one Transfer-Encoding field")
            if value.lower() != b"chunked":
                raise RequestRefused(400, "a transfer coding other than chunked alone")
            self.chunked = self.framed = True
        elif name == b"upgrade":
            self.upgrade += _tokens(value)
            self.framed = True
        elif name == b"expect":
            if value.lower() != b"100-continue":
                raise RequestRefused(417, "an expectation other than 100-continue")
            self.expects_continue = True
        elif name == b"daphne-root-path":
            self.root_path = value

    def take_target(self) -> None:
        """Split the target into path and query after its form (RFC 9112 section 3.2).

        Origin-form and asterisk-form (OPTIONS only) stand as they are; of an absolute-form the path is taken
        and its authority replaces the Host field (RFC 9112 section 3.2.2). Raises RequestRefused(400) for all
        else, and for what is not printable ASCII without a fragment (RFC 3986).
        """
        target = self.target
        if not target or target.translate(_OUTSIDE_TARGETS) != target:
            raise RequestRefused(400, "invalid characters in the target")
        if target[:1] != b"/":
            self.raw_path = target = self._absolute_or_asterisk(target)
        if _QUESTION_MARK in target:
            self.raw_path, _, self.query_string = target.partition(b"?")

    def _absolute_or_asterisk(self, target: bytes) -> bytes:
        if target == b"*" and self.method == "OPTIONS":
            return target
        scheme, separator, rest = target.partition(b"://")
        scheme = scheme.lower()
        if not separator or scheme not in (b"http", b"https"):
            raise RequestRefused(400, "a target in none of the forms that this server answers")
        end = min((at for at in (rest.find(b"/"), rest.find(b"?")) if at >= 0), default=len(rest))
        authority, path = rest[:end], rest[end:]
        if not authority or not is_authority(authority) or authority[:1] == b":":
            raise RequestRefused(400, "malformed authority in the target")
        self.scheme = scheme
        self.replace_host(authority)
        return path if path[:1] == b"/" else b"/" + path

    def replace_host(self, authority: bytes) -> None:
        """Let `authority` stand as the only Host field, at the place of the old one or at the front."""
        self.host = authority
        for index, (name, _) in enumerate(self.headers):
            if name == b"host":
                self.headers[index] = (b"host", authority)
                return
        self.headers.insert(0, (b"host", authority))
