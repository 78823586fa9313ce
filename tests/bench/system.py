"""The whole system for a benchmark: its own database and topics beside servers that run already."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import psycopg
from confluent_kafka.admin import AdminClient
from psycopg import sql

from consent_contracts import Topics
from local_stack.stack import Stack
from tests.bench.figures import Servers

OWN_WEBHOOK = """\
destinations:
  - name: own-webhook
    connector: webhook
    channel: email
    url: {sandbox}/webhook/own
    credentials: {{secret: {{file: secrets/webhook}}}}
    options: {{allow_private: true}}
    purposes: same
"""
"""The destinations file of one webhook with its default limits."""

_UNLIMITED = {
    f"CONSENT_RELAY_API_{whose}_{what}_RATE": "0" for whose in ("KEY", "TENANT") for what in ("LIVE", "BULK", "READ")
}


@contextmanager
def system(servers: Servers, destinations: str, *, environ: Mapping[str, str] | None = None) -> Iterator[Stack]:
    """All services, started and ready; nothing is left behind in the servers. `destinations` as in Stack; `environ`:
    further settings."""
    name, prefix = f"bench_{uuid4().hex[:12]}", f"b{uuid4().hex[:8]}."
    owner = servers.database.replace("+psycopg", "", 1)
    with psycopg.connect(owner, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        try:
            with tempfile.TemporaryDirectory(prefix="consent-relay-bench-") as directory:
                settings = {
                    "CONSENT_RELAY_KAFKA": servers.kafka,
                    "CONSENT_RELAY_REGISTRY": servers.registry,
                    "CONSENT_RELAY_DATABASE": f"{servers.database.rpartition('/')[0]}/{name}",
                    "CONSENT_RELAY_TOPIC_PREFIX": prefix,
                    **_UNLIMITED,
                    **(environ or {}),
                }
                stack = Stack(Path(directory), environ=settings, destinations=destinations)
                with stack:
                    stack.start()
                    yield stack
                if stack.crashes:
                    raise RuntimeError(f"crashed: {[(crash.name, crash.how, crash.tail) for crash in stack.crashes]}")
        finally:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
            delete_topics(servers, Topics(prefix=prefix))


def delete_topics(servers: Servers, topics: Topics) -> None:
    """All topics of an installation."""
    admin = AdminClient({"bootstrap.servers": servers.kafka})
    for deleted in admin.delete_topics([spec.name for spec in topics.specs()]).values():
        deleted.result()
