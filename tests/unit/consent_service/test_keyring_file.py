"""A process goes on with a changed keyring, and not with another installation's (R12)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from consent_privacy import keyring_file
from consent_privacy.keyring import Key, Keyring
from consent_service import startup
from consent_service.secret_files import SecretFile
from consent_service.settings import KeyringSettings
from tests.support.keyrings import write_keyring

KEY_IDS = ("h1", "h2", "h8", "h9", "h10")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    keyring_file.generate(tmp_path / "keyring.toml", ["acme", "globex"])
    return tmp_path / "keyring.toml"


def followed(path: Path, *, hash_only: bool = False) -> SecretFile[Keyring]:
    return startup.keyring_file(KeyringSettings(keyring_file=path), hash_only=hash_only)


def ids(keyring: Keyring) -> list[str]:
    return [key.id for key in keyring.hash_keys["acme"]]


def test_each_step_of_a_rotation_is_taken(path: Path) -> None:
    file = followed(path)
    keyring_file.add_hash_key(path, "acme")
    file.refresh()
    assert ids(file.value) == ["h1", "h2"]
    first = file.value.address_key("acme", "sms", "+33639980001")
    keyring_file.promote(path, "acme", "h2")
    file.refresh()
    assert file.value.address_key("acme", "sms", "+33639980001").startswith("h2.")
    assert first in file.value.live_address_keys("acme", "sms", "+33639980001")
    keyring_file.add_hash_key(path, "acme")
    keyring_file.retire(path, "acme", "h1")
    file.refresh()
    assert ids(file.value) == ["h2", "h3"]
    assert not file.error


def test_what_is_sealed_by_an_older_seal_key_is_still_opened(path: Path) -> None:
    file = followed(path)
    sealed = file.value.seal("h1.x", "+33639980001")
    assert keyring_file.add_seal_key(path) == "s2"
    file.refresh()
    assert file.value.open("h1.x", sealed) == "+33639980001"
    assert file.value.seal("h1.x", "+33639980001") != sealed


def test_the_keyring_of_another_installation_is_not_taken(path: Path, tmp_path: Path) -> None:
    file = followed(path)
    before = file.value
    other = tmp_path / "other.toml"
    keyring_file.generate(other, ["acme", "globex"])
    other.replace(path)
    file.refresh()
    assert file.value is before
    assert "seal key s1 has another secret than before" in file.error


def test_a_keyring_without_a_tenant_that_is_served_is_not_taken(path: Path, tmp_path: Path) -> None:
    file = followed(path)
    keyring_file.export(path, tmp_path / "part.toml", ["acme"], hash_only=False)
    (tmp_path / "part.toml").replace(path)
    file.refresh()
    assert "tenant globex has no hash keys any more" in file.error
    assert set(file.value.tenants) == {"acme", "globex"}


@pytest.mark.parametrize(
    ("known", "read", "missing"),
    [
        (("h1*",), ("h2*",), "hash key h1 of tenant acme is missing, the primary one"),
        (("h1*", "h2"), ("h1*",), "hash key h2 of tenant acme is missing, the newest one"),
        (("h1", "h2*"), ("h1*",), "hash key h2 of tenant acme is missing, the primary one"),
        (("h1*", "h2"), ("h2*",), "hash key h1 of tenant acme is missing, the primary one"),
        (("h9*", "h10"), ("h9*", "h8"), "hash key h10 of tenant acme is missing, the newest one"),
    ],
    ids=["another key", "the file of before", "the file of before a promotion", "without the promotion", "by age"],
)
def test_a_keyring_without_a_hash_key_that_cannot_be_retired_is_not_taken(
    tmp_path: Path, known: Sequence[str], read: Sequence[str], missing: str
) -> None:
    """What is stored under it would not be found. R12"""
    seal, secrets = Key(id="s1", secret=b"s" * 32), {name: bytes([at]) * 32 for at, name in enumerate(KEY_IDS)}

    def keys(names: Sequence[str]) -> list[Key]:
        ids = [(name.rstrip("*"), name.endswith("*")) for name in names]
        return [Key(id=key_id, secret=secrets[key_id], primary=primary) for key_id, primary in ids]

    path = write_keyring(tmp_path / "keyring.toml", [seal], {"acme": keys(known)})
    file = followed(path)
    before = file.value
    write_keyring(path, [seal], {"acme": keys(read)})
    file.refresh()
    assert file.value is before
    assert missing in file.error
    assert "put it back" in file.error
    assert file.failures == 1, "which the metric counts"


def test_a_keyring_that_is_not_taken_is_in_the_log(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    keyring_file.add_hash_key(path, "acme")
    file, before = followed(path), path.read_text()
    keyring_file.promote(path, "acme", "h2")
    keyring_file.retire(path, "acme", "h1")
    file.refresh()
    [line] = [each for each in caplog.records if each.message == "a secret cannot be read"]
    assert "h1 of tenant acme" in line.__dict__["why"]
    path.write_text(before)
    file.refresh()
    keyring_file.promote(path, "acme", "h2")
    file.refresh()
    keyring_file.retire(path, "acme", "h1")
    file.refresh()
    assert (ids(file.value), file.error) == (["h2"], "")


def test_a_keyring_that_others_can_read_is_not_taken_until_it_is_closed(path: Path) -> None:
    file = followed(path)
    keyring_file.add_hash_key(path, "acme")
    path.chmod(0o644)
    file.refresh()
    assert ids(file.value) == ["h1"]
    assert "chmod 600" in file.error
    path.chmod(0o600)
    file.refresh()
    assert ids(file.value) == ["h1", "h2"]


def test_a_process_that_seals_does_not_go_on_without_seal_keys(path: Path, tmp_path: Path) -> None:
    file = followed(path)
    keyring_file.export(path, tmp_path / "hashes.toml", ["acme", "globex"], hash_only=True)
    (tmp_path / "hashes.toml").replace(path)
    file.refresh()
    assert "this process needs seal keys" in file.error
    assert file.value.seal_keys


def test_a_process_that_only_hashes_has_no_seal_keys_after_a_change_either(path: Path) -> None:
    file = followed(path, hash_only=True)
    keyring_file.add_hash_key(path, "acme")
    file.refresh()
    assert (ids(file.value), file.value.seal_keys) == (["h1", "h2"], ())
