"""What happened lately, for the list of errors: dead letters, processes and tools that came and went. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

Kind = Literal["dead_letters", "silent", "answers", "not_ready", "ready", "down", "up", "held", "taken"]
MOST = 20
"""Events that are kept."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """``at``: seconds since the epoch. ``about``: a process or destination. ``reason``: of dead letters the contract's,
    of a process that is not ready what it answers, of one that is silent one of `errors.REASONS`."""

    at: float
    kind: Kind
    about: str
    reason: str = ""
    count: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """What events are read from, at one moment. ``listed``: the processes. ``silent``, ``not_ready``: of them, why.
    ``down``, ``held``: by destination; None: not known now. ``dead_letters``: by process and reason, since the facts
    before."""

    listed: Collection[str] = frozenset()
    silent: Mapping[str, str] = field(default_factory=dict)
    not_ready: Mapping[str, str] = field(default_factory=dict)
    down: Mapping[str, bool | None] = field(default_factory=dict)
    held: Mapping[str, bool | None] = field(default_factory=dict)
    dead_letters: Mapping[tuple[str, str], int] = field(default_factory=dict)


def known(before: Facts, now: Facts) -> Facts:
    """`now`, with what is not known as it was `before`: a tool that was down is not up because no process says so."""
    return Facts(
        listed=now.listed,
        silent=now.silent,
        not_ready={**now.not_ready, **{name: why for name, why in before.not_ready.items() if name in now.silent}},
        down=_filled(before.down, now.down),
        held=_filled(before.held, now.held),
        dead_letters=now.dead_letters,
    )


def events(before: Facts, now: Facts, *, at: float) -> Iterator[Event]:
    """What is different `now`, as `known` gave it."""
    for name in now.silent.keys() - before.silent.keys():
        yield Event(at=at, kind="silent", about=name, reason=now.silent[name])
    for name in (before.silent.keys() - now.silent.keys()) & set(now.listed):
        yield Event(at=at, kind="answers", about=name)
    for name in now.not_ready.keys() - before.not_ready.keys():
        yield Event(at=at, kind="not_ready", about=name, reason=now.not_ready[name])
    for name in (before.not_ready.keys() - now.not_ready.keys()) & set(now.listed):
        yield Event(at=at, kind="ready", about=name)
    yield from _changed(before.down, now.down, at, "down", "up")
    yield from _changed(before.held, now.held, at, "held", "taken")
    for (process, reason), count in now.dead_letters.items():
        if count:
            yield Event(at=at, kind="dead_letters", about=process, reason=reason, count=count)


def add(kept: deque[Event], event: Event) -> None:
    """As the newest one. Dead letters of one process and reason are one event, of the time of the last of them."""
    same = next((each for each in kept if event.kind == "dead_letters" and _of_one_kind(each, event)), None)
    if same is not None:
        kept.remove(same)
        event = replace(event, count=event.count + same.count)
    kept.appendleft(event)


def _of_one_kind(one: Event, other: Event) -> bool:
    return (one.kind, one.about, one.reason) == (other.kind, other.about, other.reason)


def _filled(before: Mapping[str, bool | None], now: Mapping[str, bool | None]) -> dict[str, bool | None]:
    return {name: value if value is not None else before.get(name) for name, value in now.items()}


def _changed(
    before: Mapping[str, bool | None], now: Mapping[str, bool | None], at: float, begun: Kind, ended: Kind
) -> Iterator[Event]:
    for name, value in now.items():
        if value and not before.get(name):
            yield Event(at=at, kind=begun, about=name)
        if value is False and before.get(name):
            yield Event(at=at, kind=ended, about=name)
