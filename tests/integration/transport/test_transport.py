"""Our transport on a real broker: nothing lost, nothing overlapping, whatever happens to the processes."""

import json
import random
import re
import signal
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer

from consent_kafka.clients import transactional_producer
from tests.integration.proxy import Proxy
from tests.integration.transport.processes import Bench
from tests.support.waiting import until


def opened(bench: Bench, instance: str, count: int) -> None:
    until(lambda: len(bench.notes("open", instance=instance)) >= count, what=f"{instance} opens {count} partitions")


# R43
def test_kill_9_at_random_moments_under_load_loses_no_record(bench: Bench) -> None:
    bench.create(partitions=4)
    chance = random.Random()
    seed = chance.randrange(10**6)
    chance.seed(seed)
    print(f"seed {seed}")
    produced = 0
    for _ in range(8):
        begun = len(bench.notes("begin"))
        worker = bench.worker(pace=0.02, max_chunk=40)
        bench.produce(str(produced + index) for index in range(500))
        produced += 500
        until(lambda begun=begun: len(bench.notes("begin")) > begun, what="some work")  # type: ignore[misc]
        time.sleep(chance.uniform(0.0, 0.3))
        worker.kill()
    assert len(set(bench.done())) < produced
    bench.worker(max_chunk=40)
    until(lambda: set(map(str, range(produced))) <= set(bench.done()), what=f"every record, seed {seed}")


def test_a_killed_and_restarted_instance_has_its_partitions_back_at_once(bench: Bench) -> None:
    bench.create(partitions=4)
    bench.produce(map(str, range(40)))
    first = bench.worker(instance="one")
    until(lambda: len(bench.done()) == 40)
    first.kill()
    bench.produce(["afterwards"])
    killed = time.monotonic()
    bench.worker(instance="one")
    until(lambda: "afterwards" in bench.done())
    assert bench.notes("done")[-1]["at"] - killed < 4.0  # The session timeout is 6 s: it was not waited for.


def test_a_rebalance_loses_nothing_and_two_never_process_one_partition(bench: Bench) -> None:
    bench.create(partitions=4)
    bench.worker(instance="one", pace=0.01, max_chunk=20)
    opened(bench, "one", 4)
    bench.produce(map(str, range(2_000)))
    until(lambda: len(bench.done()) > 200)
    second = bench.worker(instance="two", pace=0.01, max_chunk=20)
    opened(bench, "two", 2)
    bench.produce(map(str, range(2_000, 4_000)))
    until(lambda: len(bench.done()) > 2_500)
    assert second.stop() == 0
    until(lambda: set(map(str, range(4_000))) <= set(bench.done()), what="every record", seconds=60)

    for partition in range(4):
        lines = bench.notes(partition=partition)
        owner = None
        for line in lines:
            if line["what"] == "open":
                owner = line["instance"]
            elif line["what"] in ("begin", "done"):
                assert line["instance"] == owner, f"processed by two: {partition}"
    assert len(bench.notes("close", instance="two")) == 2


def test_a_partition_that_stays_is_not_recovered_again(bench: Bench) -> None:
    bench.create(partitions=4)
    bench.worker(instance="one")
    opened(bench, "one", 4)
    bench.worker(instance="two")
    opened(bench, "two", 2)
    bench.produce(map(str, range(100)))
    until(lambda: len(bench.done()) == 100)
    assert len(bench.notes("open", instance="one")) == 4
    assert len(bench.notes("close", instance="one")) == 2
    assert {line["instance"] for line in bench.notes("done")} == {"one", "two"}


def test_a_long_recovery_does_not_cost_the_membership(bench: Bench) -> None:
    bench.create(partitions=1)
    bench.produce(["1"])
    bench.worker(recovery_seconds=9)  # The session timeout is 6 s.
    until(lambda: bench.done() == ["1"], what="the record, after recovery")
    assert len(bench.notes("opening")) == 1


# R43
def test_a_frozen_worker_cannot_commit_for_a_partition_it_has_lost(bench: Bench, tmp_path: Path) -> None:
    bench.create(partitions=1)
    bench.produce(map(str, range(10)))
    frozen = bench.worker(instance="one", max_chunk=5, slow="9", slow_seconds=2)
    until(lambda: len(bench.notes("begin")) == 2 and bench.committed()[0] == 5)
    frozen.signal(signal.SIGSTOP)
    bench.worker(instance="two", max_chunk=5)
    until(lambda: len(bench.notes("done", instance="two")) == 1, what="the second takes over")
    assert bench.notes("done", instance="two")[0]["offsets"] == [5, 6, 7, 8, 9]
    bench.produce(map(str, range(10, 20)))
    until(lambda: bench.committed()[0] == 20)
    frozen.signal(signal.SIGCONT)
    # It finishes its chunk, which is a repetition, does not take itself for the owner, and is not believed.
    until(lambda: any("9" in line["values"] for line in bench.notes("done", instance="one")))
    until(lambda: frozen.process.poll() is not None or bench.notes("close", instance="one"), what="it lets go")
    lines = [line for line in bench.notes(instance="one") if line["what"] in ("begin", "done", "close")]
    since_frozen = lines[3 : next(index for index, line in enumerate(lines) if line["what"] == "close")]
    assert [(line["what"], line["fresh"]) for line in since_frozen] == [("done", False)]
    bench.produce(map(str, range(20, 30)))
    until(lambda: set(map(str, range(30))) <= set(bench.done()))
    until(lambda: bench.committed()[0] == 30)
    assert frozen.process.poll() is None, bench.log()
    # The first of the partition's handlers is closed before another of the same process is opened.
    assert [line["what"] for line in bench.notes(instance="one") if line["what"] in ("open", "close")][:2] == [
        "open",
        "close",
    ]


# R43
def test_a_worker_that_was_suspended_for_longer_than_its_session_joins_again(bench: Bench) -> None:
    bench.create(partitions=1)
    worker = bench.worker(instance="one")
    for value in ("1", "2", "3"):
        bench.produce([value])
        until(lambda: value in bench.done() or worker.process.poll() is not None)  # noqa: B023 - used at once
        assert worker.process.poll() is None, bench.log()
        worker.signal(signal.SIGSTOP)
        until(lambda: not members(bench), what="the group is without it")
        worker.signal(signal.SIGCONT)
    bench.produce(["4"])
    until(lambda: "4" in bench.done() or worker.process.poll() is not None)
    assert worker.process.poll() is None, bench.log()
    assert hung(bench) == ""
    assert worker.stop() == 0


# R43
def test_a_worker_that_is_cut_off_in_a_rebalance_for_longer_than_its_poll_interval_joins_again(bench: Bench) -> None:
    bench.create(partitions=2)
    with Proxy(bench.bootstrap, kafka=True) as proxy:
        slow = {"slow": "slow", "slow_seconds": 3, "drain_timeout": 6.0}
        worker = bench.worker(instance="one", bootstrap=proxy.address, max_poll_interval=5.0, dead_after=8.0, **slow)
        opened(bench, "one", 2)
        bench.produce(["slow"])
        until(lambda: bench.notes("begin"), what="work that the rebalance waits for")
        bench.worker(instance="two")
        until(lambda: "because it is rebalancing" in worker.log.read_text(), what="the worker hears of the rebalance")
        proxy.cut()
        until(lambda: bench.notes("open", instance="two"), what="the group has gone on without it")
        stay_alive(bench, seconds=9)  # Longer than the poll interval, and than one would be restarted after.
        proxy.heal()

        def reads() -> bool:
            bench.produce(map(str, range(20)))
            return any("slow" not in line["values"] for line in bench.notes("done", instance="one"))

        until(reads, what="the worker has a partition again", every=0.5)


# R43
def test_members_without_a_process_do_not_end_a_worker(bench: Bench) -> None:
    bench.create(partitions=1)
    worker = bench.worker(instance="one")
    opened(bench, "one", 1)
    for times in (1, 2, 3):
        joined, before = bench.metric("consent_relay_stream_rebalances_total"), members(bench)
        ghost = Consumer(
            {"bootstrap.servers": bench.bootstrap, "group.id": bench.group, "group.instance.id": "one"}
            | {"session.timeout.ms": 6_000, "partition.assignment.strategy": "range"}
        )
        ghost.subscribe([bench.topic])
        until(lambda: ghost.poll(0.1) is None and before != members(bench))  # noqa: B023 - used at once
        ghost.close()  # A static member does not leave.
        until(
            lambda: bench.metric("consent_relay_stream_rebalances_total") > joined,  # noqa: B023
            seconds=60,
            what=f"the worker joins again, for the {times}. time",
        )
    bench.produce(["1"])
    until(lambda: bench.done() == ["1"])
    assert worker.stop() == 0


def members(bench: Bench) -> list[str]:
    described = bench.admin.describe_consumer_groups([bench.group])[bench.group].result()
    return [each.member_id for each in described.members]


def test_of_two_processes_with_the_same_name_one_ends_loudly(bench: Bench) -> None:
    bench.create(partitions=1)
    workers = [bench.worker(instance="one")]
    opened(bench, "one", 1)
    workers.append(bench.worker(instance="one"))
    until(lambda: any(each.process.poll() is not None for each in workers), seconds=90, what="one ends")
    [ended] = [each for each in workers if each.process.poll() is not None]
    [other] = [each for each in workers if each is not ended]
    assert ended.process.poll() == 1
    assert "another process runs as one: member one-" in bench.log()
    bench.produce(["1"])
    until(lambda: bench.done() == ["1"])
    assert other.process.poll() is None


def test_what_is_acknowledged_out_of_order_is_committed_only_up_to_the_oldest(bench: Bench) -> None:
    bench.create()
    bench.produce(map(str, range(100)))
    worker = bench.worker(max_chunk=10, behind=True, slow="35", slow_seconds=3)
    until(lambda: len(bench.done()) == 90)
    until(lambda: bench.committed()[0] == 30)
    time.sleep(1.2)  # Two more commit intervals, in which nothing may move.
    assert bench.committed()[0] == 30
    until(lambda: bench.committed()[0] == 100)
    assert worker.stop() == 0


def test_a_partition_with_too_much_unacknowledged_is_paused_and_goes_on_later(bench: Bench, tmp_path: Path) -> None:
    bench.create()
    bench.produce(map(str, range(1_000)))
    release = tmp_path / "release"
    bench.worker(max_chunk=10, max_outstanding=50, behind=True, slow="0", slow_seconds=0, release=str(release))
    until(lambda: sum(line["records"] for line in bench.notes("begin")) >= 10)
    # Every chunk waits for the release in `process` itself: only so much may have been fetched by then.
    time.sleep(1.0)
    assert sum(line["records"] for line in bench.notes("begin")) <= 50
    release.touch()
    until(lambda: len(bench.done()) == 1_000)
    until(lambda: bench.committed()[0] == 1_000)


def test_aborted_records_never_reach_the_handler_and_markers_leave_no_lag(bench: Bench) -> None:
    bench.create()
    producer = transactional_producer(bench.bootstrap, f"{bench.topic}-tx")
    producer.init_transactions(10)
    for number in range(6):
        producer.begin_transaction()
        for index in range(3):
            producer.produce(bench.topic, f"{number}-{index}")
        if number % 2:
            producer.flush(10)
            producer.abort_transaction(10)
        else:
            producer.commit_transaction(10)
    bench.worker()
    wanted = {f"{number}-{index}" for number in (0, 2, 4) for index in range(3)}
    until(lambda: len(bench.done()) >= len(wanted))
    end = 6 * 4
    until(lambda: bench.committed()[0] == end, what="the end offset, which counts the markers")
    assert set(bench.done()) == wanted


def test_records_that_were_deleted_before_they_were_read_are_reported(bench: Bench) -> None:
    bench.create()
    bench.produce(map(str, range(10)))
    first = bench.worker()
    until(lambda: len(bench.done()) == 10)
    assert bench.metric("consent_relay_stream_skipped_records_total") == 0
    assert first.stop() == 0
    bench.produce(map(str, range(10, 40)))
    bench.delete_before(25)
    bench.worker(instance="two")
    until(lambda: len(bench.done()) == 25)
    assert bench.done()[10:] == [str(number) for number in range(25, 40)]
    assert bench.metric("consent_relay_stream_skipped_records_total") == 15
    lines = [json.loads(line) for line in bench.log().splitlines() if line.startswith("{")]
    [reported] = [line for line in lines if line["message"] == "an offset no longer exists"]
    assert (reported["level"], reported["topic"], reported["offset"]) == ("ERROR", bench.topic, 10)
    until(lambda: bench.committed()[0] == 40)


def reasons(page: str, worker: dict[str, Any]) -> str:
    """Those that a health page of a worker names, which has noted its start; empty: none."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{worker['port']}/{page}", timeout=5):
            return ""
    except urllib.error.HTTPError as refused:
        return refused.read().decode()


def unready(bench: Bench) -> str:
    """The reasons why the first worker is not ready; empty: none."""
    return reasons("readyz", bench.notes("start")[0])


def ready(bench: Bench) -> bool:
    return not unready(bench)


def hung(bench: Bench, instance: str = "one") -> str:
    """The reasons why the worker is not alive; empty: none."""
    return reasons("healthz", bench.notes("start", instance=instance)[0])


# R41
def test_a_worker_that_is_left_out_of_its_group_and_does_not_come_back_is_not_alive(bench: Bench) -> None:
    bench.create(partitions=1)
    # aiokafka leaves the group and joins it no more where it takes the process for one that does not poll.
    worker = bench.worker(instance="one", max_poll_interval=0.0, dead_after=5.0)
    opened(bench, "one", 1)
    until(lambda: not members(bench), what="the group is without it")
    reasons = until(lambda: hung(bench), what="it is not alive")
    assert re.fullmatch(rf"{bench.group}, consumer group: no sign of life for \d+ s\n", reasons)
    assert not ready(bench)
    # What Kubernetes does.
    worker.kill()
    bench.worker(instance="one", dead_after=5.0)
    bench.produce(["1"])
    until(lambda: bench.done() == ["1"])


# R41
def test_a_worker_without_a_partition_is_alive_and_so_is_one_whose_broker_does_not_answer(bench: Bench) -> None:
    bench.create(partitions=1)
    with Proxy(bench.bootstrap, kafka=True) as proxy:
        bench.worker(instance="one", bootstrap=proxy.address, dead_after=8.0)
        bench.worker(instance="two", dead_after=8.0)
        until(lambda: len(members(bench)) == 2 and bench.notes("open"), what="two members for one partition")
        proxy.freeze()
        stay_alive(bench, seconds=6.0 + 8.0 + 1.0)  # Its session ends, and so long after it would be restarted.
        proxy.heal()
        until(lambda: len(members(bench)) == 2, what="it is back")


def stay_alive(bench: Bench, *, seconds: float) -> None:
    """Both workers, each time that one looks."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert (hung(bench, "one"), hung(bench, "two")) == ("", "")
        time.sleep(0.2)


# R41
def test_an_idle_worker_is_ready_and_one_that_hangs_is_not(bench: Bench) -> None:
    bench.create()
    bench.worker(hang="7")
    opened(bench, "one", 1)
    until(lambda: ready(bench))
    deadline = time.monotonic() + 4  # Twice the time without a beat after which it would not be ready.
    while time.monotonic() < deadline:
        assert ready(bench)
        time.sleep(0.2)
    bench.produce(["7"])
    until(lambda: not ready(bench), what="the hanging worker is not ready")
    until(lambda: ready(bench), what="it is again, afterwards")


@pytest.mark.parametrize("behind", [False, True], ids=["in process", "after it has returned"])
def test_a_handler_that_waits_for_ever_is_not_ready_until_it_goes_on(  # R41
    bench: Bench, tmp_path: Path, behind: bool
) -> None:
    release = tmp_path / "release"
    bench.create()
    bench.worker(stalled_after=2.0, slow="7", slow_seconds=0, behind=behind, release=str(release))
    opened(bench, "one", 1)
    until(lambda: ready(bench))
    bench.produce(["7"] * 3)
    until(lambda: not ready(bench), what="a chunk that is never acknowledged shows")
    assert re.fullmatch(
        f"{bench.group}: {bench.topic}:0: [123] records unacknowledged, no progress for [2-9] s\n", unready(bench)
    )
    time.sleep(1)
    assert not ready(bench)
    release.touch()
    until(lambda: ready(bench), what="it is ready again by itself")
    until(lambda: bench.done() == ["7"] * 3)
    deadline = time.monotonic() + 4  # Twice the bound: idle is not stalled.
    while time.monotonic() < deadline:
        assert unready(bench) == ""
        time.sleep(0.2)


def test_records_that_an_open_transaction_hides_are_a_reason_until_it_ends(bench: Bench) -> None:  # R41
    bench.create()
    bench.worker(stalled_after=2.0)
    opened(bench, "one", 1)
    producer = transactional_producer(bench.bootstrap, f"{bench.topic}-tx", transaction_timeout_ms=60_000)
    producer.init_transactions(10)
    producer.begin_transaction()
    producer.produce(bench.topic, "foreign")
    producer.flush(10)
    bench.produce(["hidden"])
    until(lambda: not ready(bench), what="the transaction shows")
    assert unready(bench).startswith(
        f"{bench.group}: an open transaction on {bench.topic}/0 hides the records from offset 0 on, for "
    )
    producer.abort_transaction(10)
    until(lambda: ready(bench), what="it is ready again by itself")
    until(lambda: bench.done() == ["hidden"])


def test_a_worker_that_recovers_is_not_ready(bench: Bench) -> None:
    bench.create()
    bench.worker(recovery_seconds=2)
    until(lambda: bench.notes("opening"))
    assert not ready(bench)
    until(lambda: bench.notes("open"))
    until(lambda: ready(bench))


def test_several_streams_run_in_one_process_each_with_its_own_offsets(bench: Bench) -> None:
    bench.create(partitions=2)
    bench.produce(map(str, range(100)))
    more = [f"{bench.group}-{number}" for number in range(3)]
    worker = bench.worker(more_groups=more)
    until(lambda: len(bench.done()) == 400)
    for group in (bench.group, *more):
        values = [value for line in bench.notes("done", group=group) for value in line["values"]]
        assert sorted(values, key=int) == list(map(str, range(100)))
    assert worker.stop() == 0


def test_a_handler_that_does_not_let_go_ends_the_process_before_another_has_its_partition(bench: Bench) -> None:
    bench.create(partitions=1)
    bench.produce(["1"])
    stuck = bench.worker(instance="one", stubborn="1", drain_timeout=0.3, close_timeout=1.2)
    until(lambda: bench.notes("stuck"))
    bench.worker(instance="two")
    assert stuck.process.wait(20) == 70
    assert not bench.notes("opening", instance="two")
    until(lambda: bench.done() == ["1"])


def test_when_one_stream_fails_the_process_ends(bench: Bench) -> None:
    bench.create(partitions=1)
    worker = bench.worker(more_groups=[f"{bench.group}-b"], fail="bad")
    opened(bench, "one", 2)
    bench.produce(["bad"])
    assert worker.process.wait(20) == 1
    assert len(bench.notes("close")) == 2


# R41
def test_a_signal_drains_and_ends_without_delay(bench: Bench) -> None:
    bench.create(partitions=2)
    bench.produce(map(str, range(50)))
    worker = bench.worker(slow="49", slow_seconds=1.0)
    until(lambda: bench.notes("begin"))
    begun = time.monotonic()
    assert worker.stop() == 0
    assert time.monotonic() - begun < 8
    assert len(bench.notes("close")) == len(bench.notes("open"))
    # Whatever had been begun was finished, acknowledged and committed.
    assert sum(line["records"] for line in bench.notes("begin")) == len(bench.done())
    assert sum(max(offset, 0) for offset in bench.committed().values()) == len(bench.done())


def test_no_topic_is_created_by_the_way(bench: Bench) -> None:
    bench.create()
    bench.worker()
    opened(bench, "one", 1)
    assert [name for name in bench.admin.list_topics().topics if bench.group in name] == [bench.topic]


@pytest.mark.parametrize("partitions", [1, 4])
def test_the_end_is_committed_when_all_is_done(bench: Bench, partitions: int) -> None:
    bench.create(partitions)
    bench.produce(map(str, range(200)))
    bench.worker()
    until(lambda: sum(max(offset, 0) for offset in bench.committed().values()) == 200)
    assert sorted(bench.done(), key=int) == list(map(str, range(200)))
