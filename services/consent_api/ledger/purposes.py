"""How many purposes a tenant may have: each is in every reader's memory, and no person makes up a thousand."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field, replace
from functools import partial

from sqlalchemy import Connection, text
from sqlalchemy.exc import ProgrammingError

from consent_api.domain.validation import Purposes, ValidationRules
from consent_api.errors import FieldViolation, LedgerUnavailableError, SubmissionInvalidError
from consent_contracts.decisions import EVERY_PURPOSE
from consent_service.retry import Backoff, Failure, retry

log = logging.getLogger(__name__)

_BACKOFF = Backoff((1.0, 2.0, 5.0), jitter=0.5)
MAX_PURPOSES = 1_000

Named = tuple[str, str]
"""A tenant and a purpose of it."""
Transact = Callable[[Callable[[Connection], frozenset[str]]], frozenset[str]]
"""Runs one transaction. LedgerUnavailableError."""

_KNOWN = text(
    "SELECT DISTINCT tenant, purpose FROM purposes JOIN"
    " unnest(CAST(:tenants AS text[]), CAST(:purposes AS text[])) AS named (tenant, purpose) USING (tenant, purpose)"
)
_COUNTS = text(
    "SELECT tenant, count(DISTINCT purpose) FROM purposes WHERE tenant = ANY(CAST(:tenants AS text[])) GROUP BY tenant"
)
_USED = text("SELECT DISTINCT purpose FROM purposes WHERE tenant = :tenant")
# Two transactions that add the same one leave two rows, and neither waits for the other.
_ADD = text(
    "INSERT INTO purposes (tenant, purpose)"
    " SELECT * FROM unnest(CAST(:tenants AS text[]), CAST(:purposes AS text[])) AS new (tenant, purpose)"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class PurposeLimit:
    """Safe in threads. Two transactions that add at the same moment may exceed it by what one of them adds."""

    most: int = MAX_PURPOSES
    _recorded: set[Named] = field(default_factory=set)
    """Those that were found in the ledger: no statement asks for them again."""

    def admit(self, connection: Connection, named: Iterable[Named]) -> Collection[Named]:
        """Those of `named` that are one too many for their tenant. The others are recorded within the transaction."""
        unknown = {each for each in named if each[1] != EVERY_PURPOSE and each not in self._recorded}
        if not unknown:
            return ()
        known = {(row.tenant, row.purpose) for row in connection.execute(_KNOWN, _columns(unknown))}
        self._recorded.update(known)
        new = sorted(unknown - known)
        if not new:
            return ()
        tenants = sorted({tenant for tenant, _ in new})
        counts = {tenant: int(count) for tenant, count in connection.execute(_COUNTS, {"tenants": tenants})}
        admitted: list[Named] = []
        refused: set[Named] = set()
        for tenant, purpose in new:
            if counts.get(tenant, 0) < self.most:
                counts[tenant] = counts.get(tenant, 0) + 1
                admitted.append((tenant, purpose))
            else:
                refused.add((tenant, purpose))
        if admitted:
            connection.execute(_ADD, _columns(admitted))
        return refused

    def refusal(self) -> SubmissionInvalidError:
        cure = (
            f"name one of the tenant's purposes, or * for a refusal of all: it has {self.most} already"
            " (CONSENT_RELAY_MAX_PURPOSES)"
        )
        return SubmissionInvalidError([FieldViolation(pointer="/purpose", code="too_many_purposes", cure=cure)])


def with_used(rules: ValidationRules, transact: Transact) -> ValidationRules:
    """The rules, with the purposes that each tenant has used so far whose purposes are not known. Asks the ledger by
    ``transact`` where there is such a tenant."""
    unknown = [tenant for tenant, each in rules.tenant_purposes.items() if not each.known]
    used = {tenant: Purposes(used=transact(partial(_used, tenant))) for tenant in unknown}
    return replace(rules, tenant_purposes={**rules.tenant_purposes, **used})


def wait_for_used(rules: ValidationRules, transact: Transact) -> ValidationRules:
    """As `with_used`, for a process that starts: once the ledger can be asked."""
    return retry(
        partial(with_used, rules, transact),
        on=(LedgerUnavailableError, ProgrammingError),
        backoff=_BACKOFF,
        stop=threading.Event(),
        report=_report,
    )


def _report(failure: Failure[Exception]) -> None:
    if failure.is_news:
        log.warning("waiting for the purposes in the ledger", extra={"why": type(failure.error).__name__})


def _used(tenant: str, connection: Connection) -> frozenset[str]:
    return frozenset(connection.execute(_USED, {"tenant": tenant}).scalars())


def _columns(named: Collection[Named]) -> dict[str, list[str]]:
    return {"tenants": [tenant for tenant, _ in named], "purposes": [purpose for _, purpose in named]}
