"""Genesys Cloud's internal Do Not Call lists: numbers added and removed by PATCH, under an OAuth2 token.

Docs: PATCH /api/v2/outbound/dnclists/{id}/phonenumbers. The same path knows a verb that empties the whole list;
it has no place in this file, and the OAuth client should not be granted it (PERMISSIONS are enough).

A list stops no call by itself: a campaign checks the lists that it names, and no others.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Sequence
from urllib.parse import urlsplit

import msgspec

from consent_http.ssrf import credentials_url_error
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
    Options,
    Outcome,
    Push,
    Refused,
    Retryable,
    Verified,
)
from propagator.connectors.bisect import BatchRefused, bisect_batch
from propagator.connectors.http import HttpClient, HttpResponse
from propagator.connectors.oauth import ClientCredentials
from propagator.connectors.responses import parsed, parsed_error, raise_for_status, reference
from propagator.errors import CallFailedError, DestinationDownError, MisconfiguredError, UnknownTargetsError

CONNECTIONS = 4

_ACTION = {SUPPRESS: "Add", PERMIT: "Remove"}
_INTERNAL_LIST = "rds"
_FOR_PHONES = ("Phone", "Any")
"""The contact methods of a list of which the numbers block calls."""

_SEE_LIST, _EDIT_NUMBERS, _SEE_CAMPAIGNS = "outbound:dncList:view", "outbound:dnc:edit", "outbound:campaign:view"
PERMISSIONS = (_SEE_LIST, _EDIT_NUMBERS, _SEE_CAMPAIGNS)

_LIST_FULL = "the list is full: remove numbers that are not needed any more, or name another list in `purposes`"
_ORGANIZATION_FULL = "the organisation's DNC lists are full: remove numbers or lists, or have Genesys raise the limit"
_FULL = {
    "dnc.phone.numbers.per.list.limit.exceeded": _LIST_FULL,
    "dnc.records.per.list.limit.exceeded": _LIST_FULL,
    "dnc.phone.numbers.per.organization.limit.exceeded": _ORGANIZATION_FULL,
    "dnc.records.per.organization.limit.exceeded": _ORGANIZATION_FULL,
}
_NOT_INTERNAL = "dnc.source.operation.not.supported"
_NAME_AN_INTERNAL_LIST = "not an internal DNC list: name one that Genesys itself keeps"
_INVALID_NUMBER = ("invalid.value", "constraint.validation", "bad.request")
"""About the request as such; about the number only where it is alone in the call and others are accepted."""

_PERMISSION = re.compile(r"\b[A-Za-z]{1,40}:[A-Za-z]{1,40}:[A-Za-z]{1,40}\b")
_MAX_PERMISSIONS = 5
_CAMPAIGNS_A_PAGE = 100
_NOT_KNOWN = "not known whether suppressions have an effect"
_MAX_CAMPAIGN_PAGES = 100


class _Problem(msgspec.Struct):
    """Untyped: a member that is null, or nothing that is documented, hides none of the others."""

    code: object = None
    message: object = None


class _List(msgspec.Struct):
    id: str
    dncSourceType: str | None = None
    contactMethod: str | None = None


class _Reference(msgspec.Struct):
    id: str | None = None


class _Campaign(msgspec.Struct):
    dncLists: list[_Reference] | None = None


class _Campaigns(msgspec.Struct):
    entities: list[_Campaign]
    pageCount: int = 1


class Genesys:
    """One organisation; a target is the id of an internal DNC list."""

    def __init__(self, connection: ConnectionSettings) -> None:
        if connection.url is None:
            raise MisconfiguredError("url", "Genesys Cloud has a host for each region: set `url`")
        self._outbound = f"{connection.url.rstrip('/')}/api/v2/outbound"
        self._targets = connection.targets
        self._http = HttpClient(timeout_seconds=connection.timeout_seconds, connections=CONNECTIONS)
        self._login = ClientCredentials(
            url=f"{_login_host(connection)}/oauth/token",
            client_id=connection.credentials["client_id"],
            client_secret=connection.credentials["client_secret"],
            http=self._http,
        )

    async def verify(self, *, budget: CallBudget) -> Verified:
        """The client may log in, and every configured list exists, can be written to, and is for phone numbers.

        Reports the lists that no campaign names.
        """
        wrong: dict[str, str] = {}
        for target in self._targets:
            try:
                await self._check_list(target, budget)
            except UnknownTargetsError as error:
                wrong |= error.targets
        if wrong:
            raise UnknownTargetsError("list", wrong)
        return await self._find_unused_lists(budget)

    async def push(self, pushes: Sequence[Push], *, guard: Guard, budget: CallBudget) -> Sequence[Outcome]:
        action, target = pushes[0].action, pushes[0].target
        url = f"{self._outbound}/dnclists/{target}/phonenumbers"

        async def attempt(part: Sequence[Push]) -> Sequence[Outcome] | BatchRefused:
            body = {"action": _ACTION[action], "phoneNumbers": [push.address for push in part]}
            response = await self._call("PATCH", url, budget=budget, body=msgspec.json.encode(body), guard=guard)
            code = _code(response)
            if response.status == 400 and code in _FULL and len(part) == 1:
                full = {target: f"list {target}: {_FULL[code]} ({code})"}
                raise UnknownTargetsError("full", full, action=action)
            if response.status == 413 or (response.status == 400 and code != _NOT_INTERNAL):
                return _batch_refused(response.status, code)
            _check(response, target, _EDIT_NUMBERS)
            if response.status != 204:
                # A sign-in page answers 200 as well: only the documented empty response is an acknowledgement.
                raise DestinationDownError("malformed", f"{response.status} where 204 was due")
            correlation_id = reference(response.headers.get("ININ-Correlation-Id"))
            return [Accepted(reference=correlation_id, effective=True)] * len(part)

        return await bisect_batch(pushes, attempt)

    async def close(self) -> None:
        await self._http.close()

    async def _check_list(self, target: str, budget: CallBudget) -> None:
        response = await self._call("GET", f"{self._outbound}/dnclists/{target}", budget=budget)
        _check(response, target, _SEE_LIST)
        if response.status != 200:
            raise DestinationDownError("malformed", f"{response.status} where 200 was due")
        found = parsed(response, _List)
        if found.dncSourceType not in (None, _INTERNAL_LIST):
            raise _unknown_target(target, f": {_NAME_AN_INTERNAL_LIST}")
        if found.contactMethod not in (None, *_FOR_PHONES):
            method = reference(found.contactMethod)
            raise _unknown_target(target, f" is for {method}: name one for Phone or Any, or it stops no call")

    async def _find_unused_lists(self, budget: CallBudget) -> Verified:
        """Reads the campaigns until each list was found in one. That they cannot be read is reported, not raised."""
        unused = set(self._targets)
        try:
            for number in range(1, _MAX_CAMPAIGN_PAGES + 1):
                if not unused:
                    break
                page = await self._campaigns(number, budget)
                unused -= {each.id for campaign in page.entities for each in campaign.dncLists or () if each.id}
                if number >= page.pageCount:
                    break
            else:
                return Verified(doubt=f"{_NOT_KNOWN}: more than {_MAX_CAMPAIGN_PAGES * _CAMPAIGNS_A_PAGE} campaigns")
        except CallFailedError as error:
            return Verified(doubt=f"{_NOT_KNOWN}: campaigns not read: {error}")
        fix = "no campaign names it that the OAuth client may see: it stops no call until one does"
        return Verified(ineffective={each: f"list {each}: {fix}" for each in sorted(unused)})

    async def _campaigns(self, number: int, budget: CallBudget) -> _Campaigns:
        query = f"pageSize={_CAMPAIGNS_A_PAGE}&pageNumber={number}"
        response = await self._call("GET", f"{self._outbound}/campaigns?{query}", budget=budget)
        _check_permission(response, _SEE_CAMPAIGNS)
        raise_for_status(response)
        if response.status != 200:
            raise DestinationDownError(f"http_{response.status}", f"{response.status} where campaigns were due")
        return parsed(response, _Campaigns)

    async def _call(
        self, method: str, url: str, *, budget: CallBudget, body: bytes | None = None, guard: Guard | None = None
    ) -> HttpResponse:
        """One call with a valid token: a 401 means that it expired early, and is worth exactly one new token."""
        token = await self._login.token(budget)
        for renewed in (False, True):
            headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
            response = await self._http.call(method, url, budget=budget, headers=headers, body=body, guard=guard)
            if response.status != 401 or renewed:
                break
            token = await self._login.token(budget, instead_of=token)
        return response


def _batch_refused(status: int, code: str) -> BatchRefused:
    """What it means for a single number. Only the documented codes are final; any other may succeed later."""
    if status == 400 and code in _INVALID_NUMBER:
        return Refused(code=code, detail="Genesys does not take this number")
    return Retryable(reason=code or f"http_{status}")


def _check(response: HttpResponse, target: str, permission: str) -> None:
    _check_permission(response, permission)
    raise_for_status(response)
    if response.status == 404:
        raise _unknown_target(target, " does not exist: correct `purposes`")
    if response.status >= 400:
        code = _code(response)
        if code == _NOT_INTERNAL:
            raise _unknown_target(target, f": {_NAME_AN_INTERNAL_LIST}")
        said = f"{response.status} {code}".rstrip()
        raise MisconfiguredError(f"http_{response.status}", f"list {target}: Genesys does not take such calls: {said}")


def _check_permission(response: HttpResponse, permission: str) -> None:
    """`permission`: the documented one. Where Genesys asks for another one, that is named too."""
    if response.status != 403:
        return
    problem = parsed_error(response, _Problem)
    message = problem.message if problem is not None and isinstance(problem.message, str) else ""
    named = {permission, *_PERMISSION.findall(message)[:_MAX_PERMISSIONS]}
    said = f"403 {_code(response)}".rstrip()
    raise MisconfiguredError("credentials", f"{said}: give a role of the OAuth client {', '.join(sorted(named))}")


def _unknown_target(target: str, why: str) -> UnknownTargetsError:
    return UnknownTargetsError("list", {target: f"list {target}{why}"})


def _code(response: HttpResponse) -> str:
    problem = parsed_error(response, _Problem) if response.status >= 400 else None
    return (reference(problem.code) or "") if problem is not None and isinstance(problem.code, str) else ""


def _login_host(connection: ConnectionSettings) -> str:
    given = str(connection.options["login_url"])
    if given:
        return given.rstrip("/")
    parts = urlsplit(connection.url or "")
    return f"{parts.scheme}://{parts.netloc.replace('api.', 'login.', 1)}"


def _url_error(url: str, options: Options) -> str | None:
    if (wrong := credentials_url_error(url)) is not None:
        return wrong
    login = str(options["login_url"])
    wrong = credentials_url_error(login) if login else None
    return None if wrong is None else f"`login_url`: {wrong}"


def _target_error(target: str) -> str | None:
    try:
        uuid.UUID(target)
    except ValueError:
        return "not a DNC list: write the list's id (a UUID, in the address bar of its page)"
    return None


TYPE = ConnectorType(
    name="genesys",
    channels=frozenset({"voice"}),
    credentials={
        "client_id": f"the id of an OAuth client with the permissions {', '.join(PERMISSIONS)}",
        "client_secret": "the OAuth client's secret",
    },
    options={
        "login_url": Option(
            type=str, default="", help="where tokens come from; empty: `url` with login. in the place of api."
        )
    },
    url_required=True,
    capabilities=Capabilities(
        max_batch={SUPPRESS: 1_000, PERMIT: 250},
        mixed=False,
        calls_per_second=4.7,  # with the burst and the tokens, below 300 in any minute
        burst=15,
        concurrency=CONNECTIONS,
        answer="final",
        readback="export",
        scope="target",
    ),
    target_error=_target_error,
    in_force=lambda _target: "binds only calls of campaigns that name this list; any other campaign still calls",
    url_error=_url_error,
    open=Genesys,
)
