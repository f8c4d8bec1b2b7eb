"""What proxies in front of us say about the client, and whether they are to be believed.

Called by scope.ScopeBuilder for HTTP and WebSocket alike. X-Forwarded-For/-Port/-Proto and RFC 7239
`Forwarded` are read from right to left: each proxy appends, so the right-most entry comes from our own peer,
and an entry is believed only as long as all to its right are trusted proxies. Whatever is malformed is passed
over; it never fails a request.
"""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache

from daphne.errors import ConfigurationError
from daphne.streams.head import Headers

Address = tuple[str, int]

_LONGEST_ADDRESS = 100
"""Characters of what may be an address (an IPv6 one with its zone and a port); what it says is kept."""

_SCHEMES = frozenset(("http", "https", "ws", "wss"))
_PAIR = re.compile(r"\s*([A-Za-z]+)=(?:\"((?:[^\"\\]|\\.)*)\"|([^\s;,\"]*))\s*")


class TrustedProxies:
    """The peers whose forwarded headers count: IP addresses, networks, `unix`, `*` (all) or `none`."""

    __slots__ = ("_all", "_networks", "_unix_peers", "_verdicts")

    def __init__(self, peers: tuple[str, ...]) -> None:
        self._all = "*" in peers
        self._unix_peers = self._all or "unix" in peers
        self._verdicts: dict[str, bool] = {}
        try:
            self._networks = [
                ipaddress.ip_network(peer, strict=False)
                for peer in peers
                if peer not in ("*", "unix", "none", "")
            ]
        except ValueError as error:
            raise ConfigurationError(f"--trusted-proxies: {error}") from None

    def trusts(self, host: str | None) -> bool:
        """Whether the peer at IP address `host` is trusted; None stands for a unix socket."""
        if host is None:
            return self._unix_peers
        if self._all:
            return True
        verdict = self._verdicts.get(host)
        if verdict is None:
            verdict = self._judge(host)
            if len(self._verdicts) < 4096:
                self._verdicts[host] = verdict
        return verdict

    def _judge(self, host: str) -> bool:
        try:
            address: ipaddress.IPv4Address | ipaddress.IPv6Address = ipaddress.ip_address(
                host.partition("%")[0]
            )
        except ValueError:
            return False
        mapped = getattr(address, "ipv4_mapped", None)
        return any((mapped or address) in network for network in self._networks)


class ForwardedNames:
    """The names (lower-case bytes) of the three X-Forwarded fields; None where one is not to be read."""

    __slots__ = ("address", "all", "port", "proto")

    def __init__(self, address: str | None, port: str | None, proto: str | None) -> None:
        self.address = address.lower().encode("latin-1") if address else None
        self.port = port.lower().encode("latin-1") if port else None
        self.proto = proto.lower().encode("latin-1") if proto else None
        self.all = frozenset(name for name in (self.address, self.port, self.proto, b"forwarded") if name)


def forwarded(
    headers: Headers, names: ForwardedNames, trusted: TrustedProxies
) -> tuple[Address | None, str | None]:
    """The client's (address, port) and the scheme as proxies report them, None where they do not.

    `headers` came from a peer that is trusted already. The port is 0 where none is given.
    """
    found: dict[bytes, list[str]] = {}
    for name, value in headers:
        if name in names.all:
            found.setdefault(name, []).append(value.decode("latin-1"))
    if not found:
        return None, None
    if names.address in found or names.proto in found or names.port in found:
        return _from_x_forwarded(found, names, trusted)
    return _from_forwarded(",".join(found[b"forwarded"]), trusted)


def _from_x_forwarded(
    found: dict[bytes, list[str]], names: ForwardedNames, trusted: TrustedProxies
) -> tuple[Address | None, str | None]:
    entries = ",".join(found.get(names.address or b"", ())).split(",")
    client, _ = _first_untrusted(entries, trusted)
    port = ",".join(found.get(names.port or b"", ())).rpartition(",")[2].strip()
    if client is not None and not client[1] and _is_port(port):
        client = (client[0], int(port))
    proto = ",".join(found.get(names.proto or b"", ())).rpartition(",")[2].strip().lower()
    return client, proto if proto in _SCHEMES else None


def _from_forwarded(value: str, trusted: TrustedProxies) -> tuple[Address | None, str | None]:
    elements = [_parse_element(element) for element in _split(value, ",")]
    client, index = _first_untrusted([element.get("for", "") for element in elements], trusted)
    proto = elements[index].get("proto", "").lower() if elements else ""
    return client, proto if proto in _SCHEMES else None


def _split(value: str, separator: str) -> list[str]:
    """Split at the separators outside quoted strings, in one pass; parts that are blank are left out."""
    parts, start, quoted, escaped = [], 0, False, False
    for at, character in enumerate(value):
        if escaped:
            escaped = False
        elif character == '"':
            quoted = not quoted
        elif quoted:
            escaped = character == "\\"
        elif character == separator:
            parts.append(value[start:at])
            start = at + 1
    parts.append(value[start:])
    return [part for part in parts if part.strip()]


def _parse_element(element: str) -> dict[str, str]:
    """One RFC 7239 forwarded-element as a dict; a malformed one is empty."""
    pairs: dict[str, str] = {}
    for part in _split(element, ";"):
        match = _PAIR.fullmatch(part)
        if match is None:
            return {}
        quoted, plain = match.group(2), match.group(3)
        pairs[match.group(1).lower()] = plain if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
    return pairs


def _first_untrusted(hops: list[str], trusted: TrustedProxies) -> tuple[Address | None, int]:
    """Walk from right to left; the answer is the first hop that is no trusted proxy, or the last one that can
    be read. What is to the left of it, which anybody may have written, is not looked at.
    """
    client: Address | None = None
    at = len(hops) - 1
    for index in range(len(hops) - 1, -1, -1):
        text = hops[index].strip()
        hop = parse_address(text) if len(text) <= _LONGEST_ADDRESS else None
        if hop is None:
            break
        client, at = hop, index
        if not trusted.trusts(hop[0]):
            break
    return client, at


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 5 and int(text) <= 65535


@lru_cache(maxsize=1024)
def parse_address(text: str) -> Address | None:
    """An IP address with or without a port (`192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]:80`),
    or None.
    """
    host, port = text, ""
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            return None
        port = rest[1:]
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    if port and not _is_port(port):
        return None
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    mapped = getattr(address, "ipv4_mapped", None)
    # Written as the kernel writes it; Python before 3.13 has ::ffff:c000:201 for it.
    return f"::ffff:{mapped}" if mapped else str(address), int(port or 0)
