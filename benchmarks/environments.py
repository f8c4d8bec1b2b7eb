"""What the benchmarks need beside this environment: old servers in environments of their own, a certificate,
a file.

All of it is kept in one cache directory (`--cache`). `python -m benchmarks prepare` fills it; called by
`benchmarks.cli` and, for paths, by `benchmarks.servers`.
"""

import datetime
import ipaddress
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from benchmarks.served.plain import DOWNLOAD_PIECES, PIECE

SERVED = Path(__file__).parent / "served"

DAPHNE_4 = ["daphne==4.2.3", "starlette==1.10.0", "Django==5.2.19"]
# daphne 1.4.2 is quickest on today's Python, Twisted and MessagePack, and without txredisapi, with which it
# connects to Redis anew for every message. It wants an asgiref of its time.
DAPHNE_1 = ["daphne==1.4.2", "asgiref~=1.1", "asgi_redis==1.4.3", "six"]
# asgi_redis brings MessagePack under another distribution's name, which must not be what is left.
DAPHNE_1_LAST = ["--no-deps", "--force-reinstall", "msgpack==1.2.4"]


def default_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "daphne-benchmarks"


@dataclass(frozen=True)
class Places:
    """Where things are. `python` gives the interpreter of an environment: `this`, `daphne4` or `daphne1`."""

    cache: Path

    def python(self, environment: str) -> Path:
        return Path(sys.executable) if environment == "this" else self.cache / environment / "bin" / "python"

    def program(self, environment: str, name: str) -> str:
        """A console script of an environment."""
        return str(self.python(environment).with_name(name))

    @property
    def certificate(self) -> Path:
        return self.cache / "certificate.pem"

    @property
    def key(self) -> Path:
        return self.cache / "key.pem"

    @property
    def download(self) -> Path:
        return self.cache / "download.bin"


def prepare(places: Places) -> None:
    """Make whatever is missing."""
    prepare_files(places)
    make_environment(places.cache / "daphne4", DAPHNE_4)
    make_environment(places.cache / "daphne1", DAPHNE_1, DAPHNE_1_LAST)


def prepare_files(places: Places) -> None:
    places.cache.mkdir(parents=True, exist_ok=True)
    if not places.certificate.exists():
        write_certificate(places)
    if not places.download.exists():
        with places.download.open("wb") as file:
            for _ in range(DOWNLOAD_PIECES):
                file.write(PIECE)


def make_environment(folder: Path, *steps: list[str]) -> None:
    """A virtual environment with these requirements, step by step; a finished one is left as it is."""
    finished = folder / "finished"
    if finished.exists():
        return
    print(f"making {folder}", flush=True)
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
    for requirements in steps:
        install = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", *requirements]
        subprocess.run(install, check=True)
    finished.touch()


def write_certificate(places: Places) -> None:
    """A self-signed certificate for loopback with a P-256 key in PKCS#8, which all servers read."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    names = x509.SubjectAlternativeName(
        [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    )
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=3650))
        .add_extension(names, critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    places.key.write_bytes(private)
    places.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
