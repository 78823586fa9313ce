"""What the decisions on one address mean: may it be contacted for a purpose, and if not, why not.

The rules are published as a truth table (docs/truth-table.md) and as vectors that any language can run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from consent_contracts.decisions import DELIVERY, EVERY_PURPOSE, Decision, permits
from consent_contracts.join import precedence
from consent_contracts.reading import EXPIRED, NO_DECISION, UNDELIVERABLE, UNKNOWN, Verdict, effective_verdict

__all__ = ["EXPIRED", "NO_DECISION", "UNDELIVERABLE", "UNKNOWN", "Verdict", "effective_verdict", "verdict", "verdicts"]

Choices = dict[str, Decision]


def verdict(decisions: Iterable[Decision], purpose: str) -> Verdict:
    """The verdict for one purpose; ``*`` asks for all purposes that no decision names."""
    by_subject = _by_subject(decisions)
    finding = _finding(by_subject)
    return _with_finding(_verdict(by_subject, purpose), finding)


def verdicts(decisions: Iterable[Decision]) -> dict[str, Verdict]:
    """A verdict for every purpose named by a decision, and for ``*``: every purpose that is not."""
    by_subject = _by_subject(decisions)
    finding = _finding(by_subject)
    purposes = {purpose for choices in by_subject.values() for purpose in choices} | {EVERY_PURPOSE}
    return {purpose: _with_finding(_verdict(by_subject, purpose), finding) for purpose in sorted(purposes)}


def _by_subject(decisions: Iterable[Decision]) -> dict[str | None, Choices]:
    by_subject: dict[str | None, Choices] = {}
    for decision in decisions:
        choices = by_subject.setdefault(decision.subject_ref, {})
        current = choices.get(decision.purpose)
        if current is None or precedence(current) < precedence(decision):
            choices[decision.purpose] = decision
    return by_subject


def _finding(by_subject: Mapping[str | None, Choices]) -> Verdict | None:
    """The denial of an address that takes no messages. Takes what is known of that out of the choices."""
    found = by_subject.get(None, {}).pop(DELIVERY, None)
    if found is None or found.status != UNDELIVERABLE:
        return None
    return Verdict(permitted=False, reason=UNDELIVERABLE, since=found.effective_at, decision_id=found.decision_id)


def _with_finding(verdict: Verdict, finding: Verdict | None) -> Verdict:
    """A person's refusal is the first reason."""
    if finding is None or not (verdict.permitted or verdict.reason == UNKNOWN):
        return verdict
    return finding


def _verdict(by_subject: Mapping[str | None, Choices], purpose: str) -> Verdict:
    current = {ref: d for ref, choices in by_subject.items() if (d := _current(choices, purpose)) is not None}
    of_the_address = current.pop(None, None)
    permissions = [d for d in current.values() if permits(d)]
    refusals = [d for d in current.values() if not permits(d)]
    if of_the_address is not None:
        if permits(of_the_address):
            permissions.append(of_the_address)
        elif not any(precedence(d) > precedence(of_the_address) for d in permissions):
            refusals.append(of_the_address)
    if refusals:
        deciding = max(refusals, key=precedence)
        return Verdict(
            permitted=False,
            reason=deciding.status,
            since=deciding.effective_at,
            decision_id=deciding.decision_id,
        )
    if not permissions:
        return NO_DECISION
    deciding = max(permissions, key=precedence)
    return Verdict(
        permitted=True,
        reason=deciding.status,
        since=deciding.effective_at,
        expires_at=min((d.expires_at for d in permissions if d.expires_at is not None), default=None),
        decision_id=deciding.decision_id,
    )


def _current(choices: Choices, purpose: str) -> Decision | None:
    """The newer of a subject's refusal of everything and its decision on this purpose."""
    everything = choices.get(EVERY_PURPOSE)
    if everything is not None and permits(everything):
        everything = None  # A permission names its purposes; one for everything means nothing.
    if purpose == EVERY_PURPOSE:
        return everything
    own = choices.get(purpose)
    if own is None or everything is None:
        return own or everything
    return max(own, everything, key=precedence)
