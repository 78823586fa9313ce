"""One run: page after page out of the ledger, into Kafka, acknowledged before the next."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from sqlalchemy import Connection, Engine

from consent_api.ledger.database import transact
from consent_api.ledger.ledger import now_micros
from consent_api.ledger.outbox import Message, Outbox
from consent_api.outbox_relay.outbox_table import Row
from consent_api.outbox_relay.publisher import Publisher
from consent_runtime.keyring import Keyring

from . import history
from .history import Page, Place, Selection

PAGE = 5_000


class NotPublished(Exception):
    """The broker did not acknowledge a page. What came before it stands; the run can go on from there."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """Of this run: rows of history `read` (each twice), those selected (a decision and an address it reached), events
    made."""

    read: int = 0
    decisions: int = 0
    events: int = 0
    place: Place


Report = Callable[[Progress], None]


def republish(
    *,
    engine: Engine,
    keyring: Keyring,
    outbox: Outbox,
    publisher: Publisher,
    selection: Selection,
    start: Place,
    report: Report,
    size: int = PAGE,
) -> Progress:
    """Everything after `start`; `report` hears of each page once the broker has it.

    Raises NotPublished, LedgerUnavailable, UnknownTenant or Unsealable; whatever was reported stays published.
    """

    def published(page: Page) -> None:
        _publish(publisher, page.messages)

    def read(place: Place) -> Page | None:
        return transact(
            engine,
            lambda connection: history.page(connection, keyring, outbox, selection, place, size=size, now=now_micros()),
        )

    progress = _each(read, published, start, report)
    after: int | None = -1
    while after is not None:
        after = transact(engine, partial(_complete, keyring, selection, after, size))
    return progress


def _complete(keyring: Keyring, selection: Selection, after: int, size: int, connection: Connection) -> int | None:
    return history.complete_unreached(connection, keyring, selection, after, size=size, now=now_micros())


def count(
    *, engine: Engine, keyring: Keyring, outbox: Outbox, selection: Selection, report: Report, size: int = PAGE
) -> Progress:
    """What `republish` would do from the beginning; nothing is published and nothing stays written."""

    def read(place: Place) -> Page | None:
        with engine.connect() as connection:  # never committed
            return history.page(connection, keyring, outbox, selection, place, size=size, now=now_micros())

    return _each(read, lambda page: None, Place(), report)


def _each(
    read: Callable[[Place], Page | None], handle: Callable[[Page], None], start: Place, report: Report
) -> Progress:
    progress = Progress(place=start)
    while (page := read(progress.place)) is not None or not progress.place.permissions:
        if page is None:
            progress = replace(progress, place=Place(permissions=True))
            continue
        handle(page)
        progress = Progress(
            read=progress.read + page.read,
            decisions=progress.decisions + page.selected,
            events=progress.events + len(page.messages),
            place=page.end,
        )
        report(progress)
    return progress


def _publish(publisher: Publisher, messages: Sequence[Message]) -> None:
    rows = [
        Row(id=number, topic=each.topic, key=each.key, value=each.value, headers=_headers(each.headers))
        for number, each in enumerate(messages)
    ]
    delivery = publisher.publish(rows, beat=lambda: None, stop=lambda: False)
    if delivery.failed or delivery.refused:
        raise NotPublished(str(delivery.cause))


def _headers(encoded: str) -> list[tuple[str, str | bytes | None]]:
    return [(name, value) for name, value in json.loads(encoded)]
