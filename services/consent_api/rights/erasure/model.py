"""An erasure, its states, and what its certificate lists. Pure; times in micros, UTC.

An erasure goes through its states in this order, and through each of them by itself, however often a process dies:

* ``objecting``: on each address that is to be forgotten the refusal of everything is recorded, and published;
* ``notifying``: the tools, which need the clear address for it, are informed, for a bounded time;
* ``erasing``: address by address, what concerns the person goes, and the list is rewritten;
* ``publishing``: the last of these messages are on their way to Kafka;
* ``ended``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from consent_api.rights.erasure.retention import DAY_MICROS, Retention
from consent_api.rights.erasure.wording import GROUNDS

SETTLE_MICROS = 15 * 60 * 1_000_000
"""For so long it is waited even where no tool has ever reported about the person: one may be about to."""


class State(StrEnum):
    OBJECTING = "objecting"
    NOTIFYING = "notifying"
    ERASING = "erasing"
    PUBLISHING = "publishing"
    ENDED = "ended"


class Delivery(StrEnum):
    """What became of the objection at a tool."""

    DELIVERED = "delivered"
    IMPOSSIBLE = "impossible"
    """The tool refuses it for good."""
    UNDELIVERED = "undelivered"
    """It has not answered in time."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Counts:
    """Rows of one address, or the sum over several."""

    decisions: int = 0
    links: int = 0
    pauses: int = 0
    proofs: int = 0
    """Of the decisions, those of which a proof has to be kept."""
    receipts: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            decisions=self.decisions + other.decisions,
            links=self.links + other.links,
            pauses=self.pauses + other.pauses,
            proofs=self.proofs + other.proofs,
            receipts=self.receipts + other.receipts,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """What the next state follows from."""

    ended: bool
    erased: bool
    """All of it; what remains is to publish it."""
    without_objection: int
    """Addresses to be forgotten on which none is recorded."""
    to_erase: int
    notify_until: int
    requested_at: int
    tools: Mapping[str, Collection[Delivery]]
    """By destination, at each of the addresses that are to be forgotten; empty once there is no more time."""


def next_state(progress: Progress, *, now: int, settle: int = SETTLE_MICROS) -> State:
    """``settle``: see SETTLE_MICROS."""
    if progress.ended:
        return State.ENDED
    if progress.erased:
        return State.PUBLISHING
    if progress.without_objection:
        return State.OBJECTING
    waiting = any(Delivery.UNDELIVERED in each for each in progress.tools.values())
    if progress.to_erase and now < progress.notify_until and (waiting or now < progress.requested_at + settle):
        return State.NOTIFYING
    return State.ERASING


@dataclass(frozen=True, kw_only=True, slots=True)
class Goes:
    """Something that goes; ``gone_by``: when the last of it is gone, None: with the erasure."""

    what: str
    count: int | None = None
    gone_by: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Stays:
    """Something that stays, and why; ``review_at``: when that is to be looked at again, or it goes by itself."""

    what: str
    ground: str
    count: int | None = None
    review_at: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Certificate:
    """What goes and what stays; of an erasure to be, or one that has been. No personal data."""

    goes: tuple[Goes, ...]
    stays: tuple[Stays, ...]
    destinations: Mapping[str, Delivery] = field(default_factory=dict)


def certificate(
    *,
    forgotten: int,
    kept: int,
    counts: Counts,
    subject: bool,
    retention: Retention,
    at: int,
    destinations: Mapping[str, Delivery] | None = None,
) -> Certificate:
    """``forgotten``: addresses of the person; ``kept``: those that are another subject's too, or were once theirs."""
    week, month = at + 7 * DAY_MICROS, at + 30 * DAY_MICROS
    goes = (
        Goes(what="addresses: the sealed address in the ledger, on the list and in the local stores", count=forgotten),
        Goes(what="decisions, with their evidence, texts and event ids", count=counts.decisions),
        Goes(what="the subject's reference", count=int(subject)),
        Goes(what="links between subject and address", count=counts.links),
        Goes(what="pauses, replies in doubt, unpublished messages", count=counts.pauses),
        Goes(what="who the person's requests were from"),
        Goes(what="older entries on the list (suppression.*), removed by compaction", gone_by=at + 2 * DAY_MICROS),
        Goes(what="answers kept for Idempotency-Key", gone_by=at + DAY_MICROS),
        Goes(what="what was submitted by Kafka (consent.inbound.*)", gone_by=at + 3 * DAY_MICROS),
        Goes(what="changes, results and renewals (consent.changes.*, .results, .renewals)", gone_by=week),
        Goes(what="sealed dead letters (*.dead-letters), and the event ids of refused submissions", gone_by=month),
    )
    stays = [
        Stays(
            what="an objection to everything, under a keyed hash of the address; never lifted by itself",
            count=forgotten,
            ground=retention.objection.ground,
            review_at=retention.objection.ends(at),
        ),
        Stays(
            what="receipts: which tool was sent what and when, under a keyed hash",
            count=counts.receipts,
            ground="GDPR art. 5(2) and 19: proof that the withdrawals were carried out",
            review_at=retention.objection.ends(at),
        ),
        Stays(
            what="the reference and the addresses as keyed hashes alone, by which an import is refused; legal holds"
            " that have ended keep theirs",
            ground=retention.objection.ground,
            review_at=retention.objection.ends(at),
        ),
        Stays(
            what="the person's requests: dates, notes and reasons, without who they were from",
            ground="GDPR art. 5(2)",
        ),
        Stays(
            what="this certificate, and the audit entries of the request: neither names the person",
            ground="GDPR art. 5(2)",
        ),
    ]
    if kept:
        stays.append(
            Stays(
                what="the person's refusals at addresses that are others' too, without a name",
                count=kept,
                ground=retention.objection.ground,
                review_at=retention.objection.ends(at),
            )
        )
    if counts.proofs:
        grounds = GROUNDS.join(sorted({each.ground for each in retention.proofs.values()}))
        stays.append(
            Stays(
                what="proofs of consents to be called, without evidence texts, under a keyed hash",
                count=counts.proofs,
                ground=grounds,
                review_at=max(each.ends(at) for each in retention.proofs.values()),
            )
        )
    return Certificate(goes=goes, stays=tuple(stays), destinations=dict(destinations or {}))


def worst(outcomes: Collection[Delivery]) -> Delivery:
    """Of several addresses at one tool."""
    order = (Delivery.UNDELIVERED, Delivery.IMPOSSIBLE, Delivery.DELIVERED)
    return min(outcomes, key=order.index)


def by_destination(at_each: Iterable[Mapping[str, Delivery]]) -> dict[str, list[Delivery]]:
    """What became of the objection, at each address."""
    found: dict[str, list[Delivery]] = {}
    for each in at_each:
        for destination, delivered in each.items():
            found.setdefault(destination, []).append(delivered)
    return found


def as_json(value: Certificate) -> dict[str, Any]:
    """As it is stored."""
    return {
        "goes": [{"what": each.what, "count": each.count, "gone_by": each.gone_by} for each in value.goes],
        "stays": [
            {"what": each.what, "count": each.count, "ground": each.ground, "review_at": each.review_at}
            for each in value.stays
        ],
        "destinations": {name: delivered.value for name, delivered in sorted(value.destinations.items())},
    }


def from_json(data: Mapping[str, Any]) -> Certificate:
    return Certificate(
        goes=tuple(Goes(**each) for each in data["goes"]),
        stays=tuple(Stays(**each) for each in data["stays"]),
        destinations={name: Delivery(delivered) for name, delivered in data["destinations"].items()},
    )
