"""Real servers of this module's own, since here they are killed."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from confluent_kafka.schema_registry.error import SchemaRegistryError

from local_stack.processes.supervisor import Supervisor
from local_stack.servers import ServerEndpoints, Servers

TEXT = {"name": "text", "type": "string"}
COUNT = {"name": "count", "type": "int"}


@dataclass(frozen=True, kw_only=True)
class Own:
    supervisor: Supervisor
    addresses: ServerEndpoints


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Own]:
    directory = tmp_path_factory.mktemp("own")
    supervisor = Supervisor(directory / "logs", report=print)
    servers = Servers(supervisor, directory, environ={})
    try:
        yield Own(supervisor=supervisor, addresses=servers.start())
    finally:
        supervisor.stop_all()
        servers.remove()


@pytest.fixture
def registry(own: Own) -> Iterator[SchemaRegistryClient]:
    with SchemaRegistryClient({"url": own.addresses.registry}) as client:
        yield client


def record(*fields: dict[str, str]) -> Schema:
    return Schema(json.dumps({"type": "record", "name": "Note", "fields": fields}), "AVRO")


def test_records_survive_a_kill_of_the_broker(own: Own) -> None:
    admin = AdminClient({"bootstrap.servers": own.addresses.kafka})
    for created in admin.create_topics([NewTopic("notes", num_partitions=1)]).values():
        created.result()
    producer = Producer({"bootstrap.servers": own.addresses.kafka, "acks": "all"})
    producer.produce("notes", b"written before")
    assert producer.flush(10) == 0

    own.supervisor.restart("kafka")

    consumer = Consumer({"bootstrap.servers": own.addresses.kafka, "group.id": "notes"})
    try:
        consumer.assign([TopicPartition("notes", 0, 0)])
        messages = consumer.consume(1, timeout=20)
        assert [message.value() for message in messages] == [b"written before"]
    finally:
        consumer.close()


def test_rows_survive_a_kill_of_postgresql(own: Own) -> None:
    url = own.addresses.database.replace("+psycopg", "")
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE note AS SELECT 'written before' AS text")

    own.supervisor.restart("postgresql")

    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT text FROM note").fetchall() == [("written before",)]


def test_schema_ids_survive_a_kill_of_the_registry(own: Own, registry: SchemaRegistryClient) -> None:
    first = registry.register_schema("first-value", record(TEXT))
    second = registry.register_schema("second-value", record(TEXT, COUNT))

    own.supervisor.restart("registry")

    assert registry.lookup_schema("first-value", record(TEXT)).schema_id == first
    assert registry.lookup_schema("second-value", record(TEXT, COUNT)).schema_id == second
    with SchemaRegistryClient({"url": own.addresses.registry}) as another:
        assert json.loads(str(another.get_schema(first).schema_str)) == json.loads(str(record(TEXT).schema_str))


def test_the_registry_answers_again_after_its_database_was_killed(own: Own, registry: SchemaRegistryClient) -> None:
    before = registry.register_schema("outlives-value", record(TEXT, {"name": "mood", "type": "string"}))
    own.supervisor.restart("postgresql")
    with SchemaRegistryClient({"url": own.addresses.registry}) as another:
        assert another.get_latest_version("outlives-value").schema_id == before


def test_the_registry_refuses_a_breaking_schema(registry: SchemaRegistryClient) -> None:
    registry.set_compatibility("strict-value", "FULL_TRANSITIVE")
    registry.register_schema("strict-value", record(TEXT))
    with pytest.raises(SchemaRegistryError) as refused:
        registry.register_schema("strict-value", record(TEXT, COUNT))
    assert refused.value.http_status_code == 409


def test_servers_that_a_setting_names_are_not_started(own: Own, tmp_path: Path) -> None:
    supervisor = Supervisor(tmp_path / "logs", report=print)
    existing = {
        "CONSENT_RELAY_KAFKA": own.addresses.kafka,
        "CONSENT_RELAY_REGISTRY": own.addresses.registry,
        "CONSENT_RELAY_DATABASE": own.addresses.database,
    }
    with ThreadPoolExecutor(1) as pool:
        found = pool.submit(Servers(supervisor, tmp_path, environ=existing).start).result(timeout=10)
    assert found == own.addresses
    assert supervisor.names == []
