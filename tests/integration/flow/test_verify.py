"""The lists compared with the ledger on a running system: every kind of difference is found and repaired. # R64"""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import text

from consent_api.operations.verify import scrub
from consent_contracts import AddressEntry, Decision, entry_to_avro
from consent_contracts.partitioner import partition_of
from consent_kafka import clients
from consent_privacy.keyring import Keyring
from consent_service.clock import now_micros
from tests.integration.flow.rig import TENANT, Rig, grant, refusal
from tests.integration.flow.test_holes_end_to_end import merging, whole
from tests.support.waiting import until


@pytest.fixture(autouse=True)
def no_scrub_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a relay repairs nothing before the command has seen it; one with a shorter period begins at once."""
    monkeypatch.setattr(scrub, "START_DELAY_SECONDS", 3_600.0)


def address(number: int) -> str:
    return f"+3363998{number:04d}"


@dataclass
class Lists:
    """Writes what it likes to the list topic, as anybody with access could."""

    rig: Rig
    keyring: Keyring

    def __post_init__(self) -> None:
        self.codec = self.rig.codec()
        self.topic = self.rig.topics.suppression("sms")
        self.producer = clients.producer(self.rig.kafka)

    def key(self, number: int) -> str:
        return self.keyring.address_key(TENANT, "sms", address(number))

    def put(self, number: int, value: bytes | None, *, partition: int | None = None) -> None:
        key = self.key(number).encode()
        at = partition_of(key, 4) if partition is None else partition
        self.producer.produce(self.topic, value, key, at)
        assert self.producer.flush(10) == 0

    def put_in_a_transaction(self, number: int, value: bytes | None) -> None:
        producer: Any = clients.transactional_producer(self.rig.kafka, uuid4().hex)
        producer.init_transactions(20)
        producer.begin_transaction()
        key = self.key(number).encode()
        producer.produce(self.topic, value, key, partition_of(key, 4))
        producer.commit_transaction(20)

    def entry(self, number: int, *decisions: Decision, verdicts_of: Any = None, **fields: Any) -> bytes:
        key = self.key(number)
        whole_entry = AddressEntry(
            **{
                "tenant": TENANT,
                "channel": "sms",
                "address_key": key,
                "sealed_address": self.keyring.seal(key, address(number)),
                "decisions": decisions,
                **fields,
            }
        )
        datum = entry_to_avro(whole_entry, now_micros())
        if verdicts_of is not None:
            datum["verdicts"] = verdicts_of
        return self.codec.encode(self.topic, datum)

    def stored(self, number: int) -> dict[str, Any]:
        """The newest entry, decoded; `decisions` by status and purpose, `permits`."""
        key = self.key(number).encode()
        [*values] = [each.value() for each in self.rig.records(self.topic) if each.key() == key]
        return self.codec.decode(self.topic, values[-1])

    def permits(self, number: int, purpose: str = "newsletter") -> bool:
        verdicts = self.stored(number)["verdicts"]
        return bool(verdicts.get(purpose, verdicts["*"])["permitted"])

    def history(self, number: int) -> list[bytes]:
        """All entries that the topic holds of an address, the oldest first."""
        key = self.key(number).encode()
        return [each.value() for each in self.rig.records(self.topic) if each.key() == key]


def permission(at: int, **fields: Any) -> Decision:
    return Decision(
        **{
            "decision_id": str(uuid4()),
            "subject_ref": "p0",
            "purpose": "newsletter",
            "status": "given",
            "effective_at": at,
            "recorded_at": at,
            **fields,
        }
    )


def verify(rig: Rig, *words: str, code: int = 0) -> list[dict[str, Any]]:
    """The differences, as the command prints them, and its summary last."""
    ended = rig.invoke("verify", "--json", *words)
    assert ended.exit_code == code, f"exit code {ended.exit_code}: {ended.output}"
    return [json.loads(line) for line in ended.stdout.splitlines()]


def differences(rig: Rig, *words: str) -> dict[str, set[str]]:
    """Kinds of the differences by address key; the exit code is 1 if there are any."""
    ended = rig.invoke("verify", "--json", *words)
    *lines, _ = [json.loads(line) for line in ended.stdout.splitlines()]
    assert ended.exit_code == (1 if lines else 0), f"exit code {ended.exit_code}: {ended.output}"
    found: dict[str, set[str]] = {}
    for line in lines:
        found.setdefault(line["address_key"], set()).add(line["kind"])
    return found


def record(rig: Rig, *data: dict[str, Any]) -> None:
    """Recorded, published and merged."""
    before = rig.ask("SELECT count(*) FROM decisions")
    rig.submit(rig.encoded(list(data)))
    until(lambda: rig.ask("SELECT count(*) FROM decisions") == before + len(data))
    settle(rig)


def settle(rig: Rig) -> None:
    since = now_micros()
    until(lambda: whole(rig, since=since), seconds=60)


@contextmanager
def restartable(rig: Rig) -> Iterator[list[subprocess.Popen[str]]]:
    """The merge, without the state of its predecessor after a restart."""
    running: list[subprocess.Popen[str]] = []
    with merging(rig) as first:
        running.append(first)
        yield running
        for later in running[1:]:
            later.kill()
            later.communicate()


def restart(rig: Rig, running: list[subprocess.Popen[str]]) -> None:
    running[-1].kill()
    running[-1].communicate()
    running.append(rig.elsewhere(state_dir=rig.state_dir / uuid4().hex).command("suppression"))
    settle(rig)


PEOPLE = 8
KINDS = {
    0: "unreadable_entry",
    1: "missing_entry",
    2: "older_decision",
    3: "permission_without_ledger",
    4: "wrong_verdict",
    5: "missing_decision",
    6: "wrong_address",
    7: "",
}


def spoil(lists: Lists, now: int) -> None:
    """One address a kind; each person has given a permission and withdrawn it."""
    lists.put(0, b"garbage")
    lists.put_in_a_transaction(1, None)
    lists.put(2, lists.history(2)[0])
    lists.put(3, lists.entry(3, permission(now)))
    right = lists.stored(4)
    forged = {"permitted": True, "reason": "given", "since": now, "expires_at": None, "decision_id": str(uuid4())}
    lists.put(4, lists.codec.encode(lists.topic, {**right, "verdicts": {"*": forged}}))
    right = lists.stored(5)
    lists.put(5, lists.codec.encode(lists.topic, {**right, "decisions": [], "verdicts": {"*": UNKNOWN}}))
    lists.put(6, lists.entry(6, permission(now), tenant="umbrella"))


UNKNOWN = {"permitted": False, "reason": "unknown", "since": None, "expires_at": None, "decision_id": None}


@pytest.mark.parametrize("restarted", [False, True], ids=["while the merge runs", "and the merge restarts"])
def test_every_kind_of_difference_is_found_and_repaired(rig: Rig, keyring: Keyring, restarted: bool) -> None:
    lists = Lists(rig, keyring)
    people = range(PEOPLE)
    with rig.relay(), restartable(rig) as running, rig.ingest():
        record(rig, *(grant(subject_ref=f"p{n}", address=address(n)) for n in people))
        record(rig, *(refusal(subject_ref=f"p{n}", address=address(n)) for n in people))
        assert differences(rig) == {}
        spoil(lists, now_micros())
        if restarted:
            restart(rig, running)
        found = differences(rig, "--repair")
        for number, kind in KINDS.items():
            if kind:
                assert kind in found.get(lists.key(number), set()), (number, found)
        assert set(found) == {lists.key(number) for number, kind in KINDS.items() if kind}
        settle(rig)
        until(lambda: rig.ask("SELECT count(*) FROM outbox_bulk") == 0)
        left = verify(rig)
        kinds = {(line["address_key"], line["kind"]) for line in left[:-1]}
        if restarted:
            # What was garbage when the merge restarted may have held a refusal: older permissions stay void.
            assert kinds == {(lists.key(0), "marked")}
        else:
            assert kinds == set()
        for number in people:
            assert not lists.permits(number), number
        assert rig.ask("SELECT count(*) FROM decisions WHERE status = 'invalidated'") == 1


ENDED = """
SELECT subject_ref, source_system, spreads, evidence->>'capture_method'
FROM decisions JOIN subjects USING (subject_id) WHERE status = 'invalidated' ORDER BY subject_ref
"""
HOW = "verification: the list held a permission that the ledger does not"


def test_a_permission_that_no_person_gave_is_ended_in_the_ledger(rig: Rig, keyring: Keyring) -> None:
    """Of a known address, of one that the ledger has never seen, and of one that even the seal does not reveal."""
    lists = Lists(rig, keyring)
    now = now_micros()
    with rig.relay(), restartable(rig) as running, rig.ingest():
        record(rig, refusal(subject_ref="p1", address=address(1), purpose="survey"))
        lists.put(1, lists.entry(1, permission(now, subject_ref="p1")))
        lists.put(2, lists.entry(2, permission(now)))
        lists.put(3, lists.entry(3, permission(now), sealed_address=None))
        lists.put(4, lists.entry(4, permission(now, status="withdrawn")))
        lists.put(5, lists.entry(5, permission(now + 3_600_000_000)))
        restart(rig, running)
        assert lists.permits(1)
        assert lists.permits(2)
        found = differences(rig, "--repair")
        assert {number for number in range(1, 5) if "permission_without_ledger" in found[lists.key(number)]} == {
            1,
            2,
            3,
        }
        assert found[lists.key(4)] == {"refusal_without_ledger"}
        settle(rig)
        assert not any(lists.permits(number) for number in range(1, 5))
        left = verify(rig, code=1)
        assert {(line["address_key"], line["kind"]) for line in left[:-1]} == {
            (lists.key(3), "marked"),
            (lists.key(4), "refusal_without_ledger"),
            (lists.key(5), "permission_without_ledger"),
            (lists.key(5), "marked"),
        }, "a refusal stays, and so does what is dated ahead of now: both are alerts"
    with rig.owner.connect() as connection:
        ended = connection.execute(text(ENDED)).all()
    assert [tuple(row) for row in ended] == [
        ("p0", "consent-relay", False, HOW),
        ("p1", "consent-relay", False, HOW),
    ]


def test_decisions_that_are_on_their_way_are_no_difference(rig: Rig) -> None:
    """An import and live decisions of the same people go on while the command runs, again and again."""
    stop = threading.Event()

    def submit() -> None:
        for number in count():
            some = [
                (grant if (number + n) % 3 else refusal)(subject_ref=f"p{n}", address=address(n)) for n in range(40)
            ]
            rig.submit(rig.encoded(some[:20]))
            rig.submit(rig.encoded(some[20:]), topic=rig.topics.inbound_bulk)
            if stop.wait(0.2):
                return

    with rig.relay(), merging(rig), rig.ingest():
        settle(rig)
        submitting = threading.Thread(target=submit)
        submitting.start()
        try:
            for _ in range(3):
                *found, summary = verify(rig)
                assert found == []
        finally:
            stop.set()
            submitting.join()
        assert summary["undecided"] == 0
        settle(rig)
        *found, summary = verify(rig)
        assert (found, summary["compared"]) == ([], 40)


def test_an_address_is_undecided_while_the_list_does_not_get_as_far_as_the_ledger(rig: Rig) -> None:
    with rig.relay(), rig.ingest():
        with merging(rig):
            record(rig, refusal(address=address(1)))
        rig.submit(rig.encoded([refusal(address=address(2))]))
        until(lambda: rig.ask("SELECT count(*) FROM decisions") == 2)
        *found, summary = verify(rig, "--wait", "1", code=2)
        assert (found, summary["undecided"]) == ([], 1)


def test_an_entry_in_the_wrong_partition_is_found(rig: Rig, keyring: Keyring) -> None:
    """A producer of another language chooses another partition for the same key: which entry counts is then chance."""
    lists = Lists(rig, keyring)
    with rig.relay(), merging(rig), rig.ingest():
        record(rig, refusal(address=address(1)))
        right = partition_of(lists.key(1).encode(), 4)
        lists.put(1, lists.history(1)[0], partition=(right + 1) % 4)
        assert differences(rig) == {lists.key(1): {"wrong_address"}}


def test_one_channel_or_tenant_can_be_compared(rig: Rig, keyring: Keyring) -> None:
    lists = Lists(rig, keyring)
    with rig.relay(), merging(rig), rig.ingest():
        record(rig, refusal(address=address(1)), refusal(address="ann@example.com", channel="email"))
        lists.put(1, None)
        assert differences(rig, "--channel", "email") == {}
        assert differences(rig, "--channel", "sms") == {lists.key(1): {"missing_entry"}}
        assert differences(rig, "--tenant", TENANT) == {lists.key(1): {"missing_entry"}}
        assert "no hash keys" in rig.run("verify", "--tenant", "umbrella", code=2)
        assert "sms, email, voice" in rig.run("verify", "--channel", "fax", code=2)
        assert "missing_entry" in rig.run("verify", code=1)


def test_the_relay_compares_and_repairs_by_itself(rig: Rig, keyring: Keyring, caplog: pytest.LogCaptureFixture) -> None:
    lists = Lists(rig, keyring)
    with rig.relay() as quiet, merging(rig), rig.ingest():
        record(rig, *(refusal(subject_ref=f"p{n}", address=address(n)) for n in range(20)))
        assert quiet.metric("consent_relay_scrub_compared_addresses_total") == 0
        lists.put(3, lists.entry(3, permission(now_micros())))
        lists.put(4, None)
        with rig.relay(scrub_days=1 / 86_400) as relay:
            until(lambda: relay.metric("consent_relay_scrub_differences_total", kind="missing_entry"), seconds=60)
            until(lambda: relay.metric("consent_relay_scrub_repairs_total", kind="missing_entry"))
            until(lambda: relay.metric("consent_relay_scrub_repairs_total", kind="permission_without_ledger"))
            until(lambda: not lists.permits(3) and lists.history(4)[-1] is not None)
            settle(rig)
            completed = "SELECT coalesce(max(completed_at), 0) FROM list_scrub"
            before = rig.ask(completed)
            until(lambda: rig.ask(completed) > before, seconds=60)
            until(lambda: relay.metric("consent_relay_scrub_last_pass_age_seconds") < 60)
            until(lambda: relay.metric("consent_relay_scrub_compared_addresses_total") >= 40, seconds=60)
            assert relay.health.readiness() == (True, [])
    kinds = {each.kind for each in caplog.records if each.message == "an entry of the list differs from the ledger"}
    assert {"missing_entry", "permission_without_ledger"} <= kinds
    assert verify_after(rig) == {}


def verify_after(rig: Rig) -> dict[str, set[str]]:
    with rig.relay(), merging(rig):
        settle(rig)
        return differences(rig)


def test_one_of_two_relays_compares(rig: Rig) -> None:
    with rig.relay(scrub_days=1 / 86_400) as one, rig.relay(scrub_days=1 / 86_400) as other:
        until(lambda: rig.ask("SELECT count(*) FROM list_scrub WHERE completed_at IS NOT NULL"), seconds=60)
        taken_by = rig.ask("SELECT taken_by FROM list_scrub")
        until(lambda: one.metric(COVERAGE) > 0 and other.metric(COVERAGE) > 0, seconds=60)
        assert rig.ask("SELECT taken_by FROM list_scrub") == taken_by


COVERAGE = "consent_relay_scrub_coverage_ratio"
