"""What the engine asks of a connector, and what it may answer. One connector speaks to one provider's API.

The engine owns order, limits, retries, parking and receipts; a connector only turns a batch into the
provider's request and the provider's answer into one outcome a push. It never retries by itself (one
exception: a token that expired is renewed once) and never logs or raises an address.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

Action = Literal["suppress", "permit"]
SUPPRESS: Action = "suppress"
PERMIT: Action = "permit"

Guard = Callable[[], bool]
"""True while this worker may still say all that a request tells. Called immediately before a request that tells
something is written to the socket; when it answers False the connector raises Withheld instead."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Push:
    """The state one address is to have at one target of the provider. Times are micros since the epoch, UTC."""

    push_id: str
    """Stable over retries; 32 hex digits. Usable as an idempotency or webhook id. New for what a worker before this one
    may have told: a receiver that drops ids it knows would drop it, and keep what was told in between. A "no" that is
    told while an older "yes" may still arrive has one of its own: it is told again under its lasting one."""
    tenant: str
    channel: str
    address_key: str
    address: str = field(repr=False)
    """In the clear, opened from its seal for this request only: never in a log, an error or an outcome."""
    action: Action
    target: str
    """The provider's side of the purpose mapping: a group id, a DNC list, a sender, ..."""
    purposes: tuple[str, ...]
    """Our purposes behind the target, `*` = every purpose. Sorted."""
    reason: str
    """The reason code of the deciding verdict: withdrawn, objected, expired, given, ..."""
    decision_ids: tuple[str, ...]
    version: int
    """Offset of the entry in its suppression topic partition: ascends with the state of one address."""
    occurred_at: int
    """When the person chose."""
    recorded_at: int
    """When we accepted the choice."""
    expires_at: int | None = None
    """When a permission ends by itself."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Accepted:
    """The provider has it ("already so" is accepted too)."""

    reference: str | None = None
    effective: bool = False
    """True where the answer is final: the provider applies it from now on, not "queued"."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Refused:
    """This push will never be accepted as it is (an invalid number, a contact that was deleted)."""

    code: str
    detail: str = ""
    """For a person; holds no address."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TryAgain:
    """This push failed alone and may succeed later. `after_seconds`: the provider's own wish, if it told one."""

    reason: str
    after_seconds: float | None = None
    wrong_target: bool = False
    """The provider does not know the target: a person must act, and no other push to it can do better."""


Outcome = Accepted | Refused | TryAgain


@dataclass(frozen=True, kw_only=True, slots=True)
class Capabilities:
    """What the provider can do, as data. Limits are defaults: the destinations file overrules them."""

    max_batch: Mapping[Action, int]
    """Pushes a call, per action."""
    mixed: bool
    """True where one call may hold several actions and targets; else each batch is of one action and target."""
    calls_per_second: float
    burst: int
    concurrency: int = 4
    answer: Literal["final", "queued"] = "final"
    reads_back: Literal["none", "one", "list", "export"] = "none"
    scope: Literal["target", "account"] = "target"
    """`account`: a suppression stops everything the account sends, whatever the target says."""


@dataclass(frozen=True, kw_only=True)
class Option:
    """One connector-specific line under `options:` of a destination."""

    type: type[bool] | type[int] | type[str]
    default: bool | int | str | None = None
    """None: must be given."""
    help: str


@dataclass(frozen=True, kw_only=True)
class Account:
    """One destination's account at the provider, as the destinations file declares it; secrets are read."""

    destination: str
    channel: str
    url: str | None
    """The base URL (or the webhook's own); None: the provider's documented one."""
    credentials: Mapping[str, str] = field(repr=False)
    options: Mapping[str, bool | int | str]
    """Complete: defaults are filled in."""
    targets: tuple[str, ...]
    """Every target that the purpose mapping names, sorted: what `verify` checks. Empty with `purposes: same`."""
    timeout_seconds: float = 15.0


class Connector(Protocol):
    """One open account. One aiohttp session, made lazily inside the running loop and closed by `close`."""

    async def verify(self) -> None:
        """Check at the provider what would otherwise go wrong silently (groups, lists, credentials).

        Raises WrongTargets once every target is checked and some are wrong, any other Misconfigured when a person
        must act before anything can be pushed, DestinationDown or Throttled when it could not be checked.
        """

    async def push(self, pushes: Sequence[Push], *, guard: Guard) -> Sequence[Outcome]:
        """One call; answers one outcome a push, in order. At most `max_batch` pushes, homogeneous unless `mixed`.

        Raises DestinationDown, Throttled, Misconfigured (WrongTargets when that is all that is wrong) or
        Withheld for the call as a whole. Anything else it raises is our bug and stops the worker.
        """

    async def close(self) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One entry of the catalogue: what a destination with `connector: <name>` may and must say."""

    name: str
    channels: frozenset[str] | None
    """The channels it can serve; None: any."""
    credentials: Mapping[str, str]
    """Required credentials: name -> help."""
    optional_credentials: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, Option] = field(default_factory=dict)
    url_required: bool = False
    same_targets: bool = False
    """Whether `purposes: same` makes sense: the tool knows our purposes by our names (webhooks)."""
    capabilities: Capabilities
    target_error: Callable[[str], str | None]
    """None when the target is well-formed, else what is wrong with it and the cure."""
    url_error: Callable[[str, Mapping[str, bool | int | str]], str | None] = lambda _url, _options: None
    """None when the URL may be called with these options, else what is wrong with it and the cure."""
    build: Callable[[Account], Connector]
