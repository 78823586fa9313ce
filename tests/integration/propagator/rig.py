"""The propagator as processes, on real Kafka, against the provider sandbox; entries are written as the merge does."""

import base64
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

from confluent_kafka import TopicPartition

from consent_contracts import Codec, Topics
from consent_contracts.decisions import AddressEntry, Decision
from consent_contracts.join import join
from consent_contracts.records import entry_to_avro
from consent_kafka import clients
from consent_privacy.keyring import Keyring
from consent_service.clock import now_micros
from consent_state import RestoreFailedError, high_watermarks, topic_ids
from consent_state import TopicPartition as At
from local_stack.ports import free_port
from tests.support.waiting import until

PARTITIONS = 4
SENDER = "MG" + "1" * 32
SECRET = "whsec_" + base64.b64encode(b"a secret of thirty-two bytes ....").decode()
TOKEN = "sandbox-twilio-token"
DESTINATIONS = f"""\
destinations:
  - name: twilio-fr
    connector: twilio
    channel: sms
    url: {{url}}/twilio
    credentials: {{{{account_sid: {{{{env: SID}}}}, auth_token: {{{{env: TOKEN}}}}}}}}
    purposes: {{{{newsletter: {SENDER}}}}}
    limits: {{{{calls_per_second: 1000, burst: 100}}}}
    timeout_seconds: 3
  - name: crm
    connector: webhook
    channel: sms
    url: {{url}}/webhook
    credentials: {{{{secret: {{{{env: WEBHOOK}}}}}}}}
    options: {{{{allow_private: true, clear_addresses: true}}}}
    purposes: same
    push_permissions: true
    limits: {{{{calls_per_second: 1000, burst: 100}}}}
    timeout_seconds: 3
"""


class Sandbox:
    def __init__(self, directory: Path) -> None:
        config = directory / "sandbox.toml"
        config.write_text(
            f'control_token = "{SECRET}"\n[twilio]\nsenders = ["{SENDER}"]\n'
            f'[twilio.limit]\ncalls = 0\nseconds = 60\n[webhook]\nsecrets = ["{SECRET}"]\n'
            "[twilio.latency]\np50_ms = 5\np99_ms = 20\n[webhook.latency]\np50_ms = 5\np99_ms = 20\n"
        )
        self.process = subprocess.Popen(
            [sys.executable, "-m", "consent_service", "sandbox", "--port", "0", "--config", str(config)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().strip().rpartition(" ")[2]

    def call(self, method: str, path: str, body: object = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        headers = {
            "Content-Type": "application/json",
            "Authorization": f"Basic {base64.b64encode(f'control:{SECRET}'.encode()).decode()}",
        }
        request = urllib.request.Request(self.url + path, data=data, method=method, headers=headers)
        with urllib.request.urlopen(request, timeout=10) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def state(self, account: str) -> dict[str, dict[str, str]]:
        found: dict[str, dict[str, str]] = self.call("GET", f"/_state/{account}")["states"]
        return found

    def ever_said(self, account: str) -> set[str]:
        """Every state that any address of the account ever had."""
        history = self.call("GET", f"/_state/{account}?details=1")["states"]
        return {state for targets in history.values() for each in targets.values() for _, state in each["changes"]}

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(10)
        assert self.process.stdout is not None
        self.process.stdout.close()


class Propagator:
    """One process."""

    def __init__(self, environ: dict[str, str], log: Path) -> None:
        self.log = log
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "consent_service", "propagator"],
                stdout=output,
                stderr=output,
                env={**os.environ, **environ},
            )
        self.port = int(environ["CONSENT_RELAY_METRICS_PORT"])

    def get(self, path: str) -> str:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=2) as answer:
                return str(answer.read().decode())
        except OSError:
            return ""

    def until_ready(self) -> "Propagator":
        until(lambda: self.running() and self.get("/readyz") == "ok\n", what=f"ready; log: {self.log}")
        return self

    def running(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()[-3000:]
        return True

    def until_active(self) -> "Propagator":
        until(lambda: self.running() and self.metric("propagation_active_sender") == 1, what=f"active; log: {self.log}")
        return self

    def metric(self, name: str, **labels: str) -> float:
        text = self.get("/metrics")
        wanted = [f'{key}="{value}"' for key, value in labels.items()]
        found = re.findall(rf"^consent_relay_{name}(\{{.*\}})? (\S+)$", text, re.MULTILINE)
        return sum(float(value) for given, value in found if all(each in given for each in wanted))

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(40)

    def freeze(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)


@dataclass
class Rig:
    bootstrap: str
    registry: str
    topics: Topics
    keyring: Keyring
    keyring_file: Path
    directory: Path
    sandbox: Sandbox
    workers: list[Propagator] = field(default_factory=list)
    entries: dict[str, AddressEntry] = field(default_factory=dict)
    closing: threading.Event = field(default_factory=threading.Event)
    _resolver: threading.Thread | None = None

    def __post_init__(self) -> None:
        self.codec = Codec.connect(self.registry, self.topics)
        self.producer = clients.producer(self.bootstrap)
        self.destinations = self.directory / "destinations.yaml"
        self.destinations.write_text(DESTINATIONS.format(url=self.sandbox.url))

    def start(self, instance: str = "one", **settings: str) -> Propagator:
        environ = {
            "CONSENT_RELAY_KAFKA": self.bootstrap,
            "CONSENT_RELAY_REGISTRY": self.registry,
            "CONSENT_RELAY_TOPIC_PREFIX": self.topics.prefix,
            "CONSENT_RELAY_KEYRING_FILE": str(self.keyring_file),
            "CONSENT_RELAY_STATE_DIR": str(self.directory / instance),
            "CONSENT_RELAY_INSTANCE_ID": instance,
            "CONSENT_RELAY_METRICS_PORT": str(free_port()),
            "CONSENT_RELAY_PROPAGATOR_DESTINATIONS": str(self.destinations),
            "CONSENT_RELAY_PROPAGATOR_SESSION_TIMEOUT": "6",
            "SID": "AC" + "0" * 32,
            "TOKEN": TOKEN,
            "WEBHOOK": SECRET,
            **settings,
        }
        process = Propagator(environ, self.directory / f"{instance}-{len(self.workers)}.log")
        self.workers.append(process)
        return process

    def keep_resolving(self) -> None:
        """Report twice a second, as the merge does, that the list holds every decision of the ledger."""
        self._resolver = threading.Thread(target=self._resolve, daemon=True)
        self._resolver.start()

    def _resolve(self) -> None:
        topic, resolved = self.topics.suppression("sms"), self.topics.resolved
        admin, producer = clients.admin(self.bootstrap), clients.producer(self.bootstrap)
        partitions = [At(topic, each) for each in range(PARTITIONS)]
        while not self.closing.wait(0.5):
            now = now_micros()
            self.producer.flush(10)
            topic_id = topic_ids(admin, [topic])[topic]
            for at, end in high_watermarks(admin, partitions).items():
                datum = {
                    "partition": at.partition,
                    "resolved_at": now,
                    "bulk_resolved_at": now,
                    "inbound_resolved_at": None,
                    "loss": 0,
                    "lists": [{"topic": topic, "topic_id": topic_id, "end_offset": end}],
                    "inputs": [],
                    "hole": None,
                    "channel_holes": {},
                    "written_at": now,
                }
                key = str(at.partition).encode()
                producer.produce(resolved, self.codec.encode(resolved, datum), key, partition=at.partition)
            producer.flush(10)

    def decide(self, number: int, status: str = "withdrawn", *, purpose: str = "newsletter", bulk: bool = False) -> str:
        """Write the address's new entry; answers the address."""
        address, key = self.address(number), self.key(number)
        now = now_micros()
        decision = Decision(
            decision_id=str(uuid4()),
            subject_ref=f"s{number}",
            purpose=purpose,
            status=status,
            # A permission counts as 2 s older than it states (join.py); ours are newer than what they lift.
            effective_at=now + 2_000_000 if status == "given" else now,
            recorded_at=now,
            bulk=bulk,
        )
        entry = AddressEntry(
            tenant="acme",
            channel="sms",
            address_key=key,
            sealed_address=self.keyring.seal(key, address),
            decisions=(decision,),
        )
        self.entries[address] = merged = join(self.entries.get(address), entry)
        topic = self.topics.suppression("sms")
        self.producer.produce(topic, self.codec.encode(topic, entry_to_avro(merged, now)), key.encode())
        self.producer.poll(0)
        return address

    def address(self, number: int) -> str:
        return f"+3363998{number:04d}"

    def key(self, number: int) -> str:
        return self.keyring.address_key("acme", "sms", self.address(number))

    def ends(self, topic: str) -> dict[At, int]:
        """The high watermarks of the topic's partitions. Asked again while the broker is busy with other tests."""
        admin, deadline = clients.admin(self.bootstrap), time.monotonic() + 60
        while True:
            try:
                return high_watermarks(admin, [At(topic, each) for each in range(PARTITIONS)])
            except RestoreFailedError:
                if time.monotonic() > deadline:
                    raise

    def flush(self) -> None:
        assert self.producer.flush(30) == 0

    def receipts(self) -> list[dict[str, Any]]:
        return [self.codec.decode(self.topics.receipts, value) for _, value in self.read(self.topics.receipts) if value]

    def rows(self) -> dict[str, dict[str, Any]]:
        """The state topic as a table, by its keys."""
        topic = self.topics.propagation_state("default")
        return {key: self.codec.decode(topic, value) for key, value in dict(self.read(topic)).items() if value}

    def read(self, topic: str) -> list[tuple[str, bytes | None]]:
        consumer = clients.consumer(self.bootstrap, f"rig-{uuid4().hex}", enable_partition_eof=True)
        partitions = [TopicPartition(topic, number, 0) for number in range(PARTITIONS)]
        consumer.assign(partitions)
        ended, found = 0, []
        while ended < len(partitions):
            for message in consumer.consume(500, timeout=0.3):
                if message.error() is not None:
                    ended += 1
                else:
                    found.append(((message.key() or b"").decode(), message.value()))
        consumer.close()
        return found

    def twilio(self, address: str) -> str | None:
        return self.sandbox.state("twilio").get(address, {}).get(SENDER)

    def crm(self, address: str, purpose: str = "newsletter") -> str | None:
        return self.sandbox.state("webhook").get(address, {}).get(purpose)

    def close(self) -> None:
        self.closing.set()
        if self._resolver is not None:
            self._resolver.join()
        for worker in self.workers:
            if worker.process.poll() is None:
                worker.thaw()
                worker.kill()
        self.sandbox.close()
