"""What a person chooses on a page, on its way into the ledger: by the rules, and the outbox, of any decision."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

from consent_api.domain.validation import BY_LINK, ValidationRules, ValidDecision, validate
from consent_api.errors import ChoiceRefusedError, SubmissionInvalidError
from consent_api.http.group_commit import GroupCommit
from consent_api.http.metrics import ApiMetrics
from consent_api.ledger.deduplication import RecordedDecision
from consent_api.ledger.idempotency import Request
from consent_api.ledger.submissions import Submission
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
        submission = Submission(
            request=Request(tenant=tenant, key=f"{SENDER} {secrets.token_hex(16)}", content=b""),
            parse=lambda now: [self._read(tenant, fields, now) for fields in chosen(now)],
            answer=lambda parsed, results: None,
        )
        done = await self._commits.commit_grouped(submission)
        recorded = [each for each in done.results if isinstance(each, RecordedDecision)]
        for read, result in zip(done.parsed, done.results, strict=True):
            channel = read.channel if isinstance(read, ValidDecision) else None
            outcome = "recorded" if isinstance(result, RecordedDecision) else "refused"
            self._metrics.decided(outcome, channel, bulk=False)
        if len(recorded) < len(done.results):
            faults = {
                f"{e.pointer} {e.code}" for r in done.results if not isinstance(r, RecordedDecision) for e in r.faults
            }
            log.error("a choice on a page was refused", extra={"tenant": tenant, "why": ", ".join(sorted(faults))})
            raise ChoiceRefusedError("a rule of this installation refuses the choice", recorded=bool(recorded))
        return recorded

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
