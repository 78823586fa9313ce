"""API keys: shown once, kept as a digest, revoked without a restart (R15)."""

import json
from pathlib import Path

import pytest

from consent_http import api_keys
from consent_http.api_keys import KeyFile
from consent_http.errors import InvalidApiKeysError


def test_a_minted_key_is_recognised_and_another_secret_is_not() -> None:  # R15
    token, stored = api_keys.mint(tenant="acme", scopes=["check"])
    key_id, secret = api_keys.parse(token) or ("", "")
    assert key_id == stored.id
    assert stored.matches(secret)
    assert not stored.matches(secret[::-1])
    assert secret not in repr(stored)
    assert stored.allows("check")
    assert not stored.allows("admin")


@pytest.mark.parametrize(
    "token", ["", "cr_", "cr_abc", "cr_abcdef_short", "xx_abcdef_" + "a" * 43, "cr_abcdef_" + "é" * 43]
)
def test_what_is_no_key_of_ours_is_not_parsed(token: str) -> None:
    assert api_keys.parse(token) is None


@pytest.mark.parametrize(
    ("header", "token"),
    [
        ("Bearer abc", "abc"),
        ("bearer  abc ", "abc"),
        ("Basic abc", None),
        ("Bearer", None),
        ("Bearer ", None),
        (None, None),
    ],
)
def test_the_token_is_read_from_a_bearer_header(header: str | None, token: str | None) -> None:
    assert api_keys.bearer(header) == token


def test_unknown_scopes_are_refused() -> None:
    for scopes in ([], ["everything"]):
        with pytest.raises(ValueError, match="scopes"):
            api_keys.mint(tenant="acme", scopes=scopes)


def test_a_file_of_keys_holds_no_secret_and_is_read_again_when_it_changes(tmp_path: Path) -> None:  # R15
    path = tmp_path / "keys.json"
    first, stored_first = api_keys.mint(tenant="acme", scopes=["check"])
    second, stored_second = api_keys.mint(tenant="acme", scopes=["check", "read"])
    api_keys.write(path, [stored_first])
    assert first.split("_", 2)[2] not in path.read_text()  # The secret may have a "_", too.

    keys = KeyFile(path)
    assert keys.find(first) == stored_first
    assert keys.find(second) is None
    api_keys.write(path, [stored_second])
    assert keys.find(first) is None
    assert keys.find(second) == stored_second
    assert keys.get(stored_second.id) == stored_second
    assert keys.get(stored_first.id) is None
    assert keys.find(None) is None
    assert keys.find("") is None
    assert keys.find(second[:-1] + ("A" if second[-1] != "A" else "B")) is None


def test_a_file_that_goes_bad_lets_no_caller_in(tmp_path: Path) -> None:  # R4
    path = tmp_path / "keys.json"
    token, stored = api_keys.mint(tenant="acme", scopes=["check"])
    api_keys.write(path, [stored])
    keys = KeyFile(path)
    assert keys.find(token)
    path.write_text("{")
    for _ in range(2):
        with pytest.raises(InvalidApiKeysError):
            keys.find(token)
    path.unlink()
    with pytest.raises(InvalidApiKeysError):
        keys.find(token)


GOOD = {"id": "abcdef", "sha256": "0" * 64, "tenant": "acme", "scopes": ["check"]}


@pytest.mark.parametrize(
    "document",
    [
        [],
        {},
        {"keys": {}},
        {"keys": [3]},
        {"keys": [GOOD | {"sha256": "x"}]},
        {"keys": [GOOD | {"tenant": None}]},
        {"keys": [GOOD | {"scopes": ["everything"]}]},
        {"keys": [GOOD | {"scopes": "check"}]},
    ],
)
def test_a_wrong_file_is_refused(tmp_path: Path, document: object) -> None:
    path = tmp_path / "keys.json"
    path.write_text(json.dumps(document))
    with pytest.raises(InvalidApiKeysError, match="keys"):
        api_keys.read(path)
