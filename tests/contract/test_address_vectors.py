"""docs/addresses.md as vectors, which an implementation in another language can run. # R10 R11 R12"""

import base64
import hmac
from typing import Any

import pytest

from consent_contracts.truth_table import vectors
from consent_privacy.addresses import aliases, canonical
from consent_privacy.errors import InvalidAddressError
from consent_privacy.keyring import AddressHasher, Key

CASES = vectors("addresses")


def of(kind: str) -> list[dict[str, Any]]:
    return [case for case in CASES if case["of"] == kind]


@pytest.mark.parametrize("case", of("canonical"), ids=lambda case: ascii(case["written"]))
def test_what_is_written_has_one_spelling_or_is_refused(case: dict[str, Any]) -> None:
    try:
        found = {"canonical": canonical(case["channel"], case["written"], default_region=case["region"])}
    except InvalidAddressError as error:
        found = {"refused": error.reason}
    assert found == {name: case[name] for name in ("canonical", "refused") if name in case}


@pytest.mark.parametrize("case", of("aliases"), ids=lambda case: case["canonical"])
def test_a_refusal_reaches_these_aliases(case: dict[str, Any]) -> None:
    assert list(aliases(case["channel"], case["canonical"])) == case["aliases"]


@pytest.mark.parametrize("case", of("address_key"), ids=lambda case: case["canonical"])
def test_an_address_key_is_a_plain_hmac(case: dict[str, Any]) -> None:
    """As any library computes it, and as ours does."""
    secret = base64.b64decode(case["secret_base64"])
    text = "\0".join((case["tenant"], case["channel"], case["canonical"])).encode()
    digest = base64.urlsafe_b64encode(hmac.digest(secret, text, "sha256")).decode().rstrip("=")
    assert case["address_key"] == f"{case['key_id']}.{digest}"
    hasher = AddressHasher(Key(id=case["key_id"], secret=secret), case["tenant"], case["channel"])
    assert hasher.address_key(case["canonical"]) == case["address_key"]
