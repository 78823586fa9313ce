"""What the destination took from this feed, so that an entry that changes nothing for it costs no call.

It lives as long as the partition's assignment and no longer, as another worker may have told something else since.
"""

from __future__ import annotations

from propagator.connector import Action
from propagator.desired import Wanted

ROWS = 200_000


class Told:
    """By address and target: the action and its decisions."""

    def __init__(self) -> None:
        self._rows: dict[str, dict[str, tuple[Action, tuple[str, ...]]]] = {}

    def remember(self, address_key: str, wanted: Wanted) -> None:
        if len(self._rows) >= ROWS:
            del self._rows[next(iter(self._rows))]
        self._rows.setdefault(address_key, {})[wanted.target] = (wanted.action, wanted.decision_ids)

    def holds(self, address_key: str, wanted: Wanted) -> bool:
        """Whether the destination has exactly this."""
        return self._rows.get(address_key, {}).get(wanted.target) == (wanted.action, wanted.decision_ids)

    def doubt(self, address_key: str, target: str) -> None:
        """Something else is on its way there: what the destination has is not known until it answers."""
        self._rows.get(address_key, {}).pop(target, None)

    def forget(self, address_key: str) -> None:
        self._rows.pop(address_key, None)
