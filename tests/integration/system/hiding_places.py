"""Every place where a clear address must not be, as bytes: topics, tables, local state, logs, metrics (R13)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, cast

import httpx
import psycopg
from psycopg import sql

from consent_contracts import Topics
from local_stack.endpoints import Endpoints
from tests.support.topic_records import records

_PART = 8


class Place(NamedTuple):
    """Something that was kept, and where."""

    name: str
    content: bytes


def topics(endpoints: Endpoints, names: list[str]) -> Iterator[Place]:
    """Key, value and headers of every record, as the broker holds them."""
    for topic in names:
        for message in records(endpoints.kafka, topic):
            parts = [message.key(), message.value()]
            for name, value in cast("list[tuple[str, bytes | None]]", message.headers() or []):
                parts += [name.encode(), value]
            where = f"{topic}:{message.partition()}:{message.offset()}"
            yield Place(where, b"\n".join(_bytes(each) for each in parts))


def tables(endpoints: Endpoints) -> Iterator[Place]:
    """Every row of every table as text, and its binary columns as they are."""
    with psycopg.connect(endpoints.database.replace("+psycopg", "", 1)) as connection:
        found = connection.execute(
            "SELECT c.table_schema, c.table_name, array_agg(c.column_name::text) FILTER (WHERE c.data_type = 'bytea')"
            " FROM information_schema.columns c JOIN information_schema.tables t USING (table_schema, table_name)"
            " WHERE t.table_type = 'BASE TABLE' AND c.table_schema NOT IN ('pg_catalog', 'information_schema')"
            " GROUP BY 1, 2 ORDER BY 1, 2"
        ).fetchall()
        for schema, table, binary in found:
            columns = [sql.Identifier(name) for name in binary or []]
            query = sql.SQL("SELECT {} FROM {} t").format(
                sql.SQL(", ").join([sql.SQL("t::text"), *columns]), sql.Identifier(schema, table)
            )
            for row in connection.execute(query):
                text, *contents = row
                yield Place(f"table {table}", b"\n".join([text.encode(), *(each or b"" for each in contents)]))


def files(directory: Path, *, but: str) -> Iterator[Place]:
    """All files below, except those of the provider sandbox, which has to know addresses."""
    for path in sorted(directory.rglob("*")):
        if path.is_file() and but not in path.relative_to(directory).as_posix():
            yield Place(str(path.relative_to(directory)), path.read_bytes())


def local_state(directory: Path, *hidden: str | bytes) -> set[str]:
    """The services with a file of local state that holds one of these: random texts or bytes.

    RocksDB compresses its blocks by LZ4, which shortens what was there before: a part of a random value is always
    there as it is.
    """
    parts = [secret[at : at + _PART] for secret in map(_bytes, hidden) for at in range(len(secret) - _PART + 1)]
    assert parts
    return {
        place.name.partition("/")[0]
        for place in files(directory, but="sandbox")
        if any(part in place.content for part in parts)
    }


def metrics(endpoints: Endpoints) -> Iterator[Place]:
    for name, url in endpoints.metrics.items():
        yield Place(f"metrics of {name}", httpx.get(f"{url}/metrics", timeout=30).content)


def our_topics(endpoints: Endpoints) -> tuple[list[str], str]:
    """All topics with records but those in which upstream systems may name addresses, and the live one of those."""
    names = Topics(prefix=endpoints.topic_prefix)
    inbound = (names.inbound, names.inbound_bulk)
    return [spec.name for spec in names.specs() if spec.record_names and spec.name not in inbound], names.inbound


def _bytes(part: str | bytes | None) -> bytes:
    """The client hands over bytes; its type hints also allow text."""
    return part.encode() if isinstance(part, str) else part or b""
