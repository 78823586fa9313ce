"""Fifteen minutes in memory: rates, quantiles, slopes, and gaps that are never zeros. # R39 R41"""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from status_page.history import MOST_GROUPS, SECONDS, Answers, History
from status_page.queries import Query, quantile, query
from status_page.samples import Increase, Increases, Sample, Samples

GAUGE = query("relay", "outbox_pending", "max")
RATE = query("relay", "published_total", "rate", topic=("a", "b"))
BY_TOOL = query("propagator", "backlog", "sum", by="destination")
P50 = query("relay", "batch_seconds", "p50")
INTERVAL = 5.0


def answers(
    at: float,
    samples: Mapping[str, Samples] | None = None,
    increases: Mapping[str, Increases] | None = None,
    *,
    silent: tuple[str, ...] = (),
) -> Answers:
    return Answers(
        at=at,
        samples={process: [each] for process, each in (samples or {}).items()},
        increases={process: [each] for process, each in (increases or {}).items()},
        incomplete=silent,
    )


def gauge(value: float) -> dict[str, Samples]:
    return {"relay": {GAUGE.series: [Sample({}, value)]}}


def published(rate: float) -> dict[str, Increases]:
    of = [Increase({"topic": topic}, rate * INTERVAL, rate) for topic in ("a", "b", "c")]
    return {"relay": {RATE.series: of}}


def backlog(of: Mapping[str, float]) -> dict[str, Samples]:
    return {"propagator": {BY_TOOL.series: [Sample({"destination": name}, value) for name, value in of.items()]}}


def fresh(*queries: Query) -> History:
    return History(queries, interval=INTERVAL)


def test_a_process_that_does_not_answer_is_a_gap_and_not_zero() -> None:
    kept = fresh(GAUGE, RATE)
    kept.add(answers(0, gauge(3), published(2)))
    kept.add(answers(5, gauge(9), published(8), silent=("relay",)))
    assert [each.value for each in kept.points(GAUGE)] == [3, None]
    assert [each.value for each in kept.points(RATE)] == [4, None]
    assert kept.now(GAUGE) is None
    assert kept.now(RATE) is None


def test_a_rate_is_of_the_series_that_are_asked_for_and_zero_where_nothing_was_counted() -> None:
    kept = fresh(RATE)
    kept.add(answers(0, {"relay": {}}, {"relay": {}}))
    assert kept.now(RATE) == 0
    for turn in range(1, 40):
        kept.add(answers(turn * INTERVAL, {}, published(10)))
    assert kept.now(RATE) == 20, "of the last minute: the zero is older"
    assert kept.mean(RATE) == pytest.approx(19.5)


def test_before_the_second_answer_no_rate_is_known() -> None:
    kept = fresh(RATE)
    kept.add(answers(0, {"relay": {}}))
    assert kept.now(RATE) is None


def test_a_tool_that_is_gone_is_forgotten_after_a_quarter_of_an_hour() -> None:
    kept = fresh(BY_TOOL)
    kept.add(answers(0, backlog({"old": 1})))
    turns = int(SECONDS / INTERVAL)
    for turn in range(1, turns + 1):
        kept.add(answers(turn * INTERVAL, backlog({"new": 1})))
    assert kept.groups(BY_TOOL) == ["new", "old"]
    assert kept.now(BY_TOOL, "old") is None
    kept.add(answers((turns + 1) * INTERVAL, backlog({"new": 1})))
    assert kept.groups(BY_TOOL) == ["new"]
    assert len(kept.points(BY_TOOL, "new")) == turns + 1


def test_more_tools_than_fit_are_counted_and_left_out() -> None:
    kept = fresh(BY_TOOL)
    kept.add(answers(0, backlog({f"tool-{number}": 1 for number in range(MOST_GROUPS + 3)} | {"x" * 101: 1})))
    assert len(kept.groups(BY_TOOL)) == MOST_GROUPS
    assert kept.left_out == 4


def test_more_sources_than_fit_are_no_tools_that_are_left_out_and_one_with_events_is_kept() -> None:
    asked = query("api", "webhooks_total", "count", by="source")
    kept = fresh(asked)
    for turn in range(2):
        of = [Increase({"source": f"source-{number}"}, 0.0, 0.0) for number in range(MOST_GROUPS)]
        of.append(Increase({"source": "refused"}, 3.0, 3.0 / INTERVAL))
        kept.add(answers(turn * INTERVAL, {}, {"api": {asked.series: of}}))
    assert kept.groups(asked) == ["refused"]
    assert kept.total(asked, "refused") == 6
    assert kept.left_out == 0


def test_a_backlog_has_the_slope_of_the_line_through_its_last_minute() -> None:
    kept = fresh(BY_TOOL)
    for turn in range(30):
        kept.add(answers(turn * INTERVAL, backlog({"tool": 1_000 - 20 * turn})))
    assert kept.slope(BY_TOOL, "tool") == pytest.approx(-4)
    assert kept.slope(BY_TOOL, "other") is None


def test_a_quantile_is_of_what_the_last_minute_observed() -> None:
    kept = fresh(P50)

    def observed(at: float, rates: Mapping[str, float]) -> Answers:
        of = [Increase({"le": bound}, rate * INTERVAL, rate) for bound, rate in rates.items()]
        return answers(at, {}, {"relay": {P50.series: of}})

    kept.add(observed(0, {"1.0": 4, "2.0": 4, "+Inf": 4}))
    kept.add(observed(5, {"1.0": 0, "2.0": 4, "+Inf": 4}))
    assert kept.now(P50) == pytest.approx(1.0)
    kept.add(observed(65, {"1.0": 0, "2.0": 0, "+Inf": 0}))
    assert kept.now(P50) == pytest.approx(1.5), "the first is older than a minute"
    kept.add(observed(200, {"1.0": 0, "2.0": 0, "+Inf": 0}))
    assert kept.now(P50) is None, "nothing was observed"


@pytest.mark.parametrize(
    ("buckets", "q", "value"),
    [
        ({1.0: 10, float("inf"): 10}, 0.5, 0.5),
        ({1.0: 0, 2.0: 10, float("inf"): 10}, 0.99, 1.99),
        ({1.0: 1, float("inf"): 10}, 0.99, 1.0),
        ({1.0: 0, float("inf"): 0}, 0.5, None),
        ({}, 0.5, None),
        ({float("nan"): 3}, 0.5, None),
    ],
)
def test_a_quantile_is_prometheus_s(buckets: Mapping[float, float], q: float, value: float | None) -> None:
    found = quantile(buckets, q)
    assert found is value if value is None else found == pytest.approx(value)


def test_several_instances_count_together() -> None:
    kept = fresh(GAUGE, RATE)
    kept.add(
        Answers(
            at=0,
            samples={"relay": [gauge(3)["relay"], gauge(5)["relay"]]},
            increases={"relay": [published(1)["relay"], published(2)["relay"]]},
            incomplete=(),
        )
    )
    assert kept.now(GAUGE) == 5
    assert kept.now(RATE) == 6
