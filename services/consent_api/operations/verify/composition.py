"""Builds what a verification needs from the settings: for the command, and for the scrub of the relay."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from sqlalchemy import Engine

from consent_api.ledger.database import transact
from consent_api.operations.republish.merged import CONSUMER as RESOLVED_CONSUMER
from consent_api.operations.verify import ledger_entries
from consent_api.operations.verify.job import Verification
from consent_api.operations.verify.ledger_entries import Slice
from consent_api.operations.verify.list_reader import CONSUMER, ListReader
from consent_api.operations.verify.reached import ReachedReader
from consent_api.settings import DatabaseSettings
from consent_contracts.codec import Codec
from consent_kafka import clients
from consent_privacy.keyring import Keyring

MOST_SLICES = 64
"""One character of a key distinguishes no more."""
_GROUP = "consent-api-verify"


@dataclass(frozen=True, kw_only=True, slots=True)
class Opened:
    """`slices` are those of the selected channels, so large that one fits into memory."""

    verification: Verification
    slices: tuple[Slice, ...]


@contextmanager
def opened(
    settings: DatabaseSettings,
    *,
    engine: Engine,
    keyring: Keyring,
    codec: Codec,
    channel: str | None = None,
    addresses_in_memory: int,
    page_size: int,
    batch: int,
    wait_seconds: float,
    pause: Callable[[float], None] = time.sleep,
    pace: Callable[[], None] = lambda: None,
) -> Iterator[Opened]:
    """For one pass. `page_size`: addresses of the ledger, and `batch`, records of a topic, between two calls of `pace`;
    the others as of `Verification`. Raises ListUnreadableError and LedgerUnavailableError."""
    topics = settings.topics
    lists = ListReader(
        partial(clients.consumer, settings.kafka, topics.group(_GROUP), settings.kafka_client, **CONSUMER),
        codec,
        partitions=settings.partitions,
        batch=batch,
        pace=pace,
    )
    reached = ReachedReader(
        clients.consumer(settings.kafka, topics.group(_GROUP), settings.kafka_client, **RESOLVED_CONSUMER),
        codec,
        topics.resolved,
        partitions=settings.partitions,
    )
    try:
        keys = transact(engine, lambda connection: ledger_entries.compared_keys(connection, keyring))
        slices: list[Slice] = []
        for each in topics.channels if channel is None else (channel,):
            count = math.ceil(lists.records(topics.suppression(each)) / addresses_in_memory)
            count = min(max(count, 1), MOST_SLICES)
            slices += [Slice(channel=each, number=number, of=count) for number in range(count)]
        verification = Verification(
            engine=engine,
            codec=codec,
            topics=topics,
            partitions=settings.partitions,
            lists=lists,
            reached=reached,
            keys=keys,
            page_size=page_size,
            wait_seconds=wait_seconds,
            pause=pause,
            pace=pace,
        )
        yield Opened(verification=verification, slices=tuple(slices))
    finally:
        reached.close()
