"""Writes repairs as fast as the bulk lane takes them."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from sqlalchemy.exc import DataError

from consent_api.ledger import backlog
from consent_api.ledger.lanes import Lane
from consent_api.ledger.ledger import Ledger
from consent_api.operations.republish.pacing import BulkPacing
from consent_api.operations.verify.compare import DifferenceKind
from consent_api.operations.verify.job import Checked
from consent_api.operations.verify.repair import Repair, repair
from consent_privacy.errors import KeyringError


@dataclass(kw_only=True, slots=True)
class Sent:
    """Repairs: of how many addresses, and of how many differences of each kind."""

    sent: int = 0
    kinds: Counter[DifferenceKind] = field(default_factory=Counter)

    def add(self, other: Sent) -> None:
        self.sent += other.sent
        self.kinds.update(other.kinds)


class RepairWriter:
    """Waits while a relay is alive that cannot keep the bulk lane's resolved timestamp within a minute."""

    def __init__(self, ledger: Ledger, *, partitions: int, sleep: Callable[[float], None] = time.sleep) -> None:
        self._ledger = ledger
        self._pacing = BulkPacing(
            lambda: ledger.transact(partial(backlog.read, partitions=partitions)), lambda age: None, sleep=sleep
        )

    def repair(self, found: Sequence[Checked]) -> Sent:
        """In one transaction: not more than some hundred addresses. Raises LedgerUnavailableError.

        An address for which the keyring lacks what is stored, or whose entry holds what the database does not take, is
        not repaired, and keeps no other from it."""
        self._pacing.wait()
        try:
            results = self._ledger.write(
                Lane.BULK, lambda connection, now: repair(connection, self._ledger.context, found, now=now)
            )
        except (KeyringError, DataError):
            sent = Sent()
            for each in found if len(found) > 1 else ():
                sent.add(self.repair([each]))
            return sent
        sent = Sent()
        for checked, result in zip(found, results, strict=True):
            if result is not Repair.NONE:
                sent.sent += 1
                sent.kinds.update(each.kind for each in checked.differences if each.kind.is_defect)
        return sent
