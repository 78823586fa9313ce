"""The contracts: Avro schemas, their codec, the topics, and the rule by which decisions merge."""

from .codec import Codec, register
from .decisions import EVERY_PURPOSE, GIVEN, STATUSES, Decision, Entry, permits
from .errors import ContractError, InvalidRecord, NotRegistered, RegistryUnavailable, Unreadable
from .join import SKEW_MICROS, join, order
from .partitioner import murmur2, partition_of
from .records import entry_of, entry_of_change, suppression_datum, verdicts_of
from .topics import Topics, TopicSpec, record_names, subject
from .verdict import NO_DECISION, Verdict, applicable, verdict, verdicts

__all__ = [
    "EVERY_PURPOSE",
    "GIVEN",
    "NO_DECISION",
    "SKEW_MICROS",
    "STATUSES",
    "Codec",
    "ContractError",
    "Decision",
    "Entry",
    "InvalidRecord",
    "NotRegistered",
    "RegistryUnavailable",
    "TopicSpec",
    "Topics",
    "Unreadable",
    "Verdict",
    "applicable",
    "entry_of",
    "entry_of_change",
    "join",
    "murmur2",
    "order",
    "partition_of",
    "permits",
    "record_names",
    "register",
    "subject",
    "suppression_datum",
    "verdict",
    "verdicts",
    "verdicts_of",
]
