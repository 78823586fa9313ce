"""/console/agent: for agents on the telephone (R52). Number in, what holds now, and one key that ends it."""

from __future__ import annotations

from collections.abc import Mapping

from fastapi import APIRouter, Request, Response
from sqlalchemy import Connection

from consent_api.console import pages, reading, rows
from consent_api.console.entry import Console, Visit
from consent_api.console.sessions import Subject
from consent_api.domain import spoken
from consent_api.domain.validation import ValidationRules
from consent_api.errors import LedgerUnavailableError
from consent_api.http.spoken import SpokenWithdrawals, Withdrawn
from consent_api.ledger.deduplication import RecordedDecision
from consent_api.ledger.submissions import Results
from consent_api.rights import audit
from consent_api.rights.audit import Act
from consent_http.errors import ProblemError

SCOPE = "submit"
ACTION = "agent"
CALLS, EVERYTHING = "calls", "everything"


def routes(console: Console, withdrawals: SpokenWithdrawals, rules: ValidationRules) -> APIRouter:
    """Not in /openapi.json: programs call POST /v1/withdrawals/spoken."""
    router = APIRouter(include_in_schema=False)

    @router.api_route("/console/agent", methods=["GET", "HEAD"])
    async def ask(request: Request) -> Response:
        visit = await console.enter(request, SCOPE)
        return visit if isinstance(visit, Response) else _form(visit, {})

    @router.post("/console/agent")
    async def act(request: Request) -> Response:
        submitted = await console.submitted(request, ACTION, SCOPE)
        if isinstance(submitted, Response):
            return submitted
        visit, fields = submitted.visit, submitted.fields
        try:
            if fields.get("action") in (CALLS, EVERYTHING):
                return await _withdraw(visit, fields)
            number = withdrawals.number({"number": fields.get("number", "")})
            if not visit.session.key.allows("read"):
                return _form(visit, fields, number=number)
            subject = Subject(address=number, channels=tuple(_channels(rules, number)))
            found = await console.read(
                lambda c: reading.of_address(c, console.keyring, visit.tenant, subject, visit.page.theme)
            )
        except ProblemError as error:
            return _form(visit, fields, problem=error)
        except LedgerUnavailableError as error:
            return console.unavailable(visit, error)
        console.metrics.console_acts.labels("looked_up").inc()
        cards = [rows.of_explanations(visit.page, each, number, of) for each, of in found.explanations.items()]
        return _form(visit, fields, number=number, cards=cards)

    async def _withdraw(visit: Visit, fields: Mapping[str, str]) -> Response:
        everything = fields["action"] == EVERYTHING
        body = {
            "number": fields.get("number", ""),
            "everything": everything,
            "call_id": fields.get("call_id") or None,
            "agent": visit.session.who,
        }

        def also(connection: Connection, results: Results, now: int) -> None:
            first = next((each.decision_id for each in results if isinstance(each, RecordedDecision)), None)
            audit.add(
                connection,
                tenant=visit.tenant,
                who=visit.session.who,
                act=Act.SPOKEN_WITHDRAWAL,
                object_id=first,
                at=now,
            )

        done = await withdrawals.record(visit.session.key, body, also=also)
        console.metrics.console_acts.labels("spoken_withdrawal").inc()
        return _done(visit, withdrawals.number(body), done, everything=everything)

    return router


def _channels(rules: ValidationRules, number: str) -> list[str]:
    """Calls first."""
    found = [each for each in rules.channels if spoken.is_address(each, number, rules)]
    return sorted(found, key=lambda each: each != spoken.CHANNEL)


def _form(
    visit: Visit,
    fields: Mapping[str, str],
    *,
    number: str | None = None,
    cards: list[rows.Card] | None = None,
    problem: ProblemError | None = None,
) -> Response:
    page = visit.page
    return pages.respond(
        page,
        "agent.html",
        status=problem.status if problem is not None else 200,
        written=reading.written(number) if number is not None else fields.get("number", ""),
        call_id=fields.get("call_id", ""),
        found=number is not None,
        cards=cards or [],
        problem=pages.of_problem(page, problem) if problem is not None else None,
        done=None,
    )


def _done(visit: Visit, number: str, done: Withdrawn, *, everything: bool) -> Response:
    page, words = visit.page, visit.page.words
    title = "agent.done_everything" if everything else "agent.done_calls"
    at = max((each.recorded_at for _, each in done.recorded), default=0)
    channels = dict.fromkeys(channel for channel, _ in done.recorded)
    return pages.respond(
        page,
        "agent.html",
        written="",
        call_id="",
        found=False,
        cards=[],
        problem=None,
        done={
            "title": words(title, number=reading.written(number)),
            "at": words.moment(at),
            "channels": [rows.channel_title(page, each) for each in channels],
            "left": [
                words(f"agent.left.{reason}", channel=rows.channel_title(page, channel))
                for channel, reason in done.left.items()
            ],
            "call_id_dropped": any(each.pointer == "/call_id" for each in done.dropped),
        },
    )
