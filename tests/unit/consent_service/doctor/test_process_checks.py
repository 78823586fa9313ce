"""Settings, secrets, certificates, state and clock: what is judged a fault, and with which cure."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from consent_service.doctor.certificates import Certificate, certificate_of_file, judge_certificates
from consent_service.doctor.findings import CheckContext, Finding, Result
from consent_service.doctor.host import StateDirectory, judge_ntp, judge_state
from consent_service.doctor.secret_files import judge_secrets, referenced_secrets, secret_file
from consent_service.doctor.setting_checks import find_settings, judge_settings, judge_unknown
from consent_service.errors import InvalidSettingsError
from consent_service.settings import settings_classes
from tests.support.certificates import Authority

GIB = 1024**3


def one(findings: object) -> Finding:
    assert isinstance(findings, (list, tuple))
    [found] = findings
    assert isinstance(found, Finding)
    return found


def test_settings_that_can_be_read_are_complete() -> None:
    assert judge_settings("lag", None, required=True)[0].result is Result.OK


def test_missing_settings_are_a_fault_of_a_process_that_is_asked_about_alone() -> None:
    wrong = InvalidSettingsError(
        ["CONSENT_RELAY_X: is missing. Set CONSENT_RELAY_X (what it is)."], missing=["CONSENT_RELAY_X"]
    )
    assert judge_settings("api", wrong, required=False) == [
        Finding(name="settings of api", result=Result.NOT_CONFIGURED, found="not set here: CONSENT_RELAY_X")
    ]
    assert judge_settings("api", wrong, required=True) == [
        Finding(
            name="settings of api",
            result=Result.FAULT,
            found="CONSENT_RELAY_X: is missing",
            cure="Set CONSENT_RELAY_X (what it is).",
        )
    ]


def test_a_wrong_setting_is_a_fault_even_where_others_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONSENT_RELAY_API_PORT", "none")
    monkeypatch.setenv("CONSENT_RELAY_METRIC_PORT", "1")
    monkeypatch.setenv("CONSENT_RELAY_SOMETHING_ELSE", "1")
    found = find_settings(list(settings_classes()), CheckContext())
    by_name = {each.found: each for each in found}
    assert by_name["CONSENT_RELAY_METRIC_PORT is no setting of Consent Relay."].cure.endswith(
        "CONSENT_RELAY_METRICS_PORT"
    )
    assert by_name["CONSENT_RELAY_SOMETHING_ELSE has no effect"].result is Result.WARNING
    wrong = [each for each in found if each.found.startswith("CONSENT_RELAY_API_PORT: ")]
    assert {(each.name, each.result) for each in wrong} == {("settings of api", Result.FAULT)}


def test_a_variable_that_a_file_names_has_an_effect() -> None:
    assert (
        judge_unknown({"CONSENT_RELAY_TOOL_TOKEN": ""}, "credentials: {token: {env: CONSENT_RELAY_TOOL_TOKEN}}") == []
    )


@pytest.mark.parametrize(
    ("mode", "days", "result"), [(0o600, 1, Result.OK), (0o644, 1, Result.FAULT), (0o600, 366, Result.WARNING)]
)
def test_a_secret_file_is_for_its_owner_and_not_old(tmp_path: Path, mode: int, days: int, result: Result) -> None:
    file = tmp_path / "keyring.toml"
    file.write_text("secret")
    file.chmod(mode)
    at = time.time() - days * 86_400
    os.utime(file, (at, at))
    found = one(judge_secrets([secret_file("CONSENT_RELAY_KEYRING_FILE", file)], 365.0))
    assert found.result is result
    if result is Result.FAULT:
        assert found.cure.startswith(f"chmod 600 {file}")
    if result is Result.WARNING:
        assert "consent-relay keyring --help" in found.cure


def test_a_secret_file_that_is_not_there_is_a_fault(tmp_path: Path) -> None:
    found = one(judge_secrets([secret_file("CONSENT_RELAY_KEYRING_FILE", tmp_path / "none")], 365.0))
    assert found.result is Result.FAULT
    assert "No such file" in found.found


def test_the_secrets_that_a_yaml_file_names_are_found_relative_to_it(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("secret")
    file = tmp_path / "destinations.yaml"
    file.write_text("a: &x {token: {file: token}}\nb: *x\nc: [{env: NAME}, {file: gone}]\n")
    found = {each.path.name: each.error for each in referenced_secrets("SETTING", file)}
    assert found == {"token": "", "gone": "No such file or directory"}
    file.write_text("[" * 10_000)
    assert referenced_secrets("SETTING", file) == []


@pytest.mark.parametrize(
    ("days", "result"),
    [(31.0, Result.OK), (30.0, Result.WARNING), (0.5, Result.WARNING), (-2.0, Result.FAULT), (None, Result.FAULT)],
)
def test_a_certificate_is_to_be_renewed_a_month_before_its_end(days: float | None, result: Result) -> None:
    assert one(judge_certificates("certificates", [Certificate(where="file", ends_in_days=days)])).result is result


def test_a_bundle_ends_with_the_last_of_its_authorities(tmp_path: Path) -> None:
    authority = Authority.create(tmp_path, "authority")
    old = authority.sign("old", days=-1).certificate.read_bytes()
    file = tmp_path / "bundle.pem"
    file.write_bytes(old + authority.file.read_bytes())
    assert 0 < (certificate_of_file("CA", file, bundle=True).ends_in_days or 0) <= 1
    assert (certificate_of_file("CERTIFICATE", file, bundle=False).ends_in_days or 0) < 0
    file.write_text("none")
    assert certificate_of_file("CA", file, bundle=True).ends_in_days is None


def state(**changes: object) -> StateDirectory:
    usual = {"path": Path("/state"), "exists": True, "writable": True, "free_bytes": 100 * GIB, "chmod": None}
    return StateDirectory(**{**usual, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("directory", "required", "result"),
    [
        (state(), True, Result.OK),
        (state(exists=False), False, Result.NOT_CONFIGURED),
        (state(exists=False), True, Result.OK),
        (state(exists=False, writable=False), True, Result.FAULT),
        (state(writable=False), False, Result.FAULT),
        (state(chmod="chmod 700 /state"), True, Result.WARNING),
        (state(free_bytes=GIB), True, Result.WARNING),
        (state(free_bytes=GIB // 100), True, Result.FAULT),
        (None, False, Result.NOT_CHECKED),
    ],
)
def test_state_needs_a_directory_with_room(directory: StateDirectory | None, required: bool, result: Result) -> None:
    assert one(judge_state(directory, required=required)).result is result


@pytest.mark.parametrize(
    ("synchronised", "result"), [(True, Result.OK), (False, Result.WARNING), (None, Result.WARNING)]
)
def test_a_clock_that_nothing_keeps_is_a_warning(synchronised: bool | None, result: Result) -> None:
    assert judge_ntp(synchronised).result is result
