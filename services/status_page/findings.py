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
_DAY_SECONDS = 86_400.0
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


Compared = Literal["number", "since", "until"]
"""With a limit: the number itself (what is counted: of the last 15 minutes); or, of a time, the seconds since it, or
until it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Limit:
    """An alert that compares one number. ``above``: it fires above, else below. ``seconds``: for how long it has to be
    so, where that is more than a moment. ``of_process``: the process has to be named, too."""

    alert: str
    query: Query
    limit: float
    unit: Shown = "count"
    above: bool = True
    seconds: float = 0.0
    compared: Compared = "number"
    of_process: bool = False

    def about(self, group: str) -> str:
        """What it is about, by the value of the query's label."""
        if not self.of_process:
            return group
        return f"{self.query.process} ({group})" if group else self.query.process


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
    Limit(alert="DeliveredUntilStalled", query=questions.DELIVERED_UNTIL, limit=300, unit="seconds", compared="since"),
    *(Limit(alert="RecordsDeletedUnread", query=each, limit=0) for each in questions.DELETED_UNREAD),
    Limit(alert="ListDiffers", query=questions.DIFFERENCES, limit=0),
    Limit(alert="ListNotCompared", query=questions.COMPARED_AGO, limit=2 * _DAY_SECONDS, unit="seconds"),
    *(Limit(alert="ClockSkew", query=each, limit=0.8, unit="seconds", of_process=True) for each in questions.CLOCKS),
    Limit(alert="WebhooksRefused", query=questions.WEBHOOKS_REFUSED, limit=0),
    Limit(alert="OptOutsNotRecorded", query=questions.NOT_RECORDED, limit=0),
    Limit(alert="RightsRequestDueSoon", query=questions.OLDEST_REQUEST, limit=20 * _DAY_SECONDS, unit="seconds"),
    *(
        Limit(alert="RegisterStale", query=each, limit=0, above=False, compared="until", of_process=True)
        for each in questions.REGISTERS
    ),
    Limit(alert="PausesDoNotEnd", query=questions.PAUSE_FAILURES, limit=0),
    *(Limit(alert="SecretUnreadable", query=each, limit=0, of_process=True) for each in questions.UNREADABLE_SECRETS),
    *(
        Limit(
            alert="CertificateEnds",
            query=each,
            limit=14 * _DAY_SECONDS,
            unit="seconds",
            above=False,
            compared="until",
            of_process=True,
        )
        for each in questions.CERTIFICATE_ENDS
    ),
    *(Limit(alert="AccessTokensRefused", query=each, limit=10, of_process=True) for each in questions.TOKENS_REFUSED),
    *(
        Limit(alert="StateDiskFull", query=each, limit=0.1, unit="share", above=False, of_process=True)
        for each in questions.STATE_DISKS
    ),
)
OF_DESTINATION = frozenset({"PromiseBroken", *(each.alert for each in LIMITS if each.query.by == "destination")})
"""Findings about one destination."""


def findings(history: History, *, silent: Collection[str], not_ready: Mapping[str, str], now: float) -> list[Finding]:
    """``silent``: processes that do not answer. ``not_ready``: by process why. ``now``: seconds since the epoch."""
    found = [
        *(Finding(alert="ProcessAbsent", about=name) for name in silent),
        *(Finding(alert="NotReady", about=name) for name in not_ready),
        *_promise(history),
        *_limits(history, now),
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


def _limits(history: History, now: float) -> Iterator[Finding]:
    seen: set[tuple[str, str]] = set()
    for each in LIMITS:
        for group in history.groups(each.query):
            value = _compared(history, each, group, now)
            wrong = value is not None and (value > each.limit if each.above else value < each.limit)
            lasts = not each.seconds or history.lasts(each.query, group, value or 0.0, seconds=each.seconds)
            about = each.about(group)
            if wrong and lasts and (each.alert, about) not in seen:
                seen.add((each.alert, about))
                yield Finding(alert=each.alert, about=about, value=value, unit=each.unit)


def _compared(history: History, limit: Limit, group: str, now: float) -> float | None:
    if limit.query.how == "count":
        return history.total(limit.query, group)
    value = history.now(limit.query, group)
    if value is None or limit.compared == "number":
        return value
    return now - value if limit.compared == "since" else value - now


def _dead_letters(history: History) -> Iterator[Finding]:
    for asked in questions.DEAD_LETTERS:
        count = sum(history.total(asked, reason) for reason in history.groups(asked))
        if count > 0:
            yield Finding(alert="DeadLetters", about=asked.process, value=count)


TICKETS = frozenset(
    {
        "RevocationImpossible",
        "DeadLetters",
        "ListNotCompared",
        "WebhooksRefused",
        "OptOutsNotRecorded",
        "RightsRequestDueSoon",
        "PausesDoNotEnd",
        "CertificateEnds",
    }
)
"""Findings whose alerts page at no limit."""
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
    "RecordsDeletedUnread": "kafka-has-lost-records",
    "ListDiffers": "a-list-differs-from-the-ledger",
    "ListNotCompared": "the-lists-are-not-compared",
    "ClockSkew": "a-hosts-clock-is-wrong",
    "WebhooksRefused": "opt-outs-of-a-tool-are-lost",
    "OptOutsNotRecorded": "opt-outs-of-a-tool-are-lost",
    "RightsRequestDueSoon": "requests-of-persons-are-late",
    "RegisterStale": "a-register-is-too-old",
    "PausesDoNotEnd": "pauses-do-not-end",
    "SecretUnreadable": "a-secret-cannot-be-read",
    "CertificateEnds": "a-certificate-ends",
    "AccessTokensRefused": "access-tokens-are-refused",
    "StateDiskFull": "the-disk-of-local-state-is-full",
}
"""The heading of docs/runbooks.md that says what to do."""
