"""Relay and merge stage together: holes open, are repaired from the ledger, and close. # R43"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from consent_service.clock import now_micros
from tests.integration.flow.rig import Rig, grant, refusal
from tests.support.waiting import until


@contextmanager
def merging(rig: Rig) -> Iterator[subprocess.Popen[str]]:
    process = rig.command("suppression")
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def newest(rig: Rig) -> dict[int, dict[str, Any]]:
    """The newest ListResolved of each partition."""
    codec, topic = rig.codec(), rig.topics.resolved
    return {each.partition(): codec.decode(topic, each.value()) for each in rig.records(topic)}


def whole(rig: Rig, *, since: int) -> bool:
    """Every partition is without holes and states both lanes, resolved after `since` (microseconds)."""
    found = newest(rig)
    return len(found) == 4 and all(
        each["hole"] is None
        and not each["channel_holes"]
        and (each["resolved_at"] or 0) > since
        and (each["bulk_resolved_at"] or 0) > since
        for each in found.values()
    )


def entries(rig: Rig) -> dict[bytes, dict[str, Any]]:
    codec, topic = rig.codec(), rig.topics.suppression("sms")
    return {each.key(): codec.decode(topic, each.value())["verdicts"] for each in rig.records(topic)}


def test_a_new_installation_is_whole_at_once(rig: Rig) -> None:
    with rig.relay() as relay:
        until(lambda: relay.health.readiness() == (True, []))
        with merging(rig):
            until(lambda: len(newest(rig)) == 4)
            began, since = time.monotonic(), now_micros()
            until(lambda: whole(rig, since=since - 2_000_000))
            print(f"whole {time.monotonic() - began:.1f} s after the merge began")
    assert rig.ask("SELECT count(*) FROM hole_repairs WHERE repaired_at IS NULL") == 0


def test_a_list_whose_kafka_was_wiped_is_rebuilt_from_the_ledger_without_a_command(rig: Rig) -> None:
    data = []
    for number in range(80):
        data.append(grant(subject_ref=f"person-{number}", address=f"+3363998{number:04d}"))
        if number % 2:
            data.append(refusal(subject_ref=f"person-{number}", address=f"+3363998{number:04d}"))
    rig.submit(rig.encoded(data))
    with rig.relay(), merging(rig):
        with rig.ingest():
            until(lambda: rig.ask("SELECT count(*) FROM decisions") == len(data))
        since = now_micros()
        until(lambda: whole(rig, since=since))
        before = entries(rig)
        assert len(before) == 80
    topics = rig.topics
    lists = [topics.suppression(channel) for channel in topics.channels]
    rig.recreate([topics.changes, topics.changes_bulk, topics.resolved, *lists])
    since = now_micros()
    with rig.relay(), merging(rig):
        until(lambda: whole(rig, since=since))
        assert entries(rig) == before


def test_a_changes_topic_that_was_lost_alone_opens_holes_that_are_repaired(rig: Rig) -> None:
    rig.submit(rig.encoded([refusal(address=f"+3363998{number:04d}") for number in range(40)]))
    with rig.ingest():
        until(lambda: rig.ask("SELECT count(*) FROM decisions") == 40)
    # Published, and lost before it is merged.
    with rig.relay():
        until(lambda: rig.pending() == 0)
    rig.recreate([rig.topics.changes])
    since = now_micros()
    with rig.relay(), merging(rig):
        until(lambda: whole(rig, since=since))
        assert len(entries(rig)) == 40
