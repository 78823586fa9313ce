"""Topics and schemas by command, against the real broker and registry."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any
from uuid import uuid4

import pytest
from click.testing import CliRunner
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from confluent_kafka.schema_registry.error import SchemaRegistryError

from consent_api.cli.topics import topics as topics_command
from consent_contracts import Codec, Topics, schemas, subject
from consent_kafka import provisioning
from consent_kafka.errors import ProvisionError, TopicMismatchError
from consent_kafka.topic_admin import TopicAdmin
from consent_service.settings import ProcessSettings


@pytest.fixture
def names(kafka: str) -> Iterator[Topics]:
    """A prefix under which nothing exists yet."""
    topics = Topics(prefix=f"p{uuid4().hex[:8]}.")
    yield topics
    admin = AdminClient({"bootstrap.servers": kafka})
    existing = admin.list_topics(timeout=10).topics
    ours = [name for name in existing if name.startswith(topics.prefix)]
    if ours:
        for deleted in admin.delete_topics(ours).values():
            deleted.result()


@pytest.fixture
def command(kafka: str, registry_url: str, names: Topics, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs `consent-relay topics ...` against the servers."""
    monkeypatch.setenv("CONSENT_RELAY_KAFKA", kafka)
    monkeypatch.setenv("CONSENT_RELAY_REGISTRY", registry_url)
    monkeypatch.setenv("CONSENT_RELAY_TOPIC_PREFIX", names.prefix)
    return lambda *arguments: CliRunner().invoke(topics_command, arguments)


def test_apply_creates_what_check_asks_for_and_is_repeatable(
    command: Any, kafka: str, registry_url: str, names: Topics
) -> None:
    before = command("check")
    assert before.exit_code == 1
    assert f"{names.changes}: no such topic, wanted one with 4 partitions" in before.stderr
    assert "consent-relay topics apply" in before.stderr

    applied = command("apply")
    assert applied.exit_code == 0, applied.output
    assert f"created {names.suppression('sms')}" in applied.stdout

    again = command("apply")
    assert again.stdout == "registered the schemas\n"
    checked = command("check")
    assert (checked.exit_code, checked.stdout) == (0, "topics and schemas are as wanted\n")

    Codec.connect(registry_url, names, wait_seconds=1)
    settings = TopicAdmin(kafka, wait_seconds=10).existing([names.suppression("sms")])[names.suppression("sms")].config
    assert settings["cleanup.policy"] == "compact"
    assert settings["delete.retention.ms"] == str(7 * 24 * 3600 * 1000)
    assert settings["max.compaction.lag.ms"] == str(24 * 3600 * 1000)


def test_a_schema_that_would_break_a_reader_is_refused(command: Any, registry_url: str, names: Topics) -> None:
    assert command("apply").exit_code == 0
    with closing(SchemaRegistryClient.new_client({"url": registry_url})) as registry:
        for spec in names.specs():
            for record_name in spec.record_names:
                assert registry.get_compatibility(subject(spec.name, record_name)) == "FULL_TRANSITIVE"
        changes, text = subject(names.changes, "ConsentChanged"), schemas.schema_text("ConsentChanged")
        breaking = json.loads(text)
        breaking["fields"].append({"name": "mood", "type": "string"})
        with pytest.raises(SchemaRegistryError, match=r"409|incompatible"):
            registry.register_schema(changes, Schema(json.dumps(breaking), "AVRO"))
        assert [registry.get_version(changes, number).version for number in registry.get_versions(changes)] == [1]


def test_wrong_setting_is_named_by_check_and_corrected_by_apply(command: Any, kafka: str, names: Topics) -> None:
    command("apply")
    topic = names.suppression("email")
    TopicAdmin(kafka, wait_seconds=10).configure(topic, {"cleanup.policy": "delete"})
    found = command("check")
    assert found.exit_code == 1
    assert f"{topic}: cleanup.policy=delete, wanted cleanup.policy=compact" in found.stderr
    assert f"changed {topic}: cleanup.policy=compact" in command("apply").stdout
    assert command("check").exit_code == 0


def test_durability_option_reaches_every_topic(command: Any, kafka: str, names: Topics) -> None:
    command("apply", "--min-insync", "1")
    existing = TopicAdmin(kafka, wait_seconds=10).existing([spec.name for spec in names.specs()])
    assert {topic.config["min.insync.replicas"] for topic in existing.values()} == {"1"}
    found = command("check", "--min-insync", "2")
    assert found.exit_code == 1
    assert "min.insync.replicas=1, wanted min.insync.replicas=2" in found.stderr


def test_wrong_partition_count_needs_a_person(command: Any, kafka: str, names: Topics) -> None:
    admin = AdminClient({"bootstrap.servers": kafka})
    admin.create_topics([NewTopic(names.changes, 3, 1)])[names.changes].result()
    applied = command("apply")
    assert applied.exit_code == 1
    assert f"{names.changes}: 3 partitions, wanted 4" in applied.stderr
    assert "republish" in applied.stderr


def test_what_keeps_for_longer_or_reads_wider_is_accepted(command: Any, kafka: str, names: Topics) -> None:
    command("apply")
    admin = TopicAdmin(kafka, wait_seconds=10)
    admin.configure(names.inbound, {"retention.ms": "-1"})
    admin.configure(names.changes, {"retention.ms": str(30 * 24 * 3600 * 1000)})
    client = AdminClient({"bootstrap.servers": kafka})
    client.create_partitions([NewPartitions(names.inbound, 12)])[names.inbound].result()
    until = time.monotonic() + 10
    while admin.existing([names.inbound])[names.inbound].partitions != 12:
        assert time.monotonic() < until
    provisioning.verify_topics(ProcessSettings())
    # It is said all the same: inbound records may hold clear addresses, which are to be forgotten.
    assert f"{names.inbound}: retention.ms=-1, wanted retention.ms=" in command("check").stderr
    assert "changed" in command("apply").stdout
    assert command("check").exit_code == 0
    admin.configure(names.changes, {"retention.ms": "1000"})
    with pytest.raises(TopicMismatchError, match=rf"{names.changes}: retention\.ms=1000, wanted"):
        provisioning.verify_topics(ProcessSettings())


def test_service_does_not_start_over_wrong_or_missing_topics(
    command: Any, names: Topics, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = ProcessSettings()
    with pytest.raises(SystemExit) as ended:
        provisioning.require_topics(settings, [names.changes])
    assert ended.value.code == 2
    assert f"{names.changes}: no such topic" in capsys.readouterr().err
    command("apply")
    provisioning.require_topics(settings, [names.changes])
    provisioning.require_topics(settings)


def test_unreachable_broker_names_the_setting(names: Topics) -> None:
    with pytest.raises(ProvisionError, match="CONSENT_RELAY_KAFKA"):
        provisioning.diff_topics(bootstrap="127.0.0.1:1", topics=names, partitions=4, wait_seconds=0.1)


def test_unreachable_registry_names_the_setting(kafka: str, names: Topics) -> None:
    with pytest.raises(ProvisionError, match="CONSENT_RELAY_REGISTRY"):
        provisioning.apply(bootstrap=kafka, registry="http://127.0.0.1:1", topics=names, wait_seconds=0.5)


@pytest.mark.parametrize(("setting", "wrong"), [("message.timestamp.type", "CreateTime"), ("compression.type", "zstd")])
def test_every_topic_is_held_to_append_times_and_to_the_codec_of_its_producers(
    command: Any, kafka: str, names: Topics, setting: str, wrong: str
) -> None:  # R16 R43
    assert command("apply").exit_code == 0
    admin = TopicAdmin(kafka, wait_seconds=10)
    every = [spec.name for spec in names.specs()]
    for name in every:
        admin.configure(name, {setting: wrong})
    checked = command("check")
    assert checked.exit_code == 1
    assert [name for name in every if f"{name}: {setting}={wrong}, wanted" in checked.stderr] == every
    assert command("apply").exit_code == 0
    right = {"message.timestamp.type": "LogAppendTime", "compression.type": "producer"}
    assert all(right.items() <= each.config.items() for each in admin.existing(every).values())
