"""One submission that waits for a lock, or that does not fit into the live lane's second, holds up no other. # R16"""

from __future__ import annotations

import time

import pytest
from sqlalchemy import text

from consent_api.ledger.lanes import Lane
from tests.integration.flow.rig import Rig, Running, refusal
from tests.support.waiting import until

LOCKED = "crm-locked"


def outcomes(rig: Rig, ingest: Running, outcome: str = "recorded") -> float:
    return ingest.metric("consent_relay_ingest_records_total", topic=rig.topics.inbound, outcome=outcome)


def waiting(rig: Rig, ingest: Running) -> float:
    return ingest.metric("consent_relay_ingest_waiting_records", topic=rig.topics.inbound)


def test_only_submissions_for_a_person_whom_another_transaction_holds_wait(rig: Rig) -> None:
    rig.submit(rig.encoded([refusal(subject_ref=LOCKED)]))
    with rig.ingest() as ingest:
        until(lambda: outcomes(rig, ingest) == 1)
        with rig.owner.execution_options(isolation_level="READ COMMITTED").connect() as bulk:
            bulk.execute(text("SELECT FROM subjects WHERE subject_ref = :ref FOR NO KEY UPDATE"), {"ref": LOCKED})
            first, second = "first", "second"
            others = [refusal() for _ in range(100)]
            rig.submit(rig.encoded([*others[:50], refusal(subject_ref=LOCKED, event_id=first), *others[50:]]))
            until(lambda: outcomes(rig, ingest) == 101, seconds=10)
            until(lambda: waiting(rig, ingest) == 1)
            until(lambda: rig.committed() < 102)
            slowest = 0.0
            for number in range(10):
                began = time.monotonic()
                more = [refusal(subject_ref=LOCKED, event_id=second)] if number == 0 else []
                rig.submit(rig.encoded([*more, *(refusal() for _ in range(10))]))
                until(lambda: outcomes(rig, ingest) == 111 + 10 * number, seconds=10)  # noqa: B023 - used at once
                slowest = max(slowest, time.monotonic() - began)
            assert slowest < 2.0, "later ones do not wait either"
            assert waiting(rig, ingest) == 2
            bulk.rollback()
        until(lambda: outcomes(rig, ingest) == 203)
        until(lambda: waiting(rig, ingest) == 0)
        until(lambda: rig.committed() == 203)
    order = "SELECT string_agg(event_id, ' ' ORDER BY decision_id) FROM decisions WHERE event_id IN ('first', 'second')"
    assert rig.ask(order) == "first second", "of one person in their order"


def test_what_waits_is_recorded_by_the_next_process(rig: Rig) -> None:
    rig.submit(rig.encoded([refusal(subject_ref=LOCKED)]))
    with rig.owner.execution_options(isolation_level="READ COMMITTED").connect() as bulk:
        with rig.ingest() as ingest:
            until(lambda: outcomes(rig, ingest) == 1)
            bulk.execute(text("SELECT FROM subjects WHERE subject_ref = :ref FOR NO KEY UPDATE"), {"ref": LOCKED})
            rig.submit(rig.encoded([refusal(subject_ref=LOCKED), *(refusal() for _ in range(20))]))
            until(lambda: outcomes(rig, ingest) == 21)
        bulk.rollback()
    with rig.ingest("two"):
        until(lambda: rig.ask("SELECT count(*) FROM decisions") == 22)
        until(lambda: rig.committed() == 22)


def test_one_that_never_fits_into_the_live_lanes_second_is_recorded_by_the_bulk_lane(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    with rig.owner.begin() as connection:
        connection.exec_driver_sql(
            "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN IF EXISTS (SELECT FROM subjects WHERE subject_ref = 'crm-large')"
            " THEN PERFORM pg_sleep(5); END IF; RETURN NEW; END $$"
        )
        connection.exec_driver_sql(
            "CREATE TRIGGER slow BEFORE INSERT ON outbox FOR EACH STATEMENT EXECUTE FUNCTION slow()"
        )
    rig.submit(rig.encoded([refusal(subject_ref="crm-large"), refusal()]))
    with rig.ingest() as ingest:
        until(lambda: outcomes(rig, ingest) == 2)
        until(lambda: rig.committed() == 2)
        assert ingest.metric("consent_relay_ingest_recorded_by_bulk_total") >= 1
    assert "recorded by the bulk lane" in caplog.text
    assert rig.pending(Lane.BULK) >= 1
    assert rig.ask("SELECT count(*) FROM decisions WHERE bulk") == 0, "it keeps its mark"
