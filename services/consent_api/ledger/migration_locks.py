"""Who keeps a migration from its lock. Looked for while it waits: a wait that has timed out leaves no trace."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

_INTERVAL_SECONDS = 0.2
_SHOWN = 3
_BLOCKING = text("""
    SELECT a.pid, a.usename, a.application_name, a.state,
           extract(epoch FROM clock_timestamp() - a.xact_start)::bigint AS seconds
    FROM unnest(pg_blocking_pids(:pid)) AS blocking (pid) JOIN pg_stat_activity a USING (pid)
    ORDER BY a.xact_start LIMIT :shown
""")


@dataclass(frozen=True, kw_only=True, slots=True)
class BlockingSession:
    """One session of the database. `state` and `seconds`, the age of its transaction, are None where the owner may not
    read them (it is no member of pg_read_all_stats)."""

    pid: int
    role: str
    application: str
    state: str | None
    seconds: int | None

    def __str__(self) -> str:
        parts = [f"session {self.pid} of role {self.role}"]
        if self.application:
            parts.append(f"application {self.application!r}")
        if self.state:
            parts.append(self.state)
        if self.seconds is not None:
            parts.append(f"in a transaction for {self.seconds} s")
        return ", ".join(parts)


class BlockingSessions:
    """Those seen last. Written by one thread, read by another."""

    def __init__(self) -> None:
        self._last: tuple[BlockingSession, ...] = ()

    def look(self, connection: Connection, pid: int) -> None:
        found = connection.execute(_BLOCKING, {"pid": pid, "shown": _SHOWN}).all()
        connection.commit()
        if found:
            self._last = tuple(
                BlockingSession(
                    pid=row.pid,
                    role=row.usename,
                    application=row.application_name,
                    state=row.state,
                    seconds=row.seconds,
                )
                for row in found
            )

    def take(self) -> str:
        """In words; the next wait begins with none."""
        last, self._last = self._last, ()
        return "; ".join(map(str, last)) or "a session that was gone when it was looked for"


@contextmanager
def blocking_sessions(engine: Engine, pid: int) -> Iterator[BlockingSessions]:
    """Those for which the session `pid` waits, looked for by a connection of its own until the end of the block."""
    sessions, ended = BlockingSessions(), threading.Event()

    def watch() -> None:
        try:
            with engine.connect() as connection:
                while not ended.wait(_INTERVAL_SECONDS):
                    sessions.look(connection, pid)
        except DBAPIError:
            # A database that is gone ends the migration by itself, with its own message.
            return

    thread = threading.Thread(target=watch, name="blocking-sessions")
    thread.start()
    try:
        yield sessions
    finally:
        ended.set()
        thread.join()
