"""The addresses of one partition that something is under way for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from propagator.backlog import Step
from propagator.work import Work


@dataclass(kw_only=True, slots=True, eq=False)
class Lane:
    """One address: its newest work, and what still flies of older work, by target."""

    work: Work
    flying: dict[str, tuple[Work, Step]] = field(default_factory=dict)
    blocked: dict[str, Step] = field(default_factory=dict)
    """Steps of `work` that wait for an older one to land."""
    recorded: bool = False
    """Whether the parked topic holds this address. Whoever pushes its newest entry last strikes the record out."""


class Lanes:
    """One partition's, from its assignment to its loss."""

    def __init__(self) -> None:
        self._lanes: dict[str, Lane] = {}
        self.works: dict[Step, Work] = {}
        """Every step that has not ended."""
        self.closed = False
        """Nothing new is begun; what is in flight may land."""
        self.gone = False
        """What lands now lands for nobody."""

    def __iter__(self) -> Iterator[Lane]:
        return iter(self._lanes.values())

    def get(self, address_key: str) -> Lane | None:
        return self._lanes.get(address_key)

    def enter(self, work: Work) -> Lane:
        """The work is the newest of its address from now on."""
        lane = self._lanes.get(work.address_key)
        if lane is None:
            lane = self._lanes[work.address_key] = Lane(work=work)
        else:
            lane.work = work
        return lane

    def tidy(self, lane: Lane) -> None:
        """Forget an address nothing is under way for."""
        idle = lane.work.done and not (lane.work.open or lane.flying or lane.blocked or lane.recorded)
        if idle and self._lanes.get(lane.work.address_key) is lane:
            del self._lanes[lane.work.address_key]
