"""The trace of a request, in the ledger and beside each message: those that share a transaction keep their own."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine, text

from consent_api.http.group_commit import GroupCommit
from consent_api.ledger.idempotency import Request
from consent_api.ledger.ledger import Ledger
from consent_api.ledger.submissions import Submission
from consent_service import trace_context
from consent_service.trace_context import TraceContext, begin
from tests.integration.consent_api.accepted import decision
from tests.support.kept_spans import KeptSpans, kept_spans


@pytest.fixture
def kept() -> Iterator[KeptSpans]:
    with kept_spans() as kept:
        yield kept


def in_ledger(engine: Engine) -> dict[str, str | None]:
    """By subject."""
    query = "SELECT subject_ref, traceparent FROM decisions JOIN subjects USING (subject_id)"
    with engine.connect() as connection:
        return {row.subject_ref: row.traceparent for row in connection.execute(text(query))}


def in_outbox(engine: Engine) -> list[TraceContext | None]:
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT headers FROM outbox ORDER BY outbox_id")).scalars().all()
    return [trace_context.of_headers((name, value) for name, value in row) for row in rows]


def submission(number: int, trace: TraceContext | None) -> Submission:
    return Submission(
        request=Request(tenant="acme", key=f"k{number}", content=b""),
        parse=lambda _now: [decision(subject_ref=f"s{number}", address=f"+3363998{number:04}")],
        answer=lambda _parsed, _results: None,
        trace=trace,
    )


def test_those_that_share_a_transaction_keep_their_own(ledger: Ledger, owner_engine: Engine, kept: KeptSpans) -> None:
    traces = [*(begin(sampled=number % 2 == 0) for number in range(20)), None]

    async def story() -> None:
        commits = GroupCommit(ledger)
        await asyncio.gather(*(commits.commit_grouped(submission(*each)) for each in enumerate(traces)))

    asyncio.run(story())
    expected = {f"s{number}": None if trace is None else str(trace) for number, trace in enumerate(traces)}
    assert in_ledger(owner_engine) == expected
    assert set(in_outbox(owner_engine)) == set(traces)
    sampled = [each for each in traces if each is not None and each.sampled]
    assert sorted(filter(None, (each.parent for each in kept.named("ledger commit")))) == sorted(sampled)


def test_every_decision_of_a_request_has_its_span(client: TestClient, owner_engine: Engine, kept: KeptSpans) -> None:
    caller = begin(sampled=True)
    withdrawals = [
        {
            "channel": "sms",
            "purpose": "promotions",
            "status": "withdrawn",
            "subject_ref": f"s{n}",
            "address": f"+3363998{n:04}",
        }
        for n in range(3)
    ]
    answer = client.post(
        "/v1/decisions/batch",
        json={"decisions": withdrawals},
        headers={"traceparent": str(caller), "Idempotency-Key": "k1"},
    )
    assert [each["outcome"] for each in answer.json()["results"]] == ["recorded"] * 3
    (request,) = kept.named("POST /v1/decisions/batch")
    assert request.parent == caller
    assert in_ledger(owner_engine) == {f"s{n}": str(request.span) for n in range(3)}
    assert in_outbox(owner_engine) == [request.span] * 3


def test_what_a_request_records_in_its_own_thread_has_its_span(client: TestClient, owner_engine: Engine) -> None:
    caller = begin(sampled=False)
    answer = client.post(
        "/v1/rights/requests",
        json={"kind": "objection", "subject_ref": "s1", "identity_note": "passport shown"},
        headers={"traceparent": str(caller), "Idempotency-Key": "k1"},
    )
    assert answer.status_code == 201, answer.text
    trace = trace_context.parse(in_ledger(owner_engine)["s1"])
    assert trace is not None
    assert trace.trace_id == caller.trace_id


def test_a_decision_of_no_request_has_none(ledger: Ledger, owner_engine: Engine) -> None:
    ledger.record([decision(subject_ref="s1", address="+33639980001")])
    assert in_ledger(owner_engine) == {"s1": None}
    assert in_outbox(owner_engine) == [None]
