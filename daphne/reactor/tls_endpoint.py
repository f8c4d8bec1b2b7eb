"""The endpoint `https:PORT:privateKey=...`: like Twisted's `ssl:`, with more parameters, on the loop's TLS.

Made by the Twisted plugin in `twisted/plugins/https_endpoint.py`; calls the reactor's `listenTLS`.
`docs/tls.rst` tells what the parameters mean.
"""

from __future__ import annotations

import os
import ssl
from typing import Any

from twisted.internet import defer, interfaces
from zope.interface import implementer

from daphne.errors import EndpointError
from daphne.reactor.certificates import CertificateFiles, TLSOptions
from daphne.reactor.listeners import BACKLOG

IN_TWISTED_S_ORDER = ("port", "privateKey", "certKey", "sslmethod", "interface", "backlog", "extraCertChain")
"""The parameters of Twisted's `ssl:` in the order in which they may be given without their names."""

NAMES = {
    *IN_TWISTED_S_ORDER,
    "dhParameters",
    "sslMethod",
    "clientCA",
    "clientAuth",
    "minimumVersion",
    "tickets",
    "handshakeTimeout",
}

METHODS = {
    "TLS_METHOD": ssl.TLSVersion.MAXIMUM_SUPPORTED,
    "TLS_SERVER_METHOD": ssl.TLSVersion.MAXIMUM_SUPPORTED,
    "SSLv23_METHOD": ssl.TLSVersion.MAXIMUM_SUPPORTED,
    "TLSv1_2_METHOD": ssl.TLSVersion.TLSv1_2,
}
"""pyOpenSSL's names for the versions, and the newest TLS that each allows."""

MINIMUM = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
SWITCH = {"1": True, "yes": True, "on": True, "0": False, "no": False, "off": False}
CLIENT_AUTH = {"required": True, "optional": False}


@implementer(interfaces.IStreamServerEndpoint)
class TLSEndpoint:
    """Listens with TLS on a TCP port. Made of the parts of an endpoint string; raises EndpointError."""

    def __init__(self, reactor: Any, *positional: str, **named: str) -> None:
        given = _given(positional, named)
        self._reactor = reactor
        self._port = _number(given, "port", None)
        self._backlog = _number(given, "backlog", BACKLOG)
        self._interface = given.get("interface", "")
        self.options = _options(given)

    def listen(self, protocolFactory: Any) -> defer.Deferred[Any]:
        """Give the port; fails with EndpointError (certificates) or CannotListenError."""
        return defer.execute(
            self._reactor.listenTLS,
            self._port,
            protocolFactory,
            self.options,
            self._backlog,
            self._interface,
        )


def _given(positional: tuple[str, ...], named: dict[str, str]) -> dict[str, str]:
    if len(positional) > len(IN_TWISTED_S_ORDER):
        raise EndpointError(f"there are too many parameters without a name: {positional[-1]!r}")
    unknown = sorted(named.keys() - NAMES)
    if unknown:
        raise EndpointError(f"there is no parameter {unknown[0]!r}")
    return dict(zip(IN_TWISTED_S_ORDER, positional, strict=False)) | named


def _options(given: dict[str, str]) -> TLSOptions:
    method = given.get("sslmethod", given.get("sslMethod", "TLS_METHOD"))
    minimum = _choice(given, "minimumVersion", MINIMUM, "1.2")
    maximum = _choice({"sslmethod": method}, "sslmethod", METHODS, method)
    if (minimum, maximum) == (ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_2):
        raise EndpointError(
            f"minimumVersion {given['minimumVersion']} and sslmethod {method} leave no version"
        )
    return TLSOptions(
        certificates=_certificates(given),
        dh_parameters=given.get("dhParameters"),
        client_ca=given.get("clientCA"),
        client_certificate_required=_choice(given, "clientAuth", CLIENT_AUTH, "required"),
        minimum=minimum,
        maximum=maximum,
        tickets=_choice(given, "tickets", SWITCH, "yes"),
        handshake_timeout=_number(given, "handshakeTimeout", 10, float),
    )


def _certificates(given: dict[str, str]) -> tuple[CertificateFiles, ...]:
    keys = _paths(given.get("privateKey", "server.pem"))
    certificates = _paths(given["certKey"]) if "certKey" in given else keys
    chains: list[Any] = _paths(given["extraCertChain"]) if "extraCertChain" in given else [None] * len(keys)
    if not len(keys) == len(certificates) == len(chains):
        raise EndpointError("privateKey, certKey and extraCertChain must name equally many files")
    return tuple(map(CertificateFiles, certificates, keys, chains))


def _paths(value: str) -> list[str]:
    """Several paths have commas between them; a file that has a comma in its name is still one."""
    return [value] if os.path.exists(value) else value.split(",")


def _number(given: dict[str, str], name: str, default: int | None, kind: Any = int) -> Any:
    value = given.get(name, default)
    try:
        number = kind(value)
    except (TypeError, ValueError) as problem:
        what = "is missing" if value is None else f"must be a number, not {value!r}"
        raise EndpointError(f"{name} {what}") from problem
    if number < 0 or (kind is float and not 0 < number < float("inf")):
        raise EndpointError(f"{name} must be positive, not {value!r}")
    return number


def _choice(given: dict[str, str], name: str, choices: dict[str, Any], default: str) -> Any:
    value = given.get(name, default)
    if value not in choices:
        raise EndpointError(f"{name} must be one of {', '.join(choices)}, not {value!r}")
    return choices[value]
