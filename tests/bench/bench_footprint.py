"""The whole system with 20,000 addresses more: what each takes on disk, and the memory of each process."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

import httpx
import psutil
import psycopg

from consent_contracts import Topics
from local_stack.endpoints import Endpoints
from local_stack.scrape import scrape
from local_stack.stack import Stack
from tests.bench.figures import Figure, Servers
from tests.bench.processor_time import server_processes
from tests.bench.sandbox_client import SandboxClient
from tests.bench.system import OWN_WEBHOOK, system
from tests.support.evidence import EVIDENCE
from tests.support.waiting import until

ADDRESSES = 20_000
BATCH = 1_000
PATIENCE = 600.0
SERVICES = ("api", "relay", "ingest", "suppression", "gate", "propagator", "lag")
WITH_STATE = ("suppression", "propagator")
DESTINATIONS = f"""\
{OWN_WEBHOOK.rstrip()}
    push_permissions: true
    limits: {{{{calls_per_second: 5000, burst: 5000, concurrency: 64}}}}
"""
ACCOUNT = "webhook/own"


class Sizes(NamedTuple):
    """Bytes, by what holds them."""

    ledger: int
    topics: dict[str, int]
    state: dict[str, int]


def measure(servers: Servers) -> list[Figure]:
    """One permission with its evidence for each address, by batches in bulk, until the destination has taken all."""
    with system(servers, DESTINATIONS) as stack, closing(SandboxClient.of(stack.endpoints)) as sandbox:
        sandbox.answer_at_once(ACCOUNT)
        idle = _memory(stack)
        before = _sizes(stack, servers)
        _record(stack.endpoints)
        until(lambda: _delivered(stack.endpoints) >= ADDRESSES, PATIENCE, "all addresses are delivered", every=1.0)
        time.sleep(10)  # What is committed and flushed at intervals.
        after = _sizes(stack, servers)
        busy = _memory(stack)
    return [*_disk(before, after), *_processes(idle, busy)]


def _record(endpoints: Endpoints) -> None:
    with httpx.Client(
        base_url=endpoints.api, headers={"Authorization": f"Bearer {endpoints.api_key}"}, timeout=120
    ) as api:
        for first in range(0, ADDRESSES, BATCH):
            decisions = [
                {
                    "subject_ref": f"customer-{number}",
                    "channel": "email",
                    "address": f"customer-{number}@example.com",
                    "purpose": "newsletter",
                    "status": "given",
                    "occurred_at": "2026-01-05T09:30:00+01:00",
                    "expires_at": "2036-01-05T09:30:00+01:00",
                    "evidence": EVIDENCE,
                }
                for number in range(first, first + BATCH)
            ]
            body = {"decisions": decisions, "bulk": True}
            while (answer := _post(api, body)).status_code == 429:
                time.sleep(float(answer.headers["Retry-After"]))
            if any(each["outcome"] != "recorded" for each in answer.raise_for_status().json()["results"]):
                raise RuntimeError(f"not all of a batch was recorded: {answer.json()['results'][:2]}")


def _post(api: httpx.Client, body: object) -> httpx.Response:
    return api.post("/v1/decisions/batch", json=body, headers={"Idempotency-Key": f'"{uuid4()}"'})


def _delivered(endpoints: Endpoints) -> float:
    samples = scrape(f"{endpoints.metrics['propagator']}/metrics")
    return samples.total("consent_relay_propagation_pushes_total", destination="own-webhook", outcome="accepted")


def _sizes(stack: Stack, servers: Servers) -> Sizes:
    with psycopg.connect(stack.endpoints.database.replace("+psycopg", "", 1), autocommit=True) as connection:
        connection.execute("VACUUM")
        row = connection.execute("SELECT pg_database_size(current_database())").fetchone()
        assert row is not None
    state = {name: _bytes(stack.state_directory(name).rglob("*")) for name in WITH_STATE}
    return Sizes(int(row[0]), _topics(stack.endpoints, servers), state)


def _topics(endpoints: Endpoints, servers: Servers) -> dict[str, int]:
    """The segments of each topic, by the files that the broker has open."""
    prefix = endpoints.topic_prefix
    broker = psutil.Process(server_processes({"kafka": servers.kafka})["kafka"])
    folders = {Path(file.path).parent for file in broker.open_files() if f"/{prefix}" in file.path}
    found = {spec.name.removeprefix(prefix): 0 for spec in Topics(prefix=prefix).specs()}
    for folder in folders:
        found[folder.name.rpartition("-")[0].removeprefix(prefix)] += _bytes(folder.glob("*.log"))
    return found


def _bytes(files: Iterator[Path]) -> int:
    return sum(file.stat().st_size for file in files if file.is_file())


def _memory(stack: Stack) -> dict[str, float]:
    """Resident, in MB."""
    pids = stack.endpoints.pids
    return {name: psutil.Process(pids[name]).memory_info().rss / 1e6 for name in SERVICES}


def _disk(before: Sizes, after: Sizes) -> Iterator[Figure]:
    how = f"{ADDRESSES:,} addresses of one subject each, with one permission, its evidence and one destination"
    yield _each("ledger, with its indexes", after.ledger - before.ledger, how=how)
    for topic, size in after.topics.items():
        if (grown := size - before.topics[topic]) > ADDRESSES:
            yield _each(topic, grown)
    for name in WITH_STATE:
        yield _each(f"local state of {name}", after.state[name] - before.state[name])


def _each(name: str, grown: int, *, how: str = "") -> Figure:
    return Figure(name=f"disk: {name}", value=grown / ADDRESSES, unit="bytes/address", how=how)


def _processes(idle: dict[str, float], busy: dict[str, float]) -> Iterator[Figure]:
    for name in SERVICES:
        yield Figure(name=f"memory: {name}, just started", value=idle[name], unit="MB")
        yield Figure(name=f"memory: {name}, after these addresses", value=busy[name], unit="MB")
