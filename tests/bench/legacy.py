"""Refusals of former systems, in bulk: the records that an import leaves in the topics, written straight to them.

One record of each kind is encoded; all others are made from its bytes, by values of the same length. Addresses are
reserved ones: example.com, and +1 NPA 555 01xx.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from consent_contracts import AddressEntry, Codec, Decision, Topics, entry_to_avro, partition_of
from consent_kafka import clients
from consent_privacy.keyring import Keyring
from propagator.desired.model import SUPPRESS, DeliveredTarget
from propagator.state.rows import DestinationFill, address_datum, destination_datum, row_key
from tests.bench.figures import Servers

TENANT = "acme"
PARTITIONS = 4
RECORDED = 1_760_000_000_000_000
"""When all of it was recorded, micros."""
PHONES = 80_000
"""So many numbers there are."""
_BUFFERED = 150_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Person:
    """One address: clear, sealed, and its key."""

    number: int
    address: bytes
    key: bytes
    sealed: bytes


def address(channel: str, number: int) -> str:
    """The reserved address of a number; all of a channel are of the same length."""
    if channel == "email":
        return f"legacy-{number:07}@example.com"
    if number >= PHONES:
        raise ValueError(f"there are {PHONES} reserved numbers")
    return f"+1{200 + number // 100}55501{number % 100:02}"


def people(keyring: Keyring, channel: str, numbers: Sequence[int]) -> Iterator[Person]:
    hasher = keyring.hashers(TENANT, channel)[0]
    for number in numbers:
        clear = address(channel, number)
        key = hasher.address_key(clear)
        yield Person(number=number, address=clear.encode(), key=key.encode(), sealed=keyring.seal(key, clear))


def decision_id(number: int, place: int) -> str:
    """Of the person's decision on the purpose at this place."""
    return f"0198c0de-{place:04x}-7000-8000-{number:012d}"


class Template:
    """Encoded bytes in which values are replaced by others as long."""

    def __init__(self, encoded: bytes, placeholders: Sequence[bytes]) -> None:
        if missing := [each for each in placeholders if each not in encoded]:
            raise ValueError(f"not in the record: {missing}")
        self._encoded = encoded
        self._placeholders = placeholders

    def fill(self, values: Sequence[bytes]) -> bytes:
        """The record with `values` in the order of the placeholders."""
        found = self._encoded
        for placeholder, value in zip(self._placeholders, values, strict=True):
            if len(value) != len(placeholder):
                raise ValueError("a value is not as long as what it replaces")
            found = found.replace(placeholder, value)
        return found


class LegacyTopics:
    """Writes the records of one installation. Every method returns when the broker has all of them."""

    def __init__(self, servers: Servers, topics: Topics, keyring: Keyring) -> None:
        self._topics = topics
        self._keyring = keyring
        self._codec = Codec.connect(servers.registry, topics)
        self._producer: Any = clients.producer(servers.kafka, linger_ms=50)
        self._failures: list[str] = []

    def entries(
        self, channel: str, numbers: Sequence[int], purposes: Sequence[str], *, delivered_to: str | None = None
    ) -> None:
        """The merged state of these addresses: every purpose refused, in bulk.

        With `delivered_to` also the rows by which that destination of the propagator `default` has taken all of it.
        """
        topic, state_topic = self._topics.suppression(channel), self._topics.propagation_state("default")
        template = self._entry_template(channel, purposes)
        row_template = None if delivered_to is None else self._row_template(channel, purposes, delivered_to)
        for person in people(self._keyring, channel, numbers):
            ids = [decision_id(person.number, place).encode() for place in range(len(purposes))]
            value = template.fill([person.key, person.sealed, *ids])
            partition = partition_of(person.key, PARTITIONS)
            self._produce(topic, value, person.key, partition)
            if row_template is not None and delivered_to is not None:
                row = row_template.fill([person.key, *ids])
                self._produce(state_topic, row, row_key(delivered_to, person.key.decode()), partition)
        if delivered_to is not None:
            datum = destination_datum(
                destination=delivered_to,
                tenant=TENANT,
                fill=DestinationFill(generation=0, began_at=RECORDED, loss=0),
                written_at=RECORDED,
            )
            for partition in range(PARTITIONS):
                value = self._codec.encode(state_topic, datum)
                self._produce(state_topic, value, row_key(delivered_to, ""), partition)
        self._flush()

    def changes(self, channel: str, numbers: Sequence[int], purpose: str) -> None:
        """On consent.changes.bulk.v1."""
        for person, value in self.changes_of(channel, numbers, purpose):
            self._produce(self._topics.changes_bulk, value, person.key)
        self._flush()

    def changes_of(self, channel: str, numbers: Sequence[int], purpose: str) -> Iterator[tuple[Person, bytes]]:
        """The ConsentChanged of each, not written anywhere."""
        template = self._change_template(channel, purpose)
        for person in people(self._keyring, channel, numbers):
            yield person, template.fill([person.key, person.sealed, decision_id(person.number, 0).encode()])

    def submissions(self, channel: str, numbers: Sequence[int], purpose: str) -> None:
        """On consent.inbound.bulk.v1."""
        topic = self._topics.inbound_bulk
        datum = {
            "event_id": decision_id(0, 0),
            "tenant": TENANT,
            "channel": channel,
            "purpose": purpose,
            "status": "refused",
            "subject_ref": None,
            "address": address(channel, 0),
            "occurred_at": RECORDED,
            "expires_at": None,
            "evidence": None,
        }
        template = Template(
            self._codec.encode(topic, datum), [decision_id(0, 0).encode(), address(channel, 0).encode()]
        )
        for number in numbers:
            event_id = decision_id(number, 0).encode()
            self._produce(topic, template.fill([event_id, address(channel, number).encode()]), event_id)
        self._flush()

    def _entry_template(self, channel: str, purposes: Sequence[str]) -> Template:
        person = next(people(self._keyring, channel, [0]))
        ids = [decision_id(0, place) for place in range(len(purposes))]
        entry = AddressEntry(
            tenant=TENANT,
            channel=channel,
            address_key=person.key.decode(),
            sealed_address=person.sealed,
            decisions=tuple(
                Decision(
                    decision_id=each,
                    subject_ref=None,
                    purpose=purpose,
                    status="refused",
                    effective_at=RECORDED,
                    recorded_at=RECORDED,
                    bulk=True,
                )
                for each, purpose in zip(ids, purposes, strict=True)
            ),
        )
        encoded = self._codec.encode(self._topics.suppression(channel), entry_to_avro(entry, RECORDED))
        return Template(encoded, [person.key, person.sealed, *(each.encode() for each in ids)])

    def _row_template(self, channel: str, purposes: Sequence[str], destination: str) -> Template:
        person = next(people(self._keyring, channel, [0]))
        ids = [decision_id(0, place) for place in range(len(purposes))]
        rows = [
            DeliveredTarget(
                target=purpose,
                action=SUPPRESS,
                decision_ids=(each,),
                version=RECORDED,
                delivered_at=RECORDED,
                fill_began_at=RECORDED,
            )
            for each, purpose in zip(ids, purposes, strict=True)
        ]
        datum = address_datum(
            destination=destination, tenant=TENANT, address_key=person.key.decode(), rows=rows, written_at=RECORDED
        )
        encoded = self._codec.encode(self._topics.propagation_state("default"), datum)
        return Template(encoded, [person.key, *(each.encode() for each in ids)])

    def _change_template(self, channel: str, purpose: str) -> Template:
        person = next(people(self._keyring, channel, [0]))
        datum = {
            "event_id": decision_id(0, 0),
            "tenant": TENANT,
            "channel": channel,
            "address_key": person.key.decode(),
            "sealed_address": person.sealed,
            "subject_ref": None,
            "purpose": purpose,
            "status": "refused",
            "effective_at": RECORDED,
            "recorded_at": RECORDED,
            "expires_at": None,
            "decision_id": decision_id(0, 0),
            "source_system": "legacy",
            "bulk": True,
        }
        encoded = self._codec.encode(self._topics.changes_bulk, datum)
        return Template(encoded, [person.key, person.sealed, decision_id(0, 0).encode()])

    def _produce(self, topic: str, value: bytes, key: bytes, partition: int | None = None) -> None:
        self._producer.produce(topic, value, key, -1 if partition is None else partition, on_delivery=self._delivered)
        self._producer.poll(0)
        while len(self._producer) > _BUFFERED:
            self._producer.poll(0.1)

    def _delivered(self, error: object, _message: object) -> None:
        if error is not None:
            self._failures.append(str(error))

    def _flush(self) -> None:
        if self._producer.flush(120) or self._failures:
            raise RuntimeError(f"Kafka did not take the records: {self._failures[:1]}")
