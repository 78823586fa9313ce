"""Twilio's consents: opt-ins and opt-outs of phone numbers at a sender, 25 a call, an error code for each.

Docs: POST https://accounts.twilio.com/v1/Consents/Bulk, and error 30646. There is nothing to read back. The account is
looked up by GET /2010-04-01/Accounts/{Sid}.json of api.twilio.com, which API keys other than main ones may not, and
Messaging Services by GET /v1/Services of messaging.twilio.com. Pushes depend on neither host.
"""

from __future__ import annotations

import datetime
import json
import re
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlencode, urlsplit

import msgspec

from propagator.connectors.base import (
    PERMIT,
    SUPPRESS,
    Accepted,
    CallBudget,
    Capabilities,
    ConnectionSettings,
    ConnectorType,
    Guard,
    Option,
    Outcome,
    Push,
    Refused,
    Retryable,
    Verified,
)
from propagator.connectors.bisect import BatchRefused, bisect_batch
from propagator.connectors.http import MAX_DOUBT_SECONDS, HttpClient, HttpResponse, basic
from propagator.connectors.responses import parsed, parsed_error, raise_for_status, words
from propagator.errors import (
    CallFailedError,
    DestinationDownError,
    MisconfiguredError,
    NotLookedUpError,
    UnknownTargetsError,
)

T = TypeVar("T")

HOST = "https://accounts.twilio.com"
ACCOUNTS_HOST = "https://api.twilio.com"
SERVICES_HOST = "https://messaging.twilio.com"
CONNECTIONS = 4

CLOCK_MARGIN_SECONDS = 5
"""A date of consent that is ahead of Twilio's clock is refused: how far its clock may be behind ours."""
MAX_UNDATED = 10_000
"""Opt-outs with a refused date that are remembered; one that is forgotten is refused once more."""

_NOT_UPSERTED = 30646
_ALREADY_OPTED_OUT = 21610
_BAD_NUMBER = {21211, 21217, 21614}
_BAD_CONTACT = "INVALID_CONTACT_ID"
_BAD_DATE = "INVALID_DATE_OF_CONSENT"
_BAD_SENDER = "INVALID_SENDER_ID"
_OUR_FAULT = {"INVALID_SOURCE": "check `options.source`", "INVALID_STATUS": "Twilio takes no such status any more"}
"""What every item of a call shares, with what a person can do: no address is at fault."""
_PASSING = {"INTERNAL_SERVER_ERROR", _BAD_DATE}
"""Another attempt may do better; any other code is a refusal, though none that is known to be final."""
_ACCOUNT = re.compile(r"AC[0-9a-fA-F]{32}")
_SERVICE = re.compile(r"MG[0-9a-fA-F]{32}")
_NOT_FOUND = 20404
_NOT_ACTIVE = 20005
_MAY_NOT = 70051
"""Of a restricted API key that lacks a permission."""
_SENDER = re.compile(r"MG[0-9a-fA-F]{32}|\+[1-9][0-9]{6,14}|[0-9]{5,6}")
_STATUS = {SUPPRESS: "opt-out", PERMIT: "opt-in"}


class _Answer(msgspec.Struct):
    items: list[Any]
    """Untyped in Twilio's specification, and each of their members may be null."""


class _Problem(msgspec.Struct):
    code: Any = None
    message: Any = None


class _Account(msgspec.Struct):
    status: str | None = None
    """active, suspended or closed."""


class _Service(msgspec.Struct):
    sid: str | None = None
    """Twilio's specification permits null."""


class _Services(msgspec.Struct):
    services: list[Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Item:
    """What Twilio answers for one consent. `error_code`: 0 is accepted; None where it is not a number."""

    correlation_id: str
    error_code: int | None
    messages: tuple[str, ...]

    @property
    def taken(self) -> bool:
        return self.error_code == 0 and not self.messages

    @property
    def reason(self) -> str:
        return words(f"item_{self.error_code} {' '.join(self.messages)}")


class Twilio:
    """One Twilio account; a target is a Messaging Service SID, a sending number or a short code."""

    def __init__(self, connection: ConnectionSettings, *, clock: Callable[[], float] = time.time) -> None:
        self._url = f"{(connection.url or HOST).rstrip('/')}/v1/Consents/Bulk"
        self._accounts = f"{(connection.url or ACCOUNTS_HOST).rstrip('/')}/2010-04-01/Accounts"
        self._services = f"{(connection.url or SERVICES_HOST).rstrip('/')}/v1/Services"
        self._sid = connection.credentials["account_sid"]
        self._authorization = {"Authorization": basic(self._sid, connection.credentials["auth_token"])}
        self._headers = {**self._authorization, "Content-Type": "application/x-www-form-urlencoded"}
        self._targets = connection.targets
        self._source = str(connection.options["source"])
        self._clock = clock
        self._undated: dict[tuple[str, str], None] = {}
        """Address keys and targets of opt-outs whose date Twilio refused, the oldest first: they go without it."""
        self._http = HttpClient(timeout_seconds=connection.timeout_seconds, connections=CONNECTIONS)

    async def verify(self, *, budget: CallBudget) -> Verified | None:
        """Twilio takes our credentials, the account is active, and every Messaging Service exists.

        Only what Twilio itself says against a push is raised: it rejects the credentials, the account is not active,
        a Messaging Service does not exist. That something is not looked up is reported, as pushes go to another host
        and path. Whether the account may write consents is not asked, as no call tries one without writing it; neither
        are numbers and short codes looked up: the first push reports one that Twilio does not know.
        """
        services = [each for each in self._targets if _SERVICE.fullmatch(each)]
        doubts: list[str] = []
        try:
            if _ACCOUNT.fullmatch(self._sid):
                await self._check_account(budget)
            elif not services:  # Of an API key the account is not known: any list of it shows that the key is good.
                _read(await self._look_up(f"{self._services}?PageSize=1", budget), _Services)
        except NotLookedUpError as error:
            doubts.append(
                f"{'account' if _ACCOUNT.fullmatch(self._sid) else 'Messaging Services'} not looked up: {error}"
            )
        wrong: dict[str, str] = {}
        try:
            for service in services:
                wrong |= await self._check_service(service, budget)
        except NotLookedUpError as error:
            doubts.append(f"Messaging Services not looked up: {error}")
        if wrong:
            raise UnknownTargetsError("sender", wrong)
        return Verified(doubt="; ".join(doubts)) if doubts else None

    async def push(self, pushes: Sequence[Push], *, guard: Guard, budget: CallBudget) -> Sequence[Outcome]:
        async def attempt(part: Sequence[Push]) -> Sequence[Outcome] | BatchRefused:
            response = await self._http.call(
                "POST",
                self._url,
                budget=budget,
                headers=self._headers,
                body=urlencode([("Items", self._item(push)) for push in part]).encode(),
                guard=guard,
            )
            if response.status in (400, 413):
                return Retryable(reason=words(f"http_{response.status} {_problem(response)}"))
            _check(response)
            items = _items(response)
            self._note_dates(part, items)
            return _outcomes(part, items)

        return await bisect_batch(pushes, attempt)

    async def close(self) -> None:
        await self._http.close()

    async def _check_account(self, budget: CallBudget) -> None:
        account = _read(await self._look_up(f"{self._accounts}/{self._sid}.json", budget), _Account)
        if account.status in ("suspended", "closed"):
            raise MisconfiguredError("account", f"Twilio has {account.status} the account: ask its support")

    async def _check_service(self, service: str, budget: CallBudget) -> dict[str, str]:
        """It with the fix, where Twilio says that it does not exist."""
        response = await self._look_up(f"{self._services}/{service}", budget)
        if response.status == 404 and _code(response) == _NOT_FOUND:
            return {service: f"Messaging Service {service} does not exist in this account: correct `purposes`"}
        if _read(response, _Service).sid not in (None, service):
            raise NotLookedUpError("200 with another Messaging Service than was asked for")
        return {}

    async def _look_up(self, url: str, budget: CallBudget) -> HttpResponse:
        """Raises NotLookedUpError where no answer comes, MisconfiguredError where Twilio takes nothing of us."""
        try:
            response = await self._http.call(
                "GET", url, budget=budget, headers=self._authorization, most_seconds=MAX_DOUBT_SECONDS
            )
        except CallFailedError as error:
            raise NotLookedUpError(f"{urlsplit(url).netloc}: {error}") from None
        code = _code(response)
        problem = f"{response.status} {_problem(response)}".rstrip()
        if response.status in (401, 403) and code == _NOT_ACTIVE:
            raise MisconfiguredError("account", f"{problem}: the account is not active: ask Twilio's support")
        if response.status == 401 and code not in (None, _MAY_NOT):
            hint = "check account_sid and auth_token, and that Twilio has not suspended the account"
            raise MisconfiguredError("credentials", f"{problem}: {hint}")
        return response

    def _item(self, push: Push) -> str:
        item = {
            "contact_id": push.address,
            "correlation_id": push.push_id,
            "sender_id": push.target,
            "status": _STATUS[push.action],
            "source": self._source,
        }
        if push.action == PERMIT or (push.address_key, push.target) not in self._undated:
            item["date_of_consent"] = self._date_of_consent(push)
        return json.dumps(item, separators=(",", ":"))

    def _date_of_consent(self, push: Push) -> str:
        """When the person chose, never ahead of Twilio's clock; nonsense before 1970 counts as 1970."""
        seconds = max(0, min(push.occurred_at // 1_000_000, int(self._clock()) - CLOCK_MARGIN_SECONDS))
        return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    def _note_dates(self, pushes: Sequence[Push], items: dict[str, _Item]) -> None:
        """An opt-out whose date is refused goes without one next time. An opt-in never: Twilio would take it for one
        of now, and so for newer than a STOP that came after it."""
        for push in pushes:
            item = items.get(push.push_id)
            if item is None:
                continue
            key = (push.address_key, push.target)
            self._undated.pop(key, None)
            if push.action == SUPPRESS and _BAD_DATE in item.messages:
                self._undated[key] = None
        while len(self._undated) > MAX_UNDATED:
            del self._undated[next(iter(self._undated))]


def _check(response: HttpResponse) -> None:
    """Returns for 201, the only acknowledgement. Raises for everything else."""
    raise_for_status(response)
    if response.status >= 400:
        hint = "check `url`, and that Twilio has opened the Consent API for this account"
        problem = _problem(response)
        raise MisconfiguredError(f"http_{response.status}", f"{hint}: {problem}" if problem else hint)
    if response.status != 201:
        raise DestinationDownError("malformed", f"{response.status} where 201 was due")


def _read(response: HttpResponse, format_: type[T]) -> T:
    """What a look-up found. NotLookedUpError where it did not."""
    problem = f"{response.status} {_problem(response)}".rstrip()
    if response.status == 403 or (response.status == 401 and _code(response) == _MAY_NOT):
        raise NotLookedUpError(f"{problem}: give the credentials the permission to read it")
    if 300 <= response.status < 500 and response.status != 429:
        raise NotLookedUpError(f"{problem}: what `url` names, if it is set, has to serve this path too")
    if response.status != 200:
        raise NotLookedUpError(problem)
    try:
        return parsed(response, format_)
    except DestinationDownError as error:
        raise NotLookedUpError(str(error)) from None


def _problem(response: HttpResponse) -> str:
    """Twilio's code for what is wrong with a call, and its words; empty where the body is not Twilio's."""
    problem, code = parsed_error(response, _Problem) or _Problem(), _code(response)
    return words(" ".join(filter(None, (str(code or ""), words(problem.message)))))


def _code(response: HttpResponse) -> int | None:
    code = (parsed_error(response, _Problem) or _Problem()).code
    return code if type(code) is int and 0 < code < 1_000_000 else None


def _items(response: HttpResponse) -> dict[str, _Item]:
    """Those that can be read, by correlation id. One that comes twice proves nothing and is left out."""
    found = [item for each in parsed(response, _Answer).items if (item := _parsed_item(each)) is not None]
    times = Counter(item.correlation_id for item in found)
    return {item.correlation_id: item for item in found if times[item.correlation_id] == 1}


def _parsed_item(given: Any) -> _Item | None:
    if not isinstance(given, dict) or not isinstance(given.get("correlation_id"), str):
        return None
    code, messages = given.get("error_code"), given.get("error_messages")
    listed = messages if isinstance(messages, list) else [messages]
    return _Item(
        correlation_id=given["correlation_id"],
        error_code=code if type(code) is int and 0 <= code < 1_000_000 else None,
        messages=tuple(each for each in listed if isinstance(each, str)),
    )


def _outcomes(pushes: Sequence[Push], items: dict[str, _Item]) -> list[Outcome]:
    """Raises MisconfiguredError where nothing was taken and what all items share is at fault, UnknownTargetsError where
    all of them are of senders that Twilio does not know."""
    answered = [(push, items.get(push.push_id)) for push in pushes]
    if not any(item is not None and item.taken for _, item in answered):
        for message, cure in _OUR_FAULT.items():
            for item in (item for _, item in answered if item is not None and message in item.messages):
                raise MisconfiguredError(message.lower(), f"{item.reason}: {cure}")
    unknown = {push.target for push in pushes} - {
        push.target for push, item in answered if item is None or _BAD_SENDER not in item.messages
    }
    if all(push.target in unknown for push in pushes):
        raise UnknownTargetsError(
            "sender",
            {each: f"sender {each} is not known to Twilio: correct `purposes`" for each in sorted(unknown)},
        )
    return [
        Retryable(reason=item.reason, unknown_target=True)
        if item is not None and push.target in unknown
        else _outcome(push, item, of_several=len(pushes) > 1)
        for push, item in answered
    ]


def _outcome(push: Push, item: _Item | None, *, of_several: bool) -> Outcome:
    """Only codes known to be final end a push: a revocation is not given up for an unknown one."""
    if item is None:
        return Retryable(reason="unanswered")
    if item.taken:
        return Accepted(reference=item.correlation_id)
    if item.error_code == _ALREADY_OPTED_OUT:
        if push.action == SUPPRESS:
            return Accepted(reference=item.correlation_id)
        return Refused(code="21610", detail="the person sent STOP to this sender; only START from the phone lifts it")
    bad_contact = _BAD_CONTACT in item.messages and set(item.messages) <= {_BAD_CONTACT, _BAD_DATE}
    if item.error_code in _BAD_NUMBER or (item.error_code == _NOT_UPSERTED and bad_contact):
        return Refused(code=str(item.error_code), detail="Twilio does not take this number")
    passing = item.error_code in (None, 0) or not _PASSING.isdisjoint(item.messages)
    return Retryable(reason=item.reason, refused=of_several and not passing)


def _target_error(target: str) -> str | None:
    if _SENDER.fullmatch(target):
        return None
    return (
        "not a sender: write a Messaging Service SID (MG and 32 hex digits), a number (+33...) or a short code (38200)"
    )


def _in_force(_target: str) -> str:
    return (
        "binds messages of this sender; for US toll-free numbers the network handles STOP and START by itself, and no"
        " consent overrides that"
    )


TYPE = ConnectorType(
    name="twilio",
    host=HOST,
    channels=frozenset({"sms"}),
    credentials={
        "account_sid": "the account's SID (AC...) or an API key's (SK...)",
        "auth_token": "the account's auth token or the API key's secret",
    },
    options={
        "source": Option(
            type=str,
            default="others",
            choices=("website", "offline", "opt-in-message", "opt-out-message", "others"),
            help="where people chose, as Twilio shows it",
        )
    },
    capabilities=Capabilities(
        max_batch={SUPPRESS: 25, PERMIT: 25},
        mixed=True,
        calls_per_second=1.5,  # with the burst, 100 in any minute: what Twilio allows
        burst=10,
        concurrency=CONNECTIONS,
        answer="queued",
        readback="none",
        scope="target",
    ),
    target_error=_target_error,
    in_force=_in_force,
    open=Twilio,
)
