"""Whether the database is the one that this release needs, and whether what it holds moves on. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from consent_api.ledger.backlog import OutboxBacklog
from consent_api.monitors import TOLERATED_OFFSET_SECONDS, offset_acceptable
from consent_service.doctor.findings import Finding, Result, all_ok

DATABASE, CLOCK, OUTBOX, API_KEYS = "database", "clock of the database", "outbox", "API keys"
PARTITIONS = "partitions in the ledger"
OLDEST_POSTGRESQL = 17
"""The first with transaction_timeout."""
OUTBOX_SECONDS = {"live": 30.0, "bulk": 900.0}
"""The age from which on readers deny what waits in the lane's outbox."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerFacts:
    """``version``: PostgreSQL's number, such as 170004. ``encrypted``: this connection is, or it is none of a network.
    ``standby``: it takes no writes. ``schema_version``: of the newest migration that the database has seen, None where
    it has no ledger. ``durable``: it writes to disk before it acknowledges."""

    version: int
    encrypted: bool
    standby: bool
    durable: bool
    schema_version: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class KeyAge:
    """Of an API key that is not revoked. ``id`` is the part between the underscores, no secret."""

    id: str
    tenant: str
    days: float


def judge_server(server: ServerFacts, *, required: str) -> Sequence[Finding]:
    """``required``: the newest migration of this release."""
    found = []
    if server.version // 10_000 < OLDEST_POSTGRESQL:
        text = f"PostgreSQL {server.version // 10_000} has no transaction_timeout"
        found.append(_fault(DATABASE, text, f"run PostgreSQL {OLDEST_POSTGRESQL} or later"))
    if server.standby:
        cure = "name the primary in CONSENT_RELAY_API_DATABASE"
        found.append(_fault(DATABASE, "the server is a standby: nothing can be recorded", cure))
    if server.schema_version is None:
        found.append(_fault(DATABASE, "it has no ledger, or this role may not read it", "run: consent-relay migrate"))
    elif server.schema_version < required:
        text = f"its migration is {server.schema_version}, this release needs {required}"
        found.append(_fault(DATABASE, text, "run: consent-relay migrate"))
    elif server.schema_version > required:
        text = f"its migration is {server.schema_version}, newer than {required} of this release"
        cure = "go on with the upgrade: two releases may run side by side, not more (docs/upgrade.md)"
        found.append(Finding(name=DATABASE, result=Result.WARNING, found=text, cure=cure))
    if not server.durable:
        text = "fsync or full_page_writes is off: a crash of its host loses decisions that were acknowledged"
        found.append(Finding(name=DATABASE, result=Result.WARNING, found=text, cure="switch both on"))
    if not server.encrypted:
        cure = "set sslmode=verify-full in the URL (docs/security-settings.md)"
        text = "the connection is not encrypted"
        found.append(Finding(name=DATABASE, result=Result.WARNING, found=text, cure=cure))
    return all_ok(DATABASE, found, f"PostgreSQL {server.version // 10_000}, migration {server.schema_version}")


def judge_partitions(recorded: Mapping[str, int], configured: int) -> Sequence[Finding]:
    """``recorded``: by lane, the number that relays have found; 0 before the first has run."""
    return [
        _fault(
            PARTITIONS,
            f"the {lane} lane was published to {number} partitions, CONSENT_RELAY_PARTITIONS is {configured}",
            f"set CONSENT_RELAY_PARTITIONS={number}, or see docs/upgrade.md, What a topic's change takes",
        )
        for lane, number in recorded.items()
        if number not in (0, configured)
    ]


def judge_clock(offset: float) -> Finding:
    """``offset``: seconds by which the clock here is certainly later than the database's."""
    acceptable = offset_acceptable(offset)
    if acceptable is True:
        text = f"differs from the clock here by no more than {TOLERATED_OFFSET_SECONDS:g} s"
        return Finding(name=CLOCK, result=Result.OK, found=text)
    text, _, cure = str(acceptable).partition(": ")
    return Finding(name=CLOCK, result=Result.FAULT, found=text, cure=cure)


def judge_outbox(backlogs: Mapping[str, OutboxBacklog], resolved_ages: Mapping[str, float]) -> Sequence[Finding]:
    """By lane: what waits to be published, and how old the resolved timestamp is (NaN: none yet)."""
    found = []
    for lane, backlog in backlogs.items():
        age, limit = resolved_ages[lane], OUTBOX_SECONDS[lane]
        cure = "see whether a relay runs and is ready (docs/runbooks.md, Decisions are recorded and go nowhere)"
        if math.isnan(age):
            found.append(
                _fault(OUTBOX, f"no relay has published the {lane} lane yet", f"start: consent-relay relay; {cure}")
            )
        elif age > limit:
            text = f"{lane}: {backlog.pending} rows wait, the lane is complete up to {age:.0f} s ago: readers deny"
            found.append(_fault(OUTBOX, text, cure))
        elif backlog.oldest_seconds > limit / 2 or age > limit / 2:
            text = f"{lane}: {backlog.pending} rows wait, the oldest for {backlog.oldest_seconds:.0f} s"
            found.append(Finding(name=OUTBOX, result=Result.WARNING, found=text, cure=cure))
    pending = ", ".join(f"{backlog.pending} {lane}" for lane, backlog in backlogs.items())
    return all_ok(OUTBOX, found, f"drains; waiting: {pending}")


def judge_api_keys(keys: Sequence[KeyAge], secret_days: float) -> Sequence[Finding]:
    """Those that are older than ``secret_days``."""
    old = [each for each in keys if each.days > secret_days]
    found = [
        Finding(
            name=API_KEYS,
            result=Result.WARNING,
            found=f"key {each.id} of {each.tenant} is {each.days:.0f} days old",
            cure=f"consent-relay keys create, give it to the caller, then: consent-relay keys revoke {each.id}",
        )
        for each in old
    ]
    return all_ok(API_KEYS, found, f"{len(keys)} live, none older than {secret_days:.0f} days")


def _fault(name: str, found: str, cure: str) -> Finding:
    return Finding(name=name, result=Result.FAULT, found=found, cure=cure)
