"""One run: page after page out of the ledger, into Kafka, acknowledged before the next."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from sqlalchemy import Connection, Engine

from consent_api.errors import NotPublishedError
from consent_api.ledger.database import transact
from consent_api.ledger.key_rotation import TenantKey, store_completed
from consent_api.ledger.outbox_messages import ChangeMessages, Message
from consent_api.operations.republish import pages
from consent_api.operations.republish.pages import Cursor, Page, Selection
from consent_api.outbox_relay.outbox_table import Row
from consent_api.outbox_relay.publisher import OffsetRange, Publisher
from consent_privacy.keyring import Keyring
from consent_service.clock import now_micros

PAGE = 5_000


@dataclass(frozen=True, kw_only=True, slots=True)
class RepublishProgress:
    """Of this run: rows of history `read` (each twice), those selected (a decision and an address it reached), events
    made."""

    read: int = 0
    decisions: int = 0
    events: int = 0
    cursor: Cursor


Report = Callable[[RepublishProgress], None]


def republish(
    *,
    engine: Engine,
    keyring: Keyring,
    outbox: ChangeMessages,
    publisher: Publisher,
    selection: Selection,
    start: Cursor,
    report: Report,
    before_page: Callable[[], None] = lambda: None,
    acknowledged: Callable[[Mapping[int, OffsetRange]], None] = lambda offsets: None,
    size: int = PAGE,
) -> RepublishProgress:
    """Publish everything after `start` to the bulk topic, each decision with its own mark.

    `before_page` may take its time; after each page that the broker has acknowledged, `acknowledged` gets where it
    landed, by partition, and `report` the progress. A run of all that the ledger holds under a hash key is remembered
    there at its end. Raises NotPublishedError, LedgerUnavailableError, UnknownTenantError or DecryptionFailedError;
    what was reported stays published.
    """

    def published(page: Page) -> None:
        before_page()
        acknowledged(_publish(publisher, page.messages))

    def read(cursor: Cursor) -> Page | None:
        return transact(
            engine,
            lambda connection: pages.page(connection, keyring, outbox, selection, cursor, size=size, now=now_micros()),
        )

    progress = _for_each_page(read, published, start, report)
    after: int | None = -1
    while after is not None:
        after = transact(engine, partial(_complete, keyring, selection, after, size))
    completed = completed_keys(keyring, selection)
    transact(engine, lambda connection: store_completed(connection, keyring, completed))
    return progress


def completed_keys(keyring: Keyring, selection: Selection) -> list[TenantKey]:
    """The hash keys under which a run of this selection publishes all that the ledger holds."""
    if selection.channel is not None or selection.since is not None:
        return []
    return [
        (tenant, key.id)
        for tenant, keys in keyring.hash_keys.items()
        if selection.tenant in (None, tenant)
        for key in keys
        if selection.key_id in (None, key.id)
    ]


def _complete(keyring: Keyring, selection: Selection, after: int, size: int, connection: Connection) -> int | None:
    return pages.backfill_unreached_keys(connection, keyring, selection, after, size=size, now=now_micros())


def count(
    *, engine: Engine, keyring: Keyring, outbox: ChangeMessages, selection: Selection, report: Report, size: int = PAGE
) -> RepublishProgress:
    """What `republish` would do from the beginning; nothing is published and nothing stays written."""

    def read(cursor: Cursor) -> Page | None:
        with engine.connect() as connection:  # never committed
            return pages.page(connection, keyring, outbox, selection, cursor, size=size, now=now_micros())

    return _for_each_page(read, lambda page: None, Cursor(), report)


def _for_each_page(
    read: Callable[[Cursor], Page | None], handle: Callable[[Page], None], start: Cursor, report: Report
) -> RepublishProgress:
    progress = RepublishProgress(cursor=start)
    for page in pages.in_two_passes(read, start):
        handle(page)
        progress = RepublishProgress(
            read=progress.read + page.read,
            decisions=progress.decisions + page.selected,
            events=progress.events + len(page.messages),
            cursor=page.end,
        )
        report(progress)
    return progress


def _publish(publisher: Publisher, messages: Sequence[Message]) -> Mapping[int, OffsetRange]:
    rows = [
        Row(
            id=number,
            topic=each.topic,
            partition=each.partition,
            key=each.key,
            value=each.value,
            headers=_headers(each.headers),
        )
        for number, each in enumerate(messages)
    ]
    delivery = publisher.publish(rows, beat=lambda: None, stop=lambda: False)
    if delivery.failed or delivery.refused:
        raise NotPublishedError(str(delivery.cause))
    return delivery.offsets


def _headers(encoded: str) -> list[tuple[str, str | bytes | None]]:
    return [(name, value) for name, value in json.loads(encoded)]
