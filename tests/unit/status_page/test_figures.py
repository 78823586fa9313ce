"""What is shown of what was observed: what is wrong, what is not known, what happened. # R39 R40"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from status_page import plots, questions
from status_page.events import Event, Facts, add, events, known
from status_page.figures import Figures, ShownDestination, figures
from status_page.history import SECONDS, Point
from status_page.observed import Answer, Observed, Silence
from status_page.questions import stages
from status_page.samples import Sample
from status_page.settings import Target
from tests.support.status_history import BEGAN, INTERVAL, TARGETS, TOPICS, observed


@pytest.fixture(scope="module")
def quiet() -> Figures:
    return figures(observed())


@pytest.fixture(scope="module")
def faulty() -> Figures:
    return figures(observed(faults=True))


def tool(shown: Figures, name: str) -> ShownDestination:
    return next(each for each in shown.destinations if each.name == name)


@pytest.mark.long
def test_a_healthy_installation_has_nothing_to_look_at(quiet: Figures) -> None:
    assert quiet.findings == []
    assert quiet.level == "good"
    assert [each.name for each in quiet.stages] == [
        *("request", "ledger", "relay", "changes", "merge", "list", "propagator", "tool", "receipt")
    ]
    assert all(line.now is not None for stage in quiet.stages for plot in stage.plots for line in plot.lines)
    assert all(line.path for stage in quiet.stages for plot in stage.plots for line in plot.lines)
    assert [each.state for each in quiet.destinations] == ["up"] * 4
    assert all(each.level == "good" for each in quiet.tiles)


@pytest.mark.long
def test_what_is_wrong_is_named_by_its_alert(faulty: Figures) -> None:
    assert {(each.alert, each.about) for each in faulty.findings} == {
        ("ProcessAbsent", "gate"),
        ("NotReady", "ingest"),
        ("PromiseBroken", "sendgrid-fr"),
        ("RevocationPending", "sendgrid-fr"),
        ("BreakerOpen", "sendgrid-fr"),
        ("DeadLetters", "ingest"),
    }
    assert tool(faulty, "sendgrid-fr").state == "down"
    assert tool(faulty, "sendgrid-fr").drain == "grows"
    assert tool(faulty, "twilio-fr").level == "good"
    assert faulty.level == "bad"


@pytest.mark.long
def test_what_waits_for_longer_than_promised_counts_as_late(quiet: Figures, faulty: Figures) -> None:
    kept = next(each for each in faulty.tiles if each.name == "kept")
    assert kept.level == "bad"
    assert kept.value == tool(faulty, "sendgrid-fr").kept
    assert kept.value is not None
    assert kept.value < 0.99
    assert tool(faulty, "twilio-fr").kept == pytest.approx(tool(quiet, "twilio-fr").kept, abs=0.01)


def test_of_what_waits_for_longer_than_promised_only_revocations_count() -> None:
    seen = Observed([Target(name="propagator", process="propagator", url="http://a:1")], stages(TOPICS), interval=5.0)
    of = {"destination": "tool", "class": "live"}
    for at, taken in ((0.0, 0.0), (5.0, 90.0)):
        latency = {**of, "channel": "sms", "action": "suppress"}
        samples = {
            "consent_relay_propagation_latency_seconds_count": [Sample(latency, taken)],
            "consent_relay_propagation_latency_seconds_bucket": [Sample({**latency, "le": "5.0"}, taken)],
            "consent_relay_propagation_oldest_pending_revocation_seconds": [Sample(of, 60.0)],
            "consent_relay_propagation_backlog": [
                Sample({**of, "kind": "suppress"}, 10.0),
                Sample({**of, "kind": "permit"}, 1_000.0),
                Sample({**of, "kind": "record"}, 1_000.0),
            ],
            "consent_relay_propagation_breaker_open": [Sample({"destination": "tool"}, 0.0)],
        }
        seen.add({"propagator": Answer(samples=samples)}, at=BEGAN + at, elapsed=at)
    assert tool(figures(seen), "tool").kept == pytest.approx(90 / 100)


@pytest.mark.parametrize(("age", "known"), [(1.0, True), (29.0, True), (31.0, False)])
def test_what_tools_have_to_learn_is_not_known_while_the_list_is_too_old(age: float, known: bool) -> None:
    targets = [Target(name=each, process=each, url=f"http://{each}:1") for each in ("propagator", "lag")]
    seen = Observed(targets, stages(TOPICS), interval=5.0)
    of = {"destination": "tool", "class": "live"}
    pushing = {
        "consent_relay_propagation_oldest_pending_revocation_seconds": [Sample(of, 0.0)],
        "consent_relay_propagation_backlog": [Sample({**of, "kind": "suppress"}, 0.0)],
        "consent_relay_propagation_breaker_open": [Sample({"destination": "tool"}, 0.0)],
    }
    listed = {"consent_relay_list_resolved_age_seconds": [Sample({"channel": "sms", "lane": "live"}, age)]}
    seen.add({"propagator": Answer(samples=pushing), "lag": Answer(samples=listed)}, at=BEGAN, elapsed=0.0)
    tiles = {each.name: each for each in figures(seen).tiles}
    assert tiles["list"].value == age
    assert (tiles["oldest"].value, tiles["backlog"].value) == ((0.0, 0.0) if known else (None, None))
    assert {tiles["oldest"].level, tiles["backlog"].level} == {"good" if known else "unknown"}


@pytest.mark.long
def test_a_stage_of_a_silent_process_has_no_answer_since(faulty: Figures) -> None:
    of_list = next(each for each in faulty.stages if each.name == "list")
    rate, latency, lag = of_list.plots
    assert latency.silent_since == BEGAN + 780
    assert latency.lines[0].now is None
    assert (rate.silent_since, lag.silent_since) == (None, None)
    assert of_list.level == "bad"


@pytest.mark.long
def test_a_backlog_that_becomes_less_is_gone_at_its_pace() -> None:
    seen = tool(figures(observed(seconds=400)), "genesys-fr")
    assert seen.drain == "drains"
    assert seen.drain_seconds == pytest.approx(395 - 330, rel=0.2)
    assert tool(figures(observed(seconds=900)), "genesys-fr").drain == "empty"


def test_an_installation_that_never_answered_is_not_known() -> None:
    shown = figures(Observed(TARGETS, stages(TOPICS), interval=INTERVAL))
    assert shown.level == "unknown"
    assert shown.destinations == []
    assert all(each.value is None for each in shown.tiles)


def test_a_process_that_never_answered_is_silent_since_it_was_first_asked() -> None:
    target = Target(name="lag", process="lag", url="http://127.0.0.1:1")
    seen = Observed([target], stages(TOPICS), interval=INTERVAL)
    for turn in range(3):
        seen.add({"lag": Silence(reason="refused")}, at=BEGAN + turn, elapsed=float(turn))
    assert seen.silent_since(["lag"]) == BEGAN
    assert [(each.kind, each.about, each.reason) for each in seen.events] == [("silent", "lag", "refused")]


def test_one_of_two_instances_that_is_silent_makes_their_figures_unknown() -> None:
    targets = [Target(name=f"relay {number}", process="relay", url=f"http://127.0.0.1:{number}") for number in (1, 2)]
    seen = Observed(targets, stages(TOPICS), interval=INTERVAL)
    age = Answer(samples={"consent_relay_holes_open": [Sample({}, 0.0)]})
    seen.add({"relay 1": age, "relay 2": age}, at=BEGAN, elapsed=0)
    seen.add({"relay 1": age, "relay 2": Silence(reason="timed_out")}, at=BEGAN + 5, elapsed=5)
    assert seen.history.now(questions.HOLES) is None
    shown = next(each for each in figures(seen).stages if each.name == "relay")
    assert shown.plots[0].silent_since == BEGAN


def test_a_group_is_behind_by_its_live_topics_as_an_import_takes_its_time() -> None:
    seen = Observed([Target(name="lag", process="lag", url="http://a:1")], stages(TOPICS), interval=5.0)

    def behind(live: float) -> list[tuple[str, str, float | None]]:
        ages = {TOPICS.changes: live, TOPICS.changes_bulk: 3_600.0, TOPICS.inbound_bulk: 3_600.0}
        of = [Sample({"group": "suppression", "topic": topic, "partition": "0"}, age) for topic, age in ages.items()]
        seen.add({"lag": Answer(samples={"consent_relay_consumer_lag_seconds": of})}, at=BEGAN + live, elapsed=live)
        return [(each.alert, each.about, each.value) for each in figures(seen).findings]

    assert behind(5.0) == []
    assert behind(70.0) == [("LagGrows", "suppression", 70.0)]
    assert figures(seen).level == "bad"


def test_an_api_for_webhooks_counts_with_the_api_and_is_named_apart() -> None:
    targets = [Target(name=name, process="api", url=f"http://{name}:1") for name in ("api", "webhooks")]
    seen = Observed(targets, stages(TOPICS), interval=INTERVAL)

    def counted(count: float) -> Answer:
        return Answer(samples={"consent_relay_api_decisions_total": [Sample({"outcome": "recorded"}, count)]})

    for elapsed, of_api, of_webhooks in ((0.0, 100.0, 7_000.0), (5.0, 150.0, 7_010.0)):
        answers = {"api": counted(of_api), "webhooks": counted(of_webhooks)}
        seen.add(answers, at=BEGAN + elapsed, elapsed=elapsed)
    request = next(each for each in figures(seen).stages if each.name == "request")
    assert request.plots[0].lines[0].now == 12.0
    seen.add({"api": counted(160.0), "webhooks": Silence(reason="refused")}, at=BEGAN + 10, elapsed=10)
    shown = figures(seen)
    assert [each.target.name for each in shown.processes] == ["api", "webhooks"]
    assert ("ProcessAbsent", "webhooks") in [(each.alert, each.about) for each in shown.findings]


def test_a_tool_that_was_down_is_not_up_because_its_process_is_silent() -> None:
    listed = frozenset({"relay"})
    before = Facts(listed=listed, down={"tool": True}, not_ready={"relay": "x"})
    now = known(before, Facts(listed=listed, down={"tool": None}, silent={"relay": "refused"}))
    assert list(events(before, now, at=1)) == [Event(at=1, kind="silent", about="relay", reason="refused")]
    after = known(now, Facts(listed=listed, down={"tool": False}))
    assert [(each.kind, each.about) for each in events(now, after, at=2)] == [
        ("answers", "relay"),
        ("ready", "relay"),
        ("up", "tool"),
    ]


def test_an_instance_that_is_gone_is_forgotten_and_one_that_came_is_counted_from_its_second_answer() -> None:
    old, new = (Target(name=f"relay 10.0.0.{at}", process="relay", url=f"http://10.0.0.{at}:1") for at in (1, 2))
    seen = Observed([old], stages(TOPICS), interval=INTERVAL)
    published = "consent_relay_outbox_published_total"
    labels = {"topic": TOPICS.changes, "outcome": "published"}

    def read(target: Target, count: float | None, elapsed: float) -> float | None:
        seen.set_instances([target])
        answer = Silence(reason="refused") if count is None else Answer(samples={published: [Sample(labels, count)]})
        seen.add({target.name: answer}, at=BEGAN + elapsed, elapsed=elapsed)
        relay = next(each for each in figures(seen).stages if each.name == "relay")
        return relay.plots[0].lines[0].now

    assert [read(old, 100.0, 0), read(old, 150.0, 5)] == [None, 10.0]
    assert read(old, None, 10) is None
    read(new, 7_000.0, 15)
    assert list(seen.processes) == [new.name]
    assert read(new, 7_020.0, 20) == pytest.approx(7.0, abs=4.0), "what it had published before is no rate of now"
    assert [(each.kind, each.about) for each in seen.events] == [("silent", old.name)], "it does not answer again"


def test_dead_letters_are_counted_by_reason() -> None:
    found = list(events(Facts(), Facts(dead_letters={("ingest", "invalid"): 3, ("ingest", "empty"): 0}), at=1))
    assert found == [Event(at=1, kind="dead_letters", about="ingest", reason="invalid", count=3)]


def test_dead_letters_of_one_reason_are_one_line() -> None:
    kept: deque[Event] = deque(maxlen=3)
    one, other = (
        Event(at=1, kind="dead_letters", about="ingest", reason=each, count=3) for each in ("invalid", "empty")
    )
    for event in (one, other, replace(one, at=9, count=4)):
        add(kept, event)
    assert [(each.at, each.reason, each.count) for each in kept] == [(9, "invalid", 7), (1, "empty", 3)]
    for at in range(5):
        add(kept, Event(at=at, kind="silent", about="relay"))
    assert len(kept) == 3


def test_a_tool_is_held_once_it_has_been_so_for_a_minute() -> None:
    seen = Observed([Target(name="propagator", process="propagator", url="http://a:1")], stages(TOPICS), interval=5.0)

    def read(seconds: int, verified: float) -> Figures:
        name = {"destination": "tool"}
        samples = {
            "consent_relay_propagation_breaker_open": [Sample(name, 0.0)],
            "consent_relay_propagation_destination_verified": [Sample(name, verified)],
        }
        for at in range(seconds, seconds + 60, 5):
            seen.add({"propagator": Answer(samples=samples)}, at=BEGAN + at, elapsed=float(at))
        return figures(seen)

    begun = read(0, 0.0)
    assert (begun.destinations[0].state, begun.findings) == ("unverified", [])
    held = read(60, 0.0)
    assert (held.destinations[0].state, [each.alert for each in held.findings]) == ("held", ["DestinationHeld"])
    assert read(120, 1.0).destinations[0].state == "up"
    assert [(each.kind, each.about) for each in seen.events] == [("taken", "tool"), ("held", "tool")]


def test_a_takeover_is_no_absence_of_senders() -> None:
    seen = Observed([Target(name="propagator", process="propagator", url="http://a:1")], stages(TOPICS), interval=5.0)
    found = {}
    for at in range(0, 200, 5):
        sends = 0.0 if at >= 100 else 1.0
        answer = Answer(samples={"consent_relay_propagation_active_sender": [Sample({"propagator": "crm"}, sends)]})
        seen.add({"propagator": answer}, at=BEGAN + at, elapsed=float(at))
        found[at] = [each.alert for each in figures(seen).findings]
    assert found[155] == []
    assert found[165] == ["NoActiveSender"]


def test_a_propagator_without_an_active_sender_is_not_hidden_by_another() -> None:
    targets = [Target(name=f"propagator {at}", process="propagator", url=f"http://a:{at}") for at in (1, 2, 3)]
    seen = Observed(targets, stages(TOPICS), interval=5.0)
    for at in range(0, 100, 5):
        sends = {"propagator 1": ("crm", 1.0), "propagator 2": ("sms", 0.0), "propagator 3": ("sms", 0.0)}
        read = {
            name: Answer(samples={"consent_relay_propagation_active_sender": [Sample({"propagator": of}, value)]})
            for name, (of, value) in sends.items()
        }
        seen.add(read, at=BEGAN + at, elapsed=float(at))
    assert [(each.alert, each.about) for each in figures(seen).findings] == [("NoActiveSender", "sms")]


DAY = 86_400.0


@dataclass(frozen=True, kw_only=True)
class Case:
    """``before`` and ``now``: what the series held when it was read, the second time 5 s later. ``found``: what it is
    about, and the number; None: nothing to look at."""

    process: str
    metric: str
    now: float
    before: float = 0.0
    labels: Mapping[str, str] = field(default_factory=dict)
    beside: Mapping[str, float] = field(default_factory=dict)
    alert: str = ""
    about: str = ""
    value: float | None = None


def webhooks(outcome: str, **of: Any) -> Case:
    labels = {"source": "twilio-fr", "outcome": outcome}
    return Case(process="api", metric="api_inbound_webhooks_total", labels=labels, now=3, **of)


def events_of_tool(outcome: str, **of: Any) -> Case:
    labels = {"source": "twilio-fr", "outcome": outcome}
    return Case(process="api", metric="api_inbound_events_total", labels=labels, now=3, **of)


def disk(free: float, **of: Any) -> Case:
    size = {"state_disk_size_bytes": 1_000.0}
    return Case(process="propagator", metric="state_disk_free_bytes", now=free, before=free, beside=size, **of)


@pytest.mark.parametrize(
    "case",
    [
        Case(
            process="ingest",
            metric="ingest_skipped_records_total",
            labels={"topic": "t"},
            now=7,
            alert="RecordsDeletedUnread",
            about="t",
            value=7,
        ),
        Case(
            process="propagator",
            metric="stream_skipped_records_total",
            labels={"topic": "t", "stream": "s"},
            now=7,
            alert="RecordsDeletedUnread",
            about="t",
            value=7,
        ),
        Case(process="ingest", metric="ingest_skipped_records_total", labels={"topic": "t"}, before=7, now=7),
        Case(
            process="relay",
            metric="scrub_differences_total",
            labels={"kind": "wrong_verdict"},
            now=1,
            alert="ListDiffers",
            about="wrong_verdict",
            value=1,
        ),
        Case(process="relay", metric="scrub_differences_total", labels={"kind": "marked"}, now=1),
        Case(
            process="relay",
            metric="scrub_last_pass_age_seconds",
            now=3 * DAY,
            alert="ListNotCompared",
            value=3 * DAY,
        ),
        Case(process="relay", metric="scrub_last_pass_age_seconds", now=DAY),
        Case(process="gate", metric="gate_clock_lead_seconds", now=1.5, alert="ClockSkew", about="gate", value=1.5),
        Case(process="relay", metric="outbox_clock_offset_seconds", now=-4, alert="ClockSkew", about="relay", value=4),
        Case(process="api", metric="api_clock_offset_seconds", now=-0.2),
        webhooks("bad_signature", alert="WebhooksRefused", about="twilio-fr", value=3),
        webhooks("unsigned", alert="WebhooksRefused", about="twilio-fr", value=3),
        webhooks("accepted"),
        webhooks("replayed"),
        events_of_tool("no_address", alert="OptOutsNotRecorded", about="twilio-fr", value=3),
        events_of_tool("withdrawn"),
        Case(
            process="api",
            metric="rights_requests_oldest_age_seconds",
            labels={"kind": "access"},
            now=21 * DAY,
            alert="RightsRequestDueSoon",
            about="access",
            value=21 * DAY,
        ),
        Case(process="api", metric="rights_requests_oldest_age_seconds", labels={"kind": "access"}, now=19 * DAY),
        Case(
            process="gate",
            metric="gate_register_stale_at_timestamp_seconds",
            labels={"register": "tps"},
            now=BEGAN - 60,
            alert="RegisterStale",
            about="gate (tps)",
            value=-65,
        ),
        Case(
            process="api",
            metric="api_register_stale_at_timestamp_seconds",
            labels={"register": "tps"},
            now=0,
            alert="RegisterStale",
            about="api (tps)",
            value=-BEGAN - 5,
        ),
        Case(
            process="api",
            metric="api_register_stale_at_timestamp_seconds",
            labels={"register": "tps"},
            now=BEGAN + DAY,
        ),
        Case(process="api", metric="api_pause_failures_total", now=2, alert="PausesDoNotEnd", value=2),
        Case(process="api", metric="api_pause_failures_total", before=2, now=2),
        Case(
            process="gate",
            metric="secret_file_reload_errors_total",
            labels={"secret": "api-keys"},
            now=5,
            alert="SecretUnreadable",
            about="gate (api-keys)",
            value=1,
        ),
        Case(process="gate", metric="secret_file_reload_errors_total", labels={"secret": "api-keys"}, before=5, now=5),
        Case(
            process="relay",
            metric="secret_file_valid_until_timestamp_seconds",
            labels={"secret": "kafka-certificate"},
            now=BEGAN + 5 + 10 * DAY,
            alert="CertificateEnds",
            about="relay (kafka-certificate)",
            value=10 * DAY,
        ),
        Case(
            process="relay",
            metric="secret_file_valid_until_timestamp_seconds",
            labels={"secret": "kafka-certificate"},
            now=BEGAN + 30 * DAY,
        ),
        Case(
            process="api",
            metric="access_tokens_refused_total",
            labels={"reason": "unknown_key"},
            now=11,
            alert="AccessTokensRefused",
            about="api (unknown_key)",
            value=11,
        ),
        Case(process="api", metric="access_tokens_refused_total", labels={"reason": "unknown_key"}, now=10),
        Case(process="api", metric="access_tokens_refused_total", labels={"reason": "expired"}, now=500),
        disk(99, alert="StateDiskFull", about="propagator", value=0.099),
        disk(300),
    ],
    ids=lambda case: f"{case.metric} {case.now:g} {case.alert}",
)
def test_what_breaks_the_limit_of_an_alert_is_a_finding(case: Case) -> None:
    seen = Observed([Target(name=case.process, process=case.process, url="http://a:1")], stages(TOPICS), interval=5.0)
    for at, value in ((0.0, case.before), (5.0, case.now)):
        read = {f"consent_relay_{case.metric}": [Sample(case.labels, value)]}
        read |= {f"consent_relay_{name}": [Sample({}, other)] for name, other in case.beside.items()}
        seen.add({case.process: Answer(samples=read)}, at=BEGAN + at, elapsed=at)
    found = [(each.alert, each.about, each.value) for each in figures(seen).findings]
    assert found == ([(case.alert, case.about, pytest.approx(case.value))] if case.alert else [])


def test_a_disk_is_a_share_of_its_own_size_and_the_fullest_counts() -> None:
    targets = [Target(name=f"suppression {at}", process="suppression", url=f"http://a:{at}") for at in (1, 2)]
    seen = Observed(targets, stages(TOPICS), interval=5.0)
    disks = {"suppression 1": (50.0, 100.0), "suppression 2": (60.0, 1_000.0)}
    read = {
        name: Answer(
            samples={
                "consent_relay_state_disk_free_bytes": [Sample({}, free)],
                "consent_relay_state_disk_size_bytes": [Sample({}, size)],
            }
        )
        for name, (free, size) in disks.items()
    }
    seen.add(read, at=BEGAN, elapsed=0.0)
    found = [(each.alert, each.about, each.value) for each in figures(seen).findings]
    assert found == [("StateDiskFull", "suppression", pytest.approx(0.06))]


def test_webhooks_of_a_source_do_not_mark_the_tool_of_that_name() -> None:
    targets = [Target(name=name, process=name, url=f"http://{name}:1") for name in ("api", "propagator")]
    seen = Observed(targets, stages(TOPICS), interval=5.0)
    of_source = {"source": "twilio-fr", "outcome": "bad_signature"}
    for at in (0.0, 5.0):
        refused = {"consent_relay_api_inbound_webhooks_total": [Sample(of_source, at)]}
        up = {
            f"consent_relay_propagation_{name}": [Sample({"destination": "twilio-fr"}, value)]
            for name, value in (("breaker_open", 0.0), ("destination_verified", 1.0))
        }
        seen.add({"api": Answer(samples=refused), "propagator": Answer(samples=up)}, at=BEGAN + at, elapsed=at)
    shown = figures(seen)
    assert [(each.alert, each.about) for each in shown.findings] == [("WebhooksRefused", "twilio-fr")]
    assert shown.level == "attention"
    assert tool(shown, "twilio-fr").level == "good"


def test_a_plot_hides_no_peak_and_draws_nothing_where_nothing_is_known() -> None:
    points = [Point(float(at), None if 300 <= at < 400 else 9.0 if at == 500 else 1.0) for at in range(0, 900, 5)]
    columns = plots.columns(points, until=899.0, seconds=SECONDS, interval=INTERVAL, mean=False)
    assert max(each for each in columns if each is not None) == 9
    assert columns.count(None) == pytest.approx(10, abs=1)
    path = plots.path(columns, top=plots.top_of([columns], None))
    assert path.count("M") == 2


@pytest.mark.long
def test_the_first_minutes_fill_the_plots() -> None:
    shown = figures(observed(seconds=200))
    assert shown.seconds == 195
    path = shown.stages[0].plots[0].lines[0].path
    assert path.startswith("M")
    assert path.count("M") == 1, "no gaps between points"
    assert float(path.split("h")[0].removeprefix("M").split()[0]) < 20
    assert figures(observed(seconds=20)).seconds == 120


def test_what_is_older_than_a_quarter_of_an_hour_is_not_drawn() -> None:
    old = [Point(0.0, 1.0)]
    found = plots.columns(old, until=SECONDS + 1, seconds=SECONDS, interval=INTERVAL, mean=True)
    assert found == [None] * 90


def test_a_limit_is_drawn_where_the_values_come_near_to_it() -> None:
    assert plots.top_of([[1.0]], 30.0) == 1.0
    assert plots.top_of([[12.0]], 30.0) == pytest.approx(33)
    assert plots.top_of([[80.0]], 30.0) == 80
