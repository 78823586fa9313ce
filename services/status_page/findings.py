"""What is wrong now, by the limits of the alerts in `deploy/prometheus/alerts.yml`, whose names they bear. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from status_page import questions
from status_page.history import History
from status_page.queries import Query
from status_page.questions import Unit

Shown = Unit | Literal["share"]
LATE_SHARE = 0.01
"""Of 100 live revocations one may be in force at a tool later than 5 s."""
MOST_FINDINGS = 100
HELD_SECONDS = 60.0
"""For so long a process that has just begun may need to verify its destinations."""
TAKEOVER_SECONDS = 60.0
"""For so long none may send while one propagator takes over from another."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """``alert``: also the name of its words and of its runbook. ``about``: a process, a destination, a group, a
    channel; empty for the whole installation."""

    alert: str
    about: str = ""
    value: float | None = None
    unit: Shown = "count"


@dataclass(frozen=True, kw_only=True, slots=True)
class Limit:
    """An alert that compares one number. ``above``: it fires above, else below. ``seconds``: for how long it has to be
    so, where that is more than a moment."""

    alert: str
    query: Query
    limit: float
    unit: Shown = "count"
    above: bool = True
    seconds: float = 0.0


LIMITS = (
    Limit(alert="RevocationPending", query=questions.OLDEST, limit=60, unit="seconds"),
    Limit(alert="ListStalled", query=questions.LIST_AGE, limit=60, unit="seconds"),
    Limit(alert="ListStalled", query=questions.INBOUND_LIST_AGE, limit=60, unit="seconds"),
    Limit(alert="GateDenies", query=questions.GATE_USABLE, limit=1, above=False),
    Limit(alert="RevocationImpossible", query=questions.IMPOSSIBLE, limit=0),
    Limit(alert="OutboxNotDraining", query=questions.OUTBOX_AGE, limit=10, unit="seconds"),
    Limit(alert="LagGrows", query=questions.LAG, limit=60, unit="seconds"),
    Limit(alert="LagExporterAbsent", query=questions.LAG_MEASURED_AGO, limit=120, unit="seconds"),
    Limit(alert="NoActiveSender", query=questions.ACTIVE_SENDERS, limit=1, above=False, seconds=TAKEOVER_SECONDS),
    Limit(alert="OpenTransaction", query=questions.OPEN_TRANSACTION, limit=60, unit="seconds"),
    Limit(alert="KafkaLostRecords", query=questions.HOLES, limit=0),
    Limit(alert="BreakerOpen", query=questions.DOWN, limit=0),
    Limit(alert="DestinationHeld", query=questions.VERIFIED, limit=1, above=False, seconds=HELD_SECONDS),
    Limit(alert="DestinationHeld", query=questions.QUARANTINED, limit=0),
    Limit(alert="TargetStopsNothing", query=questions.INEFFECTIVE, limit=0),
    Limit(alert="RightsRequestOverdue", query=questions.OVERDUE, limit=0),
    *(Limit(alert="WrongEntry", query=each, limit=0) for each in questions.WRONG_ENTRIES),
)
DELIVERED_UNTIL_SECONDS = 300.0


def findings(history: History, *, silent: Collection[str], not_ready: Mapping[str, str], now: float) -> list[Finding]:
    """``silent``: processes that do not answer. ``not_ready``: by process why. ``now``: seconds since the epoch."""
    found = [
        *(Finding(alert="ProcessAbsent", about=name) for name in silent),
        *(Finding(alert="NotReady", about=name) for name in not_ready),
        *_promise(history),
        *_limits(history),
        *_not_advancing(history, now),
        *_dead_letters(history),
    ]
    return list(dict.fromkeys(found))[:MOST_FINDINGS]


def kept_share(history: History, destination: str) -> float | None:
    """Of the live revocations of the last 15 minutes, those that the destination took within 5 s. None: none was, and
    none waits. While one has waited for longer, those that wait count as not taken in time."""
    taken, in_time = (history.total(each, destination) for each in (questions.REVOCATIONS, questions.IN_TIME))
    is_late = (history.now(questions.OLDEST, destination) or 0.0) > questions.PROMISED_SECONDS
    waiting = (history.now(questions.WAITING, destination) or 0.0) if is_late else 0.0
    return min(in_time / (taken + waiting), 1.0) if taken + waiting else None


def withdrawn_at(history: History) -> list[str]:
    """The destinations that took a live revocation in the last 15 minutes, or for which one waits."""
    return sorted({*history.groups(questions.REVOCATIONS), *history.groups(questions.OLDEST)})


def _promise(history: History) -> Iterator[Finding]:
    for name in withdrawn_at(history):
        share = kept_share(history, name)
        if share is not None and 1 - share > LATE_SHARE:
            yield Finding(alert="PromiseBroken", about=name, value=1 - share, unit="share")


def _limits(history: History) -> Iterator[Finding]:
    seen: set[tuple[str, str]] = set()
    for each in LIMITS:
        for group in history.groups(each.query):
            value = history.now(each.query, group)
            wrong = value is not None and (value > each.limit if each.above else value < each.limit)
            lasts = not each.seconds or history.lasts(each.query, group, value or 0.0, seconds=each.seconds)
            if wrong and lasts and (each.alert, group) not in seen:
                seen.add((each.alert, group))
                yield Finding(alert=each.alert, about=group, value=value, unit=each.unit)


def _not_advancing(history: History, now: float) -> Iterator[Finding]:
    for name in history.groups(questions.DELIVERED_UNTIL):
        until = history.now(questions.DELIVERED_UNTIL, name)
        if until is not None and now - until > DELIVERED_UNTIL_SECONDS:
            yield Finding(alert="DeliveredUntilStalled", about=name, value=now - until, unit="seconds")


def _dead_letters(history: History) -> Iterator[Finding]:
    for asked in questions.DEAD_LETTERS:
        count = sum(history.total(asked, reason) for reason in history.groups(asked))
        if count > 0:
            yield Finding(alert="DeadLetters", about=asked.process, value=count)


RUNBOOKS: Mapping[str, str] = {
    "ProcessAbsent": "a-process-is-absent",
    "NotReady": "a-process-is-absent",
    "PromiseBroken": "revocations-arrive-late",
    "RevocationPending": "revocations-arrive-late",
    "DeliveredUntilStalled": "revocations-arrive-late",
    "ListStalled": "decisions-are-recorded-and-go-nowhere",
    "GateDenies": "decisions-are-recorded-and-go-nowhere",
    "RevocationImpossible": "a-tool-that-will-never-take-a-revocation",
    "OutboxNotDraining": "decisions-are-recorded-and-go-nowhere",
    "LagGrows": "a-group-falls-behind",
    "LagExporterAbsent": "a-process-is-absent",
    "NoActiveSender": "revocations-arrive-late",
    "OpenTransaction": "an-open-transaction-hides-records",
    "KafkaLostRecords": "kafka-has-lost-records",
    "BreakerOpen": "a-destination-is-down",
    "DestinationHeld": "a-destination-is-held",
    "TargetStopsNothing": "a-destination-is-held",
    "RightsRequestOverdue": "requests-of-persons-are-late",
    "WrongEntry": "an-entry-of-a-file-is-wrong",
    "DeadLetters": "dead-letters",
}
"""The heading of docs/runbooks.md that says what to do."""
