"""Makes checks beside each other, each in bounded time: one that hangs or fails stops no other."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from consent_service.doctor.findings import FAULTS, Check, Finding, Result
from consent_service.errors import ProcessError

_TURN_SECONDS = 0.1

Progress = Callable[[int, Sequence[str]], None]
"""Called now and then with how many checks are done, and the names of those that are being made."""


@dataclass(kw_only=True, slots=True)
class _Running:
    """One check in its thread."""

    deadline: float
    findings: Sequence[Finding] | None = None
    ended: threading.Event = field(default_factory=threading.Event)


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """``findings`` in the order of the checks. ``abandoned``: checks whose threads still run; the process is to be
    ended without waiting for them."""

    findings: Sequence[Finding]
    abandoned: Sequence[str]


def run(
    checks: Sequence[Check],
    *,
    progress: Progress = lambda _done, _running: None,
    clock: Callable[[], float] = time.monotonic,
) -> Outcome:
    """Returns when each check has ended, was given up, or was not made as one before it had a fault."""
    names = {check.name for check in checks}
    done: dict[str, Sequence[Finding]] = {}
    running: dict[str, _Running] = {}
    abandoned = []
    while len(done) < len(checks):
        for check in checks:
            if check.name not in done and check.name not in running and done.keys() >= names & set(check.after):
                if (hindrance := _hindrance(check, done)) is not None:
                    done[check.name] = [hindrance]
                else:
                    running[check.name] = _start(check, clock() + check.seconds)
        for check in checks:
            each = running.get(check.name)
            if each is None:
                continue
            if each.ended.is_set() and each.findings is not None:
                done[check.name] = each.findings
            elif clock() >= each.deadline:
                abandoned.append(check.name)
                done[check.name] = [
                    _not_checked(check.name, f"no result within {check.seconds:g} s", "see whether a server hangs")
                ]
            else:
                continue
            del running[check.name]
        progress(len(done), list(running))
        if running:
            next(iter(running.values())).ended.wait(_TURN_SECONDS)
    return Outcome(findings=[each for check in checks for each in done[check.name]], abandoned=abandoned)


def _start(check: Check, deadline: float) -> _Running:
    running = _Running(deadline=deadline)

    def make() -> None:
        try:
            running.findings = check.find()
        except ProcessError as error:  # A server that refuses us: the text names the setting and the cure.
            running.findings = [Finding(name=check.name, result=Result.FAULT, found=str(error))]
        except (Exception, SystemExit) as error:
            # By its type alone: the text of an error that no check expects may hold a secret.
            cause = type(error).__name__
            running.findings = [_not_checked(check.name, f"the check failed ({cause})", "report it as a bug of doctor")]
        finally:
            running.ended.set()

    threading.Thread(target=make, name=f"check {check.name}", daemon=True).start()
    return running


def _hindrance(check: Check, done: Mapping[str, Sequence[Finding]]) -> Finding | None:
    for name in check.after:
        if any(each.result in FAULTS for each in done.get(name, ())):
            return _not_checked(check.name, f"because of {name}", f"mend {name} first")
    return None


def _not_checked(name: str, found: str, cure: str) -> Finding:
    return Finding(name=name, result=Result.NOT_CHECKED, found=found, cure=cure)
