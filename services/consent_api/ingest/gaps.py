"""What was deleted before it was read: a client whose place the topic no longer holds goes on elsewhere, silently.

Pure but for the two questions that it asks of the broker, and those only where an offset is missing.
"""

from collections.abc import Callable, Iterable

Place = tuple[str, int]
"""A topic and a partition."""


class Gaps:
    """Of the partitions that are assigned now."""

    def __init__(self, *, committed: Callable[[Place], int | None], begins: Callable[[Place], int]) -> None:
        """`committed`: where the group was to go on, None when it never was there. `begins`: what the topic still
        holds."""
        self._committed = committed
        self._begins = begins
        self._next: dict[Place, int] = {}

    def forget(self, places: Iterable[Place]) -> None:
        """They are somebody else's, or were meanwhile."""
        for place in places:
            self._next.pop(place, None)

    def before(self, place: Place, offset: int, *, then: int) -> int:
        """How many offsets before `offset`, at which reading has come, were deleted unread; it goes on at `then`.

        Other offsets are missing too, where transactions ended or were aborted: those the topic still covers. When the
        broker does not answer, this is not asked again.
        """
        wanted = self._next.get(place)
        known = place in self._next
        self._next[place] = then
        if not known:
            wanted = self._committed(place)
        if wanted is None or offset <= wanted:
            return 0
        begins = self._begins(place)
        return begins - wanted if wanted < begins <= offset else 0
