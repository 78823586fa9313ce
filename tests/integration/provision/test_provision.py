"""Topics and schemas by command, against the real broker and registry."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from click.testing import CliRunner
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from confluent_kafka.schema_registry.error import SchemaRegistryError

from consent_api.cli.topics import topics as topics_command
from consent_contracts import Codec, Topics, schemas, subject
from consent_kafka import clients, provisioning
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


def differences(command: Any, *arguments: str) -> dict[tuple[str, str], dict[str, Any]]:
    """What `plan --json` lists, by topic or subject and the name of the setting, or else its kind."""
    planned = command("plan", "--json", *arguments)
    found = json.loads(planned.stdout)["differences"]
    assert planned.exit_code == (2 if found else 0), planned.output
    return {(each["of"], each["name"] or each["kind"]): each for each in found}


def test_apply_creates_what_the_plan_shows_and_is_repeatable(
    command: Any, kafka: str, registry_url: str, names: Topics
) -> None:
    before = command("plan")
    assert before.exit_code == 2
    assert f"+ {names.changes}: no such topic -> one with 4 partitions" in before.stdout
    subjects = [subject(spec.name, record) for spec in names.specs() for record in spec.record_names]
    assert f"+ {subjects[0]}: no schema -> ours" in before.stdout
    assert before.stdout.endswith(f"{len(names.specs()) + len(subjects)} to change\n")
    assert command("plan").stdout == before.stdout, "a plan changes nothing"

    applied = command("apply", "--yes")
    assert applied.exit_code == 0, applied.output
    assert applied.stdout.startswith(before.stdout)
    assert f"created {names.suppression('sms')}" in applied.stdout
    assert f"registered {subjects[-1]}" in applied.stdout

    for again in (command("apply", "--yes"), command("apply"), command("plan")):
        assert (again.exit_code, again.stdout) == (0, "topics and schemas are as wanted\n")

    Codec.connect(registry_url, names, wait_seconds=1)
    settings = TopicAdmin(kafka, wait_seconds=10).existing([names.suppression("sms")])[names.suppression("sms")].config
    assert settings["cleanup.policy"] == "compact"
    assert settings["delete.retention.ms"] == str(7 * 24 * 3600 * 1000)
    assert settings["max.compaction.lag.ms"] == str(24 * 3600 * 1000)


def test_nothing_is_changed_where_no_terminal_is_there_to_ask_on(command: Any, names: Topics) -> None:
    refused = command("apply")
    assert refused.exit_code == 1
    assert "nothing was changed" in refused.stderr
    assert "give --yes" in refused.stderr
    assert (names.changes, "topic") in differences(command)


@pytest.mark.parametrize(("answer", "code"), [("n", 1), ("y", 0)])
def test_a_terminal_is_asked_before_anything_is_changed(command: Any, names: Topics, answer: str, code: int) -> None:
    master, terminal = os.openpty()
    os.write(master, f"{answer}\n".encode())
    ended = subprocess.run(
        [Path(sys.executable).with_name("consent-relay"), "topics", "apply"],
        stdin=terminal,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    os.close(terminal)
    os.close(master)
    assert "changes? [y/N]:" in ended.stdout
    assert ended.returncode == code, ended.stderr
    assert (f"created {names.changes}" in ended.stdout) == (code == 0)
    assert bool(differences(command)) == (code == 1)


def test_a_plan_has_code_1_for_errors_alone(command: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert command("plan", "--misspelt").exit_code == 1
    monkeypatch.setenv("CONSENT_RELAY_PARTITIONS", "none")
    assert command("plan").exit_code == 1
    monkeypatch.delenv("CONSENT_RELAY_PARTITIONS")
    monkeypatch.setenv("CONSENT_RELAY_REGISTRY", "http://127.0.0.1:1")
    monkeypatch.setattr("consent_api.cli.topics.WAIT_SECONDS", 0.5)
    failed = command("plan")
    assert (failed.exit_code, failed.stdout) == (1, "")
    assert "check CONSENT_RELAY_REGISTRY" in failed.stderr


def test_a_schema_that_would_break_a_reader_is_refused(command: Any, registry_url: str, names: Topics) -> None:
    assert command("apply", "--yes").exit_code == 0
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


def test_a_schema_that_the_registry_would_refuse_takes_a_person(command: Any, registry_url: str, names: Topics) -> None:
    """As where the topic prefix is that of another installation, of a release whose schemas are others."""
    changes = subject(names.changes, "ConsentChanged")
    foreign = {"type": "record", "name": "ConsentChanged", "namespace": "relay.consent.v1", "fields": []}
    foreign["fields"] = [{"name": "mood", "type": "string"}]
    with closing(SchemaRegistryClient.new_client({"url": registry_url})) as registry:
        registry.register_schema(changes, Schema(json.dumps(foreign), "AVRO"))
        found = differences(command)
        assert found[changes, "compatibility"]["to"] == "FULL_TRANSITIVE"
        registry.set_compatibility(changes, "FULL_TRANSITIVE")
        found = differences(command)
    assert (changes, "compatibility") not in found
    assert found[changes, "schema"]["remedy"] == "a person"
    assert found[changes, "schema"]["from"] == "1 other versions, incompatible with ours"
    applied = command("apply", "--yes")
    assert applied.exit_code == 1
    assert f"{changes}: 1 other versions, incompatible with ours, wanted ours; use the release" in applied.stderr
    assert differences(command).keys() == {(changes, "schema")}


def test_a_setting_is_shown_from_and_to_and_corrected(command: Any, kafka: str, names: Topics) -> None:
    command("apply", "--yes")
    topic = names.resolved
    TopicAdmin(kafka, wait_seconds=10).configure(topic, {"segment.ms": "60000"})
    planned = command("plan")
    assert planned.exit_code == 2
    assert planned.stdout == f"~ {topic}: segment.ms=60000 -> 600000\n1 to change\n"
    applied = command("apply", "--yes")
    assert (applied.exit_code, applied.stdout) == (0, f"{planned.stdout}changed {topic}: segment.ms=600000\n")
    assert command("plan").exit_code == 0


def test_what_deletes_records_is_left_until_an_option_permits_it(command: Any, kafka: str, names: Topics) -> None:
    command("apply", "--yes")
    admin = TopicAdmin(kafka, wait_seconds=10)
    admin.configure(names.suppression("email"), {"cleanup.policy": "delete"})
    admin.configure(names.inbound, {"retention.ms": "-1"})
    planned = command("plan")
    assert f"! {names.suppression('email')}: cleanup.policy=delete -> compact\n" in planned.stdout
    assert "    deletes all but the newest record of each key\n" in planned.stdout
    assert f"! {names.inbound}: retention.ms=-1 -> 259200000\n" in planned.stdout
    assert (
        "    run: consent-relay topics apply --allow-deletion\n    deletes records older than 3 days\n"
        in planned.stdout
    )
    assert planned.stdout.endswith("0 to change, 2 by topics apply --allow-deletion\n")

    refused = command("apply", "--yes")
    assert refused.exit_code == 1
    assert f"{names.suppression('email')}: cleanup.policy=delete, wanted cleanup.policy=compact" in refused.stderr
    assert names.inbound not in refused.stderr, "a service starts with a longer retention"
    assert len(differences(command)) == 2, "nothing was changed"
    with pytest.raises(ProvisionError, match=r"cleanup\.policy=delete"):
        provisioning.apply(bootstrap=kafka, registry=ProcessSettings().registry, topics=names)

    applied = command("apply", "--allow-deletion", "--yes")
    assert applied.exit_code == 0, applied.output
    assert f"changed {names.inbound}: retention.ms=259200000" in applied.stdout
    assert command("plan").exit_code == 0


def test_durability_option_reaches_every_topic(command: Any, kafka: str, names: Topics) -> None:
    unwritable = differences(command, "--min-insync", "2")[names.changes, "topic"]
    assert unwritable["remedy"] == "a person"
    assert unwritable["cure"].startswith("give --replication 2 or more")
    command("apply", "--yes", "--min-insync", "1")
    existing = TopicAdmin(kafka, wait_seconds=10).existing([spec.name for spec in names.specs()])
    assert {topic.config["min.insync.replicas"] for topic in existing.values()} == {"1"}
    found = differences(command, "--min-insync", "2", "--replication", "3")
    assert {each["remedy"] for each in found.values()} == {"a person"}
    assert found[names.changes, "replicas"]["from"] == "1 replicas"
    assert found[names.changes, "min.insync.replicas"]["cure"].endswith("no producer could write to 1")


def test_wrong_partition_count_under_keys_that_are_written_takes_a_person(
    command: Any, kafka: str, names: Topics
) -> None:
    admin = AdminClient({"bootstrap.servers": kafka})
    admin.create_topics([NewTopic(names.changes, 3, 1)])[names.changes].result()
    producer = clients.producer(kafka)
    producer.produce(names.changes, key=b"h1.a", value=b"a record")
    assert producer.flush(30) == 0
    for arguments in ((), ("--add-partitions",)):
        applied = command("apply", "--yes", *arguments)
        assert applied.exit_code == 1
        assert f"{names.changes}: 3 partitions, wanted 4" in applied.stderr
        assert "an address would have entries in two of them" in applied.stderr
        assert "republish" in applied.stderr
    assert TopicAdmin(kafka, wait_seconds=10).existing([names.changes])[names.changes].partitions == 3


def test_partitions_are_added_where_no_key_is_written_or_none_has_a_place(
    command: Any, kafka: str, names: Topics
) -> None:
    admin = AdminClient({"bootstrap.servers": kafka})
    for created in admin.create_topics([NewTopic(names.changes, 3, 1), NewTopic(names.inbound, 2, 1)]).values():
        created.result()
    producer = clients.producer(kafka)
    producer.produce(names.inbound, key=b"a", value=b"a record")
    assert producer.flush(30) == 0
    found = differences(command)
    assert found[names.changes, "partitions"]["effect"] is None
    assert found[names.inbound, "partitions"]["effect"].startswith("the next records of a key")
    assert [found[name, "partitions"]["services_start"] for name in (names.changes, names.inbound)] == [False, True]

    refused = command("apply", "--yes")
    assert refused.exit_code == 1
    assert f"{names.changes}: 3 partitions, wanted 4; set CONSENT_RELAY_PARTITIONS=3" in refused.stderr
    assert f"{names.inbound}: 2" not in refused.stderr
    applied = command("apply", "--yes", "--add-partitions")
    assert applied.exit_code == 0, applied.output
    assert f"changed {names.changes}: 4 partitions" in applied.stdout
    assert differences(command).keys() == {(names.inbound, "retention.ms")}, "of a topic that another tool made"


def test_what_keeps_for_longer_or_reads_wider_is_accepted(command: Any, kafka: str, names: Topics) -> None:
    command("apply", "--yes")
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
    assert differences(command).keys() == {(names.inbound, "retention.ms"), (names.changes, "retention.ms")}
    kept = command("apply", "--yes")
    assert kept.exit_code == 0, kept.output
    assert "changed" not in kept.stdout
    admin.configure(names.changes, {"retention.ms": "1000"})
    with pytest.raises(TopicMismatchError, match=rf"{names.changes}: retention\.ms=1000, wanted"):
        provisioning.verify_topics(ProcessSettings())
    assert f"changed {names.changes}: retention.ms=604800000" in command("apply", "--yes").stdout


def test_service_does_not_start_over_wrong_or_missing_topics(
    command: Any, names: Topics, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = ProcessSettings()
    with pytest.raises(SystemExit) as ended:
        provisioning.require_topics(settings, [names.changes])
    assert ended.value.code == 2
    assert f"{names.changes}: no such topic" in capsys.readouterr().err
    command("apply", "--yes")
    provisioning.require_topics(settings, [names.changes])
    provisioning.require_topics(settings)


def test_unreachable_broker_names_the_setting(names: Topics) -> None:
    with pytest.raises(ProvisionError, match="CONSENT_RELAY_KAFKA"):
        provisioning.Provisioner(
            bootstrap="127.0.0.1:1", registry="http://127.0.0.1:1", topics=names, wait_seconds=0.1
        ).plan()


def test_unreachable_registry_names_the_setting(kafka: str, names: Topics) -> None:
    with pytest.raises(ProvisionError, match="CONSENT_RELAY_REGISTRY"):
        provisioning.apply(bootstrap=kafka, registry="http://127.0.0.1:1", topics=names, wait_seconds=0.5)


@pytest.mark.parametrize(("setting", "wrong"), [("message.timestamp.type", "CreateTime"), ("compression.type", "zstd")])
def test_every_topic_is_held_to_append_times_and_to_the_codec_of_its_producers(
    command: Any, kafka: str, names: Topics, setting: str, wrong: str
) -> None:  # R16 R43
    assert command("apply", "--yes").exit_code == 0
    admin = TopicAdmin(kafka, wait_seconds=10)
    every = [spec.name for spec in names.specs()]
    for name in every:
        admin.configure(name, {setting: wrong})
    found = differences(command)
    assert [(of, found[of, name]["from"]) for of, name in found] == [(name, wrong) for name in every]
    assert command("apply", "--yes").exit_code == 0
    right = {"message.timestamp.type": "LogAppendTime", "compression.type": "producer"}
    assert all(right.items() <= each.config.items() for each in admin.existing(every).values())
