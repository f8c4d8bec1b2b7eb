"""What the loop's TLS needs, taken out of Twisted's CertificateOptions.

Called by `daphne.reactor.LoopReactor.listenSSL`.
The private attributes of Twisted that this needs are used here only.
"""

from __future__ import annotations

import ssl
from typing import Any

from daphne.reactor.certificates import Certificate, TLSOptions

AS_BY_DEFAULT = (
    "method",
    "verify",
    "caCerts",
    "trustRoot",
    "fixBrokenPeers",
    "_cipherString",
    "_acceptableProtocols",
    "_contextForServerName",
    "_context",
)
"""Attributes that the loop's TLS cannot follow, so they must be what they are when nobody sets them."""


def tls_options(context_factory: Any) -> TLSOptions | None:
    """The same in our terms, or None for what only pyOpenSSL can do: verification, own ciphers, ..."""
    from cryptography.hazmat.primitives import serialization
    from OpenSSL import SSL
    from twisted.internet.ssl import CertificateOptions, TLSVersion

    if type(context_factory) is not CertificateOptions or context_factory.certificate is None:
        return None
    given = context_factory
    only_new, only_old = given._options & SSL.OP_NO_TLSv1_2, given._options & SSL.OP_NO_TLSv1_3
    if only_new and only_old:
        return None  # neither is allowed: whatever that is to be, it is not ours
    plain = CertificateOptions(
        raiseMinimumTo=TLSVersion.TLSv1_3 if only_new else None,
        lowerMaximumSecurityTo=TLSVersion.TLSv1_2 if only_old else None,
    )
    if any(getattr(plain, name, None) != getattr(given, name, None) for name in AS_BY_DEFAULT):
        return None
    if plain._options & ~(given._options | SSL.OP_NO_TICKET):
        return None  # something that is off by default has been allowed, an old TLS for one
    private_key: Any = given.privateKey
    certificates: list[Any] = [given.certificate, *given.extraCertChain]
    pem = serialization.Encoding.PEM
    key = private_key.to_cryptography_key().private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    chain = b"".join(certificate.to_cryptography().public_bytes(pem) for certificate in certificates)
    dh_parameters: Any = given.dhParameters
    return TLSOptions(
        certificates=(Certificate(chain, key),),
        dh_parameters=None if dh_parameters is None else dh_parameters._dhFile.path,
        minimum=ssl.TLSVersion.TLSv1_3 if only_new else ssl.TLSVersion.TLSv1_2,
        maximum=ssl.TLSVersion.TLSv1_2 if only_old else ssl.TLSVersion.MAXIMUM_SUPPORTED,
        tickets=given.enableSessionTickets,
    )
