"""Genesys Cloud's internal Do Not Call lists: numbers added and removed by PATCH, under an OAuth2 token.

Docs: PATCH /api/v2/outbound/dnclists/{id}/phonenumbers. The same path knows a verb that empties the whole list;
it has no place in this file, and the OAuth client should not be granted it (`outbound:dnc:edit` is enough).
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from urllib.parse import urlsplit

import msgspec

from propagator.connector import (
    PERMIT,
    SUPPRESS,
    Accepted,
    Account,
    Capabilities,
    Guard,
    Kind,
    Option,
    Outcome,
    Push,
    Refused,
    TryAgain,
)
from propagator.connectors.answers import parsed, raise_common
from propagator.connectors.exchange import Answer, Exchange
from propagator.connectors.oauth import ClientCredentials
from propagator.connectors.splitting import Alone, halving
from propagator.errors import DestinationDown, Misconfigured, WrongTargets

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

    def __init__(self, account: Account) -> None:
        if account.url is None:
            raise Misconfigured("url", "Genesys Cloud has a host for each region: set `url`")
        self._root = f"{account.url.rstrip('/')}/api/v2/outbound/dnclists"
        self._targets = account.targets
        self._exchange = Exchange(timeout_seconds=account.timeout_seconds, connections=CONNECTIONS)
        self._login = ClientCredentials(
            url=f"{_login_host(account)}/oauth/token",
            client_id=account.credentials["client_id"],
            client_secret=account.credentials["client_secret"],
            exchange=self._exchange,
        )

    async def verify(self) -> None:
        """The client may log in, and every configured list exists and is one that can be written to."""
        wrong: dict[str, str] = {}
        for target in self._targets:
            try:
                await self._look_up(target)
            except WrongTargets as error:
                wrong |= error.targets
        if wrong:
            raise WrongTargets("list", wrong)

    async def push(self, pushes: Sequence[Push], *, guard: Guard) -> Sequence[Outcome]:
        action, target = pushes[0].action, pushes[0].target
        url = f"{self._root}/{target}/phonenumbers"

        async def attempt(part: Sequence[Push]) -> Sequence[Outcome] | Alone:
            body = {"action": _ACTION[action], "phoneNumbers": [push.address for push in part]}
            answer = await self._call("PATCH", url, msgspec.json.encode(body), guard)
            code = _code(answer)
            if answer.status == 413 or (answer.status == 400 and code not in _A_PERSON_MUST_ACT):
                return _alone(answer.status, code)
            _check(answer, target)
            if answer.status != 204:
                # A sign-in page answers 200 as well: only the documented empty answer is an acknowledgement.
                raise DestinationDown("malformed", f"{answer.status} where 204 was due")
            reference = answer.headers.get("ININ-Correlation-Id")
            return [Accepted(reference=reference, effective=True)] * len(part)

        return await halving(pushes, attempt)

    async def close(self) -> None:
        await self._exchange.close()

    async def _look_up(self, target: str) -> None:
        answer = await self._call("GET", f"{self._root}/{target}", None, None)
        _check(answer, target)
        if answer.status != 200:
            raise DestinationDown("malformed", f"{answer.status} where 200 was due")
        if parsed(answer, _List).dncSourceType != _INTERNAL_LIST:
            raise _wrong(target, f": {_A_PERSON_MUST_ACT['dnc.source.operation.not.supported']}")

    async def _call(self, method: str, url: str, body: bytes | None, guard: Guard | None) -> Answer:
        """One call with a live token: a 401 means it ran out early, and is worth exactly one new token."""
        token = await self._login.token()
        for renewed in (False, True):
            headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
            answer = await self._exchange.call(method, url, headers=headers, body=body, guard=guard)
            if answer.status != 401 or renewed:
                break
            token = await self._login.token(instead_of=token)
        return answer


def _alone(status: int, code: str) -> Alone:
    """A single number was refused. Only a code about the number is final; any other may pass."""
    if "phone" in code:
        return Refused(code=code, detail="Genesys does not take this number")
    return TryAgain(reason=f"http_{status}")


def _check(answer: Answer, target: str) -> None:
    raise_common(answer)
    if answer.status == 404:
        raise _wrong(target, " does not exist: correct `purposes`")
    if answer.status >= 400:
        code = _code(answer)
        if code in _A_PERSON_MUST_ACT:
            raise _wrong(target, f": {_A_PERSON_MUST_ACT[code]}")
        raise Misconfigured(f"http_{answer.status}", f"list {target}: Genesys does not take such calls")


def _wrong(target: str, why: str) -> WrongTargets:
    return WrongTargets("list", {target: f"list {target}{why}"})


def _code(answer: Answer) -> str:
    if answer.status < 400:
        return ""
    try:
        return msgspec.json.decode(answer.body, type=_Problem).code
    except msgspec.DecodeError:
        return ""


def _login_host(account: Account) -> str:
    told = str(account.options["login_url"])
    if told:
        return told.rstrip("/")
    parts = urlsplit(account.url or "")
    return f"{parts.scheme}://{parts.netloc.replace('api.', 'login.', 1)}"


def _target_error(target: str) -> str | None:
    try:
        uuid.UUID(target)
    except ValueError:
        return "not a DNC list: write the list's id (a UUID, in the address bar of its page)"
    return None


KIND = Kind(
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
        reads_back="export",
        scope="target",
    ),
    target_error=_target_error,
    build=Genesys,
)
