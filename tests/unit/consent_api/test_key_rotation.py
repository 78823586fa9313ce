"""Which hash keys must hold everything before another is promoted or retired. # R12"""

from __future__ import annotations

import pytest

from consent_api.ledger.key_rotation import required_to_promote, required_to_retire
from consent_api.operations.republish.job import completed_keys
from consent_api.operations.republish.pages import Selection
from consent_privacy.keyring import Key, Keyring


def keys(*ids: str, primary: str) -> list[Key]:
    return [Key(id=each, secret=each.encode().ljust(32), primary=each == primary) for each in ids]


def test_a_newer_key_must_be_complete_before_it_is_promoted() -> None:
    assert required_to_promote(keys("h1", "h2", primary="h1"), "h2") == {"h2"}


def test_the_oldest_key_may_be_promoted_again_at_any_time() -> None:
    # Every decision was published under it when it was recorded.
    assert required_to_promote(keys("h9", "h10", primary="h10"), "h9") == set()


@pytest.mark.parametrize(
    ("ids", "primary", "retired", "required"),
    [
        (("h1", "h2"), "h2", "h1", {"h2"}),
        (("h1", "h2", "h3"), "h2", "h1", {"h2"}),
        (("h1", "h2", "h3"), "h3", "h1", {"h2", "h3"}),
        (("h1", "h2", "h3"), "h1", "h2", set()),
        (("h1", "h2", "h3"), "h3", "h2", {"h3"}),
        (("h1",), "h1", "h1", set()),
    ],
)
def test_the_primary_and_the_oldest_that_remain_must_be_complete_before_a_key_is_retired(
    ids: tuple[str, ...], primary: str, retired: str, required: set[str]
) -> None:
    assert required_to_retire(keys(*ids, primary=primary), retired) == required


@pytest.mark.parametrize(
    ("selection", "completed"),
    [
        (Selection(), [("acme", "h1"), ("acme", "h2"), ("globex", "h1")]),
        (Selection(tenant="acme"), [("acme", "h1"), ("acme", "h2")]),
        (Selection(key_id="h2"), [("acme", "h2")]),
        (Selection(tenant="acme", key_id="h2"), [("acme", "h2")]),
        (Selection(channel="sms"), []),
        (Selection(tenant="acme", since=1), []),
    ],
)
def test_a_run_completes_the_keys_of_which_it_publishes_everything(
    selection: Selection, completed: list[tuple[str, str]]
) -> None:
    keyring = Keyring(
        seal_keys=keys("s1", primary=""),
        hash_keys={"acme": keys("h1", "h2", primary="h1"), "globex": keys("h1", primary="h1")},
    )
    assert completed_keys(keyring, selection) == completed
