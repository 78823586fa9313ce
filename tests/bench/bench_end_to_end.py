"""The whole system, as `up` starts it: from the API to the provider's 2xx, and how much the API takes."""

from __future__ import annotations

import base64
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from statistics import quantiles
from uuid import uuid4

import httpx
import msgspec
import psutil
from confluent_kafka.admin import AdminClient, NewTopic

from consent_contracts import Topics
from local_stack.demo.upstreams import EVIDENCE
from local_stack.endpoints import Endpoints
from local_stack.scrape import scrape
from local_stack.stack import Stack
from tests.bench import bare_relay
from tests.bench.figures import Figure, Servers
from tests.bench.load import PURPOSE, Sent, by_sms, mobile, revoke
from tests.bench.sandbox_client import SandboxClient
from tests.bench.stages import Moments, moments
from tests.bench.system import system
from tests.bench.transactions import ends, transactions_between

RATE, SECONDS = 200.0, 30.0
BARE_SECONDS = 10.0
WARM_UP = range(200)
REVOKED = range(1_000, 7_000)
CALM_RATE, CALM = 20.0, range(7_000, 7_200)
SINGLES, SINGLES_AT_ONCE = 1_500, 16
BATCHES, BATCH, BATCHES_AT_ONCE = 12, 1_000, 2
QUIET_POSTS = 300
PARTITIONS = 4
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
    with system(servers, DESTINATIONS) as stack, closing(SandboxClient.of(stack.endpoints)) as sandbox:
        endpoints = stack.endpoints
        for account in (ACCOUNT, BARE_ACCOUNT):
            sandbox.answer_at_once(account)
        _all_agree(endpoints, [*WARM_UP, *CALM, *REVOKED])
        _informed(sandbox, ACCOUNT, revoke(endpoints.api, endpoints.api_key, by_sms(WARM_UP), rate=50))
        bare = _bare(servers, stack, sandbox)
        calm = _calm(endpoints, sandbox)
        live = _live(endpoints, sandbox, bare)
        return [*live[:2], *calm, *live[2:], *_api(endpoints)]


def _all_agree(endpoints: Endpoints, numbers: Sequence[int]) -> None:
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


def _calm(endpoints: Endpoints, sandbox: SandboxClient) -> list[Figure]:
    """The way without the queue for the processor."""
    sent = revoke(endpoints.api, endpoints.api_key, by_sms(CALM), rate=CALM_RATE)
    informed = _informed(sandbox, ACCOUNT, sent)
    accepted = _accepted(_moments(endpoints, sent, informed))
    return [
        Figure(name=f"accepted to 2xx at {CALM_RATE:.0f}/s, p50", value=accepted[49], unit="ms"),
        Figure(name=f"accepted to 2xx at {CALM_RATE:.0f}/s, p99", value=accepted[98], unit="ms"),
    ]


def _live(endpoints: Endpoints, sandbox: SandboxClient, bare: Sequence[float]) -> list[Figure]:
    state_topic = _topics(endpoints).propagation_state("default")
    worked, begin = _processor_time(endpoints), ends(endpoints.kafka, state_topic, PARTITIONS)
    sent = revoke(endpoints.api, endpoints.api_key, by_sms(REVOKED), rate=RATE)
    end = ends(endpoints.kafka, state_topic, PARTITIONS)
    informed = _informed(sandbox, ACCOUNT, sent)
    work = {name: (now - worked[name]) / len(sent) for name, now in _processor_time(endpoints).items()}
    whole = _cuts([informed[each.address_key] - each.sent_at for each in sent])
    answered = _cuts([each.answered_at - each.sent_at for each in sent])
    passed = _moments(endpoints, sent, informed)
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
            how=f"{how}. Accepted to 2xx: from the moment in the ledger to that in the receipt; sent to informed:"
            " the client's clock when it sends, the sandbox's when the call arrives",
        ),
        Figure(name="accepted to 2xx, p99", value=accepted[98], unit="ms", target=500, at_most=True),
        Figure(name="sent to informed, p50", value=whole[49], unit="ms"),
        Figure(name="sent to informed, p99", value=whole[98], unit="ms"),
        Figure(name="sent to answered, p50", value=answered[49], unit="ms"),
        Figure(name="sent to answered, p99", value=answered[98], unit="ms"),
        Figure(
            name="bare hops, sent to informed, p50",
            value=bare[49],
            unit="ms",
            how="Bare hops: one process that takes the request, commits a row, sends a record through Kafka and calls"
            f" the same provider, and does nothing else, at the same rate for {BARE_SECONDS:.0f} s",
        ),
        Figure(name="bare hops, sent to informed, p99", value=bare[98], unit="ms"),
        Figure(name="sent to informed, p50, against the bare hops", value=whole[49] / bare[49], unit="x"),
        Figure(
            name="processor time of the services, a revocation",
            value=sum(work.values()) * 1_000,
            unit="ms",
            how="Processor time: "
            + ", ".join(f"{name} {seconds * 1_000:.2f} ms" for name, seconds in sorted(work.items()))
            + "; the servers and the client come on top",
        ),
        Figure(
            name="processor time of the propagator, a revocation",
            value=work["propagator"] * 1_000,
            unit="ms",
            target=1.56,
            at_most=True,
            how="Processor time of the propagator: the goal is 1.0 ms, the target what the design before it took",
        ),
        Figure(
            name="transactions of the propagator",
            value=transactions_between(endpoints.kafka, begin, end) / SECONDS,
            unit="/s",
            target=5,
            at_most=True,
            how="Transactions: by the markers in the state topic, while no permission is delivered",
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


def _api(endpoints: Endpoints) -> list[Figure]:
    with _client(endpoints) as client:
        quiet = _cuts([_timed(lambda: _post(client, [_email()])) for _ in range(QUIET_POSTS)])
        singles = _rate(lambda: _post(client, [_email()]), SINGLES, SINGLES_AT_ONCE)
        batches = _rate(lambda: _post(client, [_email() for _ in range(BATCH)]), BATCHES, BATCHES_AT_ONCE)
    how = (
        f"The API: {SINGLES:,} single POSTs, {SINGLES_AT_ONCE} at once; {BATCHES} batches of {BATCH:,},"
        f" {BATCHES_AT_ONCE} at once; all new addresses and subjects, the rest of the system works meanwhile; the"
        " client is Python on the same cores"
    )
    return [
        Figure(name="one POST at a time, p50", value=quiet[49], unit="ms"),
        Figure(name="one POST at a time, p99", value=quiet[98], unit="ms"),
        Figure(name="API, single POSTs", value=singles, unit="decisions/s", how=how),
        Figure(name="API, batches of 1,000", value=batches * BATCH, unit="decisions/s"),
    ]


def _bare(servers: Servers, stack: Stack, sandbox: SandboxClient) -> list[float]:
    """Milliseconds from sending to informed of the bare hops, as percentiles."""
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
        revoke(url, "", by_sms(WARM_UP), rate=50)
        sent = revoke(url, "", by_sms(range(int(RATE * BARE_SECONDS))), rate=RATE)
        informed = _informed(sandbox, BARE_ACCOUNT, sent)
    finally:
        process.stdin.close()
        process.wait(30)
        admin.delete_topics([topic])[topic].result()
    return _cuts([informed[each.address_key] - each.sent_at for each in sent])


def _topics(endpoints: Endpoints) -> Topics:
    return Topics(prefix=endpoints.topic_prefix)


def _informed(sandbox: SandboxClient, account: str, sent: Sequence[Sent]) -> dict[str, int]:
    """By address key, the micros at which the account was first informed; waits for all of them."""
    return sandbox.await_informed(account, PURPOSE, [each.address_key for each in sent], seconds=60)


def _moments(endpoints: Endpoints, sent: Sequence[Sent], informed: Mapping[str, int]) -> list[Moments]:
    return moments(endpoints, _topics(endpoints), sent, informed, destination=DESTINATION)


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
