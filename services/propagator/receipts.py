"""Receipts: the proof, per revocation and destination, of who was told and when (GDPR art. 19).

Their ids follow from what they say, so a push that is repeated after a restart repeats its receipt, and a
reader that keeps the first of each id has the first moment.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from consent_contracts import cloudevents
from consent_contracts.codec import Codec
from consent_runtime.kafka import DeliveryFailed, Headers
from propagator.connector import Action
from propagator.metrics import Metrics

log = logging.getLogger(__name__)

Stage = Literal["queued", "accepted", "effective", "failed", "impossible"]
_NAMESPACE = uuid.UUID("6a1f6f0e-6a52-4c0c-9a35-52f6f0f3b8a1")
RETRY_SECONDS = 0.5


class Sender(Protocol):
    """The part of AsyncProducer that is used: resolves on the broker's acknowledgement, raises when it gave up."""

    async def send(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        headers: Headers | None = None,
        partition: int | None = None,
    ) -> Any: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Receipt:
    """One moment of one push. Times in micros."""

    tenant: str
    address_key: str
    action: Action
    stage: Stage
    decision_ids: tuple[str, ...]
    version: int
    accepted_at: int
    queued_at: int
    occurred_at: int
    attempts: int
    provider_reference: str | None = None
    detail: str | None = None


class Receipts:
    """Writes one destination's receipts."""

    def __init__(
        self, producer: Sender, codec: Codec, topic: str, metrics: Metrics, *, destination: str, channel: str
    ) -> None:
        self._producer = producer
        self._codec = codec
        self._topic = topic
        self._metrics = metrics
        self._destination = destination
        self._channel = channel

    async def send(self, receipt: Receipt) -> None:
        """Returns once the broker has acknowledged; a broker that is away is waited for, for ever."""
        receipt_id = self._id(receipt)
        datum = {
            "receipt_id": receipt_id,
            "destination": self._destination,
            "channel": self._channel,
            **{name: getattr(receipt, name) for name in Receipt.__slots__},
            "decision_ids": list(receipt.decision_ids),
        }
        headers = cloudevents.headers(
            event_id=receipt_id,
            event_type="relay.consent.v1.PropagationReceipt",
            source="/propagator/" + self._destination,
            time_micros=receipt.occurred_at,
        )
        value = self._codec.encode(self._topic, datum)
        while True:
            try:
                await self._producer.send(self._topic, receipt.address_key.encode(), value, headers)
            except DeliveryFailed as error:
                log.warning("receipt not written yet", extra={"destination": self._destination, "why": error.code})
                await asyncio.sleep(RETRY_SECONDS)
            else:
                self._metrics.receipts.labels(self._destination, receipt.stage).inc()
                return

    def _id(self, receipt: Receipt) -> str:
        parts = (self._destination, receipt.address_key, receipt.action, receipt.stage, receipt.detail or "")
        return str(uuid.uuid5(_NAMESPACE, "\0".join((*parts, *receipt.decision_ids))))
