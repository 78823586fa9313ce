"""Certificates are fetched once a day, and a host that fails is left alone for a while."""

from __future__ import annotations

import pytest

from consent_api.errors import NotFetchedError
from consent_api.inbound.certificates import Certificates, fetch


class Host:
    def __init__(self) -> None:
        self.asked: list[str] = []
        self.fails = False
        self.now = 0.0

    def __call__(self, url: str) -> bytes:
        self.asked.append(url)
        if self.fails:
            raise NotFetchedError
        return b"certificate"


def test_a_certificate_is_kept_for_a_day() -> None:
    host = Host()
    certificates = Certificates(host, clock=lambda: host.now)
    assert certificates("u") == certificates("u") == b"certificate"
    assert len(host.asked) == 1
    host.now = 25 * 3600.0
    certificates("u")
    assert len(host.asked) == 2


def test_a_failure_is_kept_for_seconds() -> None:
    host = Host()
    host.fails = True
    certificates = Certificates(host, clock=lambda: host.now)
    for _ in range(3):
        with pytest.raises(NotFetchedError):
            certificates("u")
    assert len(host.asked) == 1
    host.fails, host.now = False, 31.0
    assert certificates("u") == b"certificate"


def test_invented_urls_fill_no_memory() -> None:
    certificates = Certificates(Host())
    for number in range(1_000):
        certificates(str(number))


def test_a_host_that_does_not_answer_is_no_error_of_another_kind() -> None:
    with pytest.raises(NotFetchedError):
        fetch("https://127.0.0.1:1/a.pem")
