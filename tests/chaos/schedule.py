"""Which faults, when, how long: a pure function of the number of faults and a seed."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Planned:
    """One fault. ``after``: seconds of load before it; ``lasts``: seconds until it is healed; ``seed``: its own."""

    number: int
    kind: str
    after: float
    lasts: float
    seed: int

    def __str__(self) -> str:
        return f"{self.number:3d}. {self.kind}, after {self.after:.1f} s, for {self.lasts:.1f} s"


def schedule(kinds: Sequence[str], count: int, seed: int) -> list[Planned]:
    """``count`` faults in an order of their own, every kind once before any comes twice."""
    rng = random.Random(seed)
    drawn: list[str] = []
    while len(drawn) < count:
        drawn += rng.sample(list(kinds), len(kinds))
    return [
        Planned(
            number=number,
            kind=kind,
            after=rng.uniform(0.2, 3.0),
            lasts=rng.uniform(0.0, 4.0),
            seed=rng.getrandbits(32),
        )
        for number, kind in enumerate(drawn[:count], start=1)
    ]
