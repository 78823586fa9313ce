"""Certificates of TLS: how far they are from their end."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509

from consent_service.doctor.findings import Finding, Result, all_ok
from consent_service.settings import PREFIX, settings_classes

CERTIFICATE_DAYS = 30.0
"""From so many days before its end on, a certificate is to be renewed."""
_DAY_SECONDS = 86_400.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Certificate:
    """``where``: what names it, or which server shows it. ``ends_in_days``: None where it cannot be read."""

    where: str
    ends_in_days: float | None


def certificate_end(where: str, certificates: Sequence[x509.Certificate]) -> Certificate:
    """Of a certificate or, of a bundle of authorities, of the one that ends last: older ones stay in it while they are
    replaced."""
    ends = [(each.not_valid_after_utc - datetime.now(UTC)).total_seconds() / _DAY_SECONDS for each in certificates]
    return Certificate(where=where, ends_in_days=max(ends, default=None))


def certificate_of_file(setting: str, path: Path, *, bundle: bool) -> Certificate:
    """The first certificate of a PEM file, or all of a bundle."""
    where = f"{setting}: {path}"
    try:
        certificates = x509.load_pem_x509_certificates(path.read_bytes())
    except (OSError, ValueError):
        return Certificate(where=where, ends_in_days=None)
    return certificate_end(where, certificates if bundle else certificates[:1])


def judge_certificates(name: str, certificates: Collection[Certificate]) -> Sequence[Finding]:
    """Whether each can be read, and is far from its end."""
    if not certificates:
        return [Finding(name=name, result=Result.NOT_CONFIGURED, found="no link uses one")]
    found = [each for each in (_judge_certificate(name, each) for each in certificates) if each is not None]
    nearest = min((each.ends_in_days for each in certificates if each.ends_in_days is not None), default=0.0)
    return all_ok(name, found, f"{len(certificates)}; the first ends in {nearest:.0f} days")


def _judge_certificate(name: str, certificate: Certificate) -> Finding | None:
    where, days = certificate.where, certificate.ends_in_days
    renew = "renew it, then restart the processes one after the other"
    if days is None:
        return Finding(
            name=name, result=Result.FAULT, found=f"{where} holds no PEM certificate", cure="correct the path"
        )
    if days <= 0:
        return Finding(name=name, result=Result.FAULT, found=f"{where} ended {-days:.0f} days ago", cure=renew)
    if days <= CERTIFICATE_DAYS:
        return Finding(name=name, result=Result.WARNING, found=f"{where} ends in {days:.0f} days", cure=renew)
    return None


def certificates_of_settings(names: Iterable[str]) -> list[Certificate]:
    paths: dict[Path, tuple[str, bool]] = {}
    classes = settings_classes()
    for name in names:
        for field in classes[name].model_fields:
            variable = f"{PREFIX}{field.upper()}"
            is_bundle = field.endswith("ssl_ca_file")
            if (is_bundle or field.endswith("ssl_certificate_file")) and (path := os.environ.get(variable)):
                paths.setdefault(Path(path), (variable, is_bundle))
    return [certificate_of_file(setting, path, bundle=bundle) for path, (setting, bundle) in paths.items()]
