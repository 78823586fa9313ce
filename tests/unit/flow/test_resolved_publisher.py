"""What a relay states of its partitions, and how it counts what Kafka lost."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from consent_api.ledger.lanes import Lane
from consent_api.outbox_relay.outbox_table import Row
from consent_api.outbox_relay.points import PartitionProgress, Point
from consent_api.outbox_relay.publisher import Delivery, OffsetRange
from consent_api.outbox_relay.resolved import ResolvedPublisher
from consent_api.outbox_relay.turn_loop import LaneState

TOPIC = "consent.changes.v1"


def point(resolved_at: int, highest: int = 0) -> Point:
    return Point(turn=resolved_at, resolved_at=resolved_at, highest_outbox_id=highest, inbound_resolved_at=None)


def progress(
    *, resolved_at: int | None = None, last_offset: int | None = None, loss: int = 0, topic_id: str = "t"
) -> PartitionProgress:
    return PartitionProgress(topic_id=topic_id, last_offset=last_offset, loss=loss, resolved_at=resolved_at)


class Rig:
    """A publisher over one partition of a broker, an outbox and a ledger in memory."""

    def __init__(self) -> None:
        self.now = 0.0
        self.end = 0
        self.lowest: dict[int, int] = {}
        self.state = LaneState()
        self.stated: list[dict[str, Any]] = []
        self.recorded: list[Mapping[int, PartitionProgress]] = []
        self.losses: list[tuple[int, int, int]] = []
        self.kept: PartitionProgress | None = None
        self.counted_by_another = False
        self.publisher = ResolvedPublisher(
            lane=Lane.LIVE,
            topic=TOPIC,
            engine=None,  # type: ignore[arg-type]
            outbox=self,  # type: ignore[arg-type]
            table=self,  # type: ignore[arg-type]
            codec=self,  # type: ignore[arg-type]
            state=lambda: self.state,
            topic_id=lambda: "t",
            publish=self.publish,
            clock=lambda: self.now,
        )

    def turn(self, *points: Point, partition: PartitionProgress, clock: int | None = None) -> None:
        read = self.state.read + 1
        state = replace(self.state, read=read, points=points, partitions={0: partition})
        self.state = state if clock is None else replace(state, clock=clock, clock_read=read)

    def due(self) -> None:
        self.now += 1
        self.publisher.publish_due({0})

    def send_rows(self, count: int) -> None:
        """What the lane's loop does with rows."""
        before = self.publisher.known_offsets()
        self.publisher.observe(self.landed(count), before=before)

    def publish(self, rows: list[Row]) -> Delivery:
        delivery = self.landed(len(rows))
        delivery.acknowledged = rows
        return delivery

    def landed(self, count: int) -> Delivery:
        first, self.end = self.end, self.end + count
        return Delivery(offsets={0: OffsetRange(lowest=first, highest=self.end - 1)})

    def encode(self, topic: str, datum: dict[str, Any], record_name: str) -> bytes:
        assert (topic, record_name) == (TOPIC, "ConsentResolved")
        self.stated.append(datum)
        return b""

    def lowest_ids(self, partitions: Collection[int]) -> dict[int, int]:
        return {each: self.lowest[each] for each in partitions if each in self.lowest}

    def published(self, _: Any, records: Mapping[int, PartitionProgress]) -> None:
        self.recorded.append(records)

    def record_loss(self, _: Any, partition: int, known: PartitionProgress, *, topic_id: str, offset: int) -> bool:
        if self.counted_by_another:
            return False
        self.losses.append((partition, known.loss, offset))
        return True

    def progress(self, _: Any, partition: int) -> PartitionProgress | None:
        return self.kept


def test_nothing_is_stated_before_a_turn_and_nothing_twice() -> None:
    rig = Rig()
    rig.due()
    assert rig.stated == []
    rig.turn(point(10), partition=progress())
    rig.due()
    rig.due()
    assert [each["resolved_at"] for each in rig.stated] == [10]
    assert rig.recorded == [{0: progress(resolved_at=10, last_offset=0)}]
    assert rig.publisher.resolved_at == 10


def test_a_point_waits_until_the_last_row_that_it_covers_is_published() -> None:
    rig = Rig()
    rig.lowest = {0: 5}
    rig.turn(point(10, highest=4), point(20, highest=5), partition=progress())
    rig.due()
    assert [each["resolved_at"] for each in rig.stated] == [10]
    rig.lowest = {}
    rig.due()
    assert [each["resolved_at"] for each in rig.stated] == [10, 20]


def test_what_another_relay_has_stated_is_not_stated_again() -> None:
    rig = Rig()
    rig.turn(point(10), partition=progress(resolved_at=10))
    rig.due()
    assert rig.stated == []


def test_rows_that_land_below_what_the_ledger_knew_are_a_loss_and_the_next_record_states_it() -> None:
    rig = Rig()
    rig.turn(point(10), partition=progress(last_offset=100))
    rig.send_rows(500)  # Kafka has grown again: the resolved record itself lands above 100.
    assert rig.losses == [(0, 0, 499)]
    rig.due()
    assert rig.stated[-1]["loss"] == 1
    rig.send_rows(1)
    assert len(rig.losses) == 1


def test_a_loss_between_two_batches_of_this_relay_is_seen() -> None:
    rig = Rig()
    rig.turn(point(10), partition=progress())
    rig.send_rows(50)
    rig.end = 20
    rig.send_rows(1)
    assert rig.losses == [(0, 0, 20)]


def test_what_another_relay_wrote_meanwhile_is_no_loss() -> None:
    # The ledger's offset is read while a batch is in flight: only what was known before it was sent counts.
    rig = Rig()
    rig.turn(point(10), partition=progress(last_offset=9))
    rig.end = 10
    before = rig.publisher.known_offsets()
    delivery = rig.landed(5)
    rig.turn(point(20), partition=progress(last_offset=40))
    rig.publisher.observe(delivery, before=before)
    assert rig.losses == []


def test_a_loss_that_a_turn_has_recorded_is_not_counted_again() -> None:
    rig = Rig()
    rig.turn(point(10), partition=progress())
    rig.send_rows(50)
    # The topic was recreated, and the turn has found that first.
    rig.turn(point(20), partition=progress(loss=1, topic_id="u"))
    rig.end = 0
    rig.send_rows(3)
    assert rig.losses == []
    rig.due()
    assert rig.stated[-1]["loss"] == 1


def test_a_loss_that_this_relay_has_found_outlives_an_older_reading_of_the_ledger() -> None:
    rig = Rig()
    rig.turn(point(10), partition=progress(last_offset=100))
    rig.send_rows(1)
    rig.turn(point(20), partition=progress(last_offset=100))
    rig.due()
    assert rig.stated[-1]["loss"] == 1
    assert len(rig.losses) == 1


def test_a_loss_is_counted_by_a_relay_that_has_not_read_the_partition_yet() -> None:
    rig = Rig()
    rig.kept = progress(last_offset=70, loss=2)
    rig.send_rows(50)
    rig.end = 20
    rig.send_rows(1)
    assert rig.losses == [(0, 2, 20)]


def test_a_loss_that_another_relay_was_faster_to_count_is_stated_with_the_number_in_the_ledger() -> None:
    rig = Rig()
    rig.turn(point(10), partition=progress(last_offset=100))
    rig.counted_by_another = True
    rig.kept = progress(last_offset=3, loss=2)
    rig.send_rows(5)
    assert rig.losses == []
    rig.due()
    assert [each["loss"] for each in rig.stated] == [2]


def test_after_the_databases_clock_was_set_back_a_lower_time_is_stated() -> None:
    rig = Rig()
    rig.turn(point(3_600_000_000), partition=progress(), clock=3_600_000_000)
    rig.due()
    rig.turn(point(10_000_000), partition=progress(last_offset=0), clock=10_000_000)
    rig.due()
    assert [each["resolved_at"] for each in rig.stated] == [3_600_000_000, 10_000_000]
    assert rig.publisher.resolved_at == 10_000_000


def test_a_clock_that_was_set_back_is_noticed_where_more_was_read_since() -> None:
    rig = Rig()
    rig.turn(point(3_600_000_000), partition=progress(), clock=3_600_000_000)
    rig.due()
    rig.turn(partition=progress(last_offset=0), clock=10_000_000)
    rig.turn(point(10_000_000), partition=progress(last_offset=0))
    rig.due()
    assert [each["resolved_at"] for each in rig.stated] == [3_600_000_000, 10_000_000]


def test_a_clock_that_is_older_than_what_was_stated_since_sets_nothing_back() -> None:
    rig = Rig()
    rig.turn(point(10_000_000), partition=progress(), clock=10_000_000)
    rig.due()
    for _ in range(3):
        rig.turn(point(20_000_000), partition=progress(last_offset=0))
        rig.due()
    assert [each["resolved_at"] for each in rig.stated] == [10_000_000, 20_000_000]


def test_others_are_due_at_once() -> None:
    rig = Rig()
    rig.turn(point(10), partition=progress())
    rig.publisher.publish_due({1})
    rig.publisher.publish_due({0})
    assert [each["resolved_at"] for each in rig.stated] == [10]
