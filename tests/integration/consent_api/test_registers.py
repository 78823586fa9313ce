"""Registers of oppositions in the ledger: whom a load refuses, whom it leaves alone, and what it records. # R22"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine, text

from consent_api.domain.validation import ValidationRules
from consent_api.errors import RegisterNotLoadedError
from consent_api.ledger.ledger import Ledger
from consent_api.registers import table
from consent_api.registers.age import RegisterAge, State
from consent_api.registers.declared import Register
from consent_api.registers.loading import Counts, InvalidLine, RegisterFile, end, load
from consent_contracts.cloudevents import rfc3339
from consent_contracts.codec import Codec
from consent_service.clock import now_micros
from tests.integration.consent_api.erasure_rig import ErasureRig
from tests.support.evidence import EVIDENCE

RULES = ValidationRules(channels=("sms", "email", "voice"), default_region="FR")
TPS = Register(name="tps", tenant="acme", channels=("voice",), purposes=("promotions",), region="FR", max_age_days=28)
ANN, BEN, CAT = "+33639980001", "+33639980002", "+33639980003"
WIDER = TPS.model_copy(update={"channels": ("voice", "sms"), "purposes": ("promotions", "surveys")})
DAY_MICROS = 86_400_000_000

Loading = Callable[..., Counts]


def days_ago(days: int) -> int:
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return int((midnight - timedelta(days=days)).timestamp()) * 1_000_000


@pytest.fixture
def loading(ledger: Ledger, tmp_path: Path) -> Loading:
    """Load numbers, one a line, as of some days ago, to the end."""

    def run(*lines: str, days: int, register: Register = TPS, invalid: list[InvalidLine] | None = None) -> Counts:
        file = opened(tmp_path, *lines, days=days, register=register)
        found = [] if invalid is None else invalid
        counts = load(ledger, file, RULES, partitions=4, on_invalid=found.append)
        end(ledger, file, counts)
        return counts

    return run


def opened(directory: Path, *lines: str, days: int, register: Register = TPS) -> RegisterFile:
    path = directory / "register.txt"
    path.write_text("".join(f"{line}\n" for line in lines), "utf-8")
    return RegisterFile.open(
        register,
        path,
        as_of=days_ago(days),
        by="operator:test",
        column="1",
        header=False,
        encoding=None,
        delimiter=None,
    )


def give(client: TestClient, address: str, *, at: int) -> None:
    """A permission that a known person gave at that moment."""
    body = {
        "subject_ref": f"of-{address[-4:]}",
        "channel": "voice",
        "address": address,
        "purpose": "promotions",
        "status": "given",
        "evidence": EVIDENCE,
        "occurred_at": rfc3339(at),
        "expires_at": rfc3339(now_micros() + DAY_MICROS),
    }
    answer = client.post("/v1/decisions", json=body, headers={"Idempotency-Key": str(uuid4())})
    assert answer.status_code == 201, answer.text


def reason(client: TestClient, address: str, *, channel: str = "voice", purpose: str = "promotions") -> Any:
    asked = {"channel": channel, "address": address, "purpose": purpose}
    return client.post("/v1/explain", json=asked).json()["verdict"]["reason"]


def test_each_address_is_refused_on_the_bulk_lane_with_the_register_as_evidence(
    client: TestClient, loading: Loading, owner_engine: Engine
) -> None:
    give(client, ANN, at=days_ago(3))
    assert loading(ANN, BEN, days=2) == Counts(addresses=2, recorded=2, read=26)
    assert (reason(client, ANN), reason(client, BEN), reason(client, CAT)) == ("objected", "objected", "unknown")
    assert reason(client, ANN, purpose="invoices") == "unknown"
    with owner_engine.connect() as connection:
        [decision, _] = connection.execute(
            text("SELECT bulk, effective_at, source_system, evidence FROM decisions WHERE status = 'objected'")
        ).all()
        assert connection.execute(text("SELECT count(*) FROM outbox_bulk")).scalar_one() == 2
        assert connection.execute(text("SELECT count(*) FROM outbox")).scalar_one() == 1  # Ann's permission.
        row = connection.execute(text("SELECT * FROM register_loads")).one()
    day = f"{datetime.fromtimestamp(days_ago(2) / 1_000_000, UTC):%Y-%m-%d}"
    assert (decision.bulk, decision.effective_at, decision.source_system) == (True, days_ago(2), "register-tps")
    assert decision.evidence["capture_method"] == f"register of {day}, sha256:{row.sha256}"
    assert decision.evidence["actor"] == row.loaded_by == "operator:test"
    assert (row.tenant, row.register, row.as_of) == ("acme", "tps", days_ago(2))
    assert (row.addresses, row.recorded, row.invalid) == (2, 2, 0)


def test_a_load_that_is_repeated_records_nothing_again(
    ledger: Ledger, loading: Loading, owner_engine: Engine, tmp_path: Path
) -> None:
    interrupted = opened(tmp_path, ANN, days=2)
    load(ledger, interrupted, RULES, partitions=4, on_invalid=lambda _: None)
    assert loading(ANN, BEN, ANN, days=2) == Counts(addresses=3, recorded=1, read=39)
    assert loading(ANN, BEN, days=2) == Counts(addresses=2, recorded=0, read=26)
    with owner_engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM decisions")).scalar_one() == 2


def test_only_a_later_choice_of_the_person_lifts_it_and_that_stays_after_the_next_file(
    client: TestClient, loading: Loading
) -> None:
    loading(ANN, BEN, days=20)
    give(client, ANN, at=days_ago(25))
    assert reason(client, ANN) == "objected"
    give(client, ANN, at=days_ago(5))
    assert loading(ANN, days=1).recorded == 0
    assert (reason(client, ANN), reason(client, BEN)) == ("given", "objected")


def test_who_comes_back_to_the_register_is_refused_again(client: TestClient, loading: Loading) -> None:
    loading(ANN, BEN, days=20)
    give(client, ANN, at=days_ago(15))
    loading(BEN, days=10)
    assert reason(client, ANN) == "given"
    assert loading(ANN, BEN, days=1).recorded == 1
    assert reason(client, ANN) == "objected"


def test_a_purpose_and_a_channel_that_the_register_gains_are_refused_by_the_next_load(
    client: TestClient, loading: Loading
) -> None:
    loading(ANN, days=2)
    assert loading(ANN, days=2, register=WIDER).recorded == 1
    for channel in ("voice", "sms"):
        assert reason(client, ANN, channel=channel, purpose="surveys") == "objected"


@pytest.mark.parametrize(
    "change", [{"channels": ("voice", "sms")}, {"purposes": ("promotions", "surveys")}, {"region": "BE"}]
)
def test_a_load_counts_for_what_was_declared_then(ledger: Ledger, loading: Loading, change: dict[str, Any]) -> None:
    changed = TPS.model_copy(update=change)

    def state(register: Register) -> tuple[State, bool]:
        [age] = ledger.transact(lambda c: table.ages(c, [register]))
        return age.state(now_micros()), age.stale_at == 0

    loading(ANN, days=2)
    assert state(TPS) == (State.FRESH, False)
    assert state(changed) == (State.CHANGED, True)
    loading(ANN, days=2, register=changed)
    assert state(changed) == (State.FRESH, False)


def test_a_register_that_declares_less_than_was_loaded_is_fresh(ledger: Ledger, loading: Loading) -> None:
    loading(ANN, days=2, register=WIDER)
    [age] = ledger.transact(lambda c: table.ages(c, [TPS]))
    assert age.state(now_micros()) is State.FRESH


def test_a_line_that_holds_no_address_is_given_back_and_the_others_are_refused(
    client: TestClient, loading: Loading
) -> None:
    invalid: list[InvalidLine] = []
    counts = loading(ANN, "", "not a number", BEN, days=2, invalid=invalid)
    assert (counts.addresses, counts.empty, counts.invalid) == (2, 1, 1)
    [line] = invalid
    assert (line.number, line.content) == (3, "not a number")
    assert "send" in line.why
    assert reason(client, BEN) == "objected"


def test_national_numbers_are_those_of_the_region_of_the_register(client: TestClient, loading: Loading) -> None:
    belgian = TPS.model_copy(update={"name": "dncm", "region": "BE"})
    assert loading("0470123456", days=2, register=belgian).recorded == 1
    assert reason(client, "+32470123456") == "objected"
    assert reason(client, "+33470123456") == "unknown"


def test_a_register_of_mail_addresses_has_no_region(client: TestClient, loading: Loading) -> None:
    robinson = TPS.model_copy(update={"name": "robinson", "channels": ("email",), "region": ""})
    assert loading("Ann@Example.com", days=2, register=robinson).recorded == 1
    assert reason(client, "ann@example.com", channel="email") == "objected"


def test_an_older_file_than_the_last_is_not_loaded(ledger: Ledger, loading: Loading, tmp_path: Path) -> None:
    loading(ANN, days=2)
    begun: list[int] = []
    older = opened(tmp_path, BEN, days=3)
    with pytest.raises(RegisterNotLoadedError, match="load the file that was issued last"):
        load(ledger, older, RULES, partitions=4, on_invalid=lambda _: None, on_begin=lambda: begun.append(1))
    assert not begun
    [age] = ledger.transact(lambda c: table.ages(c, [TPS]))
    assert age == RegisterAge(register=TPS, as_of=days_ago(2))


def test_a_load_with_a_day_that_was_a_mistake_can_be_replaced(ledger: Ledger, loading: Loading, tmp_path: Path) -> None:
    loading(ANN, BEN, days=0)
    older = opened(tmp_path, ANN, BEN, days=9)
    counts = load(ledger, older, RULES, partitions=4, replaces=True, on_invalid=lambda _: None)
    end(ledger, older, counts)
    [age] = ledger.transact(lambda c: table.ages(c, [TPS]))
    assert (age.as_of, counts.recorded) == (days_ago(9), 0)
    assert loading(BEN, days=5).recorded == 0
    assert loading(ANN, BEN, days=0).recorded == 1  # Ann was missing in between.


def test_a_file_that_changes_meanwhile_is_not_the_register(ledger: Ledger, tmp_path: Path) -> None:
    file = opened(tmp_path, ANN, days=2)

    def change(_: int) -> None:
        (tmp_path / "register.txt").write_text(f"{BEN}\n")

    with pytest.raises(RegisterNotLoadedError, match="changed while it was read"):
        load(ledger, file, RULES, partitions=4, on_invalid=lambda _: None, progress=change)


def test_a_register_does_not_bring_an_erased_person_back(
    ledger: Ledger, owner_engine: Engine, codec: Codec, loading: Loading
) -> None:  # R33
    rig = ErasureRig(ledger=ledger, owner=owner_engine, codec=codec)
    for address in (ANN, BEN):
        rig.record("given", channel="voice", address=address, subject_ref=f"of-{address}", purpose="promotions")
    loading(ANN, days=20)
    for address in (ANN, BEN):
        rig.erase(subject_ref=f"of-{address}")
    loading(ANN, BEN, days=2)
    for address in (ANN, BEN):
        assert rig.entry(address, "voice").sealed_address is None
        assert rig.verdict(address, "promotions", "voice").reason == "objected"
    assert rig.found_in(ANN[3:], BEN[3:]) == []


def test_a_register_is_as_old_as_the_file_that_was_loaded_last(ledger: Ledger, loading: Loading) -> None:
    never = Register(name="dnc", tenant="acme", channels=("voice",), purposes=("promotions",), max_age_days=31)
    last_day = datetime.now(UTC).date() - timedelta(days=380)
    ended = TPS.model_copy(update={"name": "bloctel", "ended": last_day})
    loading(ANN, days=40)
    loading(BEN, days=400, register=ended)
    now = now_micros()

    def states() -> list[State]:
        return [each.state(now) for each in ledger.transact(lambda c: table.ages(c, [TPS, never, ended]))]

    assert states() == [State.STALE, State.NEVER_LOADED, State.ENDED]
    loading(ANN, days=27)
    assert states() == [State.FRESH, State.NEVER_LOADED, State.ENDED]
