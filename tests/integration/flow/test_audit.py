"""Commands that change what is in Kafka leave exactly one audit entry each: who, what, and when. # R42"""

from __future__ import annotations

import getpass
import json
import platform
from datetime import datetime
from typing import Any

from consent_kafka.topic_admin import TopicAdmin
from consent_service.clock import now_micros
from tests.integration.flow.rig import Rig, refusal
from tests.integration.flow.test_dead_letters import ADDRESS, places, put_aside
from tests.integration.flow.test_verify import merging, record

OPERATOR = f"operator:{getpass.getuser()} on {platform.node()}"


def audited(rig: Rig, *words: str, code: int = 0) -> dict[str, Any] | None:
    """The entry that a command has made; None where it made none. Fails where it made several."""
    known, began = len(entries(rig)), now_micros()
    rig.run(*words, code=code)
    made = entries(rig)[: len(entries(rig)) - known]
    if not made:
        return None
    [entry] = made
    assert entry["who"] == OPERATOR
    at = datetime.fromisoformat(entry["at"]).timestamp() * 1e6
    assert began - 1e6 <= at <= now_micros() + 1e6
    assert ADDRESS not in str(entry)  # R13
    return entry


def entries(rig: Rig) -> list[dict[str, Any]]:
    """The newest first."""
    return [json.loads(line) for line in rig.run("audit", "list").splitlines()]


def act(entry: dict[str, Any] | None) -> tuple[str, str | None, str | None]:
    """What was done, for which tenant, to what."""
    assert entry is not None
    return entry["act"], entry["tenant"], entry["object_id"]


def test_dead_letters_that_are_replayed_or_shown(rig: Rig) -> None:
    put_aside(rig)
    place = places(rig.run("dead-letters", "list", "--reason", "invalid"))[0]
    assert audited(rig, "dead-letters", "list") is None, "places and reasons are no one's data"
    shown = audited(rig, "dead-letters", "list", "--reason", "invalid", "--show")
    assert act(shown) == ("dead_letters_shown", None, "of every service, reason invalid")
    assert act(audited(rig, "dead-letters", "replay", place, "--yes")) == ("dead_letters_replayed", None, "1 named")
    rest = audited(rig, "dead-letters", "replay", "--every", "--reason", "invalid", "--yes")
    assert act(rest) == ("dead_letters_replayed", None, "of every service, reason invalid")
    assert audited(rig, "dead-letters", "replay", "--every", "--reason", "empty", code=1) is None, "there are none"


def test_what_is_published_again(rig: Rig) -> None:
    assert audited(rig, "republish", "--dry-run") is None
    assert act(audited(rig, "republish")) == ("republished", None, "everything")
    narrowed = audited(rig, "republish", "--channel", "sms", "--tenant", "acme")
    assert act(narrowed) == ("republished", "acme", "tenant acme, channel sms")


def test_lists_that_are_repaired(rig: Rig) -> None:
    with rig.relay(), merging(rig), rig.ingest():
        record(rig, refusal(address=ADDRESS))
        assert audited(rig, "verify") is None, "it only reads"
        assert act(audited(rig, "verify", "--repair")) == ("lists_repaired", None, "every channel")
        narrowed = audited(rig, "verify", "--repair", "--channel", "sms", "--tenant", "acme")
        assert act(narrowed) == ("lists_repaired", "acme", "channel sms")


def test_topics_that_are_changed(rig: Rig) -> None:
    assert audited(rig, "topics", "apply", "--yes") is None, "there is nothing to change"
    TopicAdmin(rig.kafka, wait_seconds=10).configure(rig.topics.resolved, {"segment.ms": "60000"})
    changed = audited(rig, "topics", "apply", "--yes")
    assert act(changed) == ("topics_applied", None, f"prefix {rig.topics.prefix}")
