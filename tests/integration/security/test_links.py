"""R42: each process reaches Kafka, the registry and PostgreSQL by TLS as a user with the documented ACLs and no others;
one that is refused ends at its start with code 2 and a line that names the link and the setting."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import httpx
import pytest
from confluent_kafka import Producer
from sqlalchemy import make_url

from consent_api.ledger.database import connect, refuse_denied
from consent_client import ResolvedTimestamps, SuppressionView
from consent_contracts.codec import Codec
from consent_kafka import provisioning
from consent_kafka.access import Acl, required
from consent_kafka.topic_admin import TopicAdmin
from consent_service.errors import LinkRefusedError
from consent_service.settings import ProcessSettings
from local_stack.ports import free_port
from tests.integration.flow.rig import refusal
from tests.integration.security.conftest import Tool
from tests.integration.security.secured import PLAIN_USER, Secured
from tests.support.certificates import HERE, end_of
from tests.support.tls_fronts import postgres_front, registry_front
from tests.support.waiting import until

RUNNING = ("api", "relay", "ingest", "suppression", "gate", "propagator", "lag")
ON_KAFKA = RUNNING[1:]
ON_DATABASE = RUNNING[:3]


@pytest.fixture(scope="module")
def migrated(secured: Secured) -> Secured:
    """`consent-relay migrate` by TLS."""
    ended = secured.run("api", "migrate")
    assert ended.returncode == 0, ended.stderr
    return secured


def test_every_process_and_command_works_with_its_own_user(migrated: Secured, tool: Tool) -> None:  # R42
    secured = migrated
    assert secured.run("topics", "topics", "plan").returncode == 0
    token = secured.run(
        "api", "keys", "create", "--tenant", "acme", "--scope", "submit", "--name", "test"
    ).stdout.strip()
    port = free_port()
    with ExitStack() as stack:
        started = [
            stack.enter_context(secured.running(name, **({"api_port": str(port)} if name == "api" else {})))
            for name in RUNNING
        ]
        for process in started:
            process.await_ready()
        answer = httpx.post(
            f"http://{HERE}:{port}/v1/decisions",
            json={
                "subject_ref": "s1",
                "address": "+33639980001",
                "channel": "sms",
                "purpose": "*",
                "status": "withdrawn",
            },
            headers={"Authorization": f"Bearer {token}", "Idempotency-Key": "one"},
            timeout=30,
        )
        assert answer.status_code == 201, answer.text
        until(lambda: tool.received, what="the push of what came by HTTP")
        _submit(secured, refusal(address="+33639980002"))
        until(lambda: tool.received > 1, what="the push of what came by Kafka")
        _submit(secured, b"unreadable")
        until(lambda: "not_framed" in _letters(secured), what="a dead letter")
        _by_client(secured)
        _by_commands(secured)
        end = end_of(secured.certificates.authority.file)
        for process in started:
            process.await_ready()
            trusted = {"kafka-authorities", "registry-authorities"}
            trusted |= {"database-authorities"} if process.name in ON_DATABASE else set()
            assert process.certificates() == dict.fromkeys(trusted, end), process.name
            errors = [each for each in process.logged() if "AUTHORIZATION" in json.dumps(each)]
            assert not errors, (process.name, errors)


def _submit(secured: Secured, record: dict[str, Any] | bytes) -> None:
    """As an upstream system with a user of its own."""
    topic = secured.topics.inbound
    password = secured.broker.add_user("upstream")
    secured.broker.grant("upstream", [Acl(resource="topic", name=topic, operations=("Write",))])
    value = record if isinstance(record, bytes) else _codec(secured).encode(topic, record)
    producer = Producer(
        {
            "bootstrap.servers": secured.broker.at["good"],
            "security.protocol": "SASL_SSL",
            "sasl.mechanism": "SCRAM-SHA-256",
            "sasl.username": "upstream",
            "sasl.password": password,
            "ssl.ca.location": str(secured.certificates.authority.file),
        }
    )
    refused: list[Any] = []
    producer.produce(topic, value, b"k", on_delivery=lambda error, _: refused.append(error))
    assert producer.flush(60) == 0
    assert refused == [None]


def _codec(secured: Secured) -> Codec:
    return Codec.connect(
        secured.common["CONSENT_RELAY_REGISTRY"],
        secured.topics,
        {
            "basic.auth.user.info": f"relay:{secured.registry_password}",
            "ssl.ca.location": str(secured.certificates.authority.file),
        },
    )


def _letters(secured: Secured) -> str:
    ended = secured.run("dead-letters", "dead-letters", "list")
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def _by_client(secured: Secured) -> None:
    """A tool that embeds the client, as a user who may read the lists only."""
    codec = _codec(secured)
    security = {
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": "client",
        "sasl.password": secured.passwords["client"],
        "ssl.ca.location": str(secured.certificates.authority.file),
    }
    view = _view(secured, codec, security)
    try:
        view.timestamps.start()
        view.start()
        assert view.wait_until_usable(60)
        # Usable as of some seconds ago, it may still have to read what has come since.
        until(lambda: view.state.entries >= 2, what="both entries")
    finally:
        view.close()
        view.timestamps.close()


def _view(secured: Secured, codec: Codec, security: dict[str, str]) -> SuppressionView:
    bootstrap = secured.broker.at["good"]
    timestamps = ResolvedTimestamps(topics=secured.topics, codec=codec, bootstrap=bootstrap, client_config=security)
    return SuppressionView(
        "sms",
        topics=secured.topics,
        codec=codec,
        bootstrap=bootstrap,
        client_config=security,
        timestamps=timestamps,
    )


def _by_commands(secured: Secured) -> None:
    for user, *words in (
        ("verify", "verify"),
        ("republish", "republish"),
        ("dead-letters-replay", "dead-letters", "replay", "--every", "--yes"),
    ):
        ended = secured.run(user, *words)
        assert ended.returncode == 0, (words, ended.stdout, ended.stderr)
    forgotten = secured.run("destinations-forget", "destinations", "forget", "gone", "--yes")
    assert "has no row of destination gone" in forgotten.stderr, forgotten.stderr


@pytest.mark.parametrize("process", ["ingest", "gate", "lag"])
def test_a_wrong_password_for_kafka_ends_the_process(migrated: Secured, process: str) -> None:  # R42
    said = migrated.refused(process, kafka_sasl_password="wrong", kafka_sasl_password_file="")
    assert said.startswith("CONSENT_RELAY_KAFKA_SASL_USERNAME, CONSENT_RELAY_KAFKA_SASL_PASSWORD: Kafka at ")


@pytest.mark.parametrize("process", ON_KAFKA)
def test_an_acl_that_is_missing_ends_the_process(migrated: Secured, process: str) -> None:  # R42
    [acl, *_] = [each for each in required(process, migrated.topics) if each.resource == "topic"]
    migrated.broker.revoke(process, acl)
    try:
        said = migrated.refused(process)
    finally:
        migrated.broker.grant(process, [acl])
    assert said.startswith(f"CONSENT_RELAY_KAFKA: {migrated.broker.at['good']} does not grant ")
    assert f"on topic {acl.name} to user {process}" in said


@pytest.mark.parametrize(
    ("process", "resource"),
    [
        ("suppression", "transactional-id"),
        ("propagator", "transactional-id"),
        ("suppression", "group"),
        ("ingest", "group"),
        ("gate", "group"),
    ],
)
def test_so_does_one_of_a_group_or_a_transactional_id(migrated: Secured, process: str, resource: str) -> None:  # R42
    [acl, *_] = [each for each in required(process, migrated.topics) if each.resource == resource]
    migrated.broker.revoke(process, acl)
    try:
        said = migrated.refused(process)
    finally:
        migrated.broker.grant(process, [acl])
    assert said.startswith("CONSENT_RELAY_KAFKA: ")
    assert "add the ACL" in said


@pytest.mark.parametrize("command", ["verify", "republish", "dead-letters"])
def test_a_command_names_what_it_lacks(migrated: Secured, command: str) -> None:  # R42
    [acl, *_] = [each for each in required(command, migrated.topics) if each.resource == "topic"]
    words = ("dead-letters", "list") if command == "dead-letters" else (command,)
    migrated.broker.revoke(command, acl)
    try:
        said = migrated.refused(command, *words)
    finally:
        migrated.broker.grant(command, [acl])
    assert f"on topic {acl.name} to user {command}" in said


Change = Callable[[Secured], dict[str, str]]
KAFKA_REFUSALS: dict[str, tuple[Change, str]] = {
    "unknown authority": (
        lambda s: {"kafka_ssl_ca_file": str(s.certificates.other.file)},
        "CONSENT_RELAY_KAFKA_SSL_CA_FILE: ",
    ),
    "the system's authorities": (lambda _: {"kafka_ssl_ca_file": ""}, "CONSENT_RELAY_KAFKA_SSL_CA_FILE: "),
    "wrong host name": (
        lambda s: {"kafka": s.broker.at["otherhost"]},
        "CONSENT_RELAY_KAFKA (a name that the server's certificate does not have): ",
    ),
    "expired certificate": (
        lambda s: {"kafka": s.broker.at["expired"]},
        "CONSENT_RELAY_KAFKA (the server's certificate is not valid now",
    ),
    "unknown user": (lambda _: {"kafka_sasl_username": "newcomer"}, "CONSENT_RELAY_KAFKA_SASL_USERNAME, "),
    "a user of another mechanism": (lambda _: {"kafka_sasl_mechanism": "PLAIN"}, "CONSENT_RELAY_KAFKA_SASL_USERNAME, "),
    "TLS to a listener without": (
        lambda s: {"kafka": s.broker.at["scram"]},
        "CONSENT_RELAY_KAFKA_SECURITY_PROTOCOL: ",
    ),
    "no TLS to a listener with": (
        lambda _: {"kafka_security_protocol": "SASL_PLAINTEXT", "kafka_ssl_ca_file": ""},
        "CONSENT_RELAY_KAFKA_SECURITY_PROTOCOL: ",
    ),
    "no security at all": (
        lambda _: {
            "kafka_security_protocol": "PLAINTEXT",
            "kafka_ssl_ca_file": "",
            "kafka_sasl_username": "",
            "kafka_sasl_password_file": "",
        },
        "CONSENT_RELAY_KAFKA_SECURITY_PROTOCOL: ",
    ),
    "no client certificate": (
        lambda s: {**_mutual(s), "kafka_ssl_certificate_file": ""},
        "CONSENT_RELAY_KAFKA_SSL_CERTIFICATE_FILE: ",
    ),
    "a client certificate of another authority": (
        lambda s: {**_mutual(s), "kafka_ssl_certificate_file": str(s.certificates.foreign_client.both)},
        "CONSENT_RELAY_KAFKA_SSL_CERTIFICATE_FILE: ",
    ),
}


def _mutual(secured: Secured) -> dict[str, str]:
    return {
        "kafka": secured.broker.at["mutual"],
        "kafka_security_protocol": "SSL",
        "kafka_sasl_username": "",
        "kafka_sasl_password_file": "",
        "kafka_ssl_certificate_file": str(secured.certificates.client.both),
    }


@pytest.mark.parametrize("wrong", KAFKA_REFUSALS)
def test_a_link_to_kafka_that_is_refused_is_named(secured: Secured, wrong: str) -> None:  # R42
    changes, begins = KAFKA_REFUSALS[wrong]
    said = secured.refused("topics", "topics", "apply", "--yes", **changes(secured))
    assert said.startswith(begins), said
    assert "Kafka at 127.0.0.1:" in said


def test_a_client_certificate_is_a_user(secured: Secured, monkeypatch: pytest.MonkeyPatch) -> None:  # R42
    for name, value in secured.environment("gate", **_mutual(secured)).items():
        monkeypatch.setenv(name, value)
    for name in ("SASL_USERNAME", "SASL_PASSWORD_FILE"):
        monkeypatch.delenv(f"CONSENT_RELAY_KAFKA_{name}", raising=False)
    provisioning.require_access(ProcessSettings(), "gate")
    with pytest.raises(LinkRefusedError, match="to the owner of our certificate"):
        provisioning.require_access(ProcessSettings(), "ingest")


@pytest.mark.parametrize(
    ("listener", "protocol", "mechanism"),
    [
        ("good", "SASL_SSL", "SCRAM-SHA-256"),
        ("good", "SASL_SSL", "PLAIN"),
        ("scram", "SASL_PLAINTEXT", "SCRAM-SHA-512"),
    ],
)
def test_each_mechanism_works(secured: Secured, listener: str, protocol: str, mechanism: str) -> None:  # R42
    broker = secured.broker
    plain = mechanism == "PLAIN"
    admin = TopicAdmin(
        broker.at[listener],
        {
            "security.protocol": protocol,
            "sasl.mechanism": mechanism,
            "sasl.username": PLAIN_USER if plain else "gate",
            "sasl.password": broker.plain_password if plain else secured.passwords["gate"],
            "ssl.ca.location": str(secured.certificates.authority.file),
        },
        wait_seconds=60,
    )
    expected = frozenset() if plain else {"Read", "Describe", "DescribeConfigs"}
    assert admin.granted([secured.topics.resolved]) == {secured.topics.resolved: expected}


@pytest.mark.parametrize("process", ["api", "relay", "lag", "gate"])
def test_a_registry_that_refuses_ends_the_process(migrated: Secured, process: str) -> None:  # R42
    said = migrated.refused(process, registry_password="wrong")
    assert said.startswith("CONSENT_RELAY_REGISTRY_USERNAME, CONSENT_RELAY_REGISTRY_PASSWORD: the registry at https:")


@pytest.mark.parametrize("process", ["api", "lag"])
def test_so_does_one_whose_certificate_no_known_authority_has_signed(migrated: Secured, process: str) -> None:  # R42
    said = migrated.refused(process, registry_ssl_ca_file=str(migrated.certificates.other.file))
    assert said.startswith("CONSENT_RELAY_REGISTRY_SSL_CA_FILE: the registry at https:")


def test_a_registry_under_another_name_or_with_an_old_certificate_is_named(secured: Secured) -> None:  # R42
    found = {}
    for identity in (secured.certificates.other_host, secured.certificates.expired):
        with registry_front("http://127.0.0.1:1/", identity, user="relay", password="x") as url:
            found[identity] = secured.refused("lag", registry=url)
    assert "a name that the server's certificate does not have" in found[secured.certificates.other_host]
    assert "the server's certificate is not valid now" in found[secured.certificates.expired]


@pytest.mark.parametrize("process", ["api", "relay", "ingest"])
def test_a_wrong_password_for_the_database_ends_the_process(migrated: Secured, process: str) -> None:  # R42
    url = make_url(migrated.database).set(password="wrong")
    said = migrated.refused(process, api_database=url.render_as_string(hide_password=False))
    assert said.startswith("CONSENT_RELAY_API_DATABASE: ")
    assert said.endswith("correct the role or its password")


def test_so_does_a_database_whose_certificate_is_refused(migrated: Secured) -> None:  # R42
    certificates, url = migrated.certificates, make_url(migrated.database)
    other = url.update_query_dict({"sslrootcert": str(certificates.other.file)})
    said = migrated.refused("api", api_database=other.render_as_string(hide_password=False))
    assert "correct sslrootcert" in said
    for identity, cure in (
        (certificates.other_host, "connect to a name"),
        (certificates.expired, "renew that certificate"),
    ):
        with postgres_front(1, identity) as port, pytest.raises(LinkRefusedError, match=cure):
            refuse_denied(connect(url.set(port=port), pool_size=1, application="test"))


def test_a_plain_database_is_no_database_for_one_that_verifies(migrated: Secured, database: str) -> None:  # R42
    url = make_url(database).update_query_dict({"sslmode": "require"})
    with pytest.raises(LinkRefusedError, match=r"CONSENT_RELAY_API_DATABASE: .*server does not support SSL"):
        refuse_denied(connect(url, pool_size=1, application="test"))


def test_the_owner_s_commands_name_the_owner_s_setting(migrated: Secured) -> None:  # R42
    url = make_url(migrated.owner).set(password="wrong").render_as_string(hide_password=False)
    for words in (("migrate",), ("keys", "list")):
        assert migrated.refused("api", *words, api_database_owner=url).startswith("CONSENT_RELAY_API_DATABASE_OWNER: ")


def test_a_client_that_is_refused_says_so_to_its_tool(secured: Secured) -> None:  # R42
    security = {
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": "client",
        "sasl.password": "wrong",
        "ssl.ca.location": str(secured.certificates.authority.file),
    }
    view = _view(secured, _codec(secured), security)
    view.start()
    try:
        with pytest.raises(LinkRefusedError, match="SASL_PASSWORD"):
            view.wait_until_usable(60)
        assert not view.usable
    finally:
        view.close()
