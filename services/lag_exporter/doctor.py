"""What `consent-relay doctor` checks of consumers and lists, as the broker sees them: of the entry point `lag`."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from consent_contracts.codec import Codec, ConfluentRegistry
from consent_contracts.errors import ContractError
from consent_kafka import clients
from consent_service.clock import elapsed_micros
from consent_service.clock_check import ClockCheck
from consent_service.doctor.findings import Check, CheckContext, Finding, Result, all_ok, readable
from lag_exporter.errors import BrokerUnavailableError
from lag_exporter.kafka_broker import KafkaBroker
from lag_exporter.lag import OPEN_TRANSACTION_SECONDS, Lag, LagReader, Partition
from lag_exporter.resolved import PartitionResolved, ResolvedReader, ages, holes
from lag_exporter.settings import LagSettings

LAG, FRESHNESS, CLOCK = "lag", "freshness of the lists", "clock of Kafka"
LAG_SECONDS = 60.0
"""The age of the oldest record that a group has not taken, from which on the alert looks at it too."""
STALE_SECONDS = {"live": 30.0, "inbound_live": 60.0, "bulk": 900.0}
"""By lane, the age from which on gates and tools deny, unless they are set otherwise."""
LOOK_SECONDS = 3.0
"""A merge publishes what it has reached each second."""
_LOOK_PAUSE_SECONDS = 0.5
_SECONDS = 30.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """What some seconds showed. `hidden_seconds`: by partition, how old the first record is that an open transaction
    hides. `resolved`: by partition, of `partitions`; `decodable`: whether the registry knows how to read them. `now`:
    micros. `clock`: as of ClockCheck.readiness; None where no record was appended meanwhile."""

    lags: Sequence[Lag]
    hidden_seconds: Mapping[Partition, float]
    resolved: Mapping[int, PartitionResolved]
    partitions: int
    now: int
    decodable: bool
    clock: bool | str | None


def checks(context: CheckContext) -> list[Check]:
    """Lag, freshness and the brokers' clock, of one look. It takes the rights of the process `lag`."""
    if not context.concerns("lag"):
        return []
    settings = readable(LagSettings)
    if settings is None:  # The check of the brokers reports it.
        return []
    return [Check(name=LAG, find=partial(_find, settings, context.clock), seconds=_SECONDS, after=("kafka",))]


def _find(settings: LagSettings, clock: Callable[[], int]) -> list[Finding]:
    try:
        look = take_a_look(settings, clock)
    except BrokerUnavailableError as error:
        cure = "see what the brokers do, and repeat"
        return [Finding(name=LAG, result=Result.NOT_CHECKED, found=f"Kafka did not answer: {error}", cure=cure)]
    return [*judge_lag(look), *judge_freshness(look), judge_clock(look)]


def judge_lag(look: Look) -> Sequence[Finding]:
    """Each group whose oldest record waits for too long, and each transaction that hides records."""
    found = []
    for group in sorted({each.group for each in look.lags}):
        worst = max((each for each in look.lags if each.group == group), key=lambda each: each.seconds)
        if worst.seconds > LAG_SECONDS:
            records = sum(each.records for each in look.lags if each.group == group)
            text = f"group {group} has up to {records} records to read, the oldest {worst.seconds:.0f} s old"
            cure = "see whether its processes run and are ready (docs/runbooks.md, A group falls behind)"
            found.append(Finding(name=LAG, result=Result.WARNING, found=text, cure=cure))
    for at, seconds in look.hidden_seconds.items():
        if seconds > OPEN_TRANSACTION_SECONDS:
            text = f"an open transaction hides records of {at.topic}/{at.partition} for {seconds:.0f} s"
            cure = "find and abort it (docs/runbooks.md, An open transaction hides records)"
            found.append(Finding(name=LAG, result=Result.FAULT, found=text, cure=cure))
    groups = len({each.group for each in look.lags})
    return all_ok(LAG, found, f"{groups} groups, none more than {LAG_SECONDS:.0f} s late")


def judge_freshness(look: Look) -> Sequence[Finding]:
    """How old the list is for its readers, by lane, and whether Kafka has lost a part of it."""
    if not look.decodable:
        text = "the registry does not answer, by which timestamps are read"
        return [Finding(name=FRESHNESS, result=Result.NOT_CHECKED, found=text, cure="mend registry first")]
    found = []
    cure = "docs/runbooks.md, Decisions are recorded and go nowhere, has how to find the process that does not work"
    if missing := look.partitions - len(look.resolved):
        text = f"nothing is known of {missing} of {look.partitions} partitions: readers deny"
        found.append(
            Finding(name=FRESHNESS, result=Result.FAULT, found=text, cure=f"start relay and suppression; {cure}")
        )
    oldest: dict[str, float] = {}
    for (_, lane), seconds in ages(look.resolved, look.now).items():
        oldest[lane] = max(seconds, oldest.get(lane, 0.0))
    for lane, seconds in oldest.items():
        limit = STALE_SECONDS[lane]
        if seconds > limit * 2 / 3:
            result = Result.FAULT if seconds > limit else Result.WARNING
            text = f"lane {lane}: up to {seconds:.0f} s old; readers deny from {limit:.0f} s on"
            found.append(Finding(name=FRESHNESS, result=result, found=text, cure=cure))
    for partition, scope in sorted(holes(look.resolved)):
        text = f"Kafka has lost records of partition {partition}, {scope}: readers deny"
        repair = "the relay repairs it (docs/runbooks.md, Kafka has lost records)"
        found.append(Finding(name=FRESHNESS, result=Result.FAULT, found=text, cure=repair))
    return all_ok(FRESHNESS, found, ", ".join(f"{lane} {seconds:.1f} s" for lane, seconds in sorted(oldest.items())))


def judge_clock(look: Look) -> Finding:
    """Whether the clock here agrees with those that stamp records."""
    if look.clock is None:
        text, cure = "no record was appended meanwhile", "start relay and suppression, which write each second"
        return Finding(name=CLOCK, result=Result.NOT_CHECKED, found=text, cure=cure)
    if look.clock is True:
        return Finding(name=CLOCK, result=Result.OK, found="agrees with the clock here")
    text, _, cure = str(look.clock).partition(": ")
    return Finding(name=CLOCK, result=Result.FAULT, found=text, cure=cure)


def take_a_look(settings: LagSettings, clock: Callable[[], int]) -> Look:
    """Reads the broker for LOOK_SECONDS. Raises BrokerUnavailableError."""
    topics = settings.topics
    names = frozenset(spec.name for spec in topics.specs(settings.partitions))
    clock_check = ClockCheck(clock=clock)
    codec = Codec(ConfluentRegistry(settings.registry, settings.registry_client))
    broker = KafkaBroker(settings.kafka, settings.kafka_client, group=topics.group("lag"))
    resolved = ResolvedReader(
        consumer=clients.consumer(
            settings.kafka, topics.group("lag"), settings.kafka_client, enable_partition_eof=True
        ),
        codec=codec,
        topic=topics.resolved,
        clock_check=clock_check,
    )
    try:
        reader = LagReader(broker=broker, prefix=topics.prefix, topics=names)
        until = time.monotonic() + LOOK_SECONDS
        first: dict[Partition, int] | None = None
        while True:
            asked_at = elapsed_micros()
            snapshot = reader.read(clock() / 1_000_000)
            ends = {place: end for place, end in snapshot.ends.items() if place.topic == topics.resolved}
            first = ends if first is None else first
            resolved.expect_from(asked_at, ends)
            resolved.poll()
            if time.monotonic() >= until:
                break
            time.sleep(_LOOK_PAUSE_SECONDS)
        return Look(
            lags=snapshot.lags,
            hidden_seconds=_hidden_seconds(broker, names, clock()),
            resolved=resolved.partitions,
            partitions=settings.partitions,
            now=clock(),
            decodable=_knows(codec, topics.resolved),
            # What was there before proves only that a clock is behind.
            clock=clock_check.readiness() if ends != first else _behind(clock_check),
        )
    finally:
        resolved.close()
        broker.close()


def _behind(clock_check: ClockCheck) -> str | None:
    found = clock_check.readiness()
    return found if isinstance(found, str) else None


def _knows(codec: Codec, topic: str) -> bool:
    try:
        codec.schema_id(topic)
    except ContractError:
        return False
    return True


def _hidden_seconds(broker: KafkaBroker, topics: frozenset[str], now: int) -> dict[Partition, float]:
    """How old the first record after each last stable offset is that is not the end."""
    bounds = broker.bounds(broker.partitions(topics))
    hidden = {place: each.stable for place, each in bounds.items() if each.stable < each.end}
    if not hidden:
        return {}
    found = broker.oldest_timestamps(hidden, committed=False)
    return {place: now / 1_000_000 - at / 1_000 for place, at in found.items() if at is not None}
