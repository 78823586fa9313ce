"""The tokens of links: sealed, bound to a tenant and a person, and valid over rotations of their key. # R19"""

from __future__ import annotations

import secrets
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consent_api.errors import InvalidTokenError, NoLinkKeysError
from consent_api.links.token import LONGEST_TOKEN, Link, LinkKind, Links
from consent_privacy import keyring_file
from consent_privacy.keyring import Key, Keyring

ADDRESS = "someone@example.com"
PERSON = Link(tenant="acme", kind=LinkKind.ONE_CLICK, channel="email", address=ADDRESS, purpose="promotions")


def keyring(**link_keys: list[Key]) -> Keyring:
    hash_keys = {tenant: [key("h1", primary=True)] for tenant in ("acme", "other", "linkless")}
    return Keyring(seal_keys=[key("s1")], hash_keys=hash_keys, link_keys=link_keys)


def key(key_id: str, *, primary: bool = False) -> Key:
    return Key(id=key_id, secret=secrets.token_bytes(32), primary=primary)


def links_of(found: Keyring) -> Links:
    return Links(lambda: found)


LINKS = links_of(keyring(acme=[key("l1", primary=True)], other=[key("l1", primary=True)]))
TOKEN = LINKS.token(PERSON)

texts = st.text(max_size=200) | st.none()
links = st.builds(
    Link,
    tenant=st.sampled_from(["acme", "other"]),
    kind=st.sampled_from(LinkKind),
    channel=st.sampled_from(["sms", "email", "voice"]) | st.none(),
    address=texts,
    subject_ref=texts,
    purpose=st.text(max_size=64) | st.none(),
)


@given(link=links)
def test_a_link_is_opened_as_it_was_made(link: Link) -> None:
    token = LINKS.token(link)
    assert LINKS.open(token) == link
    assert LINKS.token(link) == token
    assert len(token) <= LONGEST_TOKEN


@given(link=links, other=links)
def test_two_links_have_two_tokens(link: Link, other: Link) -> None:
    assert (LINKS.token(link) == LINKS.token(other)) == (link == other)


@given(at=st.integers(0, len(TOKEN) - 1), character=st.sampled_from("AZaz09-_=+/ é\0"))
def test_a_changed_token_is_none(at: int, character: str) -> None:
    changed = TOKEN[:at] + character + TOKEN[at + 1 :]
    if changed != TOKEN:
        with pytest.raises(InvalidTokenError):
            LINKS.open(changed)


@given(length=st.integers(0, len(TOKEN) - 1), more=st.text(min_size=1, max_size=5))
def test_a_truncated_or_longer_token_is_none(length: int, more: str) -> None:
    for wrong in (TOKEN[:length], TOKEN + more, more + TOKEN):
        with pytest.raises(InvalidTokenError):
            LINKS.open(wrong)


@given(wrong=st.text(max_size=300) | st.text("AZaz09-_", min_size=40, max_size=3_000))
def test_no_other_text_is_a_token_and_all_get_the_same_answer(wrong: str) -> None:
    with pytest.raises(InvalidTokenError) as caught:
        LINKS.open(wrong)
    assert str(caught.value) == str(InvalidTokenError())


def test_a_token_shows_neither_the_address_nor_its_length_nor_the_tenant() -> None:
    short, long = (LINKS.token(replace(PERSON, address=f"{name}@example.com")) for name in ("ann", "annabella"))
    assert len(short) == len(long) <= 128
    assert "acme" not in TOKEN
    assert ADDRESS not in repr(PERSON)


def test_a_tenant_cannot_make_or_open_the_links_of_another() -> None:
    theirs = links_of(keyring(other=[key("l1", primary=True)]))
    with pytest.raises(InvalidTokenError):
        theirs.open(TOKEN)
    with pytest.raises(NoLinkKeysError):
        theirs.token(PERSON)
    assert LINKS.open(LINKS.token(replace(PERSON, tenant="other"))).tenant == "other"


def test_two_tenants_that_were_given_one_secret_open_no_links_of_one_another() -> None:
    shared = key("l1", primary=True)
    both = links_of(keyring(acme=[shared], other=[shared]))
    assert both.open(both.token(PERSON)) == PERSON


def test_a_form_belongs_to_one_link() -> None:
    sealed, other = LINKS.seal_form(TOKEN, b"shown\0"), LINKS.token(replace(PERSON, address="other@example.com"))
    assert LINKS.open_form(TOKEN, sealed) == b"shown\0"
    for token, form in ((other, sealed), (TOKEN, TOKEN), (TOKEN, ""), (TOKEN, sealed + "A" * 70_000)):
        with pytest.raises(InvalidTokenError):
            LINKS.open_form(token, form)
    with pytest.raises(InvalidTokenError):
        LINKS.open(sealed)


def test_links_live_over_a_rotation_and_end_when_their_key_is_retired(tmp_path: Path) -> None:
    path = tmp_path / "keyring.toml"
    keyring_file.generate(path, ["acme"])
    first = links_of(Keyring.load(path)).token(PERSON)
    assert keyring_file.add_link_key(path, "acme") == "l2"
    both = links_of(Keyring.load(path))
    assert both.token(PERSON) == first
    keyring_file.promote_link_key(path, "acme", "l2")
    promoted = links_of(Keyring.load(path))
    second = promoted.token(PERSON)
    assert second != first
    # A process that was not restarted yet knows the key.
    assert both.open(second) == promoted.open(first) == PERSON
    keyring_file.retire_link_key(path, "acme", "l1")
    retired = links_of(Keyring.load(path))
    assert retired.open(second) == PERSON
    with pytest.raises(InvalidTokenError):
        retired.open(first)
    # What a propagator gets speaks for no person.
    assert Keyring.load(path).export(["acme"], hash_only=False).link_keys == {}


def test_a_tenant_without_link_keys_gets_a_first_one(tmp_path: Path) -> None:
    path = tmp_path / "keyring.toml"
    keyring_file.generate(path, ["acme"])
    keyring_file.add_tenant(path, "later")
    assert [each.id for each in Keyring.load(path).link_keys["later"]] == ["l1"]
    keyring_file.add_hash_key(path, "acme")
    assert Keyring.load(path).link_keys.keys() == {"acme", "later"}
