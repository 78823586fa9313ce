"""R42: the settings of links go to every client, are checked together, and are in no message."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from confluent_kafka import KafkaError

from consent_api.cli.topics import topics as topics_command
from consent_contracts.codec import tls_refusal
from consent_contracts.errors import RegistryRefusedError
from consent_contracts.topics import Topics
from consent_kafka.access import COMMANDS, PROCESSES, Acl, missing, required
from consent_kafka.clients import aiokafka_security
from consent_kafka.refusals import kafka_refusal, registry_refusal
from consent_kafka.transport.options import Options
from consent_service.settings import ProcessSettings, load
from tests.support.certificates import Authority

PASSWORD = "hush-77"
SASL = {
    "kafka_security_protocol": "SASL_SSL",
    "kafka_sasl_username": "relay",
    "kafka_sasl_password": PASSWORD,
}
SOURCES = [path for folder in ("libs", "services") for path in Path(folder).rglob("*.py")]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority.create(tmp_path, "authority")


def given(monkeypatch: pytest.MonkeyPatch, **values: object) -> ProcessSettings:
    for name, value in values.items():
        monkeypatch.setenv(f"CONSENT_RELAY_{name.upper()}", str(value))
    return load(ProcessSettings)


def test_plain_text_is_the_default_and_needs_nothing() -> None:
    assert ProcessSettings().kafka_client == {}
    assert ProcessSettings().registry_client == {}
    assert aiokafka_security({}) == {"security_protocol": "PLAINTEXT"}


def test_each_client_gets_the_same_security_in_its_own_words(
    monkeypatch: pytest.MonkeyPatch, authority: Authority, tmp_path: Path
) -> None:  # R42
    identity = authority.sign("relay")
    (tmp_path / "password").write_text(f"{PASSWORD}\n")
    settings = given(
        monkeypatch,
        kafka_security_protocol="SASL_SSL",
        kafka_sasl_mechanism="SCRAM-SHA-256",
        kafka_sasl_username="relay",
        kafka_sasl_password_file=tmp_path / "password",
        kafka_ssl_ca_file=authority.file,
        kafka_ssl_certificate_file=identity.certificate,
        kafka_ssl_key_file=identity.key,
        registry="https://registry:8443/apis/ccompat/v7",
        registry_username="relay",
        registry_password="hush-78",
        registry_ssl_ca_file=authority.file,
        registry_ssl_certificate_file=identity.both,
    )
    assert settings.kafka_client == {
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "SCRAM-SHA-256",
        "sasl.username": "relay",
        "sasl.password": PASSWORD,
        "ssl.ca.location": str(authority.file),
        "ssl.certificate.location": str(identity.certificate),
        "ssl.key.location": str(identity.key),
    }
    assert settings.registry_client == {
        "basic.auth.user.info": "relay:hush-78",
        "ssl.ca.location": str(authority.file),
        "ssl.certificate.location": str(identity.both),
        "ssl.key.location": str(identity.both),
    }
    for_faust = aiokafka_security(settings.kafka_client)
    assert for_faust.pop("ssl_context").check_hostname
    assert for_faust == {
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": "SCRAM-SHA-256",
        "sasl_plain_username": "relay",
        "sasl_plain_password": PASSWORD,
    }
    options = Options(bootstrap="b", instance_id="i", client_config=settings.kafka_client)
    assert not any(secret in f"{settings!r} {options!r}" for secret in (PASSWORD, "hush-78"))


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"kafka_security_protocol": "TLS"}, "KAFKA_SECURITY_PROTOCOL"),
        ({**SASL, "kafka_sasl_mechanism": "GSSAPI"}, "KAFKA_SASL_MECHANISM"),
        ({**SASL, "kafka_sasl_password": ""}, "KAFKA_SASL_USERNAME and CONSENT_RELAY_KAFKA_SASL_PASSWORD"),
        ({**SASL, "kafka_sasl_username": ""}, "KAFKA_SASL_USERNAME and CONSENT_RELAY_KAFKA_SASL_PASSWORD"),
        ({**SASL, "kafka_security_protocol": "PLAINTEXT"}, "KAFKA_SECURITY_PROTOCOL"),
        ({**SASL, "kafka_security_protocol": "SSL"}, "KAFKA_SECURITY_PROTOCOL"),
        (
            {**SASL, "kafka_security_protocol": "SASL_PLAINTEXT", "kafka_sasl_mechanism": "PLAIN"},
            "KAFKA_SASL_MECHANISM",
        ),
        ({"kafka_ssl_ca_file": "{ca}"}, "KAFKA_SECURITY_PROTOCOL"),
        ({**SASL, "kafka_ssl_ca_file": "/absent"}, "KAFKA_SSL_CA_FILE"),
        ({**SASL, "kafka_ssl_ca_file": "{key}"}, "KAFKA_SSL_CA_FILE"),
        ({**SASL, "kafka_ssl_key_file": "{key}"}, "KAFKA_SSL_KEY_FILE"),
        ({**SASL, "kafka_ssl_certificate_file": "{ca}"}, "KAFKA_SSL_CERTIFICATE_FILE"),
        ({**SASL, "kafka_ssl_certificate_file": "{ca}", "kafka_ssl_key_file": "{key}"}, "KAFKA_SSL_CERTIFICATE_FILE"),
        ({"registry": "https://relay:hush-77@registry"}, "REGISTRY"),
        ({"registry": "https://registry", "registry_username": "relay"}, "REGISTRY_USERNAME"),
        (
            {"registry": "http://registry", "registry_username": "relay", "registry_password": PASSWORD},
            "REGISTRY",
        ),
        ({"registry": "http://registry", "registry_ssl_ca_file": "{ca}"}, "REGISTRY"),
        ({"registry": "https://registry", "registry_ssl_ca_file": "{key}"}, "REGISTRY_SSL_CA_FILE"),
        (
            {"registry": "https://registry", "registry_username": "a:b", "registry_password": PASSWORD},
            "REGISTRY_USERNAME",
        ),
    ],
)
def test_settings_that_do_not_fit_together_end_the_start(
    wrong: dict[str, str],
    named: str,
    authority: Authority,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # R42
    files = {"ca": authority.file, "key": authority.sign("relay").key}
    with pytest.raises(SystemExit) as ended:
        given(monkeypatch, **{name: value.format(**files) for name, value in wrong.items()})
    said = capsys.readouterr().err
    assert ended.value.code == 2
    assert said.startswith(f"CONSENT_RELAY_{named}"), said
    assert len(said.splitlines()) == 1
    assert PASSWORD not in said


class Reported:
    """An error as librdkafka reports it; these have no public constructor with a text."""

    def __init__(self, name: str, text: str) -> None:
        self._name, self._text = name, text

    def name(self) -> str:
        return self._name

    def str(self) -> str:
        return self._text


@pytest.mark.parametrize(
    ("name", "text", "setting"),
    [
        ("_SSL", "broker certificate could not be verified, verify that ssl.ca.location", "KAFKA_SSL_CA_FILE"),
        ("_TRANSPORT", "tlsv13 alert certificate required: SSL alert number 116", "KAFKA_SSL_CERTIFICATE_FILE"),
        ("_TRANSPORT", "Disconnected: connecting to a PLAINTEXT broker listener?", "KAFKA_SECURITY_PROTOCOL"),
        ("_TRANSPORT", "might be caused by incorrect security.protocol configuration", "KAFKA_SECURITY_PROTOCOL"),
        ("_AUTHENTICATION", "Authentication failed: invalid credentials", "KAFKA_SASL_USERNAME, "),
        ("_AUTHENTICATION", "Broker: Unsupported SASL mechanism: supported mechanisms: PLAIN", "KAFKA_SASL_MECHANISM"),
    ],
)
def test_a_refusal_is_distinguished_from_an_outage_and_names_its_setting(
    name: str, text: str, setting: str
) -> None:  # R42
    outage: Any = KafkaError(KafkaError._TRANSPORT)
    refusal: Any = Reported(name, text)
    assert kafka_refusal("b:9092", {}, [outage]) is None
    assert str(kafka_refusal("b:9092", {}, [outage, refusal])).startswith(f"CONSENT_RELAY_{setting}")


def test_a_refusal_of_the_registry_names_its_setting() -> None:  # R42
    def named(text: str, *, credentials: bool = False) -> str:
        return str(registry_refusal("https://r", RegistryRefusedError(text, credentials=credentials)))

    assert named("it answered 401", credentials=True).startswith("CONSENT_RELAY_REGISTRY_USERNAME, ")
    assert named("TLS: unable to get local issuer certificate").startswith("CONSENT_RELAY_REGISTRY_SSL_CA_FILE: ")
    assert named("TLS: certificate has expired").startswith("CONSENT_RELAY_REGISTRY (the server's")
    assert tls_refusal(ConnectionResetError()) is None


def test_what_is_missing_is_the_first_that_is_not_granted() -> None:  # R42
    topics = Topics()
    acls = required("gate", topics)
    all_of = {acl.name: {"Read", "Describe", "DescribeConfigs"} for acl in acls if acl.resource == "topic"}
    assert missing(acls, topics=all_of, groups=()) is None
    assert missing(acls, topics={**all_of, topics.resolved: {"Describe", "DescribeConfigs"}}, groups=()) == (
        Acl(resource="topic", name=topics.resolved, operations=("Read", "DescribeConfigs")),
        ("Read",),
    )
    assert missing(acls, topics=all_of, groups=("view-sms",)) == (
        Acl(resource="group", name="view-sms", operations=("Read",)),
        ("Read",),
    )


def test_every_process_and_command_has_its_rights_and_no_topic_of_others() -> None:  # R42
    topics = Topics(prefix="p.")
    for process in (*PROCESSES, *COMMANDS):
        for acl in required(process, topics):
            assert acl.name.startswith("p."), acl
    writers = {
        process
        for process in (*PROCESSES, *COMMANDS)
        for acl in required(process, topics)
        if acl.name == topics.suppression("sms") and "Write" in acl.operations
    }
    assert writers == {"suppression"}


@pytest.mark.parametrize("attribute", ["kafka", "registry"])
@pytest.mark.long
def test_no_client_is_made_without_the_security_settings(attribute: str) -> None:  # R42
    """Every call that is given the address is given the security settings too."""
    without = [
        f"{path}:{call.lineno}"
        for path, call in _calls()
        if _passes(call, attribute) and not _passes(call, f"{attribute}_client")
        if ast.unparse(call.func) not in ("registry_refusal", "str", "urlsplit")
    ]
    assert without == []


@cache
def _calls() -> list[tuple[Path, ast.Call]]:
    """Every call in our sources."""
    return [
        (path, node) for path in SOURCES for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)
    ]


def _passes(call: ast.Call, attribute: str) -> bool:
    given = [*call.args, *(keyword.value for keyword in call.keywords)]
    found = [each for one in given for each in _outside_calls(one)]
    return any(
        isinstance(each, ast.Attribute)
        and each.attr == attribute
        and ast.unparse(each.value) in ("settings", "self.settings", "self._settings", "loaded")
        for each in found
    )


def _outside_calls(node: ast.AST) -> list[ast.AST]:
    """The nodes of an argument that belong to no call within it."""
    if isinstance(node, ast.Call | ast.JoinedStr):
        return []
    return [node, *(each for child in ast.iter_child_nodes(node) for each in _outside_calls(child))]


def test_the_rights_are_listed_with_the_names_of_the_installation(monkeypatch: pytest.MonkeyPatch) -> None:  # R42
    monkeypatch.setenv("CONSENT_RELAY_TOPIC_PREFIX", "p.")
    monkeypatch.setenv("CONSENT_RELAY_PROPAGATORS", "default,telephony")
    listed = CliRunner().invoke(topics_command, ["acls", "gate", "propagator"], catch_exceptions=False).output
    lines = listed.splitlines()
    assert "gate\ttopic\tp.suppression.resolved.v1\tliteral\tRead,DescribeConfigs" in lines
    assert "propagator\ttransactional-id\tp.propagator.telephony\tliteral\tWrite" in lines
    assert len(lines) == len(set(lines))
