"""A missing or wrong setting stops the start, by name, and never shows a value."""

from pathlib import Path
from typing import ClassVar

import pytest
from pydantic import Field, SecretStr

from consent_service.settings import KeyringSettings, ProcessSettings, load


class ExampleSettings(KeyringSettings):
    service: ClassVar[str] = "example"
    example_port: int = Field(8080, description="port of the example", ge=0)
    example_token: SecretStr = Field(description="token of the example", min_length=8)


@pytest.fixture
def keyring_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "keyring.toml"
    path.write_text("")
    monkeypatch.setenv("CONSENT_RELAY_KEYRING_FILE", str(path))
    return path


def refused(capsys: pytest.CaptureFixture[str], settings: type[ProcessSettings] = ExampleSettings) -> list[str]:
    with pytest.raises(SystemExit) as caught:
        load(settings)
    assert caught.value.code == 2
    return capsys.readouterr().err.splitlines()


def test_values_come_from_the_environment_or_from_a_file(
    keyring_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "token").write_text("a-long-secret\n")
    monkeypatch.setenv("CONSENT_RELAY_EXAMPLE_TOKEN_FILE", str(tmp_path / "token"))
    monkeypatch.setenv("CONSENT_RELAY_EXAMPLE_PORT", "81")
    monkeypatch.setenv("CONSENT_RELAY_CHANNELS", "sms, push")
    monkeypatch.setenv("CONSENT_RELAY_TOPIC_PREFIX", "t1.")
    monkeypatch.setenv("CONSENT_RELAY_KAFKA", "")
    settings = load(ExampleSettings)
    assert settings.example_token.get_secret_value() == "a-long-secret"
    assert settings.example_port == 81
    assert settings.channels == ("sms", "push")
    assert settings.kafka == "127.0.0.1:9092"
    assert settings.keyring_file == keyring_file
    assert settings.instance_id.endswith("-example")
    assert settings.topics.suppression("push").startswith("t1.")
    assert "a-long-secret" not in repr(settings)


def test_each_missing_or_wrong_variable_is_named_with_its_cure_and_no_value(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CONSENT_RELAY_EXAMPLE_TOKEN", "hush-77")
    monkeypatch.setenv("CONSENT_RELAY_EXAMPLE_PORT", "eighty")
    monkeypatch.setenv("CONSENT_RELAY_CHANNELS", "SMS")
    monkeypatch.setenv("CONSENT_RELAY_DEFAULT_REGION", "XX")
    lines = refused(capsys)
    for variable in ("KEYRING_FILE", "EXAMPLE_TOKEN", "EXAMPLE_PORT", "CHANNELS", "DEFAULT_REGION"):
        assert sum(line.startswith(f"CONSENT_RELAY_{variable}: ") for line in lines) == 1
    assert len(lines) == 5
    assert "is missing. Set CONSENT_RELAY_KEYRING_FILE (path of the keyring" in "\n".join(lines)
    assert "hush-77" not in "\n".join(lines)
    assert "eighty" not in "\n".join(lines)


def test_an_unreadable_file_and_a_value_given_twice_are_errors(
    keyring_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CONSENT_RELAY_EXAMPLE_TOKEN_FILE", str(tmp_path / "absent"))
    monkeypatch.setenv("CONSENT_RELAY_EXAMPLE_PORT", "80")
    monkeypatch.setenv("CONSENT_RELAY_EXAMPLE_PORT_FILE", str(keyring_file))
    lines = refused(capsys)
    assert [line.partition(":")[0] for line in lines] == [
        "CONSENT_RELAY_EXAMPLE_PORT",
        "CONSENT_RELAY_EXAMPLE_TOKEN_FILE",
    ]


def test_a_keyring_that_is_not_there_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CONSENT_RELAY_KEYRING_FILE", str(tmp_path / "absent"))
    assert refused(capsys, KeyringSettings)[0].startswith("CONSENT_RELAY_KEYRING_FILE: names a file that is missing")


def test_a_path_is_not_offered_as_a_file_that_holds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CONSENT_RELAY_EXAMPLE_TOKEN", "a-long-secret")
    (line,) = refused(capsys)
    assert line.startswith("CONSENT_RELAY_KEYRING_FILE: is missing. Set CONSENT_RELAY_KEYRING_FILE (")
    assert "_FILE_FILE" not in line

    (tmp_path / "keyring.toml").write_text("[tenants]")
    monkeypatch.setenv("CONSENT_RELAY_KEYRING_FILE_FILE", str(tmp_path / "keyring.toml"))
    (line,) = refused(capsys)
    assert line.endswith("itself: CONSENT_RELAY_KEYRING_FILE_FILE names a file that has the path in it.")


@pytest.mark.parametrize("prefix", ["a b", "acme/", "p" * 101])
def test_a_prefix_that_no_topic_can_have_is_refused(
    prefix: str, keyring_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CONSENT_RELAY_EXAMPLE_TOKEN", "a-long-secret")
    monkeypatch.setenv("CONSENT_RELAY_TOPIC_PREFIX", prefix)
    (line,) = refused(capsys)
    assert line.startswith("CONSENT_RELAY_TOPIC_PREFIX: requires letters")


def test_a_process_without_secrets_needs_no_keyring() -> None:
    assert load(ProcessSettings).partitions == 4


@pytest.mark.parametrize("link", ["tcp://10.3.240.7:8080", "udp://10.3.240.7:53", "TCP://[fd00::7]:8080"])
@pytest.mark.parametrize("name", ["EXAMPLE_PORT", "METRICS_PORT"])
def test_the_link_to_a_service_of_the_setting_s_name_is_none(
    keyring_file: Path, monkeypatch: pytest.MonkeyPatch, name: str, link: str
) -> None:
    """Kubernetes sets it in every pod beside a service named consent-relay-example."""
    monkeypatch.setenv("CONSENT_RELAY_EXAMPLE_TOKEN", "a-long-secret")
    monkeypatch.setenv(f"CONSENT_RELAY_{name}", link)
    for beside in ("SERVICE_HOST", "SERVICE_PORT", "PORT_8080_TCP", "PORT_8080_TCP_ADDR"):
        monkeypatch.setenv(f"CONSENT_RELAY_EXAMPLE_{beside}", "10.3.240.7")
    settings = load(ExampleSettings)
    assert (settings.example_port, settings.metrics_port) == (8080, 9464)


def test_a_port_that_is_none_is_still_refused(
    keyring_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CONSENT_RELAY_EXAMPLE_TOKEN", "a-long-secret")
    monkeypatch.setenv("CONSENT_RELAY_EXAMPLE_PORT", "http://10.3.240.7:8080")
    assert any("CONSENT_RELAY_EXAMPLE_PORT" in line for line in refused(capsys))


def test_a_file_may_begin_with_a_byte_order_mark(
    keyring_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "token").write_bytes(b"\xef\xbb\xbfa-long-secret\r\n")
    monkeypatch.setenv("CONSENT_RELAY_EXAMPLE_TOKEN_FILE", str(tmp_path / "token"))
    assert load(ExampleSettings).example_token.get_secret_value() == "a-long-secret"


def test_a_file_holds_beside_a_service_link(
    keyring_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "port").write_text("81")
    monkeypatch.setenv("CONSENT_RELAY_EXAMPLE_TOKEN", "a-long-secret")
    monkeypatch.setenv("CONSENT_RELAY_EXAMPLE_PORT", "tcp://10.3.240.7:8080")
    monkeypatch.setenv("CONSENT_RELAY_EXAMPLE_PORT_FILE", str(tmp_path / "port"))
    assert load(ExampleSettings).example_port == 81


@pytest.mark.parametrize(
    ("variable", "cure"),
    [
        ("CONSENT_RELAY_PURPOSE", "Did you mean CONSENT_RELAY_PURPOSES?"),
        ("CONSENT_RELAY_KAFKA_SASL_PASWORD", "Did you mean CONSENT_RELAY_KAFKA_SASL_PASSWORD?"),
        ("CONSENT_RELAY_GATE_STALE_AFTR", "Did you mean CONSENT_RELAY_GATE_STALE_AFTER?"),
        ("CONSENT_RELAY_KEYRING_FILE_FILE_", "Did you mean CONSENT_RELAY_KEYRING_FILE_FILE?"),
        ("CONSENT_RELAY_STALE_AFTER", "Did you mean CONSENT_RELAY_GATE_STALE_AFTER?"),
        ("CONSENT_RELAY_PURPOSES_FILES", "Did you mean CONSENT_RELAY_PURPOSES_FILE?"),
    ],
)
def test_a_misspelt_setting_is_named_with_the_nearest_one(
    variable: str,
    cure: str,
    keyring_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("CONSENT_RELAY_EXAMPLE_TOKEN", "long-enough")
    monkeypatch.setenv(variable, "hush-77")
    [line] = refused(capsys)
    assert line.startswith(f"{variable}: is no setting")
    assert cure in line
    assert "hush-77" not in line


def test_the_settings_of_other_processes_and_links_to_services_are_no_mistake(
    keyring_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONSENT_RELAY_EXAMPLE_TOKEN", "long-enough")
    for other in (
        "CONSENT_RELAY_GATE_STALE_AFTER",
        "CONSENT_RELAY_API_DATABASE_OWNER_FILE",
        "CONSENT_RELAY_DATABASE",
        "CONSENT_RELAY_API_SERVICE_HOST",
        "CONSENT_RELAY_API_SERVICE_PORT_HTTP",
        "CONSENT_RELAY_API_PORT_8080_TCP_ADDR",
        "CONSENT_RELAY_SUPPRESSION_PORT_9464_TCP",
        "CONSENT_RELAY_PROPAGATOR_PORT",
        "CONSENT_RELAY_INGEST_PORT",
        "CONSENT_RELAY_SERVICE_HOST",
        "CONSENT_RELAY_SERVICE_PORT",
        "CONSENT_RELAY_PORT",
        "CONSENT_RELAY_PORT_80_TCP_PROTO",
        "CONSENT_RELAY_TWILIO_SID",
        "CONSENT_RELAY_XYZZY",
    ):
        monkeypatch.setenv(other, "tcp://10.0.0.1:8080")
    assert load(ExampleSettings).example_port == 8080
