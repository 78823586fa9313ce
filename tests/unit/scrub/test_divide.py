"""Lines go to one of two files unchanged; both files are there, or neither (R25)."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from consent_client import Answer, ListNotReadyError
from consent_privacy.address_file.csv_file import CsvFile
from consent_privacy.address_file.opening import AddressColumn
from consent_service.clock import elapsed_micros, now_micros
from suppression.scrub.divide import Result, divide

MINUTE = 60_000_000


class FakeList:
    """Permits those whose address begins with yes; refuses the others for what they are."""

    def __init__(self, *, portions: int = 1_000, as_of: int | None = 1_000_000) -> None:
        self._portions = portions
        self._as_of = as_of

    def check(self, addresses: Iterable[str], purpose: str) -> list[Answer]:
        self._portions -= 1
        if self._portions < 0:
            raise ListNotReadyError("stale")
        return [self._answer(each) for each in addresses]

    def _answer(self, address: str) -> Answer:
        reason, _, detail = address.partition(":")
        return Answer(
            permitted=address.startswith("yes"),
            reason=reason or "invalid_address",
            detail=detail or ("" if reason else "empty: send an address"),
            as_of=self._as_of,
            valid_until=now_micros() + (0 if "late" in address else MINUTE),
            valid_until_elapsed=elapsed_micros() + (-1 if "late" in address else MINUTE),
        )


def run(directory: Path, content: bytes, list_: FakeList, *, header: bool = True, column: int = 1) -> Result:
    file = directory / "campaign.csv"
    file.write_bytes(content)
    source = CsvFile.look_at(file)
    first = source.fields(next(source.records()))
    names = first if header else None
    return divide(
        AddressColumn(source=source, index=column, names=names, columns=len(first), how="as stated"),
        list_,
        purpose="promotions",
        allowed=directory / "allowed.csv",
        removed=directory / "removed.csv",
        on_portion=lambda _: None,
    )


def results(directory: Path) -> tuple[bytes, bytes]:
    return (directory / "allowed.csv").read_bytes(), (directory / "removed.csv").read_bytes()


def test_every_line_is_in_one_of_the_files_unchanged(tmp_path: Path) -> None:
    content = b'\xef\xbb\xbfname;to\r\n"A; B";yes\r\nC;withdrawn\nD;"yes 2"\r\nE;unknown'
    result = run(tmp_path, content, FakeList())
    assert results(tmp_path) == (
        b'\xef\xbb\xbfname;to\r\n"A; B";yes\r\nD;"yes 2"\r\n',
        b"\xef\xbb\xbfname;to;reason\r\nC;withdrawn;withdrawn\nE;unknown;unknown",
    )
    assert (result.allowed, result.removed, result.reasons) == (2, 2, {"withdrawn": 1, "unknown": 1})
    assert (result.records, result.as_of, result.read) == (4, 1_000_000, len(content))


def test_a_line_without_an_address_is_removed_and_the_reason_is_in_its_column(tmp_path: Path) -> None:
    run(tmp_path, b"name,to,age\nA\n\nB,,7\nC,invalid_address:too_short: send more,8,9\n", FakeList())
    assert results(tmp_path)[1] == (
        b"name,to,age,reason\nA,,,invalid_address (empty)\n,,,invalid_address (empty)\n"
        b"B,,7,invalid_address (empty)\nC,invalid_address:too_short: send more,8,9,invalid_address (too_short)\n"
    )


def test_utf_16_stays_utf_16(tmp_path: Path) -> None:
    run(tmp_path, "\ufeffname\tto\r\nZoé\tyes\r\nIs\ttno\r\n".encode("utf-16-be"), FakeList())
    allowed, removed = (each.decode("utf-16") for each in results(tmp_path))
    assert (allowed, removed) == ("name\tto\r\nZoé\tyes\r\n", "name\tto\treason\r\nIs\ttno\ttno\r\n")


def test_a_column_named_reason_stays_what_it_is(tmp_path: Path) -> None:
    run(tmp_path, b"reason,to\nsummer,no\n", FakeList())
    assert results(tmp_path)[1] == b"reason,to,consent_reason\nsummer,no,no\n"


def test_without_a_header_the_first_line_is_asked_for_too(tmp_path: Path) -> None:
    run(tmp_path, b"A,no\nB,yes\n", FakeList(), header=False)
    assert results(tmp_path) == (b"B,yes\n", b"A,no,no\n")


def test_an_answer_that_has_run_out_permits_nothing(tmp_path: Path) -> None:
    run(tmp_path, b"name,to\nA,yes late\n", FakeList())
    assert results(tmp_path) == (b"name,to\n", b"name,to,reason\nA,yes late,expired\n")


def test_no_reason_can_break_a_line(tmp_path: Path) -> None:
    run(tmp_path, b'name,to\nA,"no""\n=1,"\n', FakeList())
    assert results(tmp_path)[1].endswith(b'",refused\n')


def test_a_list_that_becomes_too_old_leaves_nothing_behind(tmp_path: Path) -> None:
    content = b"name,to\n" + b"A,yes\n" * 2_500
    with pytest.raises(ListNotReadyError):
        run(tmp_path, content, FakeList(portions=2))
    assert [each.name for each in tmp_path.iterdir()] == ["campaign.csv"]


def test_a_result_that_cannot_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "allowed.csv").mkdir()
    with pytest.raises(OSError, match="allowed"):
        run(tmp_path, b"name,to\nA,yes\n", FakeList())
    assert [each.name for each in tmp_path.iterdir() if each.is_file()] == ["campaign.csv"]


def test_the_results_are_for_their_owner(tmp_path: Path) -> None:
    run(tmp_path, b"name,to\nA,yes\n", FakeList())
    assert {(tmp_path / name).stat().st_mode & 0o777 for name in ("allowed.csv", "removed.csv")} == {0o600}
