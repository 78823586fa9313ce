"""Every exception of the propagator.

PropagatorError
├── InvalidDestinationsFileError   the destinations file: each error with its line; the process exits with 2
├── CallFailedError                a provider call as a whole failed; no push of the batch is known to be executed
│   ├── DestinationDownError       refused, cut, timed out, 5xx, nonsense: counts towards the circuit breaker
│   ├── ThrottledError             429 or the provider's own form of it: waits, counts against no address
│   ├── MisconfiguredError         wrong credentials, certificate or URL: a person must act; alerts loudly
│   │   └── UnknownTargetsError    these groups, lists or senders are unknown or take no more; the others go on
│   └── SendNotAllowedError        the guard refused before the request left: nothing was sent
├── NotLookedUpError               a provider did not answer what no push depends on: reported, and pushes go on
├── PushNotBuildableError          one push cannot be made from its entry: concerns that address alone
├── TenantMismatchError            an entry of another tenant reached a destination: never sent, a bug
├── SenderFencedError              another process is the active sender: this one may record nothing more
├── ConnectorContractError         a connector returned something else than one outcome for each push: a bug
└── InvalidTransitionError         a delivery state was changed by an event that it does not know: a bug
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from propagator.desired.model import Action


class PropagatorError(Exception):
    """The root of all errors of this service."""


class FileFault(NamedTuple):
    """One wrong line of the destinations file."""

    line: int
    column: int
    field: str
    fix: str


class InvalidDestinationsFileError(PropagatorError):
    """The destinations file cannot be used; `errors` names every wrong line with its fix."""

    def __init__(self, path: str, errors: Sequence[FileFault]) -> None:
        self.path = path
        self.errors = tuple(errors)
        super().__init__("\n".join(map(self._line, self.errors)))

    def _line(self, fault: FileFault) -> str:
        return f"{self.path}:{fault.line}:{fault.column}: {fault.field or 'the file'}: {fault.fix}"


class CallFailedError(PropagatorError):
    """`reason` is a short code for metrics and receipts; `detail` is for a person and holds no address."""

    def __init__(self, reason: str, detail: str = "") -> None:
        self.reason = reason
        self.detail = detail
        super().__init__(f"{reason}: {detail}" if detail else reason)


class DestinationDownError(CallFailedError):
    """The provider did not answer, or answered with a failure of its own."""


class ThrottledError(CallFailedError):
    """The provider asks us to slow down; `retry_after` in seconds where it gave a time. `in_doubt`: the request may
    have been executed all the same, as where a gateway answers in the provider's place."""

    def __init__(
        self, reason: str, detail: str = "", *, retry_after: float | None = None, in_doubt: bool = False
    ) -> None:
        super().__init__(reason, detail)
        self.retry_after = retry_after
        self.in_doubt = in_doubt


class MisconfiguredError(CallFailedError):
    """The destination's declaration and the provider disagree; `detail` names the field and the fix."""


class UnknownTargetsError(MisconfiguredError):
    """`targets`: each target that cannot be written to, with the fix. Only they are concerned, and only pushes of
    `action` where it is given: a full list takes no suppression, and still lifts."""

    def __init__(self, reason: str, targets: Mapping[str, str], *, action: Action | None = None) -> None:
        super().__init__(reason, "; ".join(targets.values()))
        self.targets = dict(targets)
        self.action = action


class SendNotAllowedError(CallFailedError):
    """This process may not send now what the call holds: nothing was written."""

    def __init__(self) -> None:
        super().__init__("not_allowed", "this process is not surely the active sender, or the state has changed")


class NotLookedUpError(PropagatorError):
    """Why something is not known of the account, for a person."""


class PushNotBuildableError(PropagatorError):
    """`code`: unsealable or no_address. `retryable`: an operator can mend it (a seal key that is missing here)."""

    def __init__(self, code: str, *, retryable: bool = False) -> None:
        self.code = code
        self.retryable = retryable
        super().__init__(code)


class TenantMismatchError(PropagatorError):
    """One tenant's entry met another tenant's destination. Nothing of it was sent."""

    def __init__(self, destination: str) -> None:
        self.destination = destination
        super().__init__(f"an entry of another tenant or channel reached destination {destination}")


class SenderFencedError(PropagatorError):
    """Another process has become the active sender; rows that were not committed are dropped."""


class ConnectorContractError(PropagatorError):
    """The connector's answer cannot be matched with the pushes of the call."""


class InvalidTransitionError(PropagatorError):
    """A delivery state and an event that do not go together: a bug of ours, never a provider's answer."""

    def __init__(self, state: str, event: str) -> None:
        self.state = state
        self.event = event
        super().__init__(f"a push that is {state} cannot be {event}")
