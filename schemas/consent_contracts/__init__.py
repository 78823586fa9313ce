"""The contracts: Avro schemas, their codec, the topics, and the rule by which decisions merge.

Names are imported when they are asked for: a reader of a list needs neither the rule nor what it is made of."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from consent_contracts.codec import Codec
    from consent_contracts.decisions import EVERY_PURPOSE, GIVEN, STATUSES, AddressEntry, Decision, permits
    from consent_contracts.errors import (
        ContractError,
        InvalidRecordError,
        NotRegisteredError,
        RegistryUnavailableError,
        UnreadableError,
    )
    from consent_contracts.join import SKEW_MICROS, precedence
    from consent_contracts.partitioner import murmur2, partition_of
    from consent_contracts.reading import NO_DECISION, Verdict, effective_verdict
    from consent_contracts.records import entry_from_avro, entry_from_change, entry_to_avro, verdicts_of
    from consent_contracts.topics import Topics, TopicSpec, record_names, subject
    from consent_contracts.verdict import verdicts
else:

    def __getattr__(name: str) -> object:
        for module, names in _NAMES.items():
            if name in names:
                return getattr(import_module(f".{module}", __name__), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


_NAMES = {
    "codec": ("Codec",),
    "decisions": ("EVERY_PURPOSE", "GIVEN", "STATUSES", "Decision", "AddressEntry", "permits"),
    "errors": (
        "ContractError",
        "InvalidRecordError",
        "NotRegisteredError",
        "RegistryUnavailableError",
        "UnreadableError",
    ),
    "join": ("SKEW_MICROS", "precedence"),
    "partitioner": ("murmur2", "partition_of"),
    "reading": ("NO_DECISION", "Verdict", "effective_verdict"),
    "records": ("entry_from_avro", "entry_from_change", "entry_to_avro", "verdicts_of"),
    "topics": ("TopicSpec", "Topics", "record_names", "subject"),
    "verdict": ("verdicts",),
}
__all__ = [
    "EVERY_PURPOSE",
    "GIVEN",
    "NO_DECISION",
    "SKEW_MICROS",
    "STATUSES",
    "AddressEntry",
    "Codec",
    "ContractError",
    "Decision",
    "InvalidRecordError",
    "NotRegisteredError",
    "RegistryUnavailableError",
    "TopicSpec",
    "Topics",
    "UnreadableError",
    "Verdict",
    "effective_verdict",
    "entry_from_avro",
    "entry_from_change",
    "entry_to_avro",
    "murmur2",
    "partition_of",
    "permits",
    "precedence",
    "record_names",
    "subject",
    "verdicts",
    "verdicts_of",
]
