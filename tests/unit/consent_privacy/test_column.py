"""Which column has the addresses is found out where that is plain, and asked for otherwise (R25)."""

from __future__ import annotations

import pytest

from consent_privacy.address_file.column import choose
from consent_privacy.errors import FileNotReadableError

ROWS = [["1", "ann", "06 39 98 00 01", "ann@example.com"], ["2", "bob", "+33639980002", ""]]


@pytest.mark.parametrize(
    ("stated", "names", "channel", "found"),
    [
        (None, ["id", "name", "Téléphone portable", "mail"], "sms", (2, "by its name")),
        (None, ["id", "name", "PHONE_NUMBER", "mail"], "voice", (2, "by its name")),
        (None, ["id", "name", "p", "E-Mail"], "email", (3, "by its name")),
        (None, ["id", "name", "a", "b"], "sms", (2, "by its values")),
        (None, ["id", "name", "a", "b"], "email", (3, "by its values")),
        (None, None, "sms", (2, "by its values")),
        ("name", ["id", "name", "phone", "mail"], "sms", (1, "as stated")),
        ("4", ["id", "name", "phone", "mail"], "sms", (3, "as stated")),
        ("2", ["id", "name", "2", "mail"], "sms", (2, "as stated")),
        ("2", None, "sms", (1, "as stated")),
    ],
)
def test_the_column_is_found(stated: str | None, names: list[str] | None, channel: str, found: tuple[int, str]) -> None:
    assert choose(stated, names, ROWS, channel, "FR") == found


@pytest.mark.parametrize(
    ("stated", "names", "rows", "channel", "why"),
    [
        (None, ["phone", "mobile"], [], "sms", "phone \\(1\\), mobile \\(2\\): state --column"),
        (None, ["a", "b"], [["+33639980001", "+33639980002"]], "sms", "a \\(1\\), b \\(2\\): state --column"),
        (None, ["phone", "b"], [["none", "+33639980002"]] * 3, "sms", "phone \\(1\\) has few sms"),
        (None, ["a", "b"], [["x", "y"]], "email", "no column"),
        (None, None, [], "email", "no column"),
        ("fax", ["a", "b"], [], "sms", "its columns are a, b"),
        ("3", ["a", "b"], [], "sms", "no column 3"),
        ("0", ["a", "b"], [], "sms", "no column 0"),
        ("a", ["a", "a"], [], "sms", "2 columns are named a"),
        ("a", None, ROWS, "sms", "no header"),
    ],
)
def test_what_is_not_plain_is_asked_for(
    stated: str | None, names: list[str] | None, rows: list[list[str]], channel: str, why: str
) -> None:
    with pytest.raises(FileNotReadableError, match=why):
        choose(stated, names, rows, channel, "FR")
