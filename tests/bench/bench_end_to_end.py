"""The whole system, as `up` starts it: from the door to the provider's 2xx, and what the door takes."""

from __future__ import annotations

import base64
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import quantiles
from typing import Any
from uuid import uuid4

import httpx
import msgspec
import psutil
import psycopg
from confluent_kafka.admin import AdminClient, NewTopic
from psycopg import sql

from consent_contracts import Topics
from local_stack.demo.upstreams import EVIDENCE
from local_stack.endpoints import Endpoints
from local_stack.scrape import scrape
from local_stack.stack import Stack
from tests.bench import bare_relay
from tests.bench.figures import Figure, Servers
from tests.bench.load import PURPOSE, mobile, revoke
from tests.bench.stages import Moments, moments

RATE, SECONDS = 200.0, 30.0
BARE_SECONDS = 10.0
WARM_UP = range(200)
REVOKED = range(1_000, 7_000)
CALM_RATE, CALM = 20.0, range(7_000, 7_200)
SINGLES, SINGLES_AT_ONCE = 1_500, 16
BATCHES, BATCH, BATCHES_AT_ONCE = 12, 1_000, 2
QUIET_POSTS = 300
DESTINATION, ACCOUNT, BARE_ACCOUNT = "own-sms", "webhook/sms", "webhook/bare"

# The limits are out of the way: a provider's would otherwise be what is measured.
DESTINATIONS = """\
destinations:
  - name: own-sms
    connector: webhook
    channel: sms
    url: {sandbox}/webhook/sms
    credentials: {{secret: {{file: secrets/webhook}}}}
    options: {{allow_private: true}}
    purposes: same
    limits: {{calls_per_second: 5000, burst: 500}}
  - name: own-email
    connector: webhook
    channel: email
    url: {sandbox}/webhook/email
    credentials: {{secret: {{file: secrets/webhook}}}}
    options: {{allow_private: true}}
    purposes: same
    push_permissions: true
    limits: {{calls_per_second: 5000, burst: 500}}
  - name: own-voice
    connector: webhook
    channel: voice
    url: {sandbox}/webhook/voice
    credentials: {{secret: {{file: secrets/webhook}}}}
    options: {{allow_private: true}}
    purposes: same
"""


def measure(servers: Servers) -> list[Figure]:
    """The services are started beside the given servers, with a database and a topic prefix of their own."""
    with system(servers) as stack:
        endpoints = stack.endpoints
        for account in (ACCOUNT, BARE_ACCOUNT):
            _at_once(endpoints, account)
        _everybody_agrees(endpoints, [*WARM_UP, *CALM, *REVOKED])
        revoke(endpoints.api, endpoints.api_key, WARM_UP, rate=50)
        _told(endpoints, ACCOUNT, len(WARM_UP))
        bare = _bare(servers, stack)
        calm = _calm(endpoints)
        live = _live(endpoints, bare)
        return [*live[:2], *calm, *live[2:], *_door(endpoints)]


def _everybody_agrees(endpoints: Endpoints, numbers: Sequence[int]) -> None:
    """What is revoked was given before; the merge stage has written all of it when this returns."""
    agreed = datetime.now(UTC) - timedelta(hours=1)
    given = {
        "channel": "sms",
        "purpose": PURPOSE,
        "status": "given",
        "occurred_at": agreed.isoformat(),
        "expires_at": (agreed + timedelta(days=365)).isoformat(),
        "evidence": EVIDENCE,
    }
    with _client(endpoints) as client:
        for start in range(0, len(numbers), BATCH):
            _post(client, [{**given, "address": mobile(number)} for number in numbers[start : start + BATCH]])
    deadline = time.monotonic() + 60
    while _written(endpoints) < len(numbers):
        if time.monotonic() > deadline:
            raise TimeoutError("the first decisions were not merged")
        time.sleep(0.2)


def _written(endpoints: Endpoints) -> float:
    samples = scrape(f"{endpoints.metrics['suppression']}/metrics")
    return samples.total("consent_relay_suppression_entries_written_total", channel="sms")


def _calm(endpoints: Endpoints) -> list[Figure]:
    """The way without the queue for the processor."""
    sent = revoke(endpoints.api, endpoints.api_key, CALM, rate=CALM_RATE)
    told = _told(endpoints, ACCOUNT, len(WARM_UP) + len(CALM))
    accepted = _accepted(moments(endpoints, _topics(endpoints), sent, told, destination=DESTINATION))
    return [
        Figure(name=f"accepted to 2xx at {CALM_RATE:.0f}/s, p50", value=accepted[49], unit="ms"),
        Figure(name=f"accepted to 2xx at {CALM_RATE:.0f}/s, p99", value=accepted[98], unit="ms"),
    ]


def _live(endpoints: Endpoints, bare: Sequence[float]) -> list[Figure]:
    worked = _processor_time(endpoints)
    sent = revoke(endpoints.api, endpoints.api_key, REVOKED, rate=RATE)
    told = _told(endpoints, ACCOUNT, len(WARM_UP) + len(CALM) + len(sent))
    work = {name: (now - worked[name]) / len(sent) for name, now in _processor_time(endpoints).items()}
    whole = _cuts([told[each.address_key] - each.sent_at for each in sent])
    answered = _cuts([each.answered_at - each.sent_at for each in sent])
    passed = moments(endpoints, _topics(endpoints), sent, told, destination=DESTINATION)
    accepted = _accepted(passed)
    how = (
        f"{len(sent):,} revocations at {RATE:.0f}/s by HTTP, one a request, each to a webhook whose limits are raised"
        " and which answers at once; servers, services, provider and client share the machine"
    )
    stages = [each.stages() for each in passed]
    return [
        Figure(
            name="accepted to 2xx, p50",
            value=accepted[49],
            unit="ms",
            target=60,
            at_most=True,
            how=f"{how}. Accepted to 2xx: from the moment in the ledger to that in the receipt; sent to told:"
            " the client's clock when it sends, the sandbox's when it is told",
        ),
        Figure(name="accepted to 2xx, p99", value=accepted[98], unit="ms", target=500, at_most=True),
        Figure(name="sent to told, p50", value=whole[49], unit="ms"),
        Figure(name="sent to told, p99", value=whole[98], unit="ms"),
        Figure(name="sent to answered, p50", value=answered[49], unit="ms"),
        Figure(name="sent to answered, p99", value=answered[98], unit="ms"),
        Figure(
            name="bare hops, sent to told, p50",
            value=bare[49],
            unit="ms",
            how="Bare hops: one process that takes the request, commits a row, sends a record through Kafka and calls"
            f" the same provider, and does nothing else, at the same rate for {BARE_SECONDS:.0f} s",
        ),
        Figure(name="bare hops, sent to told, p99", value=bare[98], unit="ms"),
        Figure(name="sent to told, p50, against the bare hops", value=whole[49] / bare[49], unit="x"),
        Figure(
            name="processor time of the services, a revocation",
            value=sum(work.values()) * 1_000,
            unit="ms",
            how="Processor time: "
            + ", ".join(f"{name} {seconds * 1_000:.2f} ms" for name, seconds in sorted(work.items()))
            + "; the servers and the client come on top",
        ),
        *(
            figure
            for stage in (stages[0] if stages else {})
            for figure in _stage(stage, [each[stage] for each in stages])
        ),
    ]


def _processor_time(endpoints: Endpoints) -> dict[str, float]:
    """Seconds that each service has worked so far."""
    spent = {name: psutil.Process(pid).cpu_times() for name, pid in endpoints.pids.items()}
    return {name: times.user + times.system for name, times in spent.items()}


def _stage(name: str, micros: Sequence[int]) -> Iterator[Figure]:
    cuts = _cuts(micros)
    how = "Stages: from the times in the records and receipts of these revocations; Kafka's are whole milliseconds"
    yield Figure(name=f"stage {name}, p50", value=cuts[49], unit="ms", how=how)
    yield Figure(name=f"stage {name}, p99", value=cuts[98], unit="ms")


def _door(endpoints: Endpoints) -> list[Figure]:
    with _client(endpoints) as client:
        quiet = _cuts([_timed(lambda: _post(client, [_email()])) for _ in range(QUIET_POSTS)])
        singles = _rate(lambda: _post(client, [_email()]), SINGLES, SINGLES_AT_ONCE)
        batches = _rate(lambda: _post(client, [_email() for _ in range(BATCH)]), BATCHES, BATCHES_AT_ONCE)
    how = (
        f"The door: {SINGLES:,} single POSTs, {SINGLES_AT_ONCE} at once; {BATCHES} batches of {BATCH:,},"
        f" {BATCHES_AT_ONCE} at once; all new addresses and subjects, the rest of the system working behind; the"
        " client is Python on the same cores"
    )
    return [
        Figure(name="one POST at a time, p50", value=quiet[49], unit="ms"),
        Figure(name="one POST at a time, p99", value=quiet[98], unit="ms"),
        Figure(name="door, single POSTs", value=singles, unit="decisions/s", how=how),
        Figure(name="door, batches of 1,000", value=batches * BATCH, unit="decisions/s"),
    ]


def _bare(servers: Servers, stack: Stack) -> list[float]:
    """Milliseconds from sending to told of the bare hops, as percentiles."""
    endpoints, topic = stack.endpoints, f"bench-bare-{uuid4().hex[:8]}"
    admin = AdminClient({"bootstrap.servers": servers.kafka})
    admin.create_topics([NewTopic(topic, 4, 1)])[topic].result()
    task = bare_relay.Task(
        kafka=servers.kafka,
        database=endpoints.database.replace("+psycopg", "", 1),
        topic=topic,
        url=f"{endpoints.sandbox}/{BARE_ACCOUNT}",
        secret=(stack.directory / "secrets" / "webhook").read_text(),
    )
    given = base64.b64encode(msgspec.json.encode(task)).decode()
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.bench.bare_relay", given],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdin is not None
    try:
        url = f"http://127.0.0.1:{int(process.stdout.readline())}"
        warm = revoke(url, "", WARM_UP, rate=50)
        sent = revoke(url, "", range(int(RATE * BARE_SECONDS)), rate=RATE)
        told = _told(endpoints, BARE_ACCOUNT, len(warm) + len(sent))
    finally:
        process.stdin.close()
        process.wait(30)
        admin.delete_topics([topic])[topic].result()
    return _cuts([told[each.address_key] - each.sent_at for each in sent])


@contextmanager
def system(servers: Servers) -> Iterator[Stack]:
    """All services, beside servers that run already; nothing is left behind in those."""
    name, prefix = f"bench_{uuid4().hex[:12]}", f"b{uuid4().hex[:8]}."
    owner = servers.database.replace("+psycopg", "", 1)
    with psycopg.connect(owner, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        try:
            with tempfile.TemporaryDirectory(prefix="consent-relay-bench-") as directory:
                environ = {
                    "CONSENT_RELAY_KAFKA": servers.kafka,
                    "CONSENT_RELAY_REGISTRY": servers.registry,
                    "CONSENT_RELAY_DATABASE": f"{servers.database.rpartition('/')[0]}/{name}",
                    "CONSENT_RELAY_TOPIC_PREFIX": prefix,
                }
                stack = Stack(Path(directory), environ=environ, destinations=DESTINATIONS)
                with stack:
                    stack.start()
                    yield stack
                if stack.crashes:
                    raise RuntimeError(f"crashed: {[(crash.name, crash.how, crash.tail) for crash in stack.crashes]}")
        finally:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
            admin = AdminClient({"bootstrap.servers": servers.kafka})
            for deleted in admin.delete_topics([spec.name for spec in Topics(prefix=prefix).specs()]).values():
                deleted.result()


def _topics(endpoints: Endpoints) -> Topics:
    return Topics(prefix=endpoints.topic_prefix)


def _at_once(endpoints: Endpoints, account: str) -> None:
    answer = httpx.put(f"{endpoints.sandbox}/_control/latency/{account}", json={"p50_ms": 0, "p99_ms": 0})
    answer.raise_for_status()


def _told(endpoints: Endpoints, account: str, count: int, *, seconds: float = 60.0) -> Mapping[str, int]:
    """By address key, the micros at which the account was first told; waits until it knows `count` addresses."""
    deadline = time.monotonic() + seconds
    while True:
        found = httpx.get(f"{endpoints.sandbox}/_state/{account}?details=1", timeout=30)
        found.raise_for_status()
        states: dict[str, Any] = found.json()["states"]
        told = {address: targets[PURPOSE]["first_told_at"] for address, targets in states.items()}
        if len(told) >= count:
            return told
        if time.monotonic() > deadline:
            raise TimeoutError(f"{account} was told of {len(told)} addresses and not of {count}")
        time.sleep(0.5)


def _accepted(passed: Sequence[Moments]) -> list[float]:
    return _cuts([each.receipted - each.recorded for each in passed])


def _cuts(micros: Sequence[float]) -> list[float]:
    """Percentiles in milliseconds: [49] is the median."""
    return [each / 1_000 for each in quantiles(micros, n=100)]


def _email() -> dict[str, str]:
    person = uuid4().hex
    return {
        "channel": "email",
        "address": f"{person}@example.com",
        "subject_ref": person,
        "purpose": PURPOSE,
        "status": "withdrawn",
    }


def _client(endpoints: Endpoints) -> httpx.Client:
    headers = {"Authorization": f"Bearer {endpoints.api_key}"}
    limits = httpx.Limits(max_connections=SINGLES_AT_ONCE)
    return httpx.Client(base_url=endpoints.api, headers=headers, timeout=60, limits=limits)


def _post(client: httpx.Client, decisions: Sequence[Mapping[str, object]]) -> None:
    path = "/v1/decisions" if len(decisions) == 1 else "/v1/decisions/batch"
    body = decisions[0] if len(decisions) == 1 else {"decisions": decisions}
    answer = client.post(path, json=body, headers={"Idempotency-Key": f'"{uuid4()}"'}).raise_for_status().json()
    if any(result["outcome"] != "recorded" for result in answer.get("results", ())):
        raise RuntimeError(f"not all of a batch was recorded: {answer['results'][:3]}")


def _timed(call: Callable[[], None]) -> float:
    """Micros."""
    began = time.perf_counter()
    call()
    return (time.perf_counter() - began) * 1e6


def _rate(call: Callable[[], None], count: int, at_once: int) -> float:
    """Calls a second."""
    with ThreadPoolExecutor(at_once) as pool:
        began = time.perf_counter()
        for done in [pool.submit(call) for _ in range(count)]:
            done.result()
        return count / (time.perf_counter() - began)
