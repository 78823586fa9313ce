"""The whole system, with 200,000 bulk decisions before the merge, the relay and ingest in turn: how long a person who
chooses now waits."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from statistics import quantiles

import psycopg

from consent_contracts import Topics, partition_of
from consent_privacy.keyring import Keyring
from consent_service.clock import now_micros
from local_stack.endpoints import Endpoints
from local_stack.scrape import scrape
from local_stack.stack import Stack
from tests.bench.figures import Figure, Servers
from tests.bench.legacy import PARTITIONS, RECORDED, LegacyTopics
from tests.bench.load import PURPOSE, Place, revoke
from tests.bench.sandbox_client import SandboxClient
from tests.bench.system import OWN_WEBHOOK, system

BULK = 200_000
RATE, SECONDS = 20.0, 20.0
ACCOUNT = "webhook/own"
PROMISE_SECONDS = 2.0


def measure(servers: Servers) -> list[Figure]:
    """Each stage is stopped while bulk is put before it, and started again; then people choose."""
    with system(servers, OWN_WEBHOOK) as stack, closing(SandboxClient.of(stack.endpoints)) as sandbox:
        endpoints = stack.endpoints
        topics = Topics(prefix=endpoints.topic_prefix)
        legacy = LegacyTopics(servers, topics, Keyring.load(Path(endpoints.keyring_file)))
        return [
            *_phase(stack, sandbox, 0, "suppression", topics.changes_bulk, lambda numbers: _changes(legacy, numbers)),
            *_phase(stack, sandbox, 1, "relay", "outbox_bulk", lambda numbers: _outbox(endpoints, legacy, numbers)),
            *_phase(stack, sandbox, 2, "ingest", topics.inbound_bulk, lambda numbers: _inbound(legacy, numbers)),
        ]


def _phase(
    stack: Stack, sandbox: SandboxClient, place: int, service: str, where: str, fill: Callable[[range], None]
) -> list[Figure]:
    endpoints = stack.endpoints
    stack.supervisor.child(service).stop()
    fill(range(place * BULK, (place + 1) * BULK))
    stack.restart(service, seconds=120)
    merged, begin = _merged(endpoints), now_micros()
    count = int(RATE * SECONDS)
    people = [Place("email", f"live-{place}-{number:05}@example.com") for number in range(count)]
    sent = revoke(endpoints.api, endpoints.api_key, people, rate=RATE)
    bulk = _merged(endpoints) - merged - len(sent)
    seconds = (now_micros() - begin) / 1e6
    informed = sandbox.await_informed(ACCOUNT, PURPOSE, [each.address_key for each in sent], seconds=60)
    cuts = quantiles([informed[each.address_key] - each.recorded_at for each in sent], n=100)
    name = where.removeprefix(endpoints.topic_prefix)
    return [
        Figure(
            name=f"{BULK:,} in {name}: live, accepted to 2xx, p99",
            value=cuts[98] / 1e6,
            unit="s",
            target=PROMISE_SECONDS,
            at_most=True,
            how=f"{RATE:.0f} withdrawals a second by HTTP for {SECONDS:.0f} s after the stage was started again, from"
            " the moment in the ledger to the webhook's; what earlier phases have left is pending at the webhook",
        ),
        Figure(name=f"{BULK:,} in {name}: live, accepted to 2xx, p50", value=cuts[49] / 1e6, unit="s"),
        Figure(name=f"{BULK:,} in {name}: bulk merged meanwhile", value=max(bulk, 0.0) / seconds, unit="/s"),
    ]


def _changes(legacy: LegacyTopics, numbers: range) -> None:
    legacy.changes("email", numbers, PURPOSE)


def _inbound(legacy: LegacyTopics, numbers: range) -> None:
    legacy.submissions("email", numbers, PURPOSE)


def _outbox(endpoints: Endpoints, legacy: LegacyTopics, numbers: range) -> None:
    """Rows as the ledger writes them, without the decisions that they follow from."""
    topic = Topics(prefix=endpoints.topic_prefix).changes_bulk
    with psycopg.connect(endpoints.database.replace("+psycopg", "", 1)) as connection:
        columns = "topic, partition, key, value, headers, created_at"
        with connection.cursor().copy(f"COPY outbox_bulk ({columns}) FROM STDIN") as copy:
            for person, value in legacy.changes_of("email", numbers, PURPOSE):
                partition = partition_of(person.key, PARTITIONS)
                copy.write_row((topic, partition, person.key, value, "[]", RECORDED))


def _merged(endpoints: Endpoints) -> float:
    samples = scrape(f"{endpoints.metrics['suppression']}/metrics")
    return samples.total("consent_relay_suppression_entries_written_total", channel="email")
