"""A provider in memory: what it holds, every request it got, and the ways in which it misbehaves."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from propagator.connectors.base import Accepted, CallBudget, Guard, Outcome, Push, Verified
from propagator.errors import CallFailedError, DestinationDownError, SendNotAllowedError


@dataclass(frozen=True, kw_only=True)
class CallRecord:
    at: float
    pushes: tuple[Push, ...]

    @property
    def actions(self) -> set[str]:
        return {each.action for each in self.pushes}


@dataclass
class FakeProvider:
    """`answer` returns the outcome of one push, or raises what the call raises. `fails` raises for a whole call."""

    latency: float = 0.02
    timeout: float = 15.0
    connecting: float = 0.0
    """Seconds between the call and the write of its request, in which the guard is asked."""
    answer: Callable[[Push], Outcome] = lambda _push: Accepted(reference="r1", effective=True)
    fails: Callable[[Sequence[Push]], CallFailedError | None] = lambda _pushes: None
    loses_answer: Callable[[Sequence[Push]], CallFailedError | None] = lambda _pushes: None
    """The call is executed `executes_late` seconds after its request, and fails so for the caller."""
    executes_late: float = 0.0
    unreachable: bool = False
    verify_error: Callable[[], Exception | None] = lambda: None
    found: Verified | None = None
    extra_requests: int = 0
    calls: list[CallRecord] = field(default_factory=list)
    requests: list[float] = field(default_factory=list)
    holds: dict[tuple[str, str], str] = field(default_factory=dict)
    changes: list[tuple[float, str, str, str]] = field(default_factory=list)
    """Time, address key, target, action: in the order in which they took effect."""
    in_flight: dict[tuple[str, str], int] = field(default_factory=dict)
    overlaps: int = 0
    verifications: int = 0
    closed: bool = False

    async def verify(self, *, budget: CallBudget) -> Verified | None:
        await budget.spend()
        self.verifications += 1
        error = self.verify_error()
        if error is not None:
            raise error
        return self.found

    async def push(self, pushes: Sequence[Push], *, guard: Guard, budget: CallBudget) -> Sequence[Outcome]:
        clock = asyncio.get_running_loop().time
        keys = [(each.address_key, each.target) for each in pushes]
        for key in keys:
            self.in_flight[key] = self.in_flight.get(key, 0) + 1
            self.overlaps += self.in_flight[key] > 1
        try:
            for _ in range(1 + self.extra_requests):
                await budget.spend()
                self.requests.append(clock())
            if self.unreachable:
                raise DestinationDownError("unreachable")
            await asyncio.sleep(self.connecting)
            if not guard():
                raise SendNotAllowedError
            self.calls.append(CallRecord(at=clock(), pushes=tuple(pushes)))
            lost = self.loses_answer(pushes)
            if lost is not None:
                # Only a permission that takes effect after its time-out is guarded against: a suppression that does so
                # leaves a person alone who has permitted since, until the next decision.
                late = self.executes_late if pushes[0].action == "permit" else min(self.executes_late, self.timeout / 2)
                asyncio.get_running_loop().call_later(late, self._execute, tuple(pushes))
                await asyncio.sleep(self.timeout)
                raise lost
            await asyncio.sleep(self.latency)
            error = self.fails(pushes)
            if error is not None:
                raise error
            outcomes = [self.answer(each) for each in pushes]
            self._execute([p for p, o in zip(pushes, outcomes, strict=True) if isinstance(o, Accepted)])
            return outcomes
        finally:
            for key in keys:
                self.in_flight[key] -= 1

    async def close(self) -> None:
        self.closed = True

    def sent(self, address_key: str) -> list[str]:
        """The actions that were sent for an address, in order."""
        return [each.action for call in self.calls for each in call.pushes if each.address_key == address_key]

    def _execute(self, pushes: Sequence[Push]) -> None:
        for each in pushes:
            self.holds[each.address_key, each.target] = each.action
            self.changes.append((asyncio.get_running_loop().time(), each.address_key, each.target, each.action))
