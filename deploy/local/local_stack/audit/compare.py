"""The check that ends the demo and every chaos run: what was decided, against what every tool believes.

`ExpectedState` computes what must hold by the published rule alone (consent_contracts) from what was submitted; it
shares no code with the services. `compare` is pure; reading the gate and the sandbox is the caller's.
"""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from operator import itemgetter

from consent_contracts import EVERY_PURPOSE, Decision, Verdict, effective_verdict, verdicts

SUPPRESSED, PERMITTED = "suppressed", "permitted"

ChannelAddress = tuple[str, str]
"""(channel, canonical address)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AuditedDestination:
    """One destination as the audit sees it: ``targets`` maps our purposes to what the tool calls them.

    None: the tool knows every purpose by our own name for it.
    """

    destination: str
    channel: str
    account: str
    targets: Mapping[str, tuple[str, ...]] | None
    push_permissions: bool
    name_of: Callable[[ChannelAddress], str] = itemgetter(1)
    """What the tool knows an address by: the address itself, or its key where the tool receives no addresses."""

    def by_target(self, known: Mapping[str, Verdict]) -> dict[str, list[str]]:
        """What each target serves, for an address with these verdicts."""
        if self.targets is None:
            return {purpose: [purpose] for purpose in known}
        served: dict[str, list[str]] = defaultdict(list)
        for purpose, targets in self.targets.items():
            for target in targets:
                served[target].append(purpose)
        return served


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """One place where a tool, or the gate, does not say what was decided. ``kind``: lost, wrongly_permitted,
    wrongly_suppressed. Holds the address: for the screen of a test, never for a log."""

    kind: str
    where: str
    place: ChannelAddress
    asked: str
    expected: Verdict
    found: str


class ExpectedState:
    """Every decision that was acknowledged, by address. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._decisions: dict[ChannelAddress, dict[str, Decision]] = defaultdict(dict)

    def add(self, place: ChannelAddress, decision: Decision) -> None:
        """Note an acknowledged decision; noting it twice changes nothing."""
        with self._lock:
            self._decisions[place].setdefault(decision.decision_id, decision)

    def verdicts(self) -> dict[ChannelAddress, dict[str, Verdict]]:
        """What must hold, by address and purpose."""
        with self._lock:
            known = {place: tuple(found.values()) for place, found in self._decisions.items()}
        return {place: verdicts(decisions) for place, decisions in known.items()}

    def __len__(self) -> int:
        with self._lock:
            return sum(len(found) for found in self._decisions.values())


@dataclass(kw_only=True, slots=True)
class Findings:
    """What a comparison found. ``matches`` counts, per tool, the suppressions and permissions that arrived."""

    matches: Counter[str] = field(default_factory=Counter)
    differences: list[Difference] = field(default_factory=list)

    def count(self, kind: str, where: str | None = None) -> int:
        """How many differences of a kind there are, of one tool or of all."""
        return sum(d.kind == kind and (where is None or d.where == where) for d in self.differences)


def compare(
    expected: Mapping[ChannelAddress, Mapping[str, Verdict]],
    tool: AuditedDestination,
    states: Mapping[str, Mapping[str, str]],
    *,
    now: int,
) -> Findings:
    """Compare one tool's states (its name of an address -> target -> state) with what was decided."""
    findings = Findings()
    for place, known in expected.items():
        if place[0] != tool.channel:
            continue
        for target, purposes in tool.by_target(known).items():
            answers = [effective_verdict(known, purpose, now) for purpose in purposes]
            forbids = [a for a in answers if not a.permitted and a.reason != "unknown"]
            found = states.get(tool.name_of(place), {}).get(target, "never delivered")
            if forbids:
                if found == SUPPRESSED:
                    findings.matches[tool.destination] += 1
                else:
                    kind = "wrongly_permitted" if found == PERMITTED else "lost"
                    findings.differences.append(_difference(kind, tool, place, target, forbids[0], found))
            elif all(a.permitted for a in answers) and tool.push_permissions:
                if found == PERMITTED:
                    findings.matches[tool.destination] += 1
                else:
                    findings.differences.append(
                        _difference("wrongly_suppressed", tool, place, target, answers[0], found)
                    )
    return findings


def compare_gate(
    expected: Mapping[ChannelAddress, Mapping[str, Verdict]],
    answers: Mapping[tuple[ChannelAddress, str], bool],
    *,
    now: int,
) -> Findings:
    """Hold the gate's answers (by address and purpose) against what was decided."""
    findings = Findings()
    for (place, purpose), permitted in answers.items():
        wanted = effective_verdict(expected.get(place, {}), purpose, now)
        if wanted.permitted == permitted:
            findings.matches["gate"] += 1
            continue
        kind = "wrongly_permitted" if permitted else "wrongly_suppressed"
        found = PERMITTED if permitted else SUPPRESSED
        findings.differences.append(
            Difference(kind=kind, where="gate", place=place, asked=purpose, expected=wanted, found=found)
        )
    return findings


def purposes_of(known: Mapping[str, Verdict]) -> list[str]:
    """The purposes worth asking the gate about: those decided, and one that no decision names."""
    return sorted({*known, "unheard-of"} - {EVERY_PURPOSE})


def _difference(
    kind: str, tool: AuditedDestination, place: ChannelAddress, target: str, expected: Verdict, found: str
) -> Difference:
    return Difference(kind=kind, where=tool.destination, place=place, asked=target, expected=expected, found=found)
