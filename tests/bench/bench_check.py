"""The gate as a process with a million addresses: load time, memory, and /v1/check against the bare loop.

`python -m tests.bench.bench_check servers.json [entries]` prints one JSON line a figure."""

from __future__ import annotations

import http.client
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from hmac import digest
from pathlib import Path
from statistics import quantiles
from typing import Any
from urllib.request import urlopen
from uuid import uuid4

import msgspec
import psutil
from confluent_kafka.admin import AdminClient

from consent_contracts import AddressEntry, Codec, Decision, Topics, entry_to_avro
from consent_http import api_keys
from consent_kafka import clients, provisioning
from consent_privacy.keyring import Keyring
from consent_privacy.keyring_file import generate
from local_stack.ports import free_port
from tests.bench.figures import Figure, Servers, ratio

ENTRIES = 1_000_000
CALL = 1_000
CALLS = 40
SINGLE_CALLS = 2_000
TENANT = "acme"
PURPOSE = "newsletter"
START = 1_760_000_000_000_000


def measure(servers: Servers, entries: int = ENTRIES) -> list[Figure]:
    """Fills one channel's topic, starts `consent-relay gate`, asks it over HTTP on one connection."""
    topics = Topics(prefix=f"bench{uuid4().hex[:8]}.", channels=("sms",))
    provisioning.apply(bootstrap=servers.kafka, registry=servers.registry, topics=topics)
    try:
        with tempfile.TemporaryDirectory() as directory:
            keyring = generate(Path(directory) / "keyring.toml", [TENANT])
            _fill(servers, topics, keyring, entries)
            with _resolved(servers, topics), _gate(servers, topics, Path(directory)) as gate:
                return [*_memory_and_load(gate, entries), *_speed(gate, keyring, entries)]
    finally:
        admin = AdminClient({"bootstrap.servers": servers.kafka})
        for each in admin.delete_topics([spec.name for spec in topics.specs()]).values():
            each.result()


@contextmanager
def _resolved(servers: Servers, topics: Topics) -> Iterator[None]:
    """Resolved records, as the merge writes them; in a process of its own, as the bare loop is in this one."""
    arguments = [servers.kafka, servers.registry, topics.prefix, ",".join(topics.channels)]
    process = subprocess.Popen([sys.executable, "-m", "tests.support.list_resolved", *arguments])
    try:
        yield
    finally:
        process.terminate()
        process.wait(30)


class _Gate:
    def __init__(self, process: subprocess.Popen[bytes], port: int, token: str, load_seconds: float) -> None:
        self.process = process
        self.load_seconds = load_seconds
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self._connection.connect()
        self._connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self, body: bytes) -> bytes:
        self._connection.request("POST", "/v1/check", body, self._headers)
        answer = self._connection.getresponse()
        content = answer.read()
        assert answer.status == 200, content
        return content

    def close(self) -> None:
        self._connection.close()


@contextmanager
def _gate(servers: Servers, topics: Topics, directory: Path) -> Iterator[_Gate]:
    token, key = api_keys.mint(tenant=TENANT, scopes=["check"])
    api_keys.write(directory / "keys.json", [key])
    port, metrics_port = free_port(), free_port()
    settings = {
        "KAFKA": servers.kafka,
        "REGISTRY": servers.registry,
        "TOPIC_PREFIX": topics.prefix,
        "CHANNELS": "sms",
        "KEYRING_FILE": directory / "keyring.toml",
        "GATE_KEYS_FILE": directory / "keys.json",
        "GATE_PORT": port,
        "METRICS_PORT": metrics_port,
        "LOG_LEVEL": "WARNING",
        **dict.fromkeys(("GATE_KEY_REQUEST_RATE", "GATE_TENANT_REQUEST_RATE"), 0),
        **dict.fromkeys(("GATE_KEY_ADDRESS_RATE", "GATE_TENANT_ADDRESS_RATE"), 0),
    }
    environment = {**os.environ, **{f"CONSENT_RELAY_{name}": str(value) for name, value in settings.items()}}
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "consent_service", "gate"], env=environment)
    try:
        _wait_until_ready(metrics_port, process)
        gate = _Gate(process, port, token, time.perf_counter() - began)
        yield gate
        gate.close()
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def _wait_until_ready(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline:
        assert process.poll() is None, "the gate ended"
        try:
            with urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2) as answer:
                if answer.status == 200:
                    return
        except OSError:
            time.sleep(0.05)
    raise TimeoutError("the gate did not become ready")


def _memory_and_load(gate: _Gate, entries: int) -> list[Figure]:
    used = psutil.Process(gate.process.pid).memory_info().rss / 1e6
    per_million = 1_000_000 / entries
    how = f"{entries:,} entries with 3 decisions and 3 verdicts each, the whole process"
    return [
        Figure(name="gate: memory", value=used * per_million, unit="MB/1M", target=400, at_most=True, how=how),
        Figure(
            name="gate: start to first answer",
            value=gate.load_seconds,
            unit="s",
            target=60,
            at_most=True,
            how=f"{entries:,} entries read from Kafka, the start of Python included",
        ),
    ]


def _speed(gate: _Gate, keyring: Keyring, entries: int) -> list[Figure]:
    bodies = [_body(random.choices(range(int(entries * 1.1)), k=CALL)) for _ in range(CALLS)]
    bare = _bare_loop(keyring, entries)
    assert _permitted(gate.ask(bodies[0])) == _permitted(bare(bodies[0]))
    share, ours, baseline = ratio(lambda: _run(gate.ask, bodies), lambda: _run(bare, bodies))
    singles = [_body([random.randrange(entries)]) for _ in range(SINGLE_CALLS)]
    for body in singles[:200]:
        gate.ask(body)
    seconds = sorted(_seconds(gate.ask, body) for body in singles)
    cuts = quantiles(seconds, n=100)
    return [
        Figure(
            name="check: 1,000 addresses a call, share of the bare loop",
            value=share,
            unit="ratio",
            target=0.4,
            how=f"{ours:,.0f}/s over HTTP; bare loop in this process {baseline:,.0f}/s",
        ),
        Figure(name="check: 1,000 addresses a call", value=ours, unit="addresses/s"),
        Figure(name="check: one address, p50", value=cuts[49] * 1e3, unit="ms"),
        Figure(name="check: one address, p99", value=cuts[98] * 1e3, unit="ms", target=3, at_most=True),
    ]


def _bare_loop(keyring: Keyring, entries: int) -> Callable[[bytes], bytes]:
    """JSON decode, HMAC, dict get, JSON encode, with the fastest JSON there is, and nothing else."""
    secret = keyring.hash_keys[TENANT][0].secret
    prefix, start = keyring.hash_keys[TENANT][0].id, "1970-01-01T00:00:00Z"

    def address_key(address: str) -> str:
        mac = digest(secret, f"{TENANT}\0sms\0{address}".encode(), "sha256")
        return f"{prefix}.{urlsafe_b64encode(mac)[:-1].decode()}"

    table = {address_key(_phone(n)): (n % 3 > 0, "given", start, f"{n:036}") for n in range(entries)}
    unknown = (False, "unknown", None, None)

    def answer(body: bytes) -> bytes:
        results = []
        for address in msgspec.json.decode(body)["addresses"]:
            permitted, reason, since, decision_id = table.get(address_key(address), unknown)
            results.append({"permitted": permitted, "reason": reason, "since": since, "decision_id": decision_id})
        return msgspec.json.encode({"results": results})

    return answer


def _permitted(content: bytes) -> list[bool]:
    return [each["permitted"] for each in msgspec.json.decode(content)["results"]]


def _run(ask: Callable[[bytes], bytes], bodies: list[bytes]) -> int:
    for body in bodies:
        ask(body)
    return len(bodies) * CALL


def _seconds(ask: Callable[[bytes], bytes], body: bytes) -> float:
    began = time.perf_counter()
    ask(body)
    return time.perf_counter() - began


def _body(numbers: list[int]) -> bytes:
    return msgspec.json.encode({"channel": "sms", "purpose": PURPOSE, "addresses": [_phone(n) for n in numbers]})


def _phone(number: int) -> str:
    return f"+3370{number:07}"


def _fill(servers: Servers, topics: Topics, codec_keys: Keyring, entries: int) -> None:
    """Two of three permitted. Encoded once each, then the address key, always as long, is put in its place."""
    codec = Codec.connect(servers.registry, topics)
    topic = topics.suppression("sms")
    hasher = codec_keys.hashers(TENANT, "sms")[0]
    placeholder = hasher.key_bytes("placeholder")
    values = {
        permitted: codec.encode(topic, entry_to_avro(_entry(placeholder.decode(), permitted), START))
        for permitted in (True, False)
    }
    producer: Any = clients.producer(servers.kafka, linger_ms=50)
    for number in range(entries):
        key = hasher.key_bytes(_phone(number))
        producer.produce(topic, values[number % 3 > 0].replace(placeholder, key), key)
        if number % 1_000 == 0:
            producer.poll(0)
        while len(producer) > 150_000:
            producer.poll(0.1)
    assert producer.flush(120) == 0


def _entry(address_key: str, permitted: bool) -> AddressEntry:
    choices = [(PURPOSE, "given" if permitted else "withdrawn"), ("offers", "refused"), ("survey", "given")]
    return AddressEntry(
        tenant=TENANT,
        channel="sms",
        address_key=address_key,
        sealed_address=b"\x02s1" + b"x" * 40,
        decisions=tuple(
            Decision(
                decision_id=f"0198c0de-0000-7000-8000-00000000000{n}",
                subject_ref="customer-4711",
                purpose=purpose,
                status=status,
                effective_at=START + n,
                recorded_at=START + n,
            )
            for n, (purpose, status) in enumerate(choices)
        ),
    )


if __name__ == "__main__":
    given = json.loads(Path(sys.argv[1]).read_text())
    for figure in measure(Servers(**given), *map(int, sys.argv[2:])):
        print(json.dumps({**asdict(figure), "met": figure.met}))
