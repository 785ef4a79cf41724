"""An authority of the tests, and the certificates that it signs, made anew in each run."""

import ipaddress
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

HERE = ("127.0.0.1", "localhost")
# The days from now between which a certificate is valid.
VALID = (-1.0, 2.0)
EXPIRED = (-2.0, -1.0)
EARLY = (1.0, 2.0)


@dataclass(frozen=True)
class Pair:
    """A certificate with its key, in files."""

    certificate: Path
    key: Path

    def serve(self) -> ssl.SSLContext:
        """What a server shows to its clients."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.key)
        return context


class Authority:
    """One that only those trust who were told its certificate."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name("an authority of the tests")
        self.own = self._make("authority", self._name, self._key, HERE, VALID, is_authority=True)

    @property
    def path(self) -> Path:
        """The file with its certificate."""
        return self.own.certificate

    def sign(
        self, hosts: Sequence[str] = HERE, valid: tuple[float, float] = VALID, name: str = "server"
    ) -> Pair:
        """A certificate for a server of these names."""
        key = ec.generate_private_key(ec.SECP256R1())
        return self._make(name, _name(name), key, hosts, valid)

    def _make(
        self,
        stem: str,
        subject: x509.Name,
        key: ec.EllipticCurvePrivateKey,
        hosts: Sequence[str],
        valid: tuple[float, float],
        *,
        is_authority: bool = False,
    ) -> Pair:
        now = datetime.now(UTC)
        names = x509.SubjectAlternativeName([_general(host) for host in hosts])
        made = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + timedelta(days=valid[0]))
            .not_valid_after(now + timedelta(days=valid[1]))
            .add_extension(x509.BasicConstraints(is_authority, None), critical=True)
            .add_extension(names, critical=False)
            .sign(self._key, hashes.SHA256())
        )
        pair = Pair(self._folder / f"{stem}.pem", self._folder / f"{stem}.key")
        pair.certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
        pair.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return pair


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _general(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
