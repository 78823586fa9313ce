"""What "accepted to acknowledged" is measured from, for what was never accepted as such."""

from dataclasses import replace

from propagator.connector import SUPPRESS
from propagator.desired import Wanted
from propagator.owed import INHERITED_AFTER, owed_since
from tests.unit.propagator.harness import SECOND, START, Durable, Provider, Worker, decision, until, virtually, wall

TOLD = Wanted(
    target="n",
    action=SUPPRESS,
    purposes=("newsletter",),
    reason="withdrawn",
    decision_ids=("d1",),
    occurred_at=START - 5 * SECOND,
    recorded_at=START,
)
DAY = 86_400 * SECOND


def test_a_decision_is_owed_from_its_acceptance() -> None:
    assert owed_since(TOLD, START + 2 * SECOND) == START
    assert owed_since(TOLD, START + INHERITED_AFTER) == START
    assert owed_since(TOLD, START - SECOND) == START, "the merge's clock may be behind"


def test_an_inherited_refusal_is_owed_from_the_entry_that_brought_it() -> None:
    assert owed_since(TOLD, START + DAY) == START + DAY


def test_a_permission_that_ended_is_owed_from_its_end() -> None:
    ended = replace(TOLD, reason="expired", occurred_at=START + 30 * DAY)
    assert owed_since(ended, START + SECOND) == START + 30 * DAY
    assert owed_since(ended, START + 31 * DAY) == START + 30 * DAY, "a slow sweep counts"


def test_an_end_that_somebody_told_us_is_owed_from_when_we_heard_of_it() -> None:
    assert owed_since(replace(TOLD, reason="expired"), START + SECOND) == START


def _longest(worker: Worker) -> float:
    [metric] = worker.metrics.latency.collect()
    [total] = [sample.value for sample in metric.samples if sample.name.endswith("_sum")]
    return float(total)


def test_neither_is_seen_as_a_slow_push_nor_as_one_untold_for_days() -> None:
    async def work() -> None:
        durable, provider = Durable(), Provider(seconds=4.0)
        durable.decide(1, decision("inherited", at=wall() - 30 * DAY))
        durable.decide(2, decision("ended", "given", at=wall() - 30 * DAY, expires_at=wall() - SECOND))
        worker = await Worker(durable, provider).start()
        await until(lambda: len(provider.calls) > 0)
        oldest, _ = worker.feed.watch()
        assert oldest is not None
        assert wall() - oldest < 10 * SECOND
        await until(lambda: len(provider.applied) == 2)
        await until(lambda: durable.stages().count("accepted") == 2)
        assert {push.reason for push in provider.applied} == {"withdrawn", "expired"}
        assert 0 < _longest(worker) < 20
        # The receipts, the proof, still say when the decision itself was accepted.
        assert {each["accepted_at"] for each in durable.receipts} == {START - 30 * DAY}
        await worker.close()

    virtually(work())
