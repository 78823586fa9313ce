"""The rules of docs/upgrade.md for migrations, checked on their SQL: by squawk, and what it does not look for."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sysconfig
from collections.abc import Iterator, Sequence
from pathlib import Path

from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import ScriptDirectory

from consent_api.ledger.migrate import configuration

POSTGRES = "16"
"""Older than any that we test with: what is safe there is safe in later ones."""
# `migrate` sets lock_timeout for its session; a statement that locks nothing may last. The rest is about style.
_NOT_OURS = (
    "require-lock-timeout",
    "require-statement-timeout",
    "prefer-bigint-over-int",
    "prefer-bigint-over-smallint",
    "prefer-identity",
    "prefer-robust-stmts",
    "prefer-text-field",
    "prefer-timestamptz",
)
_WHOLE_TABLES = re.compile(r"\s*(UPDATE|DELETE|TRUNCATE|LOCK|CLUSTER|VACUUM|REINDEX|REFRESH)\b", re.IGNORECASE)
_FUNCTION_BODY = re.compile(r"(\$\w*\$).*?\1", re.DOTALL)
_COMMENT = re.compile(r"--[^\n]*")


def statements(further: Sequence[Path] = ()) -> dict[str, str]:
    """The SQL of each migration, by its revision."""
    found = {}
    for script in ScriptDirectory.from_config(configuration(further)).walk_revisions():
        buffer = io.StringIO()
        options = {"as_sql": True, "output_buffer": buffer, "transaction_per_migration": True}
        context = MigrationContext.configure(dialect_name="postgresql", opts=options)
        with context.begin_transaction(_per_migration=True), Operations.context(context):
            script.module.upgrade()
        found[script.revision] = buffer.getvalue()
    return found


def faults(sql: str) -> list[str]:
    """The names of the rules that it breaks."""
    return [*_squawk(sql), *_whole_tables(sql)]


def _squawk(sql: str) -> Iterator[str]:
    command = [f"{sysconfig.get_path('scripts')}/squawk", "--reporter", "json", "--pg-version", POSTGRES]
    ran = subprocess.run(
        [*command, f"--exclude={','.join(_NOT_OURS)}"],
        input=sql,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if not ran.stdout.strip().startswith("["):
        raise RuntimeError(f"squawk: {ran.stdout}{ran.stderr}")
    yield from (f"{each['rule_name']}, line {each['line']}" for each in json.loads(ran.stdout))


def _whole_tables(sql: str) -> Iterator[str]:
    """Data is changed in small transactions, by a command; nothing but a rewrite needs the rest."""
    plain = _COMMENT.sub("", _FUNCTION_BODY.sub("''", sql))
    for statement in plain.split(";"):
        if match := _WHOLE_TABLES.match(statement):
            yield f"{match[1].upper()} of a whole table"
