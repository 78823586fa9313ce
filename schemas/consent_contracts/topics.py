"""The topics: their names, what they carry, and the settings without which a promise would break."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace

from consent_contracts.schemas import NAMESPACE

DAY_MS = 24 * 3600 * 1000
_RESOLVED_SEGMENT_MS = 10 * 60 * 1000
_WIDE_BYTES = str(2 * 1024 * 1024)
"""The largest that our producers write."""

_CHANGES = ("ConsentChanged", "ConsentResolved")
RECORDS: dict[str, tuple[str, ...]] = {
    "consent.inbound.v1": ("ConsentSubmitted",),
    "consent.inbound.bulk.v1": ("ConsentSubmitted",),
    "consent.results.v1": ("SubmissionResult",),
    "consent.renewals.v1": ("ConsentRenewalDue",),
    "consent.changes.v1": _CHANGES,
    "consent.changes.bulk.v1": _CHANGES,
    "suppression.resolved.v1": ("ListResolved",),
    "propagation.receipts.v1": ("PropagationReceipt",),
}
SERVICES = ("consent-api", "suppression", "propagator")
PROPAGATOR = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")


@dataclass(frozen=True, kw_only=True, slots=True)
class TopicSpec:
    """One topic as it has to exist: ``config`` holds Kafka's own topic settings, as strings.

    ``record_names``: the Avro records that it carries, the main one first; empty for a topic without records.
    ``copartitioned``: an address has the same partition in each such topic, so their number is part of the contract.
    """

    name: str
    record_names: tuple[str, ...]
    partitions: int
    config: dict[str, str] = field(default_factory=dict)
    copartitioned: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Topics:
    """The names of one installation. ``prefix`` separates installations that share a cluster."""

    prefix: str = ""
    channels: tuple[str, ...] = ("sms", "email", "voice")
    propagators: tuple[str, ...] = ("default",)

    @property
    def inbound(self) -> str:
        return f"{self.prefix}consent.inbound.v1"

    @property
    def inbound_bulk(self) -> str:
        return f"{self.prefix}consent.inbound.bulk.v1"

    @property
    def results(self) -> str:
        """What became of the records of the inbound topics."""
        return f"{self.prefix}consent.results.v1"

    @property
    def renewals(self) -> str:
        """Permissions that are about to end."""
        return f"{self.prefix}consent.renewals.v1"

    @property
    def changes(self) -> str:
        return f"{self.prefix}consent.changes.v1"

    @property
    def changes_bulk(self) -> str:
        return f"{self.prefix}consent.changes.bulk.v1"

    @property
    def resolved(self) -> str:
        return f"{self.prefix}suppression.resolved.v1"

    @property
    def receipts(self) -> str:
        return f"{self.prefix}propagation.receipts.v1"

    def suppression(self, channel: str) -> str:
        return f"{self.prefix}suppression.{channel}.v1"

    def propagation_state(self, propagator: str) -> str:
        """Delivered state of one propagator's destinations."""
        return f"{self.prefix}propagation.state.{propagator}.v1"

    def propagation_active(self, propagator: str) -> str:
        """One partition without records: the member of the group that holds it sends."""
        return f"{self.prefix}propagation.active.{propagator}.v1"

    def dead_letters(self, service: str) -> str:
        """``service`` is one of ``SERVICES``."""
        return f"{self.prefix}{service}.dead-letters.v1"

    def group(self, name: str) -> str:
        """The name of a consumer group, a transactional id or an instance of this installation."""
        return f"{self.prefix}{name}"

    def specs(self, partitions: int = 4) -> list[TopicSpec]:
        """Every topic. Changes, lists, resolved and state topics share their number of partitions by contract."""
        compacted = {"cleanup.policy": "compact", "delete.retention.ms": str(7 * DAY_MS)}
        lists = compacted | {"max.compaction.lag.ms": str(DAY_MS)}
        # A row names every target of an address, and so can be larger than the entry that it follows.
        state = compacted | {"max.message.bytes": _WIDE_BYTES}
        resolved = {"cleanup.policy": "compact", "segment.ms": str(_RESOLVED_SEGMENT_MS)}
        copartitioned = [
            _kept(self.changes, partitions, days=7),
            _kept(self.changes_bulk, partitions, days=7),
            *(_spec(self.suppression(channel), partitions, lists) for channel in self.channels),
            _spec(self.resolved, partitions, resolved),
            *(_spec(self.propagation_state(name), partitions, state) for name in self.propagators),
        ]
        return [
            _kept(self.inbound, partitions, days=3),
            _kept(self.inbound_bulk, partitions, days=3),
            _kept(self.results, partitions, days=7),
            _kept(self.renewals, partitions, days=7),
            _kept(self.receipts, partitions, days=30),
            *(replace(spec, copartitioned=True) for spec in copartitioned),
            *(_one_partition(self.propagation_active(name)) for name in self.propagators),
            *(_dead_letters(self.dead_letters(service)) for service in SERVICES),
        ]


def record_names(topic: str) -> tuple[str, ...]:
    """The Avro records that ``topic`` carries, the main one first, whatever the prefix of the topic's name."""
    for name, records in RECORDS.items():
        if topic.endswith(name):
            return records
    if topic.endswith(".dead-letters.v1"):
        return ("DeadLetter",)
    family = topic.removesuffix(".v1").rpartition(".")[0]
    if family.endswith("propagation.state"):
        return ("PropagationState",)
    if family.endswith("propagation.active"):
        return ()
    if family.endswith("suppression"):
        return ("SuppressionEntry",)
    raise ValueError(f"{topic} is not a topic of Consent Relay")


def subject(topic: str, record_name: str) -> str:
    """The registry's subject: TopicNameStrategy, and TopicRecordNameStrategy where a topic carries several records."""
    if len(record_names(topic)) == 1:
        return f"{topic}-value"
    return f"{topic}-{NAMESPACE}.{record_name}"


def _kept(name: str, partitions: int, *, days: int) -> TopicSpec:
    return _spec(name, partitions, {"cleanup.policy": "delete", "retention.ms": str(days * DAY_MS)})


def _one_partition(name: str) -> TopicSpec:
    """More than one would let two members of the group be active."""
    return replace(_kept(name, 1, days=1), copartitioned=True)


def _dead_letters(name: str) -> TopicSpec:
    """Wide enough for the largest record a topic takes by default, and for what sealing adds to it."""
    kept = _kept(name, 1, days=30)
    return replace(kept, config={**kept.config, "max.message.bytes": _WIDE_BYTES})


def _spec(name: str, partitions: int, config: dict[str, str]) -> TopicSpec:
    # With a producer's own times, retention would delete records that carry the date of an old event. With a codec of
    # the topic's own, the broker unpacks what producers send: a few kilobytes then end it.
    config = {**config, "message.timestamp.type": "LogAppendTime", "compression.type": "producer"}
    return TopicSpec(name=name, record_names=record_names(name), partitions=partitions, config=config)
