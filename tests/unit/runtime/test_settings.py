"""A missing or wrong setting stops the start, by name, and never shows a value."""

from pathlib import Path
from typing import ClassVar

import pytest
from pydantic import Field, SecretStr

from consent_runtime.settings import ProcessSettings, RelaySettings, load


class DoorSettings(RelaySettings):
    service: ClassVar[str] = "door"
    door_port: int = Field(8080, description="port of the door", ge=0)
    door_token: SecretStr = Field(description="token of the door", min_length=8)


@pytest.fixture
def keyring_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "keyring.toml"
    path.write_text("")
    monkeypatch.setenv("CONSENT_RELAY_KEYRING_FILE", str(path))
    return path


def refused(capsys: pytest.CaptureFixture[str], settings: type[ProcessSettings] = DoorSettings) -> list[str]:
    with pytest.raises(SystemExit) as caught:
        load(settings)
    assert caught.value.code == 2
    return capsys.readouterr().err.splitlines()


def test_values_come_from_the_environment_or_from_a_file(
    keyring_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "token").write_text("a-long-secret\n")
    monkeypatch.setenv("CONSENT_RELAY_DOOR_TOKEN_FILE", str(tmp_path / "token"))
    monkeypatch.setenv("CONSENT_RELAY_DOOR_PORT", "81")
    monkeypatch.setenv("CONSENT_RELAY_CHANNELS", "sms, push")
    monkeypatch.setenv("CONSENT_RELAY_TOPIC_PREFIX", "t1.")
    monkeypatch.setenv("CONSENT_RELAY_KAFKA", "")
    settings = load(DoorSettings)
    assert settings.door_token.get_secret_value() == "a-long-secret"
    assert settings.door_port == 81
    assert settings.channels == ("sms", "push")
    assert settings.kafka == "127.0.0.1:9092"
    assert settings.keyring_file == keyring_file
    assert settings.instance_id.endswith("-door")
    assert settings.topics.suppression("push").startswith("t1.")
    assert "a-long-secret" not in repr(settings)


def test_each_missing_or_wrong_variable_is_named_with_its_cure_and_no_value(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CONSENT_RELAY_DOOR_TOKEN", "hush-77")
    monkeypatch.setenv("CONSENT_RELAY_DOOR_PORT", "eighty")
    monkeypatch.setenv("CONSENT_RELAY_CHANNELS", "SMS")
    monkeypatch.setenv("CONSENT_RELAY_DEFAULT_REGION", "XX")
    lines = refused(capsys)
    for variable in ("KEYRING_FILE", "DOOR_TOKEN", "DOOR_PORT", "CHANNELS", "DEFAULT_REGION"):
        assert sum(line.startswith(f"CONSENT_RELAY_{variable}: ") for line in lines) == 1
    assert len(lines) == 5
    assert "is missing. Set CONSENT_RELAY_KEYRING_FILE (path of the keyring" in "\n".join(lines)
    assert "hush-77" not in "\n".join(lines)
    assert "eighty" not in "\n".join(lines)


def test_an_unreadable_file_and_a_value_given_twice_are_errors(
    keyring_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CONSENT_RELAY_DOOR_TOKEN_FILE", str(tmp_path / "absent"))
    monkeypatch.setenv("CONSENT_RELAY_DOOR_PORT", "80")
    monkeypatch.setenv("CONSENT_RELAY_DOOR_PORT_FILE", str(keyring_file))
    lines = refused(capsys)
    assert [line.partition(":")[0] for line in lines] == [
        "CONSENT_RELAY_DOOR_PORT",
        "CONSENT_RELAY_DOOR_TOKEN_FILE",
    ]


def test_a_keyring_that_is_not_there_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CONSENT_RELAY_KEYRING_FILE", str(tmp_path / "absent"))
    assert refused(capsys, RelaySettings)[0].startswith("CONSENT_RELAY_KEYRING_FILE: names a file that is missing")


def test_a_process_without_secrets_needs_no_keyring() -> None:
    assert load(ProcessSettings).partitions == 4
