"""A rate limit that only counts."""

from __future__ import annotations


class CountedBudget:
    """How many requests were paid for."""

    def __init__(self) -> None:
        self.spent = 0

    async def spend(self) -> None:
        self.spent += 1
