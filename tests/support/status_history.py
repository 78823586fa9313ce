"""Fifteen minutes of an installation, as the status page would have read them: quiet, busy, and with a tool down."""

from __future__ import annotations

import math
from collections.abc import Iterator

from consent_contracts.topics import Topics
from status_page.observed import Answer, Observed, Silence
from status_page.questions import stages
from status_page.samples import Sample, Samples
from status_page.settings import PROCESSES, Target

INTERVAL = 5.0
TOPICS = Topics()
TARGETS = tuple(
    Target(name=name, process=name, url=f"http://127.0.0.1:{9464 + at}") for at, name in enumerate(PROCESSES)
)
TOOLS = ("crm-webhook", "genesys-fr", "sendgrid-fr", "twilio-fr")
BEGAN = 1_790_000_000.0
_BUCKETS = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2, 3, 5, 10, 30, math.inf)


def observed(*, seconds: float = 900.0, faults: bool = False) -> Observed:
    """All processes answer for so long. ``faults``: then a tool is down, a process is silent, and letters are dead."""
    found = Observed(TARGETS, stages(TOPICS), interval=INTERVAL)
    for turn in range(int(seconds / INTERVAL)):
        at = turn * INTERVAL
        read: dict[str, Answer | Silence] = {
            name: Answer(samples=_samples(name, at, faults=faults and at > 600)) for name in PROCESSES
        }
        if faults and at > 780:
            read["gate"] = Silence(reason="refused")
            read["ingest"] = Answer(
                samples=_samples("ingest", at, faults=True), not_ready="database: does not answer for 41 s"
            )
        found.add(read, at=BEGAN + at, elapsed=at)
    return found


def _samples(process: str, at: float, *, faults: bool) -> Samples:
    found: dict[str, list[Sample]] = {}
    for name, value, labels in _series(process, at, faults=faults):
        found.setdefault(f"consent_relay_{name}", []).append(Sample(labels, value))
    return found


Series = Iterator[tuple[str, float, dict[str, str]]]


def _series(process: str, at: float, *, faults: bool) -> Series:
    # The integral of a rate that rises and falls.
    count = 12 * at + 400 * (1 - math.cos(at / 90))
    imported = 200 * max(0.0, min(at, 420) - 240)
    topics = {"live": TOPICS.changes, "bulk": TOPICS.changes_bulk}
    match process:
        case "api":
            yield "api_decisions_total", count, {"channel": "sms", "class": "live", "outcome": "recorded"}
            yield "api_decisions_total", count / 50, {"channel": "sms", "class": "live", "outcome": "refused"}
            yield from _histogram("api_request_seconds", count, 0.02, {"route": "/v1/decisions", "status": "201"})
            yield "api_inbound_resolved_age_seconds", 0.8 + math.sin(at / 9) / 3, {"lane": "live"}
            yield "api_outbox_oldest_age_seconds", 0.3 + math.sin(at / 7) / 4, {"lane": "live"}
            yield "rights_requests_overdue", 0, {"kind": "access"}
        case "relay":
            for lane, published in (("live", count), ("bulk", imported)):
                yield "outbox_published_total", published, {"topic": topics[lane], "outcome": "published"}
                yield from _histogram("outbox_batch_seconds", published / 8, 0.012, {"lane": lane})
        case "ingest":
            of = {"topic": TOPICS.inbound, "outcome": "recorded"}
            yield "ingest_records_total", count / 2 + imported, of
            yield from _histogram("ingest_batch_seconds", count / 20, 0.02, {"topic": TOPICS.inbound})
            yield from _histogram("ingest_batch_seconds", count / 20, 0.01, {"topic": TOPICS.receipts})
            letters = {"service": "consent-api", "topic": TOPICS.inbound, "reason": "undecodable"}
            yield "dead_letters_total", 7 if faults else 0, letters
            if faults:
                yield "dead_letters_last_offset", 71, {**letters, "partition": "2"}
                yield "dead_letters_last_timestamp_seconds", BEGAN + 600, {**letters, "partition": "2"}
        case "suppression":
            for lane, merged in (("live", count), ("bulk", imported)):
                yield "stream_records_total", merged, {"stream": "changes", "topic": topics[lane]}
                yield "suppression_records_total", merged, {"lane": lane, "outcome": "merged"}
                yield "suppression_resolved_age_seconds", 1.1 + math.sin(at / 8) / 2, {"partition": "0", "lane": lane}
            yield from _histogram("suppression_transaction_seconds", count / 10, 0.04, {})
            yield "suppression_entries_written_total", count + imported, {"channel": "sms"}
        case "gate":
            yield from _histogram("gate_check_seconds", count * 3, 0.004, {"size": "one"})
            yield "gate_view_usable", 1, {"channel": "sms"}
        case "lag":
            yield "list_resolved_age_seconds", 1.6 + math.sin(at / 8) / 2, {"partition": "0", "lane": "live"}
            yield "list_resolved_age_seconds", 2.0, {"partition": "0", "lane": "inbound_live"}
            yield "consumer_lag_scrape_age_seconds", 1.0, {}
            groups = {
                "suppression": TOPICS.changes,
                "consent-api-inbound": TOPICS.inbound,
                "consent-api-receipts": TOPICS.receipts,
            }
            for group, topic in groups.items():
                of = {"group": group, "topic": topic, "partition": "0"}
                yield "consumer_lag_seconds", abs(math.sin(at / 11)) / 2, of
                yield "consumer_lag_records", round(30 * abs(math.sin(at / 11))), of
        case _:
            yield "propagation_active_sender", 1, {"propagator": "default"}
            for number, tool in enumerate(TOOLS):
                yield from _of_tool(tool, number, at, count / 4, is_down=faults and tool == "sendgrid-fr")


def _of_tool(tool: str, number: int, at: float, count: float, *, is_down: bool) -> Series:
    name = {"destination": tool}
    done = count if not is_down else (12 * 600 + 400 * (1 - math.cos(600 / 90))) / 4
    filled = max(0.0, 9_000 - 40 * max(0.0, at - 240)) if number == 1 and at > 240 else 0.0
    yield "propagation_breaker_open", float(is_down), name
    yield "propagation_destination_verified", 1, name
    yield "propagation_destination_paused", 0, name
    yield "propagation_impossible_revocations", 0, name
    yield "propagation_quarantined_targets", 0, name
    yield "propagation_delivered_until_timestamp_seconds", BEGAN + (600 if is_down else at - 1.5), name
    pending = at - 600 if is_down else max(0.0, math.sin(at / 13))
    yield "propagation_oldest_pending_revocation_seconds", pending, {**name, "class": "live"}
    yield "propagation_backlog", 3 * pending, {**name, "class": "live", "kind": "suppress"}
    yield "propagation_backlog", filled, {**name, "class": "bulk", "kind": "suppress"}
    yield "propagation_pushes_total", done, {**name, "action": "suppress", "outcome": "accepted"}
    yield "propagation_calls_total", done / 5, {**name, "result": "ok"}
    yield "propagation_calls_total", max(0.0, at - 600) / 3 if is_down else 0.0, {**name, "result": "down"}
    yield "propagation_retries_total", max(0.0, at - 600) / 3 if is_down else 0.0, name
    yield "propagation_receipts_total", done, {**name, "stage": "accepted"}
    labels = {**name, "channel": "sms", "class": "live", "action": "suppress"}
    yield from _histogram("propagation_latency_seconds", done, 0.6 + number / 2, labels)


def _histogram(name: str, count: float, typical: float, labels: dict[str, str]) -> Series:
    for bound in _BUCKETS:
        share = 1.0 if math.isinf(bound) else 1 - math.exp(-bound / typical * 2)
        yield f"{name}_bucket", count * share, {**labels, "le": "+Inf" if math.isinf(bound) else str(float(bound))}
    yield f"{name}_count", count, labels
