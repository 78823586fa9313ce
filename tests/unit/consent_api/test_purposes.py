"""Purposes that an installation declares; what a choice for another one does. # R4"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from consent_api.domain.validation import Purposes, UnknownPurpose, ValidationRules
from consent_api.errors import FieldViolation, InvalidValueError, MisconfiguredError
from consent_api.settings import SubmissionSettings
from consent_api.tenant_purposes import NOT_KNOWN
from consent_service.settings import load
from consent_service.wrong_entries import WrongEntry
from tests.unit.consent_api.submissions import GRANT, WITHDRAWAL, dropped, fault_list, faults, read

NAMES = frozenset({"newsletter", "survey", "promotions"})


def rules(unknown: UnknownPurpose = UnknownPurpose.REFUSE) -> ValidationRules:
    return ValidationRules(channels=("sms",), default_region="FR", purposes=Purposes(declared=NAMES, unknown=unknown))


@pytest.mark.parametrize("purpose", ["newsletter", "survey", "*"])
def test_a_declared_purpose_is_recorded(purpose: str) -> None:
    assert read({**WITHDRAWAL, "purpose": purpose}, rules()).purpose == purpose


@pytest.mark.parametrize("fields", [WITHDRAWAL, GRANT])
@pytest.mark.parametrize(
    ("purpose", "near"), [("newsleter", "newsletter"), ("Newsletter", "newsletter"), ("promotion", "promotions")]
)
def test_an_unknown_purpose_is_refused_with_the_nearest_names(fields: dict[str, Any], purpose: str, near: str) -> None:
    (fault,) = fault_list({**fields, "purpose": purpose}, rules())
    assert (fault.pointer, fault.code) == ("/purpose", "unknown_purpose")
    assert near in fault.cure


def test_where_no_name_is_near_all_are_named() -> None:
    (fault,) = fault_list({**WITHDRAWAL, "purpose": "xyz"}, rules())
    assert fault.cure == "send a declared purpose: newsletter, promotions, survey"


@pytest.mark.parametrize("purpose", ["newsleter", "News Letter", "0639980001", "x" * 100])
def test_a_refusal_of_an_unknown_purpose_is_one_of_everything_where_the_tenant_says_so(purpose: str) -> None:
    everything = rules(UnknownPurpose.EVERYTHING)
    fields = {**WITHDRAWAL, "purpose": purpose}
    assert read(fields, everything).purpose == "*"
    assert dropped(fields, everything) == {"/purpose": "unknown_purpose"}
    assert faults({**GRANT, "purpose": purpose}, everything) == {"/purpose": "unknown_purpose"}


@pytest.mark.parametrize("purpose", [None, 7, "", "\x00"])
def test_a_refusal_without_a_purpose_is_refused_all_the_same(purpose: object) -> None:
    everything = rules(UnknownPurpose.EVERYTHING)
    if purpose == "":
        assert read({**WITHDRAWAL, "purpose": purpose}, everything).purpose == "*"
    else:
        assert set(faults({**WITHDRAWAL, "purpose": purpose}, everything)) == {"/purpose"}


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    keyring = tmp_path / "keyring.toml"
    keyring.write_text("")
    monkeypatch.setenv("CONSENT_RELAY_KEYRING_FILE", str(keyring))
    monkeypatch.setenv("CONSENT_RELAY_API_DATABASE", "postgresql://role@host/database")
    return monkeypatch


def test_nothing_is_declared_unless_a_setting_does(environment: pytest.MonkeyPatch) -> None:
    found = load(SubmissionSettings).rules(["acme"])
    assert found.purposes_of("acme").declared is None
    assert found.oldest_choice == 946_684_800_000_000


def test_settings_declare_purposes_for_all_tenants_and_a_file_for_one(
    environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "purposes.yaml"
    file.write_text("acme: {purposes: [offers]}\nglobex: {unknown_purpose: everything}\n")
    environment.setenv("CONSENT_RELAY_PURPOSES", "newsletter, survey")
    environment.setenv("CONSENT_RELAY_TENANT_PURPOSES", str(file))
    environment.setenv("CONSENT_RELAY_REFUSED_REFERENCES", "walk-in, 9999")
    environment.setenv("CONSENT_RELAY_OLDEST_CHOICE", "2018-05-25")
    found = load(SubmissionSettings).rules(["acme", "globex", "initech"])
    both = frozenset({"newsletter", "survey"})
    assert found.purposes_of("acme") == Purposes(declared=frozenset({"offers"}))
    assert found.purposes_of("globex") == Purposes(declared=both, unknown=UnknownPurpose.EVERYTHING)
    assert found.purposes_of("initech") == Purposes(declared=both)
    assert found.refused_references == ("walk-in", "9999")
    assert found.oldest_choice == 1_527_206_400_000_000
    with pytest.raises(MisconfiguredError, match="CONSENT_RELAY_TENANT_PURPOSES"):
        load(SubmissionSettings).rules(["acme"])


@pytest.mark.parametrize("content", ["[", "acme", "- acme", "no: {purposes: [offers]}"])
def test_a_file_of_another_shape_stops_the_start(
    environment: pytest.MonkeyPatch, tmp_path: Path, content: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """YAML reads `no` as false: whose entry that is cannot be known."""
    file = tmp_path / "purposes.yaml"
    file.write_text(content)
    environment.setenv("CONSENT_RELAY_TENANT_PURPOSES", str(file))
    with pytest.raises(SystemExit):
        load(SubmissionSettings)
    assert "CONSENT_RELAY_TENANT_PURPOSES: names a file that" in capsys.readouterr().err


@pytest.mark.parametrize(
    "entry", ["[a]", "{purpose: [a]}", "{purposes: ['A B']}", "{purposes: []}", "{purposes: ['*']}",
              "{unknown_purpose: maybe}"],
)  # fmt: skip
def test_a_wrong_entry_concerns_its_tenant_alone(
    environment: pytest.MonkeyPatch, tmp_path: Path, entry: str
) -> None:  # R45
    file = tmp_path / "purposes.yaml"
    file.write_text(f"acme: {entry}\nglobex: {{purposes: [offers]}}\n")
    environment.setenv("CONSENT_RELAY_PURPOSES", "newsletter")
    environment.setenv("CONSENT_RELAY_TENANT_PURPOSES", str(file))
    settings = load(SubmissionSettings)
    with pytest.raises(MisconfiguredError, match="CONSENT_RELAY_TENANT_PURPOSES: names a file that is wrong at acme"):
        settings.rules(["acme", "globex"])
    found: list[WrongEntry] = []
    rules = settings.rules(["acme", "globex"], on_wrong=found.append)
    assert [(each.setting, each.entry) for each in found] == [("CONSENT_RELAY_TENANT_PURPOSES", "acme")]
    assert rules.purposes_of("globex") == Purposes(declared=frozenset({"offers"}))
    purposes = rules.purposes_of("acme")
    assert purposes == NOT_KNOWN


@pytest.mark.parametrize("purpose", ["newsletter", "newsleter", "News Letter", "*"])
@pytest.mark.parametrize("status", ["withdrawn", "objected", "given"])
def test_where_the_purposes_are_not_known_refusals_alone_are_taken(purpose: str, status: str) -> None:  # R45
    """The right entry would refuse a misspelt purpose, or take it for everything: it is not to be without effect."""
    purposes = Purposes(used=frozenset({"newsletter"}))
    spare: list[FieldViolation] = []
    if status == "given":
        with pytest.raises(InvalidValueError, match="purposes_not_known"):
            purposes.read(purpose, status, spare)
        return
    is_used = purpose in ("newsletter", "*")
    assert purposes.read(purpose, status, spare) == (purpose if is_used else "*")
    assert [(each.pointer, each.code) for each in spare] == ([] if is_used else [("/purpose", "purposes_not_known")])


def test_an_entry_of_an_unknown_tenant_stops_the_start(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A misspelt tenant would have the purposes of the installation, which may be more."""
    file = tmp_path / "purposes.yaml"
    file.write_text("acmee: {purposes: [offers]}\n")
    environment.setenv("CONSENT_RELAY_TENANT_PURPOSES", str(file))
    with pytest.raises(MisconfiguredError, match="hash keys for: acmee"):
        load(SubmissionSettings).rules(["acme"], on_wrong=lambda wrong: None)


@pytest.mark.parametrize(
    ("name", "value"),
    [("PURPOSES", "News Letter"), ("PURPOSES", "*"), ("PURPOSES", ","), ("UNKNOWN_PURPOSE", "maybe"),
     ("OLDEST_CHOICE", "1969-12-31"), ("OLDEST_CHOICE", "yesterday"), ("TENANT_PURPOSES", "/nowhere")],
)  # fmt: skip
def test_a_wrong_setting_stops_the_start(
    environment: pytest.MonkeyPatch, name: str, value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    environment.setenv(f"CONSENT_RELAY_{name}", value)
    with pytest.raises(SystemExit):
        load(SubmissionSettings)
    assert f"CONSENT_RELAY_{name}: " in capsys.readouterr().err
