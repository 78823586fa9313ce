"""Addresses of a tenant that the keyring does not know."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from consent_api.ledger import addresses
from consent_privacy.errors import UnknownTenantError
from consent_privacy.keyring import Key, Keyring

CONNECTION: Any = None
KEYRING = Keyring(
    seal_keys=[Key(id="s1", secret=bytes(32))],
    hash_keys={"acme": [Key(id="h1", secret=bytes(range(32)), primary=True)]},
)


def row(tenant: str, key: str, *, erased: bool = False) -> Any:
    return SimpleNamespace(
        address_id=7,
        tenant=tenant,
        channel="sms",
        address_key=key,
        sealed_address=None if erased else key.encode(),
        erasing_at=None,
        erased_at=1 if erased else None,
    )


def test_they_are_an_error() -> None:
    with pytest.raises(UnknownTenantError):
        addresses.refresh(CONNECTION, KEYRING, [row("removed", "h1.a")], now=0)


def test_a_repair_gets_them_under_all_their_stored_keys() -> None:
    rows = [row("removed", "h1.a"), row("removed", "h2.a")]
    found = addresses.refresh(CONNECTION, KEYRING, rows, now=0, unknown_as_stored=True)
    assert found[7].sealed == {"h1.a": b"h1.a", "h2.a": b"h2.a"}


def test_those_of_a_known_tenant_keep_to_its_live_keys() -> None:
    rows = [row("acme", "h0.a"), row("acme", "h1.a")]
    found = addresses.refresh(CONNECTION, KEYRING, rows, now=0, unknown_as_stored=True)
    assert list(found[7].sealed) == ["h1.a"]


def test_an_erased_one_whose_hash_keys_are_all_retired_stops_no_refusal_of_its_subject() -> None:
    address = addresses.refresh(CONNECTION, KEYRING, [row("acme", "h0.a", erased=True)], now=0)[7]
    assert address.key == "h0.a"
    assert address.is_erased
    assert addresses.alias_names(KEYRING, address) == []
