"""Who a right is exercised by: sealed at rest, found by keyed hashes. # R13"""

from __future__ import annotations

from consent_api.rights import person_ref
from consent_api.rights.person_ref import PersonRef
from consent_privacy.keyring import Keyring

ANN = PersonRef(tenant="acme", subject_ref="customer-1", channel="email", address="ann@example.com")


def test_only_its_own_row_opens_a_person(keyring: Keyring) -> None:
    sealed = ANN.seal(keyring, "request-1")
    assert b"ann@example.com" not in sealed
    assert b"customer-1" not in sealed
    assert person_ref.opened(keyring, "acme", sealed, "request-1") == ANN
    assert person_ref.opened(keyring, "acme", sealed, "request-2") is None
    assert person_ref.opened(keyring, "acme", None, "request-1") is None


def test_a_person_is_found_by_reference_or_address(keyring: Keyring) -> None:
    by_ref = PersonRef(tenant="acme", subject_ref="customer-1").keys(keyring)
    by_address = PersonRef(tenant="acme", channel="email", address="ann@example.com").keys(keyring)
    assert set(by_ref) | set(by_address) == set(ANN.keys(keyring))
    assert not set(by_ref) & set(by_address)
    assert not any("customer-1" in key or "example" in key for key in ANN.keys(keyring))


def test_a_reference_that_looks_like_an_address_has_another_key(keyring: Keyring) -> None:
    reference = PersonRef(tenant="acme", subject_ref="+33639980001").keys(keyring)
    address = PersonRef(tenant="acme", channel="sms", address="+33639980001").keys(keyring)
    assert not set(reference) & set(address)


def test_of_a_person_at_an_erased_address_the_reference_is_left(keyring: Keyring) -> None:
    by_ref = PersonRef(tenant="acme", subject_ref="customer-1")
    by_address = PersonRef(tenant="acme", channel="email", address="ann@example.com")
    assert ANN.without(keyring, by_address.keys(keyring)) == by_ref
    assert ANN.without(keyring, by_ref.keys(keyring)) is None, "an address would name them"
    assert by_address.without(keyring, by_address.keys(keyring)) is None
