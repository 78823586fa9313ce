"""Requests that submit decisions: each carried out once under its key, any number of them in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection

from consent_api.errors import Refused
from consent_api.validate import Accepted

from . import idempotency
from .idempotency import Answer, Claim, InFlight, KeyReused
from .lanes import Lane
from .record import Desk, record
from .replays import Recorded

Results = Sequence[Recorded | Refused]


@dataclass(frozen=True, kw_only=True, slots=True)
class Submission:
    """What one request asks to record. ``answer`` makes the answer to store; None stores none, so that the same key
    may come back with the fault mended: only for results that are refusals alone."""

    request: idempotency.Request = field(repr=False)
    read: Sequence[Accepted | Refused] = field(repr=False)
    answer: Callable[[Results], Answer | None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Done:
    """What came of a submission. ``results`` is empty when ``answer`` is one that was given before."""

    answer: Answer | None
    results: Results = ()


Outcome = Done | InFlight | KeyReused


def carry_out(
    connection: Connection, desk: Desk, submissions: Sequence[Submission], *, lane: Lane, now: int, lock_ms: int
) -> list[Outcome]:
    """One outcome each, in their order, within the caller's transaction. No two submissions have the same key.

    What `record` raises concerns all of them; from `transact` LedgerContended, when another transaction held a lock
    for longer than ``lock_ms``, and TransactionTooLongError, when the lane's time was up.
    """
    claims = idempotency.claim(
        connection, desk.keyring, [each.request for each in submissions], lane=lane, lock_ms=lock_ms
    )
    ours = [each for each, claim in zip(submissions, claims, strict=True) if isinstance(claim, Claim)]
    accepted = [each for submission in ours for each in submission.read if isinstance(each, Accepted)]
    recorded = iter(record(connection, desk, accepted, lane=lane))
    outcomes: list[Outcome] = []
    answered: list[tuple[Claim, Answer]] = []
    for submission, claim in zip(submissions, claims, strict=True):
        if isinstance(claim, Answer):
            outcomes.append(Done(answer=claim))
        elif not isinstance(claim, Claim):
            outcomes.append(claim)
        else:
            results = [next(recorded) if isinstance(each, Accepted) else each for each in submission.read]
            answer = submission.answer(results)
            outcomes.append(Done(answer=answer, results=results))
            if answer is not None:
                answered.append((claim, answer))
    idempotency.store(connection, answered, now=now)
    return outcomes
