"""What `consent-relay doctor` finds: the results of checks, and what they mean together.

Each package offers its checks by the entry points `consent_relay.checks`, as no service imports another: a function
that takes a CheckContext and returns Checks. A check collects facts at the edge and has them judged by a pure function.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeVar

from consent_service import settings
from consent_service.clock import now_micros
from consent_service.errors import InvalidSettingsError
from consent_service.settings import ProcessSettings

S = TypeVar("S", bound=ProcessSettings)

CHECK_SECONDS = 15.0
"""What a check may take unless it says otherwise."""
SECRET_DAYS = 365.0
"""The age from which on a secret is to be replaced, unless the operator says otherwise."""


MEND_KEYRING = "close it to other users, restore it from its back-up, or export it again (consent-relay keyring export)"


class Result(StrEnum):
    """Of one finding."""

    OK = "ok"
    WARNING = "warning"
    FAULT = "fault"
    NOT_CHECKED = "not checked"
    """It could not be found out. That counts as a fault: what it hides may be one."""
    NOT_CONFIGURED = "not configured"
    """This environment has no settings for it: nothing to check here."""


FAULTS = frozenset({Result.FAULT, Result.NOT_CHECKED})


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One line of the table. ``found`` and ``cure`` hold no secret and no address of a person."""

    name: str
    result: Result
    found: str
    cure: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """``find`` is called in a thread of its own, and given up after ``seconds``. Of the checks that are named in
    ``after``, one with a fault keeps this one from being made."""

    name: str
    find: Callable[[], Sequence[Finding]]
    seconds: float = CHECK_SECONDS
    after: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckContext:
    """What an operator asked for. ``processes``: those that must be able to run here, by their commands' names; empty:
    whatever the environment has settings for. ``clock``: micros since the epoch."""

    processes: frozenset[str] = frozenset()
    secret_days: float = SECRET_DAYS
    clock: Callable[[], int] = field(default=now_micros)

    def concerns(self, *processes: str) -> bool:
        """Whether one of these processes is asked about."""
        return not self.processes or not self.processes.isdisjoint(processes)


def readable(cls: type[S]) -> S | None:
    """The settings; None where they are missing or wrong, which is a finding of its own."""
    try:
        return settings.read(cls)
    except InvalidSettingsError:
        return None


def exit_code(findings: Iterable[Finding]) -> int:
    """0: all is well; 1: there are warnings and nothing worse; 2: there is a fault, or something was not checked."""
    results = {finding.result for finding in findings}
    if results & FAULTS:
        return 2
    return 1 if Result.WARNING in results else 0


def all_ok(name: str, findings: Sequence[Finding], found: str) -> Sequence[Finding]:
    """``findings``, or where there are none the one that all is well."""
    return findings or [Finding(name=name, result=Result.OK, found=found)]
