"""Address keys and seals: versioned, rotated without loss, and silent in errors (R12, R13)."""

import hashlib
import hmac
import re
import stat
import subprocess
from base64 import urlsafe_b64encode
from pathlib import Path

import pytest

from consent_privacy import keyring_file
from consent_privacy.errors import DecryptionFailedError, InvalidKeyringError, SealKeysMissingError, UnknownTenantError
from consent_privacy.keyring import Key, Keyring
from consent_privacy.keyring_file import generate

PHONE = "+33639981234"


def make(path: Path, *tenants: str) -> Keyring:
    return generate(path / "keyring.toml", tenants or ["acme"])


def test_an_address_key_is_the_key_id_and_the_keyed_hash_of_tenant_channel_and_address() -> None:  # R12
    secret = bytes(range(32))
    keyring = Keyring(
        seal_keys=[Key(id="s1", secret=bytes(32))], hash_keys={"acme": [Key(id="h7", secret=secret, primary=True)]}
    )
    expected = urlsafe_b64encode(hmac.digest(secret, f"acme\0sms\0{PHONE}".encode(), hashlib.sha256)).rstrip(b"=")
    assert keyring.address_key("acme", "sms", PHONE) == "h7." + expected.decode()


def test_tenant_and_channel_separate_address_keys(tmp_path: Path) -> None:  # R12
    keyring = make(tmp_path, "acme", "other")
    keys = {keyring.address_key(t, c, PHONE) for t in ("acme", "other") for c in ("sms", "voice")}
    assert len(keys) == 4


def test_a_keyring_is_outdated_by_a_hash_key_newer_than_all_of_the_tenant_s(tmp_path: Path) -> None:  # R12
    keys = [Key(id="h9", secret=bytes(32)), Key(id="h10", secret=bytes(32), primary=True)]
    keyring = Keyring(seal_keys=[Key(id="s1", secret=bytes(32))], hash_keys={"acme": keys})
    assert [keyring.is_older_than("acme", key_id) for key_id in ("h8", "h9", "h10", "h11")] == [False] * 3 + [True]


def test_the_newest_hash_key_is_not_retired(tmp_path: Path) -> None:  # R12
    make(tmp_path)
    path = tmp_path / "keyring.toml"
    keyring_file.add_hash_key(path, "acme")
    with pytest.raises(InvalidKeyringError, match="rotate first"):
        keyring_file.retire(path, "acme", "h2")
    assert keyring_file.add_hash_key(path, "acme") == "h3"
    keyring_file.retire(path, "acme", "h2")
    assert [key.id for key in Keyring.load(path).hash_keys["acme"]] == ["h1", "h3"]


def test_the_file_is_for_its_owner_only_and_never_replaced(tmp_path: Path) -> None:
    made = make(tmp_path)
    path = tmp_path / "keyring.toml"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert Keyring.load(path).address_key("acme", "sms", PHONE) == made.address_key("acme", "sms", PHONE)
    with pytest.raises(FileExistsError):
        make(tmp_path)


def test_a_rotation_of_the_hash_key_keeps_both_keys_alive_until_the_old_one_is_retired(tmp_path: Path) -> None:  # R12
    path = tmp_path / "keyring.toml"
    old = make(tmp_path).address_key("acme", "sms", PHONE)

    assert keyring_file.add_hash_key(path, "acme") == "h2"
    both = Keyring.load(path).live_address_keys("acme", "sms", PHONE)
    assert both[0] == old
    assert len(both) == 2

    keyring_file.promote(path, "acme", "h2")
    promoted = Keyring.load(path)
    assert promoted.address_key("acme", "sms", PHONE) == both[1]
    assert promoted.live_address_keys("acme", "sms", PHONE) == (both[1], old)

    with pytest.raises(InvalidKeyringError):
        keyring_file.retire(path, "acme", "h2")
    keyring_file.retire(path, "acme", "h1")
    assert Keyring.load(path).live_address_keys("acme", "sms", PHONE) == (both[1],)
    assert keyring_file.add_hash_key(path, "acme") == "h3"


def test_what_an_older_seal_key_sealed_still_opens_and_the_newer_sealing_compares_greater(tmp_path: Path) -> None:
    path = tmp_path / "keyring.toml"
    key = make(tmp_path).address_key("acme", "sms", PHONE)
    sealings = [Keyring.load(path).seal(key, PHONE)]
    for _ in range(10):
        keyring_file.add_seal_key(path)
        sealings.append(Keyring.load(path).seal(key, PHONE))
    assert {Keyring.load(path).open(key, sealed) for sealed in sealings} == {PHONE}
    assert sealings == sorted(sealings)


def test_the_same_address_seals_to_the_same_bytes_and_another_does_not(tmp_path: Path) -> None:
    keyring = make(tmp_path)
    assert keyring.seal("h1.x", PHONE) == keyring.seal("h1.x", PHONE)
    assert keyring.seal("h1.x", PHONE) != keyring.seal("h1.y", PHONE)
    assert PHONE.encode() not in keyring.seal("h1.x", PHONE)


def test_a_seal_is_bound_to_its_address_key_and_to_every_byte(tmp_path: Path) -> None:  # R4
    keyring = make(tmp_path)
    sealed = keyring.seal("h1.x", PHONE)
    with pytest.raises(DecryptionFailedError, match="tampered"):
        keyring.open("h1.y", sealed)
    for position in range(3, len(sealed)):
        broken = bytearray(sealed)
        broken[position] ^= 1
        with pytest.raises(DecryptionFailedError):
            keyring.open("h1.x", bytes(broken))
    for cut in (b"", sealed[:1], sealed[:20], b"\xff" * 40):
        with pytest.raises(DecryptionFailedError, match=r"truncated|unknown_key"):
            keyring.open("h1.x", cut)
    assert keyring.open_record(keyring.seal_record(b"\x00\xff", b"topic:0:7"), b"topic:0:7") == b"\x00\xff"


def test_an_unknown_tenant_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnknownTenantError, match="newcomer"):
        make(tmp_path).address_key("newcomer", "sms", PHONE)


SEAL = '[[seal_keys]]\nid = "s1"\nsecret = "' + "A" * 43 + '="\n'
HASH = '[[tenants.acme.hash_keys]]\nid = "h1"\nsecret = "' + "B" * 43 + '="\nprimary = true\n'


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", "seal_keys"),
        (SEAL, "tenant"),
        (HASH, "seal_keys"),
        ("exported = false\n" + HASH, "seal_keys"),
        ("exported = 1\n" + HASH, "exported"),
        ("exported = true\n" + HASH.replace("B", "C", 3).replace('="', '"'), "base64"),
        (SEAL + HASH.replace("true", "false"), "acme"),
        (SEAL + HASH + HASH, "same id"),
        (SEAL + HASH.replace("B", "C", 3).replace('="', '"'), "base64"),
        (SEAL + HASH.replace("B" * 43 + "=", "QUJD"), "32 bytes"),
        (SEAL + HASH.replace('"h1"', '"H 1"'), "key id"),
        (SEAL + HASH.replace('"h1"', "7"), "needs an id"),
        (SEAL + HASH.replace("acme", '"A B"'), "tenant's name"),
        ("secret = BBBBBBBB", "TOML"),
        ("seal_keys = 3\n" + HASH, "seal_keys"),
    ],
)
def test_a_wrong_keyring_is_refused_without_showing_a_secret(tmp_path: Path, text: str, names: str) -> None:
    path = tmp_path / "keyring.toml"
    path.touch(mode=0o600)
    path.write_text(text)
    with pytest.raises(InvalidKeyringError, match=names) as caught:
        Keyring.load(path)
    assert "BBBB" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_missing_keyring_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidKeyringError, match="absent"):
        Keyring.load(tmp_path / "absent.toml")


def test_secrets_do_not_show_in_a_representation() -> None:
    assert "\\x" not in repr(Key(id="s1", secret=bytes(32)))


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660, 0o620, 0o601, 0o777])
def test_a_keyring_that_others_can_read_or_change_is_refused_with_the_cure(tmp_path: Path, mode: int) -> None:  # R13
    path = tmp_path / "keyring.toml"
    generate(path, ["acme"])
    path.chmod(mode)
    with pytest.raises(InvalidKeyringError) as caught:
        Keyring.load(path)
    cure = re.search(r"run: (chmod \d+ \S+)", str(caught.value))
    assert cure is not None
    subprocess.run(cure[1].split(), check=True)
    Keyring.load(path)


def test_a_link_is_as_open_as_what_it_leads_to(tmp_path: Path) -> None:
    path = tmp_path / "keyring.toml"
    generate(path, ["acme"])
    (tmp_path / "link").symlink_to(path)
    Keyring.load(tmp_path / "link")
    path.chmod(0o604)
    with pytest.raises(InvalidKeyringError, match="chmod 600"):
        Keyring.load(tmp_path / "link")


def test_an_export_holds_one_tenant_and_hash_keys_only(tmp_path: Path) -> None:  # R13 R45
    path, target = tmp_path / "keyring.toml", tmp_path / "gate.toml"
    whole = generate(path, ["acme", "other"])
    keyring_file.export(path, target, ["acme"], hash_only=True)
    assert target.stat().st_mode & 0o777 == 0o600
    assert "seal_keys" not in target.read_text()
    exported = Keyring.load(target)
    assert exported.tenants == ("acme",)
    assert exported.address_key("acme", "sms", PHONE) == whole.address_key("acme", "sms", PHONE)
    with pytest.raises(UnknownTenantError):
        exported.address_key("other", "sms", PHONE)
    sealed = whole.seal("h1.x", PHONE)
    for use in (lambda: exported.seal("h1.x", PHONE), lambda: exported.open("h1.x", sealed)):
        with pytest.raises(SealKeysMissingError):
            use()

    keyring_file.add_hash_key(path, "acme")
    keyring_file.export(path, target, ["acme"], hash_only=True)
    assert [key.id for key in Keyring.load(target).hash_keys["acme"]] == ["h1", "h2"]
    keyring_file.export(path, target, ["other"], hash_only=False)
    opening = Keyring.load(target)
    assert (opening.tenants, opening.open("h1.x", sealed)) == (("other",), PHONE)


def test_an_export_replaces_no_keyring_and_is_not_changed(tmp_path: Path) -> None:
    path, another, target = tmp_path / "keyring.toml", tmp_path / "another.toml", tmp_path / "gate.toml"
    for each in (path, another):
        generate(each, ["acme"])
    for taken in (path, another, tmp_path / "notes"):
        taken.touch()
        before = taken.read_bytes()
        with pytest.raises(FileExistsError):
            keyring_file.export(path, taken, ["acme"], hash_only=True)
        assert taken.read_bytes() == before
    with pytest.raises(UnknownTenantError, match="newcomer"):
        keyring_file.export(path, target, ["newcomer"], hash_only=True)
    assert not target.exists()
    keyring_file.export(path, target, ["acme"], hash_only=True)
    for change in (
        lambda: keyring_file.add_seal_key(target),
        lambda: keyring_file.add_hash_key(target, "acme"),
        lambda: keyring_file.add_tenant(target, "new"),
        lambda: keyring_file.promote(target, "acme", "h1"),
        lambda: keyring_file.retire(target, "acme", "h1"),
        lambda: keyring_file.export(target, tmp_path / "second.toml", ["acme"], hash_only=True),
    ):
        with pytest.raises(InvalidKeyringError, match="export again"):
            change()


def test_a_tenant_is_added_with_a_key_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "keyring.toml"
    before = generate(path, ["acme"])
    keyring_file.add_tenant(path, "new")
    after = Keyring.load(path)
    assert after.hash_keys["acme"] == before.hash_keys["acme"]
    assert after.seal_keys == before.seal_keys
    assert after.address_key("new", "sms", PHONE) != after.address_key("acme", "sms", PHONE)
    for tenant, complaint in (("acme", "has hash keys"), ("A B", "tenant's name")):
        with pytest.raises(InvalidKeyringError, match=complaint):
            keyring_file.add_tenant(path, tenant)
    assert Keyring.load(path).tenants == ("acme", "new")
