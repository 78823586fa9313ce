"""Publishes which permissions are about to end, so that a tenant can ask for them again (R37).

Beside the outbox, whose rows are bound to the changes topics: `renewals` has what Kafka has not acknowledged. A renewal
may be published twice, under one id. What goes wrong stops no decision: it is logged, counted and tried again.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from uuid import UUID, uuid5

from sqlalchemy import Connection, Engine

from consent_api.ledger import database, renewals
from consent_api.ledger.database import transact
from consent_api.ledger.renewals import Renewal
from consent_api.outbox_relay.metrics import RelayMetrics
from consent_api.outbox_relay.outbox_table import Row
from consent_api.outbox_relay.publisher import Publisher
from consent_contracts.cloudevents import headers
from consent_contracts.codec import Codec
from consent_contracts.partitioner import partition_of
from consent_contracts.schemas import NAMESPACE
from consent_privacy.keyring import Keyring
from consent_service.health import Health

log = logging.getLogger(__name__)

PART = "renewals"
INTERVAL_SECONDS = 30.0
_AT_ONCE = 200
_RECORD = "ConsentRenewalDue"
_TYPE, _SOURCE = f"{NAMESPACE}.{_RECORD}", "/consent-relay/relay"


class RenewalLoop:
    """One thread, with a connection and a producer of its own; in as many relays as there are."""

    def __init__(
        self,
        *,
        engine: Engine,
        keyring: Callable[[], Keyring],
        codec: Codec,
        publisher: Publisher,
        topic: str,
        partitions: int,
        days: int,
        metrics: RelayMetrics,
        health: Health,
    ) -> None:
        """`days`: how long before its end a renewal is asked for."""
        self._engine = engine
        self._keyring = keyring
        self._codec = codec
        self._publisher = publisher
        self._topic = topic
        self._partitions = partitions
        self._days = days
        self._metrics = metrics
        self._health = health
        self._stop: Callable[[], bool] = lambda: False

    def run(self, stop: threading.Event) -> None:
        self._stop = stop.is_set
        self._health.unregister(PART)
        while not stop.is_set():
            self.turn()
            stop.wait(INTERVAL_SECONDS)

    def turn(self) -> None:
        """Note all that is about to end, and publish it. Raises nothing."""
        try:
            self._codec.prepare([self._topic])
            self._while_full(self._note)
            self._while_full(self._publish)
        except Exception as error:
            self._metrics.renewal_failures.inc()
            self._health.note(PART, "could not be published, see the log: tried again")
            log.warning("renewals could not be published", extra={"why": type(error).__name__}, exc_info=error)
        else:
            self._health.note(PART, "")

    def _while_full(self, work: Callable[[Connection], int]) -> None:
        while transact(self._engine, work) == _AT_ONCE and not self._stop():
            pass

    def _note(self, connection: Connection) -> int:
        now = database.clock(connection)
        return renewals.note_ending(connection, self._keyring(), days=self._days, now=now, most=_AT_ONCE)

    def _publish(self, connection: Connection) -> int:
        now = database.clock(connection)
        found, over = renewals.unpublished(connection, now=now, most=_AT_ONCE)
        sent = self._send(found, now)
        renewals.mark_published(connection, [*over, *sent], now=now)
        self._metrics.renewals.inc(len(sent))
        # Some were not acknowledged: the next turn tries them again.
        return len(sent) + len(over)

    def _send(self, found: Sequence[Renewal], now: int) -> list[str]:
        """The ids of those that Kafka has acknowledged."""
        if not found:
            return []
        rows = [self._row(number, each, now) for number, each in enumerate(found)]
        delivery = self._publisher.publish(rows, beat=lambda: None, stop=self._stop)
        if delivery.failed or delivery.refused:
            self._metrics.renewal_failures.inc()
            log.warning("renewals were not acknowledged", extra={"cause": delivery.cause})
        return [found[row.id].decision_id for row in delivery.acknowledged]

    def _row(self, number: int, renewal: Renewal, now: int) -> Row:
        event_id = str(uuid5(UUID(renewal.decision_id), _RECORD))
        datum = {
            "event_id": event_id,
            "tenant": renewal.tenant,
            "channel": renewal.channel,
            "address_key": renewal.address_key,
            "subject_ref": renewal.subject_ref,
            "purpose": renewal.purpose,
            "decision_id": renewal.decision_id,
            "given_at": renewal.given_at,
            "expires_at": renewal.expires_at,
        }
        key = renewal.address_key.encode("ascii")
        return Row(
            id=number,
            topic=self._topic,
            partition=partition_of(key, self._partitions),
            key=key,
            value=self._codec.encode(self._topic, datum),
            headers=list(headers(event_id=event_id, event_type=_TYPE, source=_SOURCE, time_micros=now)),
        )
