"""No answer is younger than the ledger it reflects, whatever the order of records, reads and clocks (R4, R55, R63)."""

from __future__ import annotations

from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consent_client import Answer, Checker, ResolvedTimestamps, SuppressionView
from consent_client.answers import VALID_MICROS, Question
from consent_client.freshness import Freshness
from consent_client.snapshot import ListSnapshot
from consent_client.view import ListReading
from consent_contracts.codec import Codec
from consent_contracts.partitioner import partition_of
from consent_contracts.topics import Topics
from consent_contracts.verdict import Verdict
from consent_kafka.position import Position
from consent_kafka.resolved import ListEnd, ListResolved, Recency, StalenessLimits
from consent_privacy.keyring import Key, Keyring

SECOND = 1_000_000
START = 1_790_000_000 * SECOND
LIMITS = StalenessLimits(live=10 * SECOND, inbound=20 * SECOND, bulk=40 * SECOND)
PARTITIONS = 2
TOPIC = Topics().suppression("sms")
KEYRING = Keyring(
    seal_keys=[Key(id="s1", secret=bytes(32))], hash_keys={"acme": [Key(id="h1", secret=bytes(32), primary=True)]}
)
HASHER = KEYRING.hashers("acme", "sms")[0]
PHONES = [f"+3363998{number:04}" for number in range(6)]


class FakeFeed:
    """Positions that a test sets."""

    partitions = PARTITIONS

    def __init__(self, topic_id: str) -> None:
        self.topic_id = topic_id
        self.offsets = [0] * PARTITIONS
        self.freshness = Freshness(PARTITIONS)

    def position(self, partition: int) -> Position:
        return Position(self.topic_id, self.offsets[partition])


class World:
    """A ledger, a list and a reader of it, moved step by step. Times in micros; `true` is the time that is right."""

    def __init__(self) -> None:
        self.true = START
        self.slept = 0
        self.off = 0
        self.topic_id = "id-1"
        self.ledger: list[tuple[int, str]] = []
        """Each decision: when it was acknowledged, and whose it is, in order of both."""
        self.list: list[list[str]] = [[] for _ in range(PARTITIONS)]
        self.records: list[ListResolved] = []
        codec = cast(Codec, None)
        timestamps = ResolvedTimestamps(topics=Topics(), codec=codec, bootstrap="")
        self.view = SuppressionView(
            "sms",
            topics=Topics(),
            codec=codec,
            bootstrap="",
            timestamps=timestamps,
            limits=LIMITS,
            clock=self.clock,
            elapsed=self.elapsed,
        )
        self.checker = Checker(self.view, KEYRING, "acme", default_region="FR", unknown="allow", now=self.clock)
        self.restart()

    def clock(self) -> int:
        return self.true + self.off

    def elapsed(self) -> int:
        return self.true - START + 1

    def restart(self) -> None:
        self.feed = FakeFeed(self.topic_id)
        reading: Any = ListReading(cast(Any, self.feed))
        self.reading = reading
        self.view.begin(reading)

    def decide(self, phone: str) -> None:
        self.ledger.append((self.true, phone))

    def pending(self, partition: int) -> list[tuple[int, str]]:
        """The partition's decisions that are not in the list yet."""
        return [each for each in self.ledger if where(each[1]) == partition][len(self.list[partition]) :]

    def carry(self, partition: int, count: int) -> None:
        self.list[partition] += [phone for _, phone in self.pending(partition)[:count]]

    def state(self, partition: int, hole: str | None = None) -> None:
        """The merge states how far it is: up to before the first decision that is not in the list."""
        resolved_at = min((at for at, _ in self.pending(partition)), default=self.true)
        self.records.append(
            ListResolved(
                partition=partition,
                resolved_at=None if hole else resolved_at,
                bulk_resolved_at=None if hole else self.true,
                inbound_resolved_at=None,
                loss=0,
                lists=(ListEnd(topic=TOPIC, topic_id=self.topic_id, end_offset=len(self.list[partition])),),
                hole=hole,
                written_at=self.true,
                append_time=self.true,
            )
        )

    def receive(self, number: int) -> None:
        """Any record that was written, also one received before: late ones and repeats change nothing."""
        if self.records:
            self.view.receive(self.records[-1 - number % len(self.records)])

    def state_and_receive(self, partition: int) -> None:
        self.state(partition)
        self.receive(0)

    def read(self, partition: int, count: int) -> None:
        start = self.feed.offsets[partition]
        for phone in self.list[partition][start : start + count]:
            self.reading.entries[HASHER.key_bytes(phone)] = b""  # UnreadableError: denies.
            self.feed.offsets[partition] += 1
        self.view.adopt([partition])

    def ask(self) -> list[Answer]:
        return self.checker.check(PHONES, "newsletter")


def where(phone: str) -> int:
    return partition_of(HASHER.key_bytes(phone), PARTITIONS)


partitions = st.integers(0, PARTITIONS - 1)
counts = st.integers(1, 5)
fresh = st.one_of(
    st.tuples(st.just("decide"), st.sampled_from(PHONES)),
    st.tuples(st.just("carry"), partitions, counts),
    st.tuples(st.just("state"), partitions),
    st.tuples(st.just("read"), partitions, counts),
    st.tuples(st.just("receive"), st.integers(0, 3)),
    st.tuples(st.just("pass"), st.integers(1, 4 * SECOND)),
    st.tuples(st.just("state_and_receive"), partitions),
    st.tuples(st.just("restart")),
)


def run(steps: list[tuple[Any, ...]], *, slack: int) -> None:
    world = World()
    for partition in range(PARTITIONS):
        world.state(partition)
        world.receive(0)
    for step, *arguments in steps:
        if step == "pass":
            world.true += arguments[0]
        elif step == "clock":
            world.off = arguments[0]
        else:
            getattr(world, step)(*arguments)
        check(world, slack)


def check(world: World, slack: int) -> None:
    for phone, answer in zip(PHONES, world.ask(), strict=True):
        if not answer.permitted:
            continue
        assert answer.as_of is not None
        missing = [at for at, of in world.ledger if of == phone and at < answer.as_of]
        assert not missing, f"{phone} had decided at {missing}, and is permitted as of {answer.as_of}"
        assert world.true - answer.as_of <= LIMITS.live + slack
        assert answer.valid_until <= answer.as_of + LIMITS.live
        assert not answer.permits(clock=world.clock, elapsed=world.elapsed) or world.clock() <= answer.valid_until


@settings(max_examples=2 * settings().max_examples)
@given(st.lists(fresh, min_size=25, max_size=60))
@pytest.mark.long
def test_a_permission_has_seen_all_of_the_ledger_up_to_its_as_of(steps: list[tuple[Any, ...]]) -> None:  # R63
    run(steps, slack=0)


stepped = st.one_of(fresh, st.tuples(st.just("clock"), st.integers(-2 * SECOND, 2 * SECOND)))


@settings(max_examples=2 * settings().max_examples)
@given(st.lists(stepped, min_size=25, max_size=60))
@pytest.mark.long
def test_clocks_that_differ_by_two_seconds_make_answers_as_much_older(steps: list[tuple[Any, ...]]) -> None:  # R63
    run(steps, slack=2 * SECOND)


@settings(max_examples=2 * settings().max_examples)
@given(
    st.lists(
        st.one_of(fresh, st.tuples(st.just("clock"), st.integers(-3_600, 3_600).map(lambda s: s * SECOND))),
        min_size=25,
        max_size=60,
    )
)
@pytest.mark.long
def test_whatever_the_wall_clock_does_a_permission_has_seen_the_ledger_up_to_its_as_of(
    steps: list[tuple[Any, ...]],
) -> None:  # R63
    run(steps, slack=3_600 * SECOND)


def test_a_hole_denies_at_once_and_a_restart_does_not_forget_it() -> None:  # R63
    world = World()
    for partition in range(PARTITIONS):
        world.state(partition)
        world.receive(0)
    assert all(answer.permitted for answer in world.ask())
    world.true += 1
    world.state(0, hole="h1")
    world.receive(0)
    world.restart()
    world.state(1)
    world.receive(0)
    assert {
        (where(phone), answer.permitted, answer.reason) for phone, answer in zip(PHONES, world.ask(), strict=True)
    } == {
        (0, False, "hole"),
        (1, True, "unknown"),
    }


def recency(as_of: int, until: int) -> Recency:
    return Recency(as_of=as_of, hole=None, live_until=until, inbound_until=until, bulk_until=until, clock_at_zero=None)


@pytest.mark.parametrize(
    ("as_of", "ahead"),
    [(START, 10 * SECOND), (START - 4 * SECOND, 6 * SECOND)],
)
def test_an_answer_is_valid_no_longer_than_its_list_may_be_used(as_of: int, ahead: int) -> None:  # R55
    snapshot = ListSnapshot({}, (recency(as_of, as_of - START + 10 * SECOND),))
    question = Question(snapshot, "news", limits=LIMITS, unknown="allow", clock=START, elapsed=0)
    answer = question.basis([b"k"]).no_decision
    assert answer.valid_until == START + ahead
    assert answer.permits(clock=lambda: START + ahead, elapsed=lambda: ahead)
    assert not answer.permits(clock=lambda: START + ahead + 1, elapsed=lambda: ahead)
    assert not answer.permits(clock=lambda: START, elapsed=lambda: ahead + 1), "its clock was set back"


def test_an_answer_is_valid_for_a_minute_at_most_and_no_longer_than_the_permission() -> None:  # R55
    limits = StalenessLimits(live=300 * SECOND, inbound=300 * SECOND, bulk=300 * SECOND)
    snapshot = ListSnapshot({}, (recency(START, 300 * SECOND),))
    basis = Question(snapshot, "news", limits=limits, unknown="allow", clock=START, elapsed=0).basis([b"k"])
    assert basis.no_decision.valid_until == START + VALID_MICROS
    ends = Verdict(permitted=True, reason="given", since=1, expires_at=START + 5)
    assert basis.answer(ends).valid_until == START + 5
    assert not basis.answer(ends).permits(clock=lambda: START + 6, elapsed=lambda: 6)
