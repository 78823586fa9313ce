"""No migration rewrites a big table, or locks it for longer than a moment (docs/upgrade.md). # R44"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.contract.migration_rules import faults, statements
from tests.support import example_migrations

EXAMPLES = Path(example_migrations.__file__).parent
CASES = {
    "ALTER TABLE decisions ALTER COLUMN bulk TYPE text": "changing-column-type",
    "ALTER TABLE decisions ALTER COLUMN source_system SET NOT NULL": "adding-not-nullable-field",
    "CREATE INDEX added ON decisions (recorded_at)": "require-concurrent-index-creation",
    "DROP INDEX decisions_of_subject": "require-concurrent-index-deletion",
    "ALTER TABLE decisions DROP COLUMN bulk": "ban-drop-column",
    "DROP TABLE pauses": "ban-drop-table",
    "ALTER TABLE decisions RENAME COLUMN bulk TO lane": "renaming-column",
    "ALTER TABLE decisions RENAME TO choices": "renaming-table",
    "ALTER TABLE decisions ADD COLUMN added text NOT NULL": "adding-required-field",
    "ALTER TABLE decisions ADD COLUMN added timestamptz DEFAULT clock_timestamp()": "adding-field-with-default",
    "ALTER TABLE decisions ADD CONSTRAINT added CHECK (recorded_at > 0)": "constraint-missing-not-valid",
    "ALTER TABLE decisions ADD CONSTRAINT added UNIQUE (tenant)": "disallowed-unique-constraint",
    "ALTER TABLE decisions ADD FOREIGN KEY (address_id) REFERENCES addresses": "constraint-missing-not-valid",
    "UPDATE decisions SET bulk = true": "UPDATE of a whole table",
    "DELETE FROM decisions": "DELETE of a whole table",
    "LOCK TABLE decisions": "LOCK of a whole table",
    "VACUUM FULL decisions": "VACUUM of a whole table",
    "CLUSTER decisions": "CLUSTER of a whole table",
}


@pytest.mark.parametrize(("revision", "sql"), statements([EXAMPLES]).items())
def test_a_migration_keeps_the_rules(revision: str, sql: str) -> None:
    assert faults(sql) == [], f"{revision}: docs/upgrade.md says what to write instead"


@pytest.mark.parametrize(("statement", "rule"), CASES.items())
def test_what_rewrites_or_locks_a_big_table_is_refused(statement: str, rule: str) -> None:
    found = faults(f"BEGIN;\n{statement};\nCOMMIT;")
    assert rule in {fault.partition(",")[0] for fault in found}, found
