"""Genesys Cloud's internal Do Not Call lists: numbers added and removed by PATCH, under an OAuth2 token.

Docs: PATCH /api/v2/outbound/dnclists/{id}/phonenumbers. The same path knows a verb that empties the whole list;
it has no place in this file, and the OAuth client should not be granted it (`outbound:dnc:edit` is enough).
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from urllib.parse import urlsplit

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
    Options,
    Outcome,
    Push,
    Refused,
    Retryable,
)
from propagator.connectors.bisect import BatchRefused, bisect_batch
from propagator.connectors.http import HttpClient, HttpResponse
from propagator.connectors.oauth import ClientCredentials
from propagator.connectors.responses import parsed, parsed_error, raise_for_status, reference
from propagator.connectors.ssrf import credentials_url_error
from propagator.errors import DestinationDownError, MisconfiguredError, UnknownTargetsError

CONNECTIONS = 4

_ACTION = {SUPPRESS: "Add", PERMIT: "Remove"}
_INTERNAL_LIST = "rds"
_A_PERSON_MUST_ACT = {
    "dnc.source.operation.not.supported": "not an internal DNC list: name one that Genesys itself keeps",
    "dnc.records.per.list.limit.exceeded": "the list is full: make room or name another",
}


class _Problem(msgspec.Struct):
    code: str = ""


class _List(msgspec.Struct):
    id: str
    dncSourceType: str = _INTERNAL_LIST


class Genesys:
    """One organisation; a target is the id of an internal DNC list."""

    def __init__(self, connection: ConnectionSettings) -> None:
        if connection.url is None:
            raise MisconfiguredError("url", "Genesys Cloud has a host for each region: set `url`")
        self._root = f"{connection.url.rstrip('/')}/api/v2/outbound/dnclists"
        self._targets = connection.targets
        self._http = HttpClient(timeout_seconds=connection.timeout_seconds, connections=CONNECTIONS)
        self._login = ClientCredentials(
            url=f"{_login_host(connection)}/oauth/token",
            client_id=connection.credentials["client_id"],
            client_secret=connection.credentials["client_secret"],
            http=self._http,
        )

    async def verify(self, *, budget: CallBudget) -> None:
        """The client may log in, and every configured list exists and is one that can be written to."""
        wrong: dict[str, str] = {}
        for target in self._targets:
            try:
                await self._check_list(target, budget)
            except UnknownTargetsError as error:
                wrong |= error.targets
        if wrong:
            raise UnknownTargetsError("list", wrong)

    async def push(self, pushes: Sequence[Push], *, guard: Guard, budget: CallBudget) -> Sequence[Outcome]:
        action, target = pushes[0].action, pushes[0].target
        url = f"{self._root}/{target}/phonenumbers"

        async def attempt(part: Sequence[Push]) -> Sequence[Outcome] | BatchRefused:
            body = {"action": _ACTION[action], "phoneNumbers": [push.address for push in part]}
            response = await self._call("PATCH", url, budget=budget, body=msgspec.json.encode(body), guard=guard)
            code = _code(response)
            if response.status == 413 or (response.status == 400 and code not in _A_PERSON_MUST_ACT):
                return _batch_refused(response.status, code)
            _check(response, target)
            if response.status != 204:
                # A sign-in page answers 200 as well: only the documented empty response is an acknowledgement.
                raise DestinationDownError("malformed", f"{response.status} where 204 was due")
            correlation_id = reference(response.headers.get("ININ-Correlation-Id"))
            return [Accepted(reference=correlation_id, effective=True)] * len(part)

        return await bisect_batch(pushes, attempt)

    async def close(self) -> None:
        await self._http.close()

    async def _check_list(self, target: str, budget: CallBudget) -> None:
        response = await self._call("GET", f"{self._root}/{target}", budget=budget)
        _check(response, target)
        if response.status != 200:
            raise DestinationDownError("malformed", f"{response.status} where 200 was due")
        if parsed(response, _List).dncSourceType != _INTERNAL_LIST:
            raise _unknown_target(target, f": {_A_PERSON_MUST_ACT['dnc.source.operation.not.supported']}")

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
    """What it means for a single number. Only a code about the number is final; any other may succeed later."""
    if "phone" in code:
        return Refused(code=code, detail="Genesys does not take this number")
    return Retryable(reason=f"http_{status}")


def _check(response: HttpResponse, target: str) -> None:
    raise_for_status(response)
    if response.status == 404:
        raise _unknown_target(target, " does not exist: correct `purposes`")
    if response.status >= 400:
        code = _code(response)
        if code in _A_PERSON_MUST_ACT:
            raise _unknown_target(target, f": {_A_PERSON_MUST_ACT[code]}")
        raise MisconfiguredError(f"http_{response.status}", f"list {target}: Genesys does not take such calls")


def _unknown_target(target: str, why: str) -> UnknownTargetsError:
    return UnknownTargetsError("list", {target: f"list {target}{why}"})


def _code(response: HttpResponse) -> str:
    problem = parsed_error(response, _Problem) if response.status >= 400 else None
    return "" if problem is None else reference(problem.code) or ""


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
    credentials={"client_id": "the OAuth client's id", "client_secret": "the OAuth client's secret"},
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
    url_error=_url_error,
    open=Genesys,
)
