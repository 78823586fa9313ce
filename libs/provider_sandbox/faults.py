"""How a provider can be made to misbehave: rules that answer instead of it, or spoil its answer."""

from __future__ import annotations

from typing import Literal

import msgspec

Kind = Literal["status", "hang", "late", "reset", "cut", "malformed", "garbage", "reject"]

# status     answer `status` (429 with `retry_after` or without, 5xx, a permanent refusal) and do nothing
# hang       take the call and stay silent for `seconds`, then drop the connection; nothing is done
# late       do what was asked only after `seconds`, whether the caller still waits or not
# reset      reset the connection before anything is done
# cut        do what was asked, then break the connection in the middle of the answer
# malformed  do what was asked, then answer 200 with a page that is not the provider's format
# garbage    do what was asked, then answer bytes that are not HTTP
# reject     refuse the addresses named, each with `code`, the way that provider refuses part of a call


class Fault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One rule for one account; `times` 0 means until it is withdrawn; `path` limits it to paths that contain it."""

    account: str
    kind: Kind
    times: int = 1
    path: str = ""
    status: int = 500
    retry_after: str | None = None
    body: str = ""
    seconds: float = 3_600
    addresses: tuple[str, ...] = ()
    code: str = ""


class Faults:
    """The rules in force, oldest first; a call takes at most one of each sort."""

    def __init__(self) -> None:
        self._rules: list[tuple[Fault, int]] = []

    def add(self, fault: Fault) -> None:
        self._rules.append((fault, fault.times))

    def take(self, account: str, path: str) -> Fault | None:
        """The first rule on whole calls that applies here, counted as used."""
        for index, (fault, left) in enumerate(self._rules):
            if fault.kind != "reject" and fault.account == account and fault.path in path:
                self._use(index, fault, left)
                return fault
        return None

    def rejection(self, account: str, address: str) -> str | None:
        """The code with which this address is to be refused, if a rule says so; counted as used per address."""
        for index, (fault, left) in enumerate(self._rules):
            if fault.kind == "reject" and fault.account == account and address in fault.addresses:
                self._use(index, fault, left)
                return fault.code
        return None

    def _use(self, index: int, fault: Fault, left: int) -> None:
        if left == 1:
            del self._rules[index]
        elif left > 1:
            self._rules[index] = (fault, left - 1)

    def in_force(self) -> list[Fault]:
        return [fault for fault, _ in self._rules]

    def withdraw(self, account: str | None) -> None:
        self._rules = [rule for rule in self._rules if account is not None and rule[0].account != account]
