"""Files and variables that an operator writes, and sealed bytes."""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consent_api.domain.validation import Purposes, ValidationRules
from consent_api.errors import MisconfiguredError
from consent_api.registers.declared import read_registers
from consent_api.settings import ApiSettings, MigrateSettings
from consent_api.tenant_purposes import read_tenant_purposes
from consent_client import InvalidRegistersError, registers
from consent_http import api_keys
from consent_http.errors import InvalidApiKeysError
from consent_privacy.errors import DecryptionFailedError, InvalidKeyringError
from consent_privacy.keyring import Key, Keyring
from consent_service.settings import KeyringSettings, ProcessSettings, load
from consent_service.wrong_entries import WrongEntry
from propagator.config.reader import read as read_destinations
from propagator.connectors import CATALOGUE
from propagator.errors import InvalidDestinationsFileError
from suppression.gate.settings import GateSettings
from tests.fuzz.budget import fuzzed
from tests.fuzz.hostile import deep, mutated, pieces, raw, texts, values
from tests.fuzz.outcome import value_or

SECRET = "A" * 43 + "="
KEYRING = f"""\
[[seal_keys]]
id = "s1"
secret = "{SECRET}"

[[tenants."acme".hash_keys]]
id = "h1"
secret = "{SECRET}"
primary = true
"""
API_KEYS = json.dumps({"keys": [{"id": "abcdef", "sha256": "0" * 64, "tenant": "acme", "scopes": ["check"]}]})
DESTINATIONS = """\
destinations:
  - name: tool-fr
    tenant: acme
    connector: webhook
    channel: sms
    url: https://tool.example/consent
    credentials: {secret: {env: SECRET}}
    purposes: {newsletter: "12", survey: [12, 13], "*": 99, billing: null}
    options: {clear_addresses: true}
    limits: {calls_per_minute: 30, batch: 10}
    timeout_seconds: 15.5
    paused: false
    generation: 1
"""
PURPOSES = """\
acme:
  purposes: [newsletter, survey]
  unknown_purpose: everything
"""
REGISTERS = """\
registers:
  - name: tps
    tenant: acme
    channels: [voice, sms]
    purposes: [promotions]
    max_age_days: 28
  - {name: bloctel, channels: [voice], purposes: [promotions], ended: 2026-08-10}
"""
EXPORTED_REGISTERS = json.dumps(
    {
        "registers": [
            {"name": "tps", "tenant": "acme", "channels": ["voice"], "purposes": ["promotions"], "stale_at": 5},
            {"name": "old", "tenant": "acme", "channels": ["voice"], "purposes": ["promotions"], "stale_at": None},
        ]
    }
)
YAML_VALUES = (
    *(
        "&a [*a]",
        "*nothing",
        "!!binary x",
        "!!python/object:os.system x",
        "2026-13-45",
        "2026-02-30T25:61:61Z",
        "0x",
        "0b2",
    ),
    *(
        "!!int x",
        "!!float x",
        "!!timestamp x",
        "!!set {a}",
        "!!omap [a]",
        "<<: 7",
        "{<<: [7]}",
        "? [a]",
        "{[a]: b}",
        ".nan",
    ),
    *(
        "-.inf",
        ".inf",
        "1e999",
        "9" * 5_000,
        "190:20:30",
        "=",
        "~",
        "- " * 200,
        "[" * 200,
        "{a: " * 200,
        "\x07",
        "\ufffe",
        "%TAG",
    ),
    *(
        '"\\ud800"',
        "{env: A, file: B}",
        "{env: [A]}",
        "{file: .}",
        '{file: "\\0"}',
        "{file: /dev/null}",
        '{env: "a\\0"}',
    ),
    *("{env: 'a=b'}", "{env: ''}", "|\n a", "'", '"', "---", "...\n---"),
)


def files(valid: str) -> st.SearchStrategy[bytes]:
    """The valid file, damaged; with another value at some place; and anything else."""
    words = sorted({*re.findall(r"\w+|\{[^{}]*\}", valid)})
    replaced = st.builds(
        lambda word, value: valid.replace(word, value).encode("utf-8", "surrogatepass"),
        st.sampled_from(words),
        st.one_of(st.sampled_from(YAML_VALUES), pieces, values.map(json.dumps)),
    )
    under_a_name = st.builds(lambda nested: b"a = " + nested + b"\nb: " + nested, deep)
    return st.one_of(mutated(st.just(valid.encode())), replaced, mutated(replaced), raw, deep, under_a_name)


def _purposes_file(path: Path) -> object:
    return read_tenant_purposes(path, Purposes())


def _destinations_file(path: Path) -> object:
    return read_destinations(
        path,
        catalogue=CATALOGUE,
        channels=("sms", "email", "voice"),
        keyring=KEYS,
    )


def _registers_file(path: Path) -> object:
    rules = ValidationRules(channels=("sms", "email", "voice"), default_region="FR")
    return read_registers(path, tenants=["acme"], rules=rules, on_wrong=_named)


def _named(wrong: WrongEntry) -> None:
    assert len(wrong.entry) <= 64
    assert wrong.why.startswith("names a file that is wrong at ")


KEYS = Keyring(
    seal_keys=[Key(id="s1", secret=b"1" * 32), Key(id="s2", secret=b"2" * 32)],
    hash_keys={"acme": [Key(id="h1", secret=b"h" * 32, primary=True)]},
)
READERS: dict[str, tuple[Callable[[Path], object], str, type[Exception]]] = {
    "keyring": (Keyring.load, KEYRING, InvalidKeyringError),
    "API keys": (api_keys.read, API_KEYS, InvalidApiKeysError),
    "destinations": (_destinations_file, DESTINATIONS, InvalidDestinationsFileError),
    "purposes": (_purposes_file, PURPOSES, ValueError),
    "registers": (_registers_file, REGISTERS, MisconfiguredError),
    "exported registers": (registers.read, EXPORTED_REGISTERS, InvalidRegistersError),
}


@pytest.mark.parametrize("name", READERS)
def test_a_file_is_read_or_its_error_is_named(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", f"whsec_{SECRET}")
    read, valid, error = READERS[name]
    path = tmp_path / "file"
    path.touch(mode=0o600)
    path.write_text(valid)
    read(path)

    @fuzzed(share=3)
    @given(files(valid))
    def holds(content: bytes) -> None:
        path.write_bytes(content)
        # An error of the destinations file names every wrong line.
        with value_or(error, longest=5_000 + 300 * len(content)):
            read(path)

    holds()


@fuzzed(share=3)
@given(files(KEYRING))
def test_no_secret_is_in_the_error_of_a_keyring(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "keyring-to-damage.toml"
    path.touch(mode=0o600)
    path.write_bytes(content)
    refused = ""
    with value_or():
        try:
            Keyring.load(path)
        except InvalidKeyringError as error:
            refused = f"{error!r} {error.__cause__!r}"
    assert "AAAA" not in refused


def test_the_keyring_that_is_damaged_is_one() -> None:
    assert tomllib.loads(KEYRING)["seal_keys"][0]["id"] == "s1"


sealed = st.builds(KEYS.seal, st.text(max_size=20), st.text(max_size=40))


@fuzzed(share=3)
@given(st.one_of(sealed, mutated(sealed), raw, st.binary(max_size=60)), st.text(max_size=20))
def test_sealed_bytes_are_opened_or_unsealable(data: bytes, address_key: str) -> None:
    with value_or(DecryptionFailedError):
        assert len(KEYS.open(address_key, data)) <= len(data)
    with value_or(DecryptionFailedError):
        KEYS.open_record(data, address_key.encode())


SETTINGS: dict[str, type[ProcessSettings]] = {
    each.__name__: each for each in (ProcessSettings, KeyringSettings, ApiSettings, MigrateSettings, GateSettings)
}
odd_values = st.one_of(
    texts,
    pieces,
    st.sampled_from(
        ["tcp://10.0.0.1:8080", "postgresql://", "postgresql://[::1", "http://", "1e9", "nan", "inf", "-1", "a,,b"]
    ),
    st.integers().map(str),
).map(lambda text: text.replace("\0", "0").encode("utf-8", "replace").decode()[:5_000])


@pytest.mark.parametrize("name", SETTINGS)
def test_settings_are_read_or_the_process_ends_with_2(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cls = SETTINGS[name]
    present = tmp_path / "present"
    present.touch(mode=0o600)
    variables = [f"CONSENT_RELAY_{field.upper()}" for field in cls.model_fields]
    chosen = st.dictionaries(st.sampled_from(variables), odd_values, max_size=6)
    by_file = st.dictionaries(
        st.sampled_from([f"{each}_FILE" for each in variables]),
        st.one_of(st.sampled_from([str(present), str(tmp_path), "/nowhere", "x" * 5_000]), odd_values),
        max_size=2,
    )
    needed = {"CONSENT_RELAY_KEYRING_FILE": str(present), "CONSENT_RELAY_GATE_KEYS_FILE": str(present)}
    needed |= {"CONSENT_RELAY_API_DATABASE": "postgresql://a:b@127.0.0.1/c"}
    others = {key: value for key, value in os.environ.items() if not key.startswith("CONSENT_RELAY_")}

    @fuzzed(share=3)
    @given(chosen, by_file, raw)
    def holds(given_: dict[str, str], files_: dict[str, str], content: bytes) -> None:
        present.write_bytes(content)
        with value_or(SystemExit), patch.dict(os.environ, {**others, **needed, **given_, **files_}, clear=True):
            load(cls)
        complaint = capsys.readouterr().err
        assert len(complaint) <= 20_000
        assert all(line.startswith("CONSENT_RELAY_") or not line for line in complaint.splitlines()), complaint

    holds()
