"""Every exception of the propagator.

PropagatorError
├── WrongDestinations     the destinations file: each fault with its line; the process exits with 2
└── CallFailed            a provider call as a whole failed; no push of the batch is known to be applied
    ├── DestinationDown   refused, cut, timed out, 5xx, nonsense: counts towards the breaker
    ├── Throttled         429 or the provider's own way to say it: waits, counts against nobody
    ├── Misconfigured     wrong credentials, certificate or URL: a person must act; alerts loudly
    │   └── WrongTargets  the tool does not know these groups, lists or senders; what concerns others goes on
    └── Withheld          the guard said no before the request left: nothing was sent
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple


class PropagatorError(Exception):
    """The root of all errors of this service."""


class Fault(NamedTuple):
    """One wrong line of the destinations file."""

    line: int
    field: str
    cure: str


class WrongDestinations(PropagatorError):
    """The destinations file cannot be used; `faults` names every wrong line with its cure."""

    def __init__(self, path: str, faults: Sequence[Fault]) -> None:
        self.path = path
        self.faults = tuple(faults)
        super().__init__("\n".join(f"{path}:{f.line}: {f.field}: {f.cure}" for f in self.faults))


class CallFailed(PropagatorError):
    """`reason` is a short code for metrics and receipts; `detail` is for a person and holds no address."""

    def __init__(self, reason: str, detail: str = "") -> None:
        self.reason = reason
        self.detail = detail
        super().__init__(f"{reason}: {detail}" if detail else reason)


class DestinationDown(CallFailed):
    """The provider did not answer, or answered with a failure of its own."""


class Throttled(CallFailed):
    """The provider asks us to slow down; `retry_after` in seconds where it told."""

    def __init__(self, reason: str, detail: str = "", *, retry_after: float | None = None) -> None:
        super().__init__(reason, detail)
        self.retry_after = retry_after


class Misconfigured(CallFailed):
    """The destination's declaration and the provider disagree; `detail` names the field and the cure."""


class WrongTargets(Misconfigured):
    """`targets`: each target that cannot be written to, with the cure. Only they are concerned."""

    def __init__(self, reason: str, targets: Mapping[str, str]) -> None:
        super().__init__(reason, "; ".join(targets.values()))
        self.targets = dict(targets)


class Withheld(CallFailed):
    """This worker may not say now what the call holds: nothing was written."""

    def __init__(self) -> None:
        super().__init__("withheld", "this worker does not own the partition for certain, or knows better by now")
