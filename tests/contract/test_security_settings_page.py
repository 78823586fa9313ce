"""docs/security-settings.md has the ACLs that the code requires."""

from __future__ import annotations

from pathlib import Path

from tests.contract.acl_table import lines

PAGE = Path("docs/security-settings.md")


def test_the_page_has_the_tables_that_the_code_gives() -> None:  # R42
    assert "\n".join(lines()) in PAGE.read_text(), "python -m tests.contract.acl_table, into docs/security-settings.md"
