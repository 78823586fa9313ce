"""The topics: their names, what they carry, and the settings without which a promise would break."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

DAY_MS = 24 * 3600 * 1000

RECORDS = {
    "consent.inbound.v1": "ConsentSubmitted",
    "consent.changes.v1": "ConsentChanged",
    "propagation.receipts.v1": "PropagationReceipt",
    "propagation.parked.v1": "ParkedPush",
}
SERVICES = ("consent-api", "suppression", "propagator")


@dataclass(frozen=True, kw_only=True, slots=True)
class TopicSpec:
    """One topic as it has to exist: ``config`` holds Kafka's own topic settings, as strings.

    ``copartitioned``: an address has the same partition in each such topic, so their number is part of the contract.
    """

    name: str
    record_name: str
    partitions: int
    config: dict[str, str] = field(default_factory=dict)
    copartitioned: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Topics:
    """The names of one installation. ``prefix`` separates installations that share a cluster."""

    prefix: str = ""
    channels: tuple[str, ...] = ("sms", "email", "voice")

    @property
    def inbound(self) -> str:
        return f"{self.prefix}consent.inbound.v1"

    @property
    def changes(self) -> str:
        return f"{self.prefix}consent.changes.v1"

    @property
    def receipts(self) -> str:
        return f"{self.prefix}propagation.receipts.v1"

    @property
    def parked(self) -> str:
        return f"{self.prefix}propagation.parked.v1"

    def suppression(self, channel: str) -> str:
        return f"{self.prefix}suppression.{channel}.v1"

    def dead_letters(self, service: str) -> str:
        """``service`` is one of ``SERVICES``."""
        return f"{self.prefix}{service}.dead-letters.v1"

    def group(self, name: str) -> str:
        """The name of a consumer group, a transactional id or an instance of this installation."""
        return f"{self.prefix}{name}"

    def specs(self, partitions: int = 4) -> list[TopicSpec]:
        """Every topic. Changes, suppression and parked pushes share their number of partitions by contract."""
        suppression = {
            "cleanup.policy": "compact",
            "delete.retention.ms": str(7 * DAY_MS),
            "max.compaction.lag.ms": str(DAY_MS),
        }
        together = [
            _kept(self.changes, partitions, days=7),
            _spec(self.parked, partitions, {"cleanup.policy": "compact", "delete.retention.ms": str(7 * DAY_MS)}),
            *(_spec(self.suppression(channel), partitions, dict(suppression)) for channel in self.channels),
        ]
        return [
            _kept(self.inbound, partitions, days=3),
            _kept(self.receipts, partitions, days=30),
            *(replace(spec, copartitioned=True) for spec in together),
            *(_dead_letters(self.dead_letters(service)) for service in SERVICES),
        ]


def record_name(topic: str) -> str:
    """The Avro record that ``topic`` carries, whatever the prefix in front of the topic's name."""
    for name, record in RECORDS.items():
        if topic.endswith(name):
            return record
    if topic.endswith(".dead-letters.v1"):
        return "DeadLetter"
    if topic.removesuffix(".v1").rpartition(".")[0].endswith("suppression"):
        return "SuppressionEntry"
    raise ValueError(f"{topic} is not a topic of Consent Relay")


def _kept(name: str, partitions: int, *, days: int) -> TopicSpec:
    return _spec(name, partitions, {"cleanup.policy": "delete", "retention.ms": str(days * DAY_MS)})


def _dead_letters(name: str) -> TopicSpec:
    """Wide enough for the largest record a topic takes by default, and for what sealing adds to it."""
    kept = _kept(name, 1, days=30)
    return replace(kept, config={**kept.config, "max.message.bytes": str(2 * 1024 * 1024)})


def _spec(name: str, partitions: int, config: dict[str, str]) -> TopicSpec:
    return TopicSpec(name=name, record_name=record_name(name), partitions=partitions, config=config)
