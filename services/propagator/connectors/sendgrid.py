"""SendGrid's suppressions: unsubscribe groups, and the global list that stops everything.

Docs: POST /v3/asm/groups/{id}/suppressions, POST /v3/asm/suppressions/global, DELETE the same with the address
at the end. A write to a group that does not exist goes to the GLOBAL list without an error, so a group is looked
up before it is written to, and again from time to time: groups are deleted in a web page by people. GET /v3/scopes has
what the API key may do.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

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
from propagator.connectors.http import MAX_DOUBT_SECONDS, HttpClient, HttpResponse
from propagator.connectors.responses import parsed, parsed_error, raise_for_status, words
from propagator.errors import CallFailedError, DestinationDownError, MisconfiguredError, UnknownTargetsError

HOST = "https://api.sendgrid.com"
GLOBAL = "global"
CONNECTIONS = 4
MAX_GROUP_DIGITS = 18


class _Group(msgspec.Struct):
    id: int


class _Errors(msgspec.Struct):
    errors: list[Any]
    """Each {field, message, help}, of which any may be null."""


class _Echo(msgspec.Struct):
    recipient_emails: list[Any]


class _Scopes(msgspec.Struct):
    scopes: list[Any]


class SendGrid:
    """One SendGrid account; a target is a group id, or `global`."""

    def __init__(self, connection: ConnectionSettings) -> None:
        api = f"{(connection.url or HOST).rstrip('/')}/v3"
        self._root, self._scopes = f"{api}/asm", f"{api}/scopes"
        self._headers = {
            "Authorization": f"Bearer {connection.credentials['api_key']}",
            "Content-Type": "application/json",
        }
        if subuser := str(connection.options.get("on_behalf_of", "")):
            if not (subuser.isascii() and subuser.isprintable()):
                raise MisconfiguredError(
                    "options", "`on_behalf_of` is no subuser's name: write it as SendGrid lists it"
                )
            self._headers["on-behalf-of"] = subuser
        self._targets = connection.targets
        self._recheck_seconds = int(connection.options["recheck_seconds"])
        self._checked_at: dict[str, float] = {}
        self._http = HttpClient(timeout_seconds=connection.timeout_seconds, connections=CONNECTIONS)

    async def verify(self, *, budget: CallBudget) -> Verified:
        """Every configured group exists, and the key may read it.

        Reports the scopes for refusals that the key lacks. They are not raised: SendGrid's answer to a push decides.
        """
        wrong: dict[str, str] = {}
        for target in self._targets:
            try:
                await self._check_group(target, budget)
            except UnknownTargetsError as error:
                wrong |= error.targets
        if wrong:
            raise UnknownTargetsError("group", wrong)
        return await self._find_missing_scopes(budget)

    async def push(self, pushes: Sequence[Push], *, guard: Guard, budget: CallBudget) -> Sequence[Outcome]:
        target = pushes[0].target
        if time.monotonic() - self._checked_at.get(target, -self._recheck_seconds) >= self._recheck_seconds:
            await self._check_group(target, budget)
        if pushes[0].action == PERMIT:
            (push,) = pushes
            return [await self._lift(push, guard, budget)]
        return await bisect_batch(pushes, lambda part: self._suppress(part, guard, budget))

    async def close(self) -> None:
        await self._http.close()

    async def _check_group(self, target: str, budget: CallBudget) -> None:
        if target != GLOBAL:
            url = f"{self._root}/groups/{target}"
            response = await self._http.call("GET", url, budget=budget, headers=self._headers)
            _raise_for_status(response, "asm.groups.read")
            if response.status == 404:
                self._checked_at.pop(target, None)
                raise _unknown_target(
                    target, "does not exist: SendGrid would suppress globally; correct `purposes` or `on_behalf_of`"
                )
            if response.status != 200 or parsed(response, _Group).id != int(target):
                raise _unknown_target(target, f"could not be looked up: status {response.status}")
        self._checked_at[target] = time.monotonic()

    async def _find_missing_scopes(self, budget: CallBudget) -> Verified:
        """That they cannot be read is reported. Where no group was looked up, SendGrid's own 401 is raised: the key is
        not good."""
        try:
            response = await self._http.call(
                "GET", self._scopes, budget=budget, headers=self._headers, most_seconds=MAX_DOUBT_SECONDS
            )
        except CallFailedError as error:
            return Verified(doubt=f"scopes of the API key not read: {error}")
        if response.status == 401 and _errors(response) and all(target == GLOBAL for target in self._targets):
            raise_for_status(response)
        if response.status == 403:
            return Verified(doubt="403: the API key may not list its scopes, so none is known to be missing")
        found = parsed_error(response, _Scopes) if response.status == 200 else None
        if found is None:
            return Verified(doubt=f"scopes of the API key not read: {response.status} without a list of them")
        missing = {_scope(each, "create") for each in self._targets} - {
            each for each in found.scopes if isinstance(each, str)
        }
        return Verified(doubt=f"the API key needs the scope {', '.join(sorted(missing))}" if missing else None)

    async def _suppress(
        self, pushes: Sequence[Push], guard: Guard, budget: CallBudget
    ) -> Sequence[Outcome] | BatchRefused:
        body = msgspec.json.encode({"recipient_emails": [push.address for push in pushes]})
        target = pushes[0].target
        url = self._list(target)
        response = await self._http.call("POST", url, budget=budget, headers=self._headers, body=body, guard=guard)
        if response.status in (400, 413):
            return _batch_refused(response)
        self._check(response, target, scope="create", due=201)
        echoed = {each.lower() for each in parsed(response, _Echo).recipient_emails if isinstance(each, str)}
        return [
            Accepted(effective=True) if push.address.lower() in echoed else Retryable(reason="unanswered")
            for push in pushes
        ]

    async def _lift(self, push: Push, guard: Guard, budget: CallBudget) -> Outcome:
        url = f"{self._list(push.target)}/{quote(push.address, safe='@')}"
        response = await self._http.call("DELETE", url, budget=budget, headers=self._headers, guard=guard)
        if response.status == 404 and _errors(response):  # SendGrid's own: not on the list, so already as wanted
            return Accepted(effective=True)
        if response.status in (400, 413):
            return _batch_refused(response)
        self._check(response, push.target, scope="delete", due=204)
        return Accepted(effective=True)

    def _list(self, target: str) -> str:
        return f"{self._root}/suppressions/global" if target == GLOBAL else f"{self._root}/groups/{target}/suppressions"

    def _check(self, response: HttpResponse, target: str, *, scope: str, due: int) -> None:
        """Returns for the documented status alone."""
        _raise_for_status(response, _scope(target, scope))
        if response.status == 404:
            self._checked_at.pop(target, None)
            raise MisconfiguredError("not_found", "SendGrid does not know this path: check `url`")
        if response.status >= 400:
            raise MisconfiguredError(f"http_{response.status}", "SendGrid does not take such calls: check `url`")
        if response.status != due:
            raise DestinationDownError("malformed", f"{response.status} where {due} was due")


def _scope(target: str, what: str) -> str:
    return f"asm.suppressions.global.{what}" if target == GLOBAL else f"asm.groups.suppressions.{what}"


def _raise_for_status(response: HttpResponse, scope: str) -> None:
    if response.status == 403:
        raise MisconfiguredError("credentials", f"403: the API key needs the scope {scope}, for `on_behalf_of` too")
    raise_for_status(response)


def _unknown_target(target: str, why: str) -> UnknownTargetsError:
    return UnknownTargetsError("group", {target: f"group {target} {why}"})


def _batch_refused(response: HttpResponse) -> BatchRefused:
    """What it means for a single address. Final only where SendGrid names the addresses as the field that is wrong,
    and no other: any other refusal may be lifted. Its words are not kept, as they may quote a malformed address."""
    fields = [error.get("field") for error in _errors(response)]
    if response.status == 400 and fields and all(field == "recipient_emails" for field in fields):
        return Refused(code="http_400", detail="SendGrid does not take this address")
    return Retryable(reason=words(f"http_{response.status} {words(*fields)}"))


def _errors(response: HttpResponse) -> list[dict[str, Any]]:
    """The errors in SendGrid's own error body; none where the body is of another server."""
    problem = parsed_error(response, _Errors)
    given = [] if problem is None else problem.errors
    return [each for each in given if isinstance(each, dict) and each.keys() & {"field", "message"}]


def _target_error(target: str) -> str | None:
    if target == GLOBAL or (target.isascii() and target.isdigit() and len(target) <= MAX_GROUP_DIGITS):
        return None
    return "not a list: write an unsubscribe group's number, or `global`"


def _in_force(target: str) -> str:
    if target == GLOBAL:
        return "binds all mail of the account, or of the subuser, except mail that bypasses suppressions"
    return "binds only mail that is tagged with this unsubscribe group; other mail is still delivered"


TYPE = ConnectorType(
    name="sendgrid",
    host=HOST,
    channels=frozenset({"email"}),
    credentials={
        "api_key": "an API key with the scopes asm.groups.read, asm.groups.suppressions.create and .delete, and for"
        " `global` asm.suppressions.global.create and .delete"
    },
    options={
        "recheck_seconds": Option(
            type=int, default=300, help="a group is looked up again before a write when the last check is older"
        ),
        "on_behalf_of": Option(
            type=str, default="", help="the subuser whose lists these are, where the API key is its parent's"
        ),
    },
    capabilities=Capabilities(
        max_batch={SUPPRESS: 1_000, PERMIT: 1},  # assumed, as the rate: SendGrid publishes no limits for these calls
        mixed=False,
        calls_per_second=9.5,  # with the burst, below 600 in any minute
        burst=20,
        concurrency=CONNECTIONS,
        answer="final",
        readback="list",
        scope="target",
    ),
    target_error=_target_error,
    in_force=_in_force,
    open=SendGrid,
)
