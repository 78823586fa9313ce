"""What the dispatcher asks of a connector, and what a connector may answer. One connector speaks to one provider's API.

The dispatcher owns order, rate limits, retries and receipts. A connector turns a batch into the provider's request and
the provider's response into one outcome for each push. It never retries by itself (one exception: an access token that
expired is renewed once) and never logs or raises an address.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, Protocol

from consent_http.ssrf import credentials_url_error
from propagator.desired.model import PERMIT, SUPPRESS, Action
from propagator.errors import MisconfiguredError, TenantMismatchError

__all__ = [
    "PERMIT",
    "SUPPRESS",
    "Accepted",
    "Action",
    "CallBudget",
    "Capabilities",
    "ConnectionSettings",
    "Connector",
    "ConnectorType",
    "Guard",
    "Option",
    "Options",
    "Outcome",
    "Push",
    "Refused",
    "Retryable",
    "Verified",
]

MAX_IN_FORCE = 160

Guard = Callable[[], bool]
"""True while this process may send what a request holds. Called immediately before a request that changes something is
written to the socket; where it returns False the connector raises SendNotAllowedError instead."""

Options = Mapping[str, bool | int | str]
"""The connector-specific options of one destination, defaults filled in."""


class CallBudget(Protocol):
    """The account's rate limit, as one call of the dispatcher sees it."""

    async def spend(self) -> None:
        """Wait for one request's share of the account's rate limit, and take it.

        HttpClient awaits it before every request: the parts of a bisected batch, look-ups and access tokens too.
        """


@dataclass(frozen=True, kw_only=True, slots=True)
class Push:
    """The state one address is to have at one target of the provider. Times are micros since the epoch, UTC."""

    push_id: str
    """32 hex digits, usable as an idempotency or webhook id: the same for every retry of one call, another for a call
    that is to be executed again (a receiver that drops ids it knows would drop it)."""
    tenant: str
    channel: str
    address_key: str
    address: str = field(repr=False)
    """In the clear, unsealed for this request only: never in a log, an error or an outcome. Empty where the connector
    does not need it (`Capabilities.address_required`)."""
    action: Action
    target: str
    """The provider's side of the purpose mapping: a group id, a DNC list, a sender, ..."""
    purposes: tuple[str, ...]
    """Our purposes that the target serves, `*` = every purpose. Sorted."""
    reason: str
    """The reason code of the deciding verdict: withdrawn, objected, expired, given, ..."""
    decision_ids: tuple[str, ...]
    version: int
    """Microseconds; grows with each call for the same destination, address_key and target, over rebuilt topics too."""
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
    """True where the response is final: the provider applies it from now on, it is not queued there."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Refused:
    """The provider will never accept this push as it is (an invalid number, a contact that was deleted)."""

    code: str
    detail: str = ""
    """For a person; holds no address."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Retryable:
    """This push was not accepted and may be later. `after_seconds`: the provider's own wish, if it gave one."""

    reason: str
    after_seconds: float | None = None
    refused: bool = False
    """The provider refused the push for its content or size, alone as in a call of several, by nothing that is known
    to be final."""
    unknown_target: bool = False
    """The provider does not know the target: a person must act, and no other push to it can do better."""
    call_failed: bool = False
    """The push was part of a split batch of which a later call failed, so the failure is not this address's own.
    Whether the provider executed it is not known."""
    throttled: bool = False
    """That later call was throttled: the destination waits, as if all of it had been."""


Outcome = Accepted | Refused | Retryable


@dataclass(frozen=True, kw_only=True, slots=True)
class Verified:
    """What a check of the account found that keeps nothing from being sent."""

    ineffective: Mapping[str, str] = field(default_factory=dict)
    """Targets that take what is sent and stop nothing at the provider, with the fix of each."""
    doubt: str | None = None
    """What could not be found out, or what the credentials lack, with the fix."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Capabilities:
    """What the provider can do, as data. Limits are defaults: the destinations file overrides them."""

    max_batch: Mapping[Action, int]
    """Pushes a call, per action."""
    mixed: bool
    """True where one call may hold several actions and targets; else each batch is of one action and target."""
    calls_per_second: float
    burst: int
    concurrency: int = 4
    answer: Literal["final", "queued"] = "final"
    readback: Literal["none", "one", "list", "export"] = "none"
    scope: Literal["target", "account"] = "target"
    """`account`: a suppression stops everything the account sends, whatever the target is."""
    address_required: bool = True
    """False where the provider is sent address keys alone; see DestinationRules.address_required."""


@dataclass(frozen=True, kw_only=True)
class Option:
    """One connector-specific line under `options:` of a destination."""

    type: type[bool] | type[int] | type[str]
    default: bool | int | str | None = None
    """None: must be given."""
    choices: tuple[str, ...] = ()
    """The only values that the provider knows; empty: any."""
    help: str


@dataclass(frozen=True, kw_only=True)
class ConnectionSettings:
    """One destination's account at the provider, as the destinations file declares it; secrets are read."""

    destination: str
    tenant: str
    """The tenant whose decisions, and whose alone, this account is sent."""
    channel: str
    url: str | None
    """The base URL (or the webhook's own); None: the provider's documented one."""
    credentials: Mapping[str, str] = field(repr=False)
    options: Options
    """Complete: defaults are filled in."""
    targets: tuple[str, ...]
    """Every target that the purpose mapping names, sorted: what `verify` checks. Empty with `purposes: same`."""
    credential_files: Mapping[str, Path] = field(default_factory=dict)
    """Those of the credentials that come from files, which may change."""
    timeout_seconds: float = 15.0
    """Of one request. A call of `push` may make several: look-ups, an access token, the parts of a split batch."""


class Connector(Protocol):
    """One open account. One aiohttp session, made lazily inside the running loop and closed by `close`."""

    async def verify(self, *, budget: CallBudget) -> Verified | None:
        """Check at the provider what would otherwise go wrong silently (groups, lists, credentials). None: there is
        nothing else to find out there. A look-up on which pushes do not depend keeps none waiting: that it could not
        be made is a doubt.

        Raises UnknownTargetsError once every target is checked and some are wrong, any other MisconfiguredError when a
        person must act before anything can be pushed, DestinationDownError or ThrottledError when it could not be
        checked.
        """

    async def push(self, pushes: Sequence[Push], *, guard: Guard, budget: CallBudget) -> Sequence[Outcome]:
        """One call; returns one outcome a push, in order. At most `max_batch` pushes, homogeneous unless `mixed`.

        Raises DestinationDownError, ThrottledError, MisconfiguredError (UnknownTargetsError when that is all that is
        wrong) or SendNotAllowedError for the call as a whole: then no push of it is known to be executed, and after
        SendNotAllowedError surely none is. Anything else it raises is our bug.
        """

    async def close(self) -> None: ...


@dataclass(frozen=True, kw_only=True, eq=False)
class ConnectorType:
    """One entry of the catalogue: what a destination with `connector: <name>` may and must declare. Equal to itself
    alone, so that it can be a key."""

    name: str
    channels: frozenset[str] | None
    """The channels it can serve; None: any."""
    credentials: Mapping[str, str]
    """Required credentials: name -> help."""
    optional_credentials: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, Option] = field(default_factory=dict)
    host: str | None = None
    """Where pushes go without a `url`; None: there is no such host."""
    url_required: bool = False
    same_targets: bool = False
    """Whether `purposes: same` makes sense: the tool knows our purposes by our names (webhooks)."""
    capabilities: Capabilities
    address_option: str | None = None
    """The boolean option without which the address itself is not sent; None: it always is."""
    target_error: Callable[[str], str | None]
    """None when the target is well-formed, else what is wrong with it and the fix."""
    in_force: Callable[[str], str] = lambda _target: ""
    """What a suppression at this target binds once it is accepted, and what it does not, in one sentence of at most
    MAX_IN_FORCE characters: for docs/providers.md, `destinations check`, receipts, and so explain."""
    url_error: Callable[[str, Options], str | None] = lambda url, _options: credentials_url_error(url)
    """None when the URL may be called with these options, else what is wrong with it and the fix."""
    open: Callable[[ConnectionSettings], Connector]
    """Opens the bare connector; everything outside the connectors' own files goes through `build`."""

    def capabilities_with(self, options: Options) -> Capabilities:
        """The capabilities of a destination that has these options."""
        if self.address_option is None:
            return self.capabilities
        return replace(self.capabilities, address_required=bool(options[self.address_option]))

    def build(self, connection: ConnectionSettings) -> Connector:
        """A connector that refuses every push of another tenant. Makes no connection yet.

        Raises MisconfiguredError for a secret or URL of the wrong form.
        """
        if connection.url is not None and (wrong := self.url_error(connection.url, connection.options)) is not None:
            raise MisconfiguredError("url", wrong)
        return _OneTenant(self.open(connection), connection)


class _OneTenant:
    """The last of the rules that keep tenants apart: whatever is wrong before it, no request is made."""

    def __init__(self, connector: Connector, connection: ConnectionSettings) -> None:
        self._connector = connector
        self._connection = connection

    async def verify(self, *, budget: CallBudget) -> Verified | None:
        return await self._connector.verify(budget=budget)

    async def push(self, pushes: Sequence[Push], *, guard: Guard, budget: CallBudget) -> Sequence[Outcome]:
        own = self._connection
        for push in pushes:
            if (push.tenant, push.channel) != (own.tenant, own.channel):
                raise TenantMismatchError(own.destination)
        return await self._connector.push(pushes, guard=guard, budget=budget)

    async def close(self) -> None:
        await self._connector.close()
