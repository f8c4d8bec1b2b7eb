"""daphne.reactor.tls_endpoint: the parameters of `ssl:` and `https:`."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import pytest

from daphne.errors import EndpointError
from daphne.reactor.certificates import CertificateFiles
from daphne.reactor.tls_endpoint import TLSEndpoint


def options(*positional: str, **named: str) -> Any:
    return TLSEndpoint(None, *positional, **named).options


def test_the_defaults_are_twisted_s() -> None:
    plain = options("8443")
    assert plain.certificates == (CertificateFiles("server.pem", "server.pem"),)
    assert plain.minimum == ssl.TLSVersion.TLSv1_2
    assert plain.maximum == ssl.TLSVersion.MAXIMUM_SUPPORTED
    assert plain.tickets
    assert plain.handshake_timeout == 10
    assert plain.client_ca is plain.dh_parameters is None


def test_parameters_go_by_place_or_by_name() -> None:
    by_place = options("8443", "a.key", "a.crt", "TLSv1_2_METHOD", "::1", "10", "chain.pem")
    by_name = options(
        port="8443",
        privateKey="a.key",
        certKey="a.crt",
        sslMethod="TLSv1_2_METHOD",
        extraCertChain="chain.pem",
    )
    assert by_place == by_name
    assert by_place.certificates == (CertificateFiles("a.crt", "a.key", "chain.pem"),)
    assert by_place.maximum == ssl.TLSVersion.TLSv1_2


def test_our_own_parameters() -> None:
    chosen = options(
        "8443",
        clientCA="ca.pem",
        clientAuth="optional",
        minimumVersion="1.3",
        tickets="no",
        handshakeTimeout="2.5",
        dhParameters="dh.pem",
    )
    assert (chosen.client_ca, chosen.client_certificate_required) == ("ca.pem", False)
    assert (chosen.minimum, chosen.tickets) == (ssl.TLSVersion.TLSv1_3, False)
    assert (chosen.handshake_timeout, chosen.dh_parameters) == (2.5, "dh.pem")


def test_several_certificates_have_commas_between_them(tmp_path: Path) -> None:
    assert options("8443", "a.pem,b.pem").certificates == (
        CertificateFiles("a.pem", "a.pem"),
        CertificateFiles("b.pem", "b.pem"),
    )
    odd = tmp_path / "a,b.pem"
    odd.touch()
    assert options("8443", str(odd)).certificates == (CertificateFiles(str(odd), str(odd)),)


@pytest.mark.parametrize(
    "positional, named, text",
    [
        ((), {}, "port is missing"),
        (("x",), {}, "port must be a number, not 'x'"),
        (("-1",), {}, "port must be positive"),
        (("1",), {"backlog": "many"}, "backlog must be a number"),
        (("1",), {"privatekey": "a.pem"}, "there is no parameter 'privatekey'"),
        (("1", "2", "3", "4", "5", "6", "7", "8"), {}, "too many parameters without a name"),
        (("1",), {"privateKey": "a,b", "certKey": "c"}, "must name equally many files"),
        (("1",), {"privateKey": "a", "extraCertChain": "c,d"}, "must name equally many files"),
        (("1",), {"sslmethod": "SSLv3_METHOD"}, "sslmethod must be one of .* not 'SSLv3_METHOD'"),
        (("1",), {"minimumVersion": "1.1"}, "minimumVersion must be one of 1.2, 1.3, not '1.1'"),
        (("1",), {"minimumVersion": "1.3", "sslmethod": "TLSv1_2_METHOD"}, "leave no version"),
        (("1",), {"clientAuth": "perhaps"}, "clientAuth must be one of required, optional"),
        (("1",), {"tickets": "perhaps"}, "tickets must be one of"),
        (("1",), {"handshakeTimeout": "0"}, "handshakeTimeout must be positive"),
        (("1",), {"handshakeTimeout": "nan"}, "handshakeTimeout must be positive"),
        (("1",), {"handshakeTimeout": "inf"}, "handshakeTimeout must be positive"),
    ],
)
def test_wrong_parameters_are_named(positional: tuple[str, ...], named: dict[str, str], text: str) -> None:
    with pytest.raises(EndpointError, match=text):
        options(*positional, **named)
