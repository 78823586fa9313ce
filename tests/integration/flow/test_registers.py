"""`consent-relay registers`, as an operator runs it. # R22 R46"""

from __future__ import annotations

import json
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Connection, text

from consent_api.ledger import backlog
from consent_api.ledger.backlog import BulkBacklog
from consent_api.ledger.lanes import Lane
from consent_client.registers import read, write
from consent_service.clock import now_micros
from tests.integration.flow.rig import Rig
from tests.support.waiting import until

REGISTERS = """
registers:
  - {name: tps, channels: [voice], purposes: [promotions], max_age_days: 28}
  - {name: bloctel, channels: [voice], purposes: [promotions], max_age_days: 30, ended: 2026-08-10}
"""
YESTERDAY = f"{datetime.now(UTC) - timedelta(days=1):%Y-%m-%d}"


@pytest.fixture
def declared(tmp_path: Path) -> Path:
    path = tmp_path / "registers.yaml"
    path.write_text(REGISTERS)
    return path


def test_a_load_refuses_by_the_bulk_lane_and_makes_the_register_fresh(rig: Rig, declared: Path, tmp_path: Path) -> None:
    file = tmp_path / "tps.csv"
    file.write_text("company;telephone\nx;06 39 98 00 01\n\ny;+33639980002\nz;none\n")
    command = ("registers", "load", "tps", str(file), "--as-of", YESTERDAY)
    assert "tps\tacme\t-\t-\t28\tnever loaded" in rig.run("registers", "list", code=1, registers_file=declared)

    stopped = rig.run(*command, code=1, registers_file=declared)
    assert "2 addresses: 2 refused now, 0 before; 1 empty lines, 1 invalid" in stopped
    assert "tps stays as old as it is" in stopped
    assert "--invalid-at-most 1" in stopped
    invalid = tmp_path / "tps.invalid.csv"
    assert invalid.read_text().splitlines()[1].startswith("5,z;none,")
    assert stat.S_IMODE(invalid.stat().st_mode) == 0o600
    assert "never loaded" in rig.run("registers", "list", code=1, registers_file=declared)
    of_tps = findings(rig, declared)[-1]
    assert of_tps == ("fault", "tps: never loaded")

    loaded = rig.run(*command, "--invalid-at-most", "1", registers_file=declared)
    assert "2 addresses: 0 refused now, 2 before" in loaded
    assert f"tps is as of {YESTERDAY}" in loaded
    assert f"tps\tacme\t{YESTERDAY}\t1." in rig.run("registers", "list", code=1, registers_file=declared)
    of_bloctel = ("registers", "load", "bloctel", str(file), "--invalid-at-most", "1", "--as-of")
    assert "bloctel ended on 2026-08-10" in rig.run(*of_bloctel, YESTERDAY, code=2, registers_file=declared)
    rig.run(*of_bloctel, "2026-08-10", registers_file=declared)
    listed = rig.run("registers", "list", registers_file=declared)
    assert [line.split("\t")[-1] for line in listed.splitlines()] == ["fresh", "ended"]

    assert findings(rig, declared) == [("ok", "bloctel: ended"), ("ok", "tps: fresh")]
    acts = "SELECT string_agg(object_id, ' ' ORDER BY at) FROM audit_entries WHERE act = 'register_loaded'"
    assert f"tps of {YESTERDAY}, sha256:" in rig.ask(acts)
    assert rig.pending(Lane.LIVE) == 0
    with rig.relay():
        until(lambda: rig.pending(Lane.BULK) == 0)
    assert len(rig.changes(Lane.BULK)) == 4


def test_a_database_that_is_not_migrated_is_named(rig: Rig, declared: Path, tmp_path: Path) -> None:
    file = tmp_path / "tps.txt"
    file.write_text("+33639980001\n")
    with rig.owner.begin() as connection:
        connection.execute(text("ALTER TABLE register_loads RENAME TO other"))
    try:
        for words in (("list",), ("load", "tps", str(file), "--no-header", "--as-of", YESTERDAY)):
            assert "run consent-relay migrate" in rig.run("registers", *words, code=1, registers_file=declared)
    finally:
        with rig.owner.begin() as connection:
            connection.execute(text("ALTER TABLE other RENAME TO register_loads"))


def test_what_gates_are_given_follows_each_load_and_outlives_a_wrong_entry(
    rig: Rig, declared: Path, tmp_path: Path
) -> None:
    file, exported = tmp_path / "tps.txt", tmp_path / "exported.json"
    file.write_text("+33639980001\n")

    def denied() -> dict[str, bool]:
        return {each.name: each.stale_at is not None and each.stale_at < now_micros() for each in read(exported).limits}

    assert "2 registers written" in rig.run("registers", "export", str(exported), registers_file=declared)
    assert denied() == {"tps": True, "bloctel": True}
    load = ("registers", "load", "tps", str(file), "--no-header", "--as-of", YESTERDAY, "--export", str(exported))
    assert "2 registers written" in rig.run(*load, registers_file=declared)
    assert denied() == {"tps": False, "bloctel": True}
    assert read(exported).stale("acme", "voice", "promotions", now_micros()) == "bloctel"

    declared.write_text(REGISTERS.replace("max_age_days: 28", "max_age: 28"))
    rig.run("registers", "export", str(exported), code=1, registers_file=declared)
    assert denied() == {"bloctel": True, "tps": False}
    of_bloctel = ("registers", "load", "bloctel", str(file), "--no-header", "--as-of", "2026-08-10", "--export")
    new = tmp_path / "new.json"
    printed = rig.run(*of_bloctel, str(new), code=1, registers_file=declared)
    assert "is not written, as it would never deny for what is wrong: mend tps in" in printed
    assert not new.exists()
    printed = rig.run(*of_bloctel, str(exported), code=1, registers_file=declared)
    assert "has what it had of an entry that is wrong now: mend tps in" in printed
    assert denied() == {"bloctel": False, "tps": False}
    write(exported, [])
    rig.run("registers", "export", str(exported), code=1, registers_file=declared)
    assert denied() == {}
    declared.write_text("registers: []")
    rig.run("registers", "export", str(exported), registers_file=declared)
    assert denied() == {}


def findings(rig: Rig, declared: Path) -> list[tuple[str, str]]:
    """What doctor finds of the registers, without their ages."""
    report = json.loads(rig.invoke("doctor", "--process", "api", "--json", registers_file=declared).stdout)
    found = [each for each in report["findings"] if each["name"] == "registers"]
    return sorted((each["result"], each["found"].partition(",")[0]) for each in found)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("dnc", "--as-of", YESTERDAY), "CONSENT_RELAY_REGISTERS_FILE has no such register: bloctel, tps"),
        (("tps", "--as-of", "2999-01-01"), "the day is still to come"),
        (("tps", "--as-of", "1990-01-01"), "before CONSENT_RELAY_OLDEST_CHOICE"),
        (("tps",), "Missing option '--as-of'"),
        (("tps", "--as-of", YESTERDAY, "--invalid", "tps.txt"), "name another file than that of the register"),
    ],
)
def test_what_cannot_be_loaded_is_refused_with_the_cure(
    rig: Rig,
    declared: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "tps.txt"
    file.write_text("+33639980001\n")
    name, *options = words
    printed = rig.run("registers", "load", name, str(file), "--no-header", *options, code=2, registers_file=declared)
    assert said in " ".join(printed.split())
    assert file.exists()
    assert rig.ask("SELECT count(*) FROM decisions") == 0


def test_a_load_says_that_it_waits_for_the_bulk_lane(
    rig: Rig, declared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, ages = tmp_path / "tps.txt", [90.0]
    file.write_text("+33639980001\n")

    def read(_: Connection, *, partitions: int) -> BulkBacklog:
        age = ages.pop() if ages else 1.0
        return BulkBacklog(resolved_age_seconds=age, pending=0, relay_alive=True)

    monkeypatch.setattr(backlog, "read", read)
    printed = rig.run(
        "registers", "load", "tps", str(file), "--no-header", "--as-of", YESTERDAY, registers_file=declared
    )
    assert "tps waits: the bulk lane is more than a minute late" in printed
    assert "1 addresses: 1 refused now" in printed


def test_no_file_of_the_operators_is_removed_for_that_of_invalid_lines(
    rig: Rig, declared: Path, tmp_path: Path
) -> None:
    file, other = tmp_path / "tps.txt", tmp_path / "campaign.csv"
    file.write_text("+33639980001\n")
    other.write_text("telephone\n+33639980002\n")
    command = ("registers", "load", "tps", str(file), "--no-header", "--as-of", YESTERDAY, "--invalid", str(other))
    printed = rig.run(*command, code=2, registers_file=declared)
    assert "exists, and is no file of such lines: rename it, or name another" in " ".join(printed.split())
    assert other.read_text() == "telephone\n+33639980002\n"
    assert rig.ask("SELECT count(*) FROM decisions") == 0


def test_a_file_without_addresses_leaves_the_register_as_old_as_it_is(rig: Rig, declared: Path, tmp_path: Path) -> None:
    file = tmp_path / "tps.csv"
    file.write_text("telephone\n")
    printed = rig.run("registers", "load", "tps", str(file), "--as-of", YESTERDAY, code=1, registers_file=declared)
    assert "has no addresses" in printed
    assert rig.ask("SELECT count(*) FROM register_loads") == 0
