"""Carries erasures out, step by step, in a thread of its own, in as many processes as there are."""

from __future__ import annotations

import logging
import threading
from functools import partial
from uuid import UUID

from prometheus_client import Counter
from sqlalchemy import Connection, text

from consent_api.errors import LedgerUnavailableError
from consent_api.ledger import database
from consent_api.ledger.lanes import Lane
from consent_api.ledger.ledger import Ledger
from consent_api.rights.erasure import model, steps
from consent_api.rights.erasure.model import State
from consent_service.health import Health

log = logging.getLogger(__name__)

INTERVAL_SECONDS = 10.0
RETRY_MICROS = 300 * 1_000_000
"""After which an erasure is tried again that could not go on."""
WAIT_MICROS = 10 * 1_000_000
_AT_ONCE = 20

_DUE = text("""
SELECT erasure_id FROM erasures WHERE ended_at IS NULL AND next_turn_at <= :now ORDER BY next_turn_at LIMIT :most
""")
_LATER = text("UPDATE erasures SET next_turn_at = :at WHERE erasure_id = :erasure_id AND ended_at IS NULL")
_OVER = text("DELETE FROM retained_proofs WHERE keep_until <= :now")


class Eraser:
    """What goes wrong with one erasure stops no other: it is logged, counted and on the health page, and tried again.
    The person is refused everything meanwhile."""

    def __init__(self, ledger: Ledger, *, health: Health, failures: Counter, settle: int = model.SETTLE_MICROS) -> None:
        self._ledger = ledger
        self._health = health
        self._failures = failures
        self._settle = settle

    def run(self, stop: threading.Event) -> None:
        """Until `stop`."""
        while not stop.is_set():
            if not self.turn():
                stop.wait(INTERVAL_SECONDS)

    def turn(self) -> int:
        """How many steps have been taken; 0 where the ledger cannot be asked. Raises nothing."""
        taken = failed = 0
        try:
            for erasure_id in self._due():
                try:
                    taken += self._one(erasure_id)
                except LedgerUnavailableError:
                    raise
                except Exception:
                    log.exception("an erasure could not go on", extra={"erasure_id": str(erasure_id)})
                    failed += 1
                    self._later(erasure_id, RETRY_MICROS)
        except LedgerUnavailableError as error:
            log.info("erasures wait", extra={"why": str(error)})
        self._failures.inc(failed)
        self._health.note("erasures", f"{failed} could not go on, see the log: tried again" if failed else "")
        return taken

    def _due(self) -> list[UUID]:
        def read(connection: Connection) -> list[UUID]:
            now = database.clock(connection)
            connection.execute(_OVER, {"now": now})
            return list(connection.execute(_DUE, {"now": now, "most": _AT_ONCE}).scalars())

        return self._ledger.transact(read)

    def _one(self, erasure_id: UUID) -> int:
        """One step. 0: it waits."""
        context = self._ledger.context
        state = self._ledger.write(
            Lane.BULK, lambda connection, now: steps.step(connection, context, erasure_id, now, settle=self._settle)
        )
        if state is State.NOTIFYING:
            self._later(erasure_id, min(WAIT_MICROS, self._settle))
        return int(state not in (None, State.NOTIFYING))

    def _later(self, erasure_id: UUID, micros: int) -> None:
        self._ledger.transact(partial(_postpone, erasure_id, micros))


def _postpone(erasure_id: UUID, micros: int, connection: Connection) -> None:
    connection.execute(_LATER, {"erasure_id": erasure_id, "at": database.clock(connection) + micros})
