"""What differs from the contract, and what it takes: each kind of difference."""

from __future__ import annotations

from dataclasses import replace

import pytest

from consent_contracts.codec import SubjectState
from consent_contracts.topics import Topics, TopicSpec
from consent_kafka.topic_plan import (
    BrokerTopic,
    Difference,
    Remedy,
    schema_differences,
    topic_differences,
)

TOPICS = Topics(channels=("sms",))
SPECS = {spec.name: spec for spec in TOPICS.specs(4)}
INBOUND, CHANGES, LIST = SPECS[TOPICS.inbound], SPECS[TOPICS.changes], SPECS[TOPICS.suppression("sms")]
ACTIVE = SPECS[TOPICS.propagation_active("default")]
DAY = 86_400_000


def as_required(spec: TopicSpec, **config: str) -> BrokerTopic:
    names = {name.replace("_", "."): value for name, value in config.items()}
    return BrokerTopic(
        partitions=spec.partitions, replicas=3, config={"min.insync.replicas": "1", **spec.config, **names}
    )


def one(
    spec: TopicSpec,
    topic: BrokerTopic | None,
    *,
    is_empty: bool = False,
    replication: int = 1,
    min_insync: int | None = None,
) -> Difference:
    existing = {} if topic is None else {spec.name: topic}
    [found] = topic_differences(
        [spec], existing, empty={spec.name} if is_empty else (), replication=replication, min_insync=min_insync
    )
    return found


def test_topics_as_they_are_created_do_not_differ() -> None:
    existing = {name: as_required(spec) for name, spec in SPECS.items()}
    assert topic_differences(list(SPECS.values()), existing, empty=(), replication=3, min_insync=1) == []


def test_a_missing_topic_is_created_unless_no_producer_could_write_to_it() -> None:
    assert one(CHANGES, None).remedy is Remedy.APPLY
    assert str(one(CHANGES, None)) == (
        "consent.changes.v1: no such topic, wanted one with 4 partitions; run: consent-relay topics apply"
    )
    assert one(CHANGES, None, replication=2, min_insync=2).remedy is Remedy.APPLY
    assert one(CHANGES, None, replication=1, min_insync=2).remedy is Remedy.PERSON


@pytest.mark.parametrize(
    ("spec", "config", "remedy", "effect", "safe"),
    [
        (INBOUND, {"retention_ms": "1000"}, Remedy.APPLY, "", False),
        (INBOUND, {"retention_ms": "-1"}, Remedy.ALLOW_DELETION, "deletes records older than 3 days", True),
        (INBOUND, {"retention_ms": str(4 * DAY)}, Remedy.ALLOW_DELETION, "deletes records older than 3 days", True),
        (LIST, {"delete_retention_ms": str(DAY)}, Remedy.APPLY, "", False),
        (LIST, {"delete_retention_ms": str(8 * DAY)}, Remedy.ALLOW_DELETION, "deletes tombstones", True),
        (LIST, {"cleanup_policy": "delete"}, Remedy.ALLOW_DELETION, "deletes all but the newest", False),
        (LIST, {"cleanup_policy": "compact, delete"}, Remedy.APPLY, "", False),
        (CHANGES, {"cleanup_policy": "compact"}, Remedy.ALLOW_DELETION, "deletes old records", False),
        (CHANGES, {"cleanup_policy": "delete,compact"}, Remedy.APPLY, "", False),
        (CHANGES, {"message_timestamp_type": "CreateTime"}, Remedy.APPLY, "", False),
        (LIST, {"max_compaction_lag_ms": "9223372036854775807"}, Remedy.APPLY, "", False),
        (SPECS["propagator.dead-letters.v1"], {"max_message_bytes": "1048588"}, Remedy.APPLY, "", False),
        (
            SPECS["propagator.dead-letters.v1"],
            {"max_message_bytes": "9999999"},
            Remedy.ALLOW_DELETION,
            "refuses records of more than 2097152 bytes",
            True,
        ),
    ],
)
def test_a_setting_that_deletes_or_shrinks_needs_its_option(
    spec: TopicSpec, config: dict[str, str], remedy: Remedy, effect: str, safe: bool
) -> None:
    found = one(spec, as_required(spec, **config))
    assert (found.kind, found.remedy, found.safe) == ("setting", remedy, safe)
    assert found.effect.startswith(effect)
    assert bool(found.effect) == bool(effect)
    assert str(remedy) in found.cure


@pytest.mark.parametrize(
    ("spec", "partitions", "is_empty", "remedy"),
    [
        (CHANGES, 3, False, Remedy.PERSON),
        (CHANGES, 3, True, Remedy.ADD_PARTITIONS),
        (CHANGES, 5, True, Remedy.PERSON),
        (LIST, 5, False, Remedy.PERSON),
        (ACTIVE, 2, True, Remedy.PERSON),
        (INBOUND, 3, False, Remedy.ADD_PARTITIONS),
        (INBOUND, 3, True, Remedy.ADD_PARTITIONS),
    ],
)
def test_partitions_are_added_only_where_no_address_has_a_place(
    spec: TopicSpec, partitions: int, is_empty: bool, remedy: Remedy
) -> None:
    found = one(spec, replace(as_required(spec), partitions=partitions), is_empty=is_empty)
    assert (found.kind, found.remedy, found.safe) == ("partitions", remedy, not spec.copartitioned)
    assert found.cure.startswith(f"set CONSENT_RELAY_PARTITIONS={partitions}")


def test_more_partitions_of_a_topic_that_shares_its_keys_with_none_are_no_difference() -> None:
    assert topic_differences([INBOUND], {INBOUND.name: replace(as_required(INBOUND), partitions=12)}, empty=()) == []


def test_fewer_replicas_than_required_take_a_person_and_keep_no_service_from_starting() -> None:
    found = one(CHANGES, as_required(CHANGES), replication=5)
    assert (found.kind, found.remedy, found.safe) == ("replicas", Remedy.PERSON, True)


def test_replicas_in_sync_are_set_unless_no_producer_could_write_then() -> None:
    assert one(CHANGES, as_required(CHANGES), min_insync=2).remedy is Remedy.APPLY
    assert one(CHANGES, as_required(CHANGES), min_insync=4).remedy is Remedy.PERSON


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ((1, True, True, "FULL_TRANSITIVE"), []),
        ((0, False, True, None), [("schema", "no schema", Remedy.APPLY)]),
        ((2, False, True, "FULL_TRANSITIVE"), [("schema", "2 other versions", Remedy.APPLY)]),
        (
            (2, False, False, "FULL_TRANSITIVE"),
            [("schema", "2 other versions, incompatible with ours", Remedy.PERSON)],
        ),
        ((1, True, True, None), [("compatibility", "the registry's default", Remedy.APPLY)]),
        ((1, True, True, "NONE"), [("compatibility", "NONE", Remedy.APPLY)]),
    ],
)
def test_a_schema_is_registered_where_the_registry_would_take_it(
    state: tuple[int, bool, bool, str | None], expected: list[tuple[str, str, Remedy]]
) -> None:
    versions, registered, compatible, compatibility = state
    subject = SubjectState(versions=versions, registered=registered, compatible=compatible, compatibility=compatibility)
    assert [(each.kind, each.found, each.remedy) for each in schema_differences({"s": subject})] == expected
