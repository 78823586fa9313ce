"""The registers file: what an entry needs, and what is said of a wrong one. # R22"""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml

from consent_api.domain.validation import Purposes, ValidationRules
from consent_api.errors import MisconfiguredError
from consent_api.registers.age import DAY_MICROS, RegisterAge, State
from consent_api.registers.declared import Register, read_registers
from consent_service.wrong_entries import WrongEntry

RULES = ValidationRules(
    channels=("sms", "email", "voice"),
    default_region="FR",
    purposes=Purposes(declared=frozenset({"promotions", "surveys"})),
    tenant_purposes={"globex": Purposes(used=frozenset())},
)
TPS = {"name": "tps", "tenant": "acme", "channels": ["voice"], "purposes": ["promotions"], "max_age_days": 28}
NOW = 100 * DAY_MICROS


def read(directory: Path, *entries: Any, tenants: tuple[str, ...] = ("acme", "globex")) -> tuple[Any, list[WrongEntry]]:
    path = directory / "registers.yaml"
    path.write_text(yaml.safe_dump({"registers": list(entries)}))
    wrong: list[WrongEntry] = []
    return read_registers(path, tenants=tenants, rules=RULES, on_wrong=wrong.append), wrong


def test_the_entries_by_name_and_the_only_tenant_may_be_left_out(tmp_path: Path) -> None:
    of_one = {"name": "old", "channels": ["sms", "voice"], "purposes": ["surveys"], "max_age_days": 30}
    of_one["ended"] = date(2026, 8, 10)
    found, wrong = read(tmp_path, TPS, of_one, tenants=("acme",))
    assert not wrong
    assert list(found) == ["tps", "old"]
    assert (found["tps"].max_age_days, found["tps"].ended) == (28, None)
    assert (found["old"].tenant, found["old"].ended) == ("acme", date(2026, 8, 10))


def test_the_region_is_the_installations_where_it_is_left_out_and_addresses_have_none(tmp_path: Path) -> None:
    entries = [{**TPS, "region": "BE"}, {**TPS, "name": "own"}, {**TPS, "name": "robinson", "channels": ["email"]}]
    found, wrong = read(tmp_path, *entries)
    assert not wrong
    assert {name: each.region for name, each in found.items()} == {"tps": "BE", "own": "FR", "robinson": ""}


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"name": "T P S"}, "T P S.name"),
        ({"tenant": "initech"}, "tps.tenant: name a tenant that the keyring has"),
        ({"tenant": ""}, "tps.tenant: name a tenant"),
        ({"tenant": "globex"}, "tps.purposes: the purposes of this tenant are not known"),
        ({"channels": []}, "tps.channels"),
        ({"channels": ["fax"]}, "tps.channels: each is one of sms, email, voice"),
        ({"channels": ["voice", "email"]}, "one kind of address"),
        ({"purposes": []}, "tps.purposes"),
        ({"purposes": ["*"]}, "tps.purposes.0"),
        ({"purposes": ["promotion"]}, "tps.purposes: name purposes that are declared"),
        ({"region": "be"}, "tps.region: Value error, is no region with telephone numbers"),
        ({"region": ""}, "tps.region"),
        ({"region": "BE", "channels": ["email"]}, "region is for phone numbers"),
        ({"max_age_days": 0}, "tps.max_age_days"),
        ({"max_age_days": 1000}, "tps.max_age_days"),
        ({"max_age_days": None}, "tps.max_age_days"),
        ({"max_age_days": None, "ended": date(2026, 8, 10)}, "tps.max_age_days"),
        ({"ended": "last summer"}, "tps.ended"),
        ({"maximum_age": 28}, "tps.maximum_age"),
    ],
)
def test_a_wrong_entry_is_named_and_the_others_are_in_use(tmp_path: Path, change: dict[str, Any], place: str) -> None:
    found, wrong = read(tmp_path, {**TPS, **change}, {**TPS, "name": "dnc"})
    assert list(found) == ["dnc"]
    [one] = wrong
    assert place in one.why
    assert "docs/registers.md" in one.why


def test_of_several_entries_with_one_name_each_is_wrong(tmp_path: Path) -> None:
    found, wrong = read(tmp_path, TPS, {**TPS, "channels": ["sms"]})
    assert not found
    assert [each.entry for each in wrong] == ["tps", "tps"]


@pytest.mark.parametrize("content", ["registers: 3", "- tps", "registers: []\nother: 1", "registers: [", ""])
def test_a_file_of_another_shape_is_the_installations_fault(tmp_path: Path, content: str) -> None:
    (tmp_path / "registers.yaml").write_text(content)
    with pytest.raises(MisconfiguredError, match=r"CONSENT_RELAY_REGISTERS_FILE: names a file that"):
        read_registers(tmp_path / "registers.yaml", tenants=["acme"], rules=RULES, on_wrong=lambda _: None)


@pytest.mark.parametrize(
    ("days", "state", "stale_at"),
    [(None, State.NEVER_LOADED, 0), (27.9, State.FRESH, 28), (28, State.STALE, 28), (99, State.STALE, 28)],
)
def test_a_register_is_stale_once_it_is_as_old_as_it_may_be(days: float | None, state: State, stale_at: int) -> None:
    as_of = None if days is None else NOW - int(days * DAY_MICROS)
    age = RegisterAge(register=Register.model_validate(TPS), as_of=as_of)
    assert age.state(NOW) is state
    assert age.stale_at == (0 if as_of is None else as_of + stale_at * DAY_MICROS)


ENDED = Register.model_validate({**TPS, "ended": date(1970, 1, 31)})
"""On day 30."""


def test_one_that_has_ended_is_never_stale_once_it_was_loaded() -> None:
    assert RegisterAge(register=ENDED, as_of=None).state(NOW) is State.NEVER_LOADED
    loaded = RegisterAge(register=ENDED, as_of=4 * DAY_MICROS)
    assert (loaded.state(NOW), loaded.stale_at, loaded.days(NOW)) == (State.ENDED, None, 96)


@pytest.mark.parametrize(
    ("as_of", "now", "state", "stale_at"),
    [
        (1, 100, State.STALE, 29),
        (2, 100, State.ENDED, None),
        (30, 100, State.ENDED, None),
        (1, 28, State.FRESH, 29),
        (1, 29, State.STALE, 29),
        (2, 29, State.FRESH, None),
    ],
)
def test_one_that_ended_was_new_enough_on_its_last_day(
    as_of: int, now: int, state: State, stale_at: int | None
) -> None:
    age = RegisterAge(register=ENDED, as_of=as_of * DAY_MICROS)
    assert age.state(now * DAY_MICROS) is state
    assert age.stale_at == (None if stale_at is None else stale_at * DAY_MICROS)
