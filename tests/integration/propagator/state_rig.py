"""The propagator's state on real Kafka, in this process, with workers that deliver to a dictionary at once."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource
from prometheus_client import CollectorRegistry

from consent_contracts import Codec, Topics
from consent_contracts.decisions import AddressEntry, Decision
from consent_contracts.errors import ContractError
from consent_contracts.join import join
from consent_contracts.partitioner import partition_of
from consent_contracts.records import entry_to_avro
from consent_kafka import clients
from consent_privacy.keyring import Keyring
from consent_service.clock import now_micros
from consent_service.health import Health
from consent_state import topic_ids
from propagator.app import Propagator
from propagator.config.model import Destination, Limits
from propagator.connectors import CATALOGUE
from propagator.connectors.base import ConnectionSettings
from propagator.desired import outcomes
from propagator.desired.model import Purposes
from propagator.desired.receipt import Receipt
from propagator.errors import SendNotAllowedError
from propagator.sending.ports import PendingPush
from propagator.settings import PropagatorSettings
from propagator.state.destination_state import TableDestinationState

TENANT = "acme"
PARTITIONS = 4


class Always:
    """An ownership that no broker has to confirm."""

    def __init__(self) -> None:
        self.held = True

    def is_confirmed(self) -> bool:
        return self.held


def destination(name: str = "crm", **changes: Any) -> Destination:
    """A webhook of tenant acme."""
    connector_type = CATALOGUE["webhook"]
    fields: dict[str, Any] = {
        "connector_type": connector_type,
        "connection": ConnectionSettings(
            destination=name,
            tenant=TENANT,
            channel="sms",
            url="http://127.0.0.1:1/",
            credentials={"secret": "whsec_" + "A" * 44},
            options={"allow_private": True, "clear_addresses": True, "check_url": ""},
            targets=(),
        ),
        "purposes": Purposes(targets={}, same=True),
        "push_permissions": False,
        "limits": Limits(calls_per_second=100, burst=10, concurrency=2, max_batch={"suppress": 1, "permit": 1}),
    }
    return Destination(**(fields | changes))


@dataclass
class Sent:
    """One delivery of the fake worker."""

    address_key: str
    target: str
    action: str
    live: bool


class DictionaryWorker:
    """Delivers what is pending to `held`, one address after the other. `blocked`: addresses it leaves."""

    def __init__(self, name: str, state: TableDestinationState, sent: list[Sent]) -> None:
        self.name = name
        self.state = state
        self.sent = sent
        self.offered: list[str] = []
        self.down = False
        self.permits = True
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def stop(self, drain_seconds: float) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def offer(self, pushes: Sequence[PendingPush]) -> None:
        self.offered += [each.address_key for each in pushes]

    async def _run(self) -> None:
        while True:
            keys, self.offered = self.offered, []
            for live in (True, False):
                for kind in ("suppress", "permit", "record", "forget"):
                    rows = self.state.pending(live=live, kind=kind, limit=500, due_by=now_micros())  # type: ignore[arg-type]
                    keys += [each.address_key for each in rows]
            for key in dict.fromkeys(keys):
                if not self.down:
                    await self._deliver(key)
            await asyncio.sleep(0.01)

    async def _deliver(self, key: str) -> None:
        try:
            current = self.state.current(key)
        except ContractError:
            return
        plan = current.plan
        if plan.forget:
            self.state.forget(key)
        for push in plan.pushes:
            target, now = push.state.target, now_micros()
            row = self.state.current(key).delivered.get(target)
            version = outcomes.next_version(
                row, written_at=current.entry.written_at if current.entry else 0, clock=now, newest_append=now
            )
            if push.state.action == "permit":
                if self.state.permission_hindrance(key) is not None:
                    continue
                begun = outcomes.permit_begins(push, version=version, fill_began_at=current.fill_began_at)
                try:
                    await self.state.record_now(key, begun, target=target)
                except SendNotAllowedError:
                    continue
            self.sent.append(Sent(key, target, push.state.action, push.live))
            accepted = outcomes.accepted(
                row, push, version=version, now=now, fill_began_at=current.fill_began_at, settles_at=now
            )
            self.state.record(key, accepted, target=target, receipts=[self._receipt(key, push, version)])
        for adopted in plan.adoptions:
            row = current.delivered[adopted.target]
            self.state.record(key, outcomes.adopted(row, adopted), target=adopted.target)
        if plan.unmapped is not None:
            unmapped = outcomes.unmapped(plan.unmapped, now=now_micros(), fill_began_at=current.fill_began_at)
            self.state.record(key, unmapped, target="")

    def _receipt(self, key: str, push: Any, version: int) -> Receipt:
        return Receipt(
            tenant=TENANT,
            destination=self.name,
            channel="sms",
            address_key=key,
            target=push.state.target,
            action=push.state.action,
            stage="accepted",
            decision_ids=push.state.decision_ids,
            version=version,
            recorded_at=push.state.recorded_at,
            queued_at=push.since,
            reached_at=push.state.occurred_at,
            attempts=1,
        )


@dataclass
class Process:
    """One propagator: tables of its own, and, once `activate` was called, the active sender."""

    propagator: Propagator
    registry: CollectorRegistry
    health: Health
    workers: dict[str, DictionaryWorker]
    sent: list[Sent]
    ownership: Always = field(default_factory=Always)
    terms: Any = None

    async def activate(self) -> None:
        self.terms = await asyncio.wait_for(self.propagator.sender().open("active", 0, self.ownership), 60)

    async def close(self) -> None:
        if self.terms is not None:
            await self.terms.close()
            self.terms = None
        await asyncio.to_thread(self.propagator.reader.stop)

    def state(self, name: str = "crm") -> TableDestinationState:
        return self.propagator.states[name]

    def metric(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(f"consent_relay_propagation_{name}", labels) or 0.0

    def held(self, name: str = "crm") -> dict[tuple[str, str], str]:
        """What the destination holds, by address key and target."""
        return {(each.address_key, each.target): each.action for each in self.sent}

    def pending(self, name: str = "crm") -> int:
        return sum(count for (_, kind), count in self.state(name).counts().items() if kind != "impossible")


class StateRig:
    def __init__(self, bootstrap: str, registry: str, topics: Topics, keyring: Keyring, keyring_file: Path, tmp: Path):
        self.bootstrap, self.registry, self.topics = bootstrap, registry, topics
        self.keyring, self.keyring_file, self.tmp = keyring, keyring_file, tmp
        self.codec = Codec.connect(registry, topics)
        self.producer = clients.producer(bootstrap)
        self.admin = clients.admin(bootstrap)
        self.entries: dict[str, AddressEntry] = {}
        self.processes: list[Process] = []
        self.list_topic = topics.suppression("sms")
        self.state_topic = topics.propagation_state("default")
        (tmp / "destinations.yaml").touch()

    def process(self, *destinations: Destination, instance: str = "one", **settings: Any) -> Process:
        """Tables that are read; no sender yet."""
        loaded = PropagatorSettings(
            kafka=self.bootstrap,
            registry=self.registry,
            topic_prefix=self.topics.prefix,
            keyring_file=self.keyring_file,
            propagator_destinations=self.tmp / "destinations.yaml",
            state_dir=self.tmp / instance,
            **settings,
        )
        registry, health = CollectorRegistry(), Health()
        workers: dict[str, DictionaryWorker] = {}
        sent: list[Sent] = []

        def worker(name: str) -> DictionaryWorker:
            workers[name] = DictionaryWorker(name, propagator.states[name], sent)
            return workers[name]

        propagator = Propagator(
            loaded,
            destinations or (destination(),),
            lambda: self.keyring,
            registry=registry,
            health=health,
            make_worker=worker,
        )
        propagator.reader.start()
        made = Process(propagator, registry, health, workers, sent)
        self.processes.append(made)
        return made

    def key(self, number: int) -> str:
        return self.keyring.address_key(TENANT, "sms", self.address(number))

    def address(self, number: int) -> str:
        return f"+3363998{number:04d}"

    def decide(self, number: int, status: str = "withdrawn", *, purpose: str = "newsletter", bulk: bool = False) -> str:
        """Write the address's new entry as the merge does; answers the address key. `flush` makes it certain."""
        key, now = self.key(number), now_micros()
        decision = Decision(
            decision_id=str(uuid4()),
            subject_ref=f"s{number}",
            purpose=purpose,
            status=status,
            effective_at=now,
            recorded_at=now,
            bulk=bulk,
        )
        entry = AddressEntry(
            tenant=TENANT,
            channel="sms",
            address_key=key,
            sealed_address=self.keyring.seal(key, self.address(number)),
            decisions=(decision,),
        )
        self.entries[key] = merged = join(self.entries.get(key), entry)
        self.write(key, self.codec.encode(self.list_topic, entry_to_avro(merged, now)))
        return key

    def write(self, key: str, value: bytes | None) -> None:
        self.producer.produce(self.list_topic, value, key.encode(), partition=self.partition(key))
        self.producer.poll(0)

    def erase(self, number: int) -> str:
        key = self.key(number)
        self.entries.pop(key, None)
        self.write(key, None)
        return key

    def limit_records(self, topic: str, size: int) -> None:
        """The broker takes records of the topic up to so many bytes from now on."""
        limit = ConfigEntry("max.message.bytes", str(size), incremental_operation=AlterConfigOpType.SET)
        resource = ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=[limit])
        for altered in self.admin.incremental_alter_configs([resource]).values():
            altered.result()

    def flush(self) -> None:
        assert self.producer.flush(30) == 0

    def partition(self, key: str) -> int:
        return partition_of(key.encode(), PARTITIONS)

    def resolve(self, *, at: int | None = None, loss: int = 0, hole: str | None = None) -> None:
        """A ListResolved record for each partition, at the present ends of the list, as the merge writes them."""
        self.flush()
        ids = topic_ids(self.admin, [self.list_topic])
        at = now_micros() if at is None else at
        consumer = clients.consumer(self.bootstrap, f"rig-{uuid4().hex}")
        from confluent_kafka import TopicPartition

        for partition in range(PARTITIONS):
            _, end = consumer.get_watermark_offsets(TopicPartition(self.list_topic, partition), timeout=10)
            datum = {
                "partition": partition,
                "resolved_at": None if hole else at,
                "bulk_resolved_at": None if hole else at,
                "inbound_resolved_at": None,
                "loss": loss,
                "lists": [{"topic": self.list_topic, "topic_id": ids[self.list_topic], "end_offset": end}],
                "inputs": [],
                "hole": hole,
                "channel_holes": {},
                "written_at": now_micros(),
            }
            value = self.codec.encode(self.topics.resolved, datum)
            self.producer.produce(self.topics.resolved, value, str(partition).encode(), partition=partition)
        consumer.close()
        self.flush()

    def read(self, topic: str) -> list[tuple[bytes, bytes | None]]:
        """Every committed record of a topic."""
        from confluent_kafka import TopicPartition

        consumer = clients.consumer(self.bootstrap, f"rig-{uuid4().hex}", enable_partition_eof=True)
        partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
        consumer.assign([TopicPartition(topic, each, 0) for each in partitions])
        ended, found = 0, []
        while ended < len(partitions):
            for message in consumer.consume(500, timeout=0.3):
                if message.error() is not None:
                    ended += 1
                else:
                    found.append((message.key() or b"", message.value()))
        consumer.close()
        return found

    def receipts(self) -> list[dict[str, Any]]:
        topic = self.topics.receipts
        return [self.codec.decode(topic, value) for _, value in self.read(topic) if value]

    def rows(self) -> dict[bytes, dict[str, Any]]:
        """The state topic as a table; tombstones are left out."""
        table = dict(self.read(self.state_topic))
        return {key: self.codec.decode(self.state_topic, value) for key, value in table.items() if value}

    async def close(self) -> None:
        for each in self.processes:
            await each.close()
        self.producer.flush(5)
