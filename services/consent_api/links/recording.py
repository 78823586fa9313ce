"""What a person chooses on a page, on its way into the ledger: by the rules, and the outbox, of any decision."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

from consent_api.domain.validation import BY_LINK, ValidationRules, ValidDecision, validate
from consent_api.errors import ChoiceRefusedError, LedgerUnavailableError, SubmissionInvalidError
from consent_api.http.group_commit import GroupCommit
from consent_api.http.metrics import ApiMetrics
from consent_api.ledger.deduplication import RecordedDecision
from consent_api.ledger.idempotency import Request
from consent_api.ledger.recording import apart
from consent_api.ledger.submissions import Completed, Parsed, Results, Submission
from consent_contracts.decisions import EVERY_PURPOSE, GIVEN

log = logging.getLogger(__name__)

SENDER = BY_LINK
_UNKNOWN_PURPOSE = "unknown_purpose"

Fields = Mapping[str, object]


class Choices:
    """Belongs to one event loop."""

    def __init__(self, rules: ValidationRules, metrics: ApiMetrics, commits: GroupCommit) -> None:
        self._rules = rules
        self._metrics = metrics
        self._commits = commits

    @property
    def channels(self) -> Collection[str]:
        """Of this installation."""
        return self._rules.channels

    def takes(self, channel: str) -> bool:
        """Whether this installation has the channel still: a ledger may hold addresses of one that it had."""
        return channel in self._rules.channels

    async def record(self, tenant: str, chosen: Callable[[int], Sequence[Fields]]) -> list[RecordedDecision]:
        """Committed when this returns, on the live lane. ``chosen`` is given the ledger's clock (micros).
        ChoiceRefusedError where a rule refuses some of it: the rest is recorded then. LedgerUnavailableError: nothing.

        Each use of a link is a choice of its own: someone may opt in and use an old link again a minute later.
        """
        done = await self._commit(tenant, lambda now: [self._read(tenant, fields, now) for fields in chosen(now)])
        results = await self._without_links(tenant, done)
        recorded = [each for each in results if isinstance(each, RecordedDecision)]
        for read, result in zip(done.parsed, results, strict=True):
            channel = read.channel if isinstance(read, ValidDecision) else None
            outcome = "recorded" if isinstance(result, RecordedDecision) else "refused"
            self._metrics.decided(outcome, channel, bulk=False)
        if len(recorded) < len(results):
            faults = {f"{e.pointer} {e.code}" for r in results if not isinstance(r, RecordedDecision) for e in r.faults}
            log.error("a choice on a page was refused", extra={"tenant": tenant, "why": ", ".join(sorted(faults))})
            raise ChoiceRefusedError("a rule of this installation refuses the choice", recorded=bool(recorded))
        return recorded

    async def _commit(self, tenant: str, parse: Callable[[int], Parsed]) -> Completed:
        request = Request(tenant=tenant, key=f"{SENDER} {secrets.token_hex(16)}", content=b"")
        submission = Submission(request=request, parse=parse, answer=lambda parsed, results: None)
        return await self._commits.commit_grouped(submission)

    async def _without_links(self, tenant: str, done: Completed) -> Results:
        """The results, where a refusal that would give its subject too many addresses is recorded of the address and of
        the subject, apart: by its decision of the address."""
        results = list(done.results)
        both = {
            at: parts
            for at, (read, result) in enumerate(zip(done.parsed, results, strict=True))
            if isinstance(read, ValidDecision) and (parts := apart(read, result)) is not None
        }
        if not both:
            return results
        try:
            then = await self._commit(
                tenant,
                lambda now: [
                    replace(part, effective_at=now, recorded_at=now) for parts in both.values() for part in parts
                ],
            )
        except LedgerUnavailableError:
            if any(isinstance(each, RecordedDecision) for each in results):
                return results
            raise
        for at, of_address, of_subject in zip(both, then.results[::2], then.results[1::2], strict=True):
            results[at] = of_address if isinstance(of_subject, RecordedDecision) else of_subject
        return results

    def _read(self, tenant: str, fields: Fields, now: int) -> ValidDecision | SubmissionInvalidError:
        try:
            return self._validated(tenant, fields, now)
        except SubmissionInvalidError as error:
            if fields["status"] == GIVEN or all(each.code != _UNKNOWN_PURPOSE for each in error.faults):
                return error
        # A link is older than the purposes that are declared today. Its refusal is taken in the wider sense.
        try:
            return self._validated(tenant, {**fields, "purpose": EVERY_PURPOSE}, now)
        except SubmissionInvalidError as error:
            return error

    def _validated(self, tenant: str, fields: Fields, now: int) -> ValidDecision:
        return replace(validate(fields, tenant=tenant, rules=self._rules, now=now), sender=SENDER)
