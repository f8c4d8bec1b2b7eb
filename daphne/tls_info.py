"""What the `tls` extension of ASGI says about a connection, whether the loop or pyOpenSSL does its TLS.

Called by the protocols for each connection; calls the transport. But for the loop's own without TLS, which
are nearly all that there are without TLS, it knows transports by their shape only.
"""

from __future__ import annotations

import functools
import ssl
import sys
from typing import Any

from daphne.reactor.transports import LoopTransport

MAXIMUM_WRAPPERS = 10

VERSIONS = {"TLSv1": 0x0301, "TLSv1.1": 0x0302, "TLSv1.2": 0x0303, "TLSv1.3": 0x0304}


def tls_info(transport: Any) -> dict[str, Any] | None:
    """The content of `scope["extensions"]["tls"]` (ASGI TLS extension), or None without TLS or after the end.

    Looks through Twisted's protocol wrappers (the PROXY protocol's is one) down to the first that encrypts.
    """
    if type(transport) is LoopTransport:
        return None
    twisted_tls = sys.modules.get("twisted.protocols.tls")
    for _ in range(MAXIMUM_WRAPPERS):
        ssl_object = getattr(transport, "ssl_object", None)
        if ssl_object is not None:
            return _from_ssl(ssl_object)
        if twisted_tls is not None and isinstance(transport, twisted_tls.TLSMemoryBIOProtocol):
            return _from_pyopenssl(transport.getHandle())
        transport = getattr(transport, "transport", None)
        if transport is None:
            break
    return None


def _from_ssl(ssl_object: Any) -> dict[str, Any]:
    return _extension(
        server=getattr(ssl_object.context, "certificate", None),
        clients=_client_chain(ssl_object),
        version=ssl_object.version(),
        cipher=ssl_object.cipher()[0],
    )


def _client_chain(ssl_object: Any) -> list[str]:
    """The certificates that the client sent, its own first."""
    if ssl_object.getpeercert(binary_form=True) is None:
        return []
    # Only 3.13 has this in public, and as DER; the object underneath has had it since 3.10.
    return [certificate.public_bytes() for certificate in ssl_object._sslobj.get_unverified_chain()]


def _from_pyopenssl(connection: Any) -> dict[str, Any]:
    from OpenSSL import crypto

    def pem(certificate: Any) -> str:
        return crypto.dump_certificate(crypto.FILETYPE_PEM, certificate).decode("ascii")

    server, client = connection.get_certificate(), connection.get_peer_certificate()
    clients = [] if client is None else [client, *(connection.get_peer_cert_chain() or [])]
    return _extension(
        server=server and pem(server),
        clients=[pem(certificate) for certificate in clients],
        version=connection.get_protocol_version_name(),
        cipher=connection.get_cipher_name(),
    )


def _extension(
    server: str | None, clients: list[str], version: str | None, cipher: str | None
) -> dict[str, Any]:
    return {
        "server_cert": server,
        "client_cert_chain": clients,
        "client_cert_name": _subject(clients[0]) if clients else None,
        # A connection with a certificate that cannot be verified does not come about.
        "client_cert_error": None,
        "tls_version": VERSIONS.get(version or ""),
        "cipher_suite": _cipher_suites().get(cipher or ""),
    }


def _subject(certificate: str) -> str:
    """The distinguished name as RFC 4514 writes it."""
    from cryptography import x509  # slow to import, and only client certificates need it

    return x509.load_pem_x509_certificate(certificate.encode("ascii")).subject.rfc4514_string()


@functools.cache
def _cipher_suites() -> dict[str, int]:
    """The two bytes that stand for each cipher suite on the wire, by OpenSSL's name for it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers("ALL:@SECLEVEL=0")
    return {cipher["name"]: cipher["id"] & 0xFFFF for cipher in context.get_ciphers()}
