"""`consent-relay verify` over a million addresses, beside a plain loop that only reads and decodes their list."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

import fastavro
import psutil
from confluent_kafka import OFFSET_BEGINNING, KafkaError, TopicPartition
from confluent_kafka.admin import AdminClient
from sqlalchemy import Engine, create_engine, make_url, text

from consent_api.ledger.migrate import migrate
from consent_contracts import AddressEntry, Codec, Decision, Topics, entry_to_avro, partition_of
from consent_kafka import clients, provisioning
from consent_privacy.keyring import Keyring
from consent_privacy.keyring_file import generate
from tests.bench.figures import Figure, Servers

ADDRESSES = 1_000_000
PARTITIONS = 4
TENANT = "acme"
START = 1_790_000_000_000_000
_TRANSACTION = 50_000
_NUMBER = "77777777"
"""A placeholder for the number of an address in the entries that are copied."""
# Each address has one decision, every third a second one.
_LEDGER = """
INSERT INTO subjects (tenant, subject_ref, created_at)
    SELECT 'acme', 'c-' || lpad(n::text, 8, '0'), 0 FROM generate_series(1, {count}) n;
INSERT INTO addresses (address_id, tenant, channel, created_at)
    SELECT n, 'acme', 'sms', 0 FROM generate_series(1, {count}) n;
INSERT INTO address_keys (tenant, channel, address_key, address_id, sealed_address, created_at)
    SELECT 'acme', 'sms',
           '{key_id}.' || translate(encode(sha256(lpad(n::text, 8, '0')::bytea), 'base64'), '+/=', '-_'),
           n, repeat('s', 60)::bytea, 0 FROM generate_series(1, {count}) n;
INSERT INTO decisions (decision_id, tenant, subject_id, channel, purpose, status, effective_at, recorded_at, spreads,
                       evidence)
    SELECT ('0198c0de-0000-7000-8000-a000' || lpad(n::text, 8, '0'))::uuid, 'acme', s.subject_id, 'sms', 'newsletter',
           'given', {start} + n, {start} + n, false, '{{}}'::jsonb
    FROM generate_series(1, {count}) n JOIN subjects s ON s.subject_ref = 'c-' || lpad(n::text, 8, '0')
    UNION ALL
    SELECT ('0198c0de-0000-7000-8000-b000' || lpad(n::text, 8, '0'))::uuid, 'acme', s.subject_id, 'sms', '*',
           'withdrawn', {start} + n, {start} + n, true, '{{}}'::jsonb
    FROM generate_series(3, {count}, 3) n JOIN subjects s ON s.subject_ref = 'c-' || lpad(n::text, 8, '0');
INSERT INTO decision_addresses (address_id, decision_id, reached_at)
    SELECT right(decision_id::text, 8)::bigint, decision_id, 0 FROM decisions;
ANALYZE;
"""


def fill_ledger(owner: Engine, count: int, key_id: str) -> None:
    statements = _LEDGER.format(count=count, start=START, key_id=key_id)
    with owner.begin() as connection:
        for statement in filter(str.strip, statements.split(";")):
            connection.execute(text(statement))


def address_key(number: int, key_id: str) -> bytes:
    hashed = base64.urlsafe_b64encode(hashlib.sha256(b"%08d" % number).digest()).rstrip(b"=")
    return key_id.encode() + b"." + hashed


def fill_list(servers: Servers, topics: Topics, codec: Codec, count: int, key_id: str) -> None:
    """The entries that the merge would write, each made from one of two that were encoded."""
    topic = topics.suppression("sms")
    producer: Any = clients.transactional_producer(servers.kafka, topics.group("fill"), linger_ms=50)
    producer.init_transactions(20)
    templates = [_template(codec, topic, withdrawn, key_id) for withdrawn in (False, True)]
    start = _avro_long(START)
    for first in range(1, count + 1, _TRANSACTION):
        producer.begin_transaction()
        for number in range(first, min(count + 1, first + _TRANSACTION)):
            key = address_key(number, key_id)
            value = templates[number % 3 == 0].replace(b"k" * 43, key[-43:]).replace(_NUMBER.encode(), b"%08d" % number)
            value = value.replace(start, _avro_long(START + number))
            producer.produce(topic, value, key, partition_of(key, PARTITIONS))
            if number % 4096 == 0:
                producer.poll(0)
        producer.commit_transaction(60)


def _template(codec: Codec, topic: str, withdrawn: bool, key_id: str) -> bytes:
    subject = {"subject_ref": f"c-{_NUMBER}", "effective_at": START, "recorded_at": START}
    given = Decision(
        decision_id=f"0198c0de-0000-7000-8000-a000{_NUMBER}", purpose="newsletter", status="given", **subject
    )
    refused = Decision(decision_id=f"0198c0de-0000-7000-8000-b000{_NUMBER}", purpose="*", status="withdrawn", **subject)
    entry = AddressEntry(
        tenant=TENANT,
        channel="sms",
        address_key=f"{key_id}.{'k' * 43}",
        sealed_address=b"s" * 60,
        decisions=(refused, given) if withdrawn else (given,),
    )
    return codec.encode(topic, entry_to_avro(entry, START))


def _avro_long(number: int) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, "long", number)
    return out.getvalue()


def read_and_decode(servers: Servers, topics: Topics, codec: Codec) -> float:
    """The seconds that a plain loop takes."""
    topic = topics.suppression("sms")
    consumer: Any = clients.consumer(servers.kafka, topics.group("plain"), enable_partition_eof=True)
    consumer.assign([TopicPartition(topic, each, OFFSET_BEGINNING) for each in range(PARTITIONS)])
    began, unread = time.perf_counter(), set(range(PARTITIONS))
    while unread:
        for message in consumer.consume(5_000, 0.5):
            if message.error() is None:
                codec.decode(topic, message.value())
            elif message.error().code() == KafkaError._PARTITION_EOF:
                unread.discard(message.partition())
    consumer.close()
    return time.perf_counter() - began


def verify(environment: dict[str, str], addresses: int) -> tuple[float, float]:
    """The seconds of the command, and its largest resident memory in MB."""
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "consent_service", "verify", "--channel", "sms", "--json"],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        text=True,
    )
    largest = 0

    def watch() -> None:
        nonlocal largest
        while process.poll() is None:
            try:
                largest = max(largest, psutil.Process(process.pid).memory_info().rss)
            except psutil.NoSuchProcess:
                return
            time.sleep(0.05)

    watching = threading.Thread(target=watch)
    watching.start()
    out, _ = process.communicate(timeout=900)
    seconds = time.perf_counter() - began
    watching.join()
    summary = json.loads(out.splitlines()[-1])
    if process.returncode or summary["compared"] != addresses or summary["differences"]:
        raise RuntimeError(f"exit code {process.returncode}: {summary}")
    return seconds, largest / 1_000_000


def measure(servers: Servers, addresses: int = ADDRESSES) -> list[Figure]:
    topics = Topics(prefix=f"b{uuid4().hex[:8]}.")
    provisioning.apply(bootstrap=servers.kafka, registry=servers.registry, topics=topics, partitions=PARTITIONS)
    codec = Codec.connect(servers.registry, topics)
    server = create_engine(servers.database, isolation_level="AUTOCOMMIT")
    name = f"bench_{uuid4().hex[:12]}"
    role = f"bench_{uuid4().hex[:12]}"
    with server.connect() as connection, tempfile.TemporaryDirectory() as directory:
        connection.execute(text(f"CREATE DATABASE {name}"))
        owner_url = make_url(servers.database).set(database=name)
        service = owner_url.set(username=role, password=uuid4().hex)
        migrate(owner_url, service)
        owner = create_engine(owner_url)
        try:
            keyring_file = Path(directory) / "keyring.toml"
            generate(keyring_file, [TENANT])
            key_id = Keyring.load(keyring_file).hash_keys[TENANT][0].id
            fill_ledger(owner, addresses, key_id)
            fill_list(servers, topics, codec, addresses, key_id)
            plain = read_and_decode(servers, topics, codec)
            seconds, megabytes = verify(
                {
                    "CONSENT_RELAY_KAFKA": servers.kafka,
                    "CONSENT_RELAY_REGISTRY": servers.registry,
                    "CONSENT_RELAY_TOPIC_PREFIX": topics.prefix,
                    "CONSENT_RELAY_PARTITIONS": str(PARTITIONS),
                    "CONSENT_RELAY_API_DATABASE": service.render_as_string(hide_password=False),
                    "CONSENT_RELAY_KEYRING_FILE": str(keyring_file),
                    "CONSENT_RELAY_STATE_DIR": directory,
                },
                addresses,
            )
        finally:
            owner.dispose()
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
            connection.execute(text(f"DROP ROLE {role}"))
            server.dispose()
    admin = AdminClient({"bootstrap.servers": servers.kafka})
    for deleted in admin.delete_topics([spec.name for spec in topics.specs()]).values():
        deleted.result()
    how = f"{addresses} addresses of 1 or 2 decisions, {PARTITIONS} partitions, one process, start included"
    return [
        Figure(name="verify", value=seconds, unit="s", target=60.0, at_most=True, how=how),
        Figure(name="verify, largest resident memory", value=megabytes, unit="MB", target=300.0, at_most=True, how=how),
        Figure(name="a plain loop that reads and decodes that list", value=plain, unit="s", how=how),
    ]
