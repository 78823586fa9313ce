"""What each provider account holds of each address, and when it was informed: the other half of every check."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

State = Literal["suppressed", "permitted"]
SUPPRESSED: State = "suppressed"
PERMITTED: State = "permitted"

_HISTORY = 32  # changes remembered per address and target: enough to see a "yes" that came after a "no"


@dataclass(slots=True)
class TargetHistory:
    """The present state of one address at one target, with its changes (micros since the epoch, oldest first)."""

    state: State
    last_informed_at: int
    informed: int = 1
    changes: list[tuple[int, State]] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        return {
            "state": self.state,
            "first_informed_at": self.changes[-1][0],
            "last_informed_at": self.last_informed_at,
            "informed": self.informed,
            "changes": self.changes,
        }


class ChangeLog(Protocol):
    """Where changes are kept over a restart of the sandbox."""

    def append(self, account: str, addresses: Sequence[str], target: str, state: State, at: int) -> None: ...

    def read(self) -> Iterator[tuple[str, str, str, State, int]]: ...

    def clear(self) -> None: ...


class ProviderState:
    """Account -> address -> target -> history. A provider keeps the last state it was sent, as the real ones do."""

    def __init__(self, log: ChangeLog | None = None) -> None:
        self._accounts: dict[str, dict[str, dict[str, TargetHistory]]] = defaultdict(dict)
        self._log = log
        for account, address, target, state, at in log.read() if log else ():
            self._note(account, address, target, state, at)

    def record(self, account: str, address: str, target: str, state: State) -> None:
        """Take one statement; the same again changes nothing but the counts."""
        self.record_all(account, [address], target, state)

    def record_all(self, account: str, addresses: Sequence[str], target: str, state: State) -> None:
        """Take the same statement about each, with one write to the log."""
        at = time.time_ns() // 1_000
        changed = [address for address in addresses if self._note(account, address, target, state, at)]
        if changed and self._log:
            self._log.append(account, changed, target, state, at)

    def _note(self, account: str, address: str, target: str, state: State, at: int) -> bool:
        targets = self._accounts[account].setdefault(address, {})
        belief = targets.get(target)
        if belief is None:
            targets[target] = TargetHistory(state, at, changes=[(at, state)])
            return True
        belief.informed += 1
        belief.last_informed_at = at
        if belief.state == state:
            return False
        belief.state = state
        belief.changes.append((at, state))
        del belief.changes[:-_HISTORY]
        return True

    def is_suppressed(self, account: str, address: str, target: str) -> bool:
        belief = self._accounts.get(account, {}).get(address, {}).get(target)
        return belief is not None and belief.state == SUPPRESSED

    def known(self, account: str) -> int:
        """How many addresses the account was informed of."""
        return len(self._accounts.get(account, {}))

    def suppressed_at(self, account: str, target: str) -> list[str]:
        """The addresses that `target` holds suppressed, in the order they were first informed of."""
        return [
            address
            for address, targets in self._accounts.get(account, {}).items()
            if target in targets and targets[target].state == SUPPRESSED
        ]

    def lift_all(self, account: str, target: str) -> None:
        """Forget every suppression of one target: what an emptied list means."""
        self.record_all(account, self.suppressed_at(account, target), target, PERMITTED)

    def accounts(self) -> list[str]:
        return sorted(self._accounts)

    def snapshot(self, account: str, *, details: bool = False) -> dict[str, Any]:
        """The account as JSON: states by address and target (or whole histories), and counts."""
        states = self._accounts.get(account, {})
        counts: Counter[str] = Counter(belief.state for targets in states.values() for belief in targets.values())
        return {
            "account": account,
            "addresses": len(states),
            "counts": {SUPPRESSED: counts[SUPPRESSED], PERMITTED: counts[PERMITTED]},
            "states": {
                address: {target: belief.as_json() if details else belief.state for target, belief in targets.items()}
                for address, targets in states.items()
            },
        }

    def forget(self, account: str | None) -> None:
        """Start one account, or all, from nothing."""
        if account is None:
            self._accounts.clear()
        else:
            self._accounts.pop(account, None)
        if self._log:
            self._log.clear()
            for name, addresses in self._accounts.items():
                for address, targets in addresses.items():
                    for target, belief in targets.items():
                        for at, state in belief.changes:
                            self._log.append(name, [address], target, state, at)
