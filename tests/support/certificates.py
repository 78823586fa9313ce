"""Certificates for tests, made when they are needed: an authority, and what it signs."""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

HERE = "127.0.0.1"


@dataclass(frozen=True, kw_only=True)
class Identity:
    """Files of one certificate: `both` holds the key and the chain, as Kafka reads a PEM key store."""

    certificate: Path
    key: Path
    both: Path


class Authority:
    """Signs certificates; its own is at `file`."""

    def __init__(self, directory: Path, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> None:
        self._directory = directory
        self._key = key
        self._certificate = certificate
        self.file = directory / f"{_common_name(certificate.subject)}.pem"
        self.file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    @classmethod
    def create(cls, directory: Path, name: str, *, days: int = 1) -> Self:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = _name(name)
        builder = _builder(subject, subject, key, days=days).add_extension(
            x509.BasicConstraints(ca=True, path_length=0), True
        )
        usage = x509.KeyUsage(
            digital_signature=True,
            key_cert_sign=True,
            crl_sign=True,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            encipher_only=False,
            decipher_only=False,
        )
        return cls(directory, key, builder.add_extension(usage, True).sign(key, hashes.SHA256()))

    def sign(self, name: str, *, host: str = HERE, others: Iterable[str] = (), days: int = 1) -> Identity:
        """A certificate for `host`, an address or a name, and for `others`, whose subject is `name`. It ends in `days`,
        or has ended."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.SubjectAlternativeName([*map(_general_name, (host, *others))])
        builder = _builder(_name(name), self._certificate.subject, key, days=days).add_extension(subject, False)
        issued = builder.add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), False
        ).sign(self._key, hashes.SHA256())
        found = Identity(
            certificate=self._directory / f"{name}.crt",
            key=self._directory / f"{name}.key",
            both=self._directory / f"{name}.pem",
        )
        encoded = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        chain = issued.public_bytes(serialization.Encoding.PEM)
        found.certificate.write_bytes(chain)
        found.key.write_bytes(encoded)
        found.both.write_bytes(encoded + chain)
        return found


def end_of(file: Path) -> float:
    """When the first certificate in a file ends. Unix time."""
    return x509.load_pem_x509_certificate(file.read_bytes()).not_valid_after_utc.timestamp()


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, *, days: int = 1
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    day = datetime.timedelta(days=1)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - 3 * day)
        .not_valid_after(now + days * day)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
    )


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _common_name(name: x509.Name) -> str:
    return str(name.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)
