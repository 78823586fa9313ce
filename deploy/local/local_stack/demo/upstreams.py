"""The upstream systems of the demo: one speaks HTTP, one produces Avro with a plain Kafka client.

Neither uses code of the services: the Kafka one is confluent-kafka with its own Avro serialiser, as a foreign
system would be. Each writes what was acknowledged into the expected.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

import httpx
from confluent_kafka import Message, Producer
from confluent_kafka.schema_registry import SchemaRegistryClient, topic_subject_name_strategy
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

from consent_contracts import Decision
from consent_contracts import schemas as contracts
from consent_contracts.cloudevents import rfc3339
from local_stack.audit.compare import ExpectedState
from local_stack.demo.population import HOUR, Choice, Defect

YEAR = 365 * 24 * HOUR
EVIDENCE = {
    "controller": "Acme SAS",
    "notice_id": "account-page",
    "notice_version": "7",
    "notice_hash": "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "notice_language": "fr",
    "capture_method": "web-form",
    "source_system": "demo-crm",
    "actor": "data-subject",
    "withdrawal_method": "link in every message, STOP by SMS",
}


def _expires_at(choice: Choice) -> int | None:
    return choice.occurred_at + 2 * YEAR if choice.status == "given" else None


def _note(expected: ExpectedState, choice: Choice) -> None:
    decision = Decision(
        decision_id=choice.event_id,
        subject_ref=choice.subject_ref,
        purpose=choice.purpose,
        status=choice.status,
        effective_at=choice.occurred_at,
        recorded_at=choice.occurred_at,
        expires_at=_expires_at(choice),
    )
    expected.add((choice.channel, choice.address), decision)


class HttpUpstream:
    """A web form's back end: batches over HTTP, tried again with the same Idempotency-Key until answered."""

    def __init__(self, api: str, api_key: str, expected: ExpectedState) -> None:
        self._client = httpx.Client(base_url=api, headers={"Authorization": f"Bearer {api_key}"}, timeout=30)
        self._expected = expected
        self.outcomes: Counter[str] = Counter()
        self.decision_ids: list[str] = []

    def send(self, choices: Sequence[Choice], *, seconds: float = 60.0, bulk: bool = False) -> None:
        """Returns when every choice was answered; raises TimeoutError when that takes longer than ``seconds``."""
        body = {"decisions": [_as_json(choice) for choice in choices], "bulk": bulk}
        key = f'"demo-{choices[0].event_id}-{time.monotonic_ns()}"'
        answer = self._post(body, key, seconds)
        for choice, item in zip(choices, answer["results"], strict=True):
            outcome = item["outcome"]
            self.outcomes[outcome] += 1
            if outcome in ("recorded", "repeated"):
                _note(self._expected, choice)
                self.decision_ids.append(item["decision_id"])

    def close(self) -> None:
        self._client.close()

    def _post(self, body: dict[str, Any], key: str, seconds: float) -> Any:
        deadline = time.monotonic() + seconds
        while True:
            try:
                answer = self._client.post("/v1/decisions/batch", json=body, headers={"Idempotency-Key": key})
            except httpx.TransportError:
                retry = True
            else:
                retry = answer.status_code in (409, 429, 503)
                if not retry:
                    answer.raise_for_status()
                    return answer.json()
            if time.monotonic() > deadline:
                raise TimeoutError("the API did not record the decisions")
            time.sleep(0.2)


class KafkaUpstream:
    """A CRM that produces Avro on consent.inbound.v1; the last of its records may be no Avro at all."""

    def __init__(self, kafka: str, registry: str, topic: str, expected: ExpectedState) -> None:
        self._producer = Producer(
            {
                "bootstrap.servers": kafka,
                "enable.idempotence": True,
                "partitioner": "murmur2_random",
                "linger.ms": 5,
                "log_level": 2,  # That the broker is gone at the end of the demo is no news.
            }
        )
        self._registry = SchemaRegistryClient({"url": registry, "timeout": 10})
        self._serialize = AvroSerializer(
            self._registry,
            contracts.schema_text("ConsentSubmitted"),
            conf={"auto.register.schemas": False, "subject.name.strategy": topic_subject_name_strategy},
        )
        self._context = SerializationContext(topic, MessageField.VALUE)
        self.topic = topic
        self._expected = expected
        self.outcomes: Counter[str] = Counter()
        self.damaged: set[str] = set()
        """The coordinates of the damaged records, as topic:partition:offset."""

    def close(self) -> None:
        self._registry.close()

    def send(self, choices: Sequence[Choice], *, seconds: float = 60.0) -> None:
        """Returns when the broker has acknowledged every record; raises TimeoutError when it does not."""
        failed: list[str] = []

        def delivered(error: object, _message: Message) -> None:
            if error is not None:
                failed.append(str(error))

        def damaged(error: object, message: Message) -> None:
            delivered(error, message)
            self.damaged.add(f"{message.topic()}:{message.partition()}:{message.offset()}")

        for choice in choices:
            value = self._serialize(_as_avro(choice), self._context)
            if choice.defect is Defect.INVALID:
                value = value[: len(value) // 2]
            key = (choice.subject_ref or choice.event_id).encode()
            report = damaged if choice.defect is Defect.INVALID else delivered
            self._producer.produce(self.topic, value=value, key=key, on_delivery=report)
            self._producer.poll(0)
        if self._producer.flush(seconds) or failed:
            raise TimeoutError(f"Kafka did not acknowledge: {failed[:1]}")
        for choice in choices:
            if choice.defect is Defect.INVALID:
                self.outcomes["damaged"] += 1
            else:
                self.outcomes["produced"] += 1
                _note(self._expected, choice)


def _as_json(choice: Choice) -> dict[str, Any]:
    body: dict[str, Any] = {
        "event_id": choice.event_id,
        "channel": choice.channel,
        "purpose": choice.purpose,
        "status": choice.status,
        "address": choice.written,
        "occurred_at": rfc3339(choice.occurred_at),
    }
    if choice.subject_ref is not None:
        body["subject_ref"] = choice.subject_ref
    if choice.status == "given":
        body["evidence"] = EVIDENCE
        body["expires_at"] = rfc3339(_expires_at(choice) or 0)
    return body


def _as_avro(choice: Choice) -> dict[str, Any]:
    return {
        "event_id": choice.event_id,
        "tenant": None,
        "channel": choice.channel,
        "purpose": choice.purpose,
        "status": choice.status,
        "subject_ref": choice.subject_ref,
        "address": choice.written,
        "occurred_at": choice.occurred_at,
        "expires_at": _expires_at(choice),
        "evidence": EVIDENCE if choice.status == "given" else None,
    }
