"""POST /v1/withdrawals/spoken: what a person says in a call, with nothing required but the number (R52)."""

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

import anyio.to_thread
import msgspec
from fastapi import APIRouter, Depends, Response
from sqlalchemy import Connection

from consent_api.domain import spoken
from consent_api.domain.spoken import Spoken
from consent_api.domain.validation import ValidationRules, ValidDecision, rfc3339, validate
from consent_api.errors import FieldViolation, NumberWithheldError, SubmissionInvalidError
from consent_api.http import models, rendering
from consent_api.http.dependencies import RequestDependencies
from consent_api.http.group_commit import GroupCommit
from consent_api.http.metrics import ApiMetrics
from consent_api.ledger import addresses, subjects
from consent_api.ledger.deduplication import RecordedDecision
from consent_api.ledger.idempotency import Request
from consent_api.ledger.ledger import Ledger
from consent_api.ledger.submissions import Results, Submission
from consent_contracts.decisions import GIVEN
from consent_http import request_body
from consent_http.callers import Caller
from consent_http.errors import ProblemError
from consent_http.openapi import json_body, json_response
from consent_http.problem_details import responses

_OBJECT: msgspec.json.Decoder[dict[str, Any]] = msgspec.json.Decoder(dict[str, Any])
_REFUSED = "refused"

Also = Callable[[Connection, Results, int], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Withdrawn:
    """What was recorded, by channel; where nothing was, with the reason; what it was recorded without."""

    recorded: tuple[tuple[str, RecordedDecision], ...]
    left: Mapping[str, str]
    dropped: tuple[FieldViolation, ...]


class SpokenWithdrawals:
    """Belongs to one event loop."""

    def __init__(self, ledger: Ledger, rules: ValidationRules, metrics: ApiMetrics, commits: GroupCommit) -> None:
        self._ledger = ledger
        self._rules = rules
        self._metrics = metrics
        self._commits = commits

    async def record(self, caller: Caller, body: Mapping[str, object], *, also: Also | None = None) -> Withdrawn:
        """Committed when this returns, all or nothing, on the live lane, with what ``also`` writes. ProblemError,
        LedgerUnavailableError.

        Nothing keeps a repetition from being recorded again: that changes nothing for the person, while an answer that
        was kept would hide a withdrawal from someone who has given consent in the meantime.
        """
        asked = self._asked(body)
        persons = await anyio.to_thread.run_sync(self._persons, caller.tenant, asked.number)
        found = spoken.plan(asked, persons, self._rules)
        submission = Submission(
            request=Request(tenant=caller.tenant, key=f"spoken {secrets.token_hex(16)}", content=b""),
            parse=lambda now: [self._read(each, caller, now) for each in found.decisions],
            answer=lambda parsed, results: None,
            also=also,
        )
        done = await self._commits.commit_grouped(submission)
        recorded: list[tuple[str, RecordedDecision]] = []
        left = dict(found.left)
        dropped = list(asked.dropped)
        for fields, read, result in zip(found.decisions, done.parsed, done.results, strict=True):
            channel = str(fields["channel"])
            if isinstance(result, RecordedDecision):
                self._metrics.decided("recorded", channel, bulk=False)
                recorded.append((channel, result))
                dropped += [each for each in _dropped(read) if each not in dropped]
                if result.without_effect:
                    self._metrics.without_effect(result.outcome.effect, permission=result.status == GIVEN, bulk=False)
            elif "address" in fields:
                raise rendering.validation_problem(result.faults, kind="invalid-withdrawal")
            else:
                self._metrics.decided("refused", channel, bulk=False)
                left[channel] = _REFUSED
        return Withdrawn(recorded=tuple(recorded), left=left, dropped=tuple(dropped))

    def number(self, body: Mapping[str, object]) -> str:
        """The number of a withdrawal, canonical. ProblemError where it is withheld or cannot be read."""
        return self._asked(body).number

    def _asked(self, body: Mapping[str, object]) -> Spoken:
        try:
            return spoken.read(body, self._rules)
        except NumberWithheldError:
            raise ProblemError(
                422,
                "number-withheld",
                "The number of this call is withheld: nothing was recorded.",
                field="/number",
                cure="Ask the person for the number that is to be called no more, and send that.",
            ) from None
        except SubmissionInvalidError as error:
            raise rendering.validation_problem(error.faults, kind="invalid-withdrawal") from None

    def _persons(self, tenant: str, number: str) -> list[str]:
        """The references that the number is linked to, in any of its forms. Blocks."""
        ledger = self._ledger
        named = (tenant, spoken.CHANNEL, number)
        channels = [each for each in self._rules.channels if spoken.is_address(each, number, self._rules)]
        names = [(tenant, each, of) for each in channels for _, _, of in (named, *addresses.names_of_aliases(named))]

        def read(connection: Connection) -> list[str]:
            found = [addresses.find(connection, ledger.context.keyring, each) for each in names]
            return subjects.having(connection, [each.address_id for each in found if each is not None], most=2)

        return ledger.transact(read)

    def _read(self, fields: Mapping[str, object], caller: Caller, now: int) -> ValidDecision | SubmissionInvalidError:
        try:
            found = validate(fields, tenant=caller.tenant, rules=self._rules, now=now, read_time=rfc3339)
        except SubmissionInvalidError as error:
            return error
        return replace(found, sender=caller.sender)


def routes(withdrawals: SpokenWithdrawals, dependencies: RequestDependencies) -> APIRouter:
    """The route for programs: the console's page for agents calls the same."""
    router = APIRouter(tags=["decisions"])

    @router.post(
        "/v1/withdrawals/spoken",
        operation_id="createSpokenWithdrawal",
        summary="Record what a person says in a call",
        description="No more calls, for any purpose; with everything: true no contact at all. Only the number is"
        " needed: what else cannot be read is left out and listed. It is delivered as a live decision. Repeating it"
        " records it again and changes nothing: no Idempotency-Key is needed.",
        status_code=201,
        responses={
            201: json_response(models.SpokenRecorded, "Recorded."),
            **responses(400, 401, 403, 408, 413, 415, 422, 429, 503),
        },
        openapi_extra=json_body(models.SpokenWithdrawal),
    )
    async def submit(
        key: Annotated[Caller, Depends(dependencies.submit)],
        body: Annotated[bytes, Depends(dependencies.submit_body)],
    ) -> Response:
        fields = request_body.decode(body, _OBJECT)
        found = await withdrawals.record(key, fields)
        return rendering.respond(rendering.to_spoken(found.recorded, found.left, found.dropped), status=201)

    return router


def _dropped(read: ValidDecision | SubmissionInvalidError) -> Sequence[FieldViolation]:
    return read.dropped if isinstance(read, ValidDecision) else ()
