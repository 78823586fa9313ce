"""A register of oppositions that is too old denies its own channels and purposes, and nothing else. # R22"""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from consent_client import InvalidRegistersError
from consent_client.registers import RegisterLimit, Registers, RegistersFile, read, write

NOW = 1_790_000_000_000_000
TPS = RegisterLimit(
    name="tps", tenant="acme", channels=("sms", "voice"), purposes=("promotions", "surveys"), stale_at=NOW
)
NEVER_LOADED = RegisterLimit(name="dnc", tenant="acme", channels=("voice",), purposes=("promotions",), stale_at=0)
ENDED = RegisterLimit(name="bloctel", tenant="acme", channels=("voice",), purposes=("promotions",), stale_at=None)


@pytest.mark.parametrize(
    ("question", "now", "stale"),
    [
        (("acme", "voice", "promotions"), NOW - 1, None),
        (("acme", "voice", "promotions"), NOW, "tps"),
        (("acme", "sms", "surveys"), NOW + 1, "tps"),
        (("acme", "email", "promotions"), NOW, None),
        (("acme", "voice", "invoices"), NOW, None),
        (("acme", "voice", "*"), NOW, None),
        (("globex", "voice", "promotions"), NOW, None),
    ],
)
def test_which_questions_a_stale_register_denies(question: tuple[str, str, str], now: int, stale: str | None) -> None:
    assert Registers([ENDED, TPS]).stale(*question, now) == stale


def test_one_that_was_never_loaded_denies_and_one_that_has_ended_does_not() -> None:
    assert Registers([ENDED, NEVER_LOADED]).stale("acme", "voice", "promotions", 1) == "dnc"
    assert Registers([ENDED]).stale("acme", "voice", "promotions", 10**18) is None
    assert Registers().stale("acme", "voice", "promotions", NOW) is None


def test_a_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "registers.json"
    write(path, [TPS, NEVER_LOADED, ENDED])
    assert read(path).limits == (TPS, NEVER_LOADED, ENDED)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


ENTRY = {"name": "tps", "tenant": "acme", "channels": ["voice"], "purposes": ["promotions"], "stale_at": 5}


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[",
        "[" * 100_000,
        "{}",
        '{"registers": {}}',
        '{"registers": ["tps"]}',
        " " * (1024 * 1024) + "{}",
        *(
            json.dumps({"registers": [{**ENTRY, **change}]})
            for change in (
                {"name": 3},
                {"tenant": None},
                {"channels": "voice"},
                {"channels": []},
                {"purposes": [1]},
                {"stale_at": "never"},
                {"stale_at": -1},
                {"stale_at": True},
            )
        ),
        json.dumps({"registers": [{name: value for name, value in ENTRY.items() if name != "stale_at"}]}),
    ],
)
def test_a_file_that_cannot_be_used_is_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / "registers.json"
    path.write_text(content)
    with pytest.raises(InvalidRegistersError, match=r"registers\.json"):
        read(path)


def test_a_damaged_file_is_logged_once_each_time(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "registers.json"
    write(path, [TPS])
    followed = RegistersFile(path)
    for _ in range(2):
        path.write_text("half a f")
        assert followed().limits == followed().limits == (TPS,)
        write(path, [TPS])
        followed()
    path.unlink()
    assert followed().limits == followed().limits == (TPS,)
    said = [each.__dict__["why"] for each in caplog.records]
    assert [why.partition(": ")[2].partition(" (")[0] for why in said] == [
        "is no JSON of 1048576 bytes at most",
        "is no JSON of 1048576 bytes at most",
        "cannot be read",
    ]


def test_a_file_is_read_again_when_it_changes_and_a_bad_one_leaves_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "registers.json"
    write(path, [TPS])
    followed = RegistersFile(path)

    def stale() -> Any:
        return followed().stale("acme", "voice", "promotions", NOW)

    assert stale() == "tps"
    write(path, [ENDED])
    assert stale() is None
    write(path, [NEVER_LOADED])
    assert stale() == "dnc"
    path.write_text("half a f")
    assert stale() == "dnc"
    path.unlink()
    assert stale() == "dnc"
    write(path, [])
    assert stale() is None
    with pytest.raises(InvalidRegistersError, match="cannot be read"):
        RegistersFile(tmp_path / "none.json")
