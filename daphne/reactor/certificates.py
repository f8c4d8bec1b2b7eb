"""Server certificates, and the TLS contexts that are made of them.

Called by `daphne.reactor` (for `listenTLS` and `listenSSL`) and by `daphne.endpoints`; calls the `ssl`
module.

TLS is 1.2 and 1.3 only (RFC 8996 forbids the older ones), with the ciphers of RFC 9325 section 4.2: ephemeral
keys and authenticated encryption. Whatever cannot be loaded raises EndpointError in one line.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import ssl
import tempfile
from collections.abc import Iterator
from typing import Any, NoReturn

from twisted.internet.interfaces import IProtocolNegotiationFactory

from daphne.errors import EndpointError

CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""For TLS 1.2; the ciphers of TLS 1.3 are all good and are OpenSSL's own choice."""

CIPHERS_WITH_DH = CIPHERS + ":DHE+AESGCM:DHE+CHACHA20"


@dataclasses.dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate with its issuers' after it and its key, all PEM; the names are for messages."""

    chain: bytes
    key: bytes
    chain_name: str = "the certificate"
    key_name: str = "the private key"


@dataclasses.dataclass(frozen=True, slots=True)
class CertificateFiles:
    """Where a certificate, its key and its issuers' certificates are."""

    certificate: str
    key: str
    chain: str | None = None

    def read(self) -> Certificate:
        """Read them now; raises EndpointError."""
        chain = _read(self.certificate)
        if self.chain is not None:
            chain = chain + b"\n" + _read(self.chain)
        return Certificate(chain, _read(self.key), self.certificate, self.key)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TLSOptions:
    """How a port speaks TLS. The first certificate is for clients that name no host, or none that we know."""

    certificates: tuple[Certificate | CertificateFiles, ...]
    dh_parameters: str | None = None
    client_ca: str | None = None
    client_certificate_required: bool = True
    minimum: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2
    maximum: ssl.TLSVersion = ssl.TLSVersion.MAXIMUM_SUPPORTED
    tickets: bool = True
    handshake_timeout: float = 10.0
    """Seconds."""


class ServerContext(ssl.SSLContext):
    """A context that remembers its certificate in PEM form, for ASGI's `tls` extension."""

    certificate: str = ""


def make_context(options: TLSOptions, factory: Any) -> ServerContext:
    """Load everything and make the context, which picks a certificate by server name (RFC 6066 section 3).

    ALPN offers what the factory accepts, if it (or the one that it wraps) says so.
    """
    protocols = _acceptable_protocols(factory)
    by_name: dict[str, ServerContext] = {}
    default: ServerContext | None = None
    for source in options.certificates:
        certificate = source.read() if isinstance(source, CertificateFiles) else source
        context = _one_context(options, protocols)
        for name in _load(context, certificate):
            by_name.setdefault(name, context)
        default = default or context
    if default is None:
        raise EndpointError("there is no certificate")
    if len(options.certificates) > 1:
        default.sni_callback = _by_server_name(by_name)
    return default


def _acceptable_protocols(factory: Any) -> list[str]:
    while factory is not None:
        if IProtocolNegotiationFactory.providedBy(factory):
            return [name.decode("ascii") for name in factory.acceptableProtocols()]
        factory = getattr(factory, "wrappedFactory", None)
    return []


def _one_context(options: TLSOptions, protocols: list[str]) -> ServerContext:
    context = ServerContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = options.minimum
    context.maximum_version = options.maximum
    context.set_ciphers(CIPHERS if options.dh_parameters is None else CIPHERS_WITH_DH)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    if not options.tickets:
        context.options |= ssl.OP_NO_TICKET
        context.num_tickets = 0
    if protocols:
        context.set_alpn_protocols(protocols)
    if options.dh_parameters is not None:
        with _named(options.dh_parameters, "no Diffie-Hellman parameters"):
            context.load_dh_params(options.dh_parameters)
    if options.client_ca is not None:
        with _named(options.client_ca, "no certificates of an authority"):
            context.load_verify_locations(options.client_ca)
        context.verify_mode = ssl.CERT_REQUIRED if options.client_certificate_required else ssl.CERT_OPTIONAL
    return context


def _load(context: ServerContext, certificate: Certificate) -> set[str]:
    """Put certificate and key into the context, and give the host names that the certificate is for."""
    from cryptography import x509  # slow to import, and only TLS needs it

    try:
        first = x509.load_pem_x509_certificates(certificate.chain)[0]
    except ValueError as problem:
        raise EndpointError(f"{certificate.chain_name} holds no certificate in PEM form") from problem

    def refuse() -> NoReturn:
        raise EndpointError(f"{certificate.key_name} is encrypted; a server needs a key without a passphrase")

    with _private_file(certificate.chain) as chain, _private_file(certificate.key) as key:
        try:
            context.load_cert_chain(chain, key, password=refuse)
        except ssl.SSLError as problem:
            if problem.reason == "KEY_VALUES_MISMATCH":
                text = f"{certificate.key_name} is not the key of {certificate.chain_name}"
            elif "TOO_SMALL" in (problem.reason or ""):
                text = f"{certificate.chain_name} has a key that is too short to be safe"
            else:
                text = f"{certificate.key_name} holds no private key that can be used"
            raise EndpointError(text) from problem
    context.certificate = _pem(first)
    return _host_names(first)


def _pem(certificate: Any) -> str:
    from cryptography.hazmat.primitives.serialization import Encoding

    text: bytes = certificate.public_bytes(Encoding.PEM)
    return text.decode("ascii")


def _host_names(certificate: Any) -> set[str]:
    """The DNS names of the certificate, or its common name where it has none (RFC 6125)."""
    from cryptography import x509

    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        common = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
        return {str(name.value).lower() for name in common}
    return {name.lower() for name in names.get_values_for_type(x509.DNSName)}


def _by_server_name(contexts: dict[str, ServerContext]) -> Any:
    def choose(connection: Any, name: str | None, default: ssl.SSLContext) -> None:
        if name is not None:
            name = name.lower()
            wildcard = "*." + name.partition(".")[2]
            connection.context = contexts.get(name) or contexts.get(wildcard) or default

    return choose


@contextlib.contextmanager
def _private_file(content: bytes) -> Iterator[str]:
    """A path under which OpenSSL, which reads files only, can read this; nobody else can."""
    try:
        descriptor = os.memfd_create("tls")
        path = f"/proc/self/fd/{descriptor}"
    except (AttributeError, OSError):
        descriptor, path = tempfile.mkstemp()  # its mode is 0600
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            yield path
    finally:
        if not path.startswith("/proc/"):
            os.unlink(path)


@contextlib.contextmanager
def _named(path: str, otherwise: str) -> Iterator[None]:
    """Say which file it is that cannot be read or holds nothing of use."""
    try:
        yield
    except ssl.SSLError as problem:
        raise EndpointError(f"{path} holds {otherwise}") from problem
    except OSError as problem:
        raise EndpointError(f"{path} cannot be read: {problem.strerror}") from problem


def _read(path: str) -> bytes:
    with _named(path, ""), open(path, "rb") as file:
        return file.read()
