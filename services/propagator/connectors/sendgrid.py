"""SendGrid's suppressions: unsubscribe groups, and the global list that stops everything.

Docs: POST /v3/asm/groups/{id}/suppressions, POST /v3/asm/suppressions/global, DELETE the same with the address
at the end. A write to a group that does not exist goes to the GLOBAL list without an error, so a group is looked
up before it is written to, and again from time to time: groups are deleted in a web page by people.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
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
)
from propagator.connectors.bisect import BatchRefused, bisect_batch
from propagator.connectors.http import HttpClient, HttpResponse
from propagator.connectors.responses import parsed, parsed_error, raise_for_status
from propagator.errors import DestinationDownError, MisconfiguredError, UnknownTargetsError

HOST = "https://api.sendgrid.com"
GLOBAL = "global"
CONNECTIONS = 4


class _Group(msgspec.Struct):
    id: int


class _Error(msgspec.Struct):
    message: str = ""


class _Errors(msgspec.Struct):
    errors: list[_Error]


class _Echo(msgspec.Struct):
    recipient_emails: list[str]


class SendGrid:
    """One SendGrid account; a target is a group id, or `global`."""

    def __init__(self, connection: ConnectionSettings) -> None:
        self._root = f"{(connection.url or HOST).rstrip('/')}/v3/asm"
        self._headers = {
            "Authorization": f"Bearer {connection.credentials['api_key']}",
            "Content-Type": "application/json",
        }
        self._targets = connection.targets
        self._recheck_seconds = int(connection.options["recheck_seconds"])
        self._checked_at: dict[str, float] = {}
        self._http = HttpClient(timeout_seconds=connection.timeout_seconds, connections=CONNECTIONS)

    async def verify(self, *, budget: CallBudget) -> None:
        """Every configured group exists, and the key may read it."""
        wrong: dict[str, str] = {}
        for target in self._targets:
            try:
                await self._check_group(target, budget)
            except UnknownTargetsError as error:
                wrong |= error.targets
        if wrong:
            raise UnknownTargetsError("group", wrong)

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
            response = await self._http.call(
                "GET", f"{self._root}/groups/{target}", budget=budget, headers=self._headers
            )
            raise_for_status(response)
            if response.status == 404:
                self._checked_at.pop(target, None)
                raise _unknown_target(target, "does not exist: SendGrid would suppress globally; correct `purposes`")
            if response.status != 200 or parsed(response, _Group).id != int(target):
                raise _unknown_target(target, f"could not be looked up: status {response.status}")
        self._checked_at[target] = time.monotonic()

    async def _suppress(
        self, pushes: Sequence[Push], guard: Guard, budget: CallBudget
    ) -> Sequence[Outcome] | BatchRefused:
        body = msgspec.json.encode({"recipient_emails": [push.address for push in pushes]})
        url = self._list(pushes[0].target)
        response = await self._http.call("POST", url, budget=budget, headers=self._headers, body=body, guard=guard)
        if response.status in (400, 413):
            return _batch_refused(response)
        self._check(response, pushes[0].target)
        echoed = {email.lower() for email in parsed(response, _Echo).recipient_emails}
        return [
            Accepted(effective=True) if push.address.lower() in echoed else Retryable(reason="unanswered")
            for push in pushes
        ]

    async def _lift(self, push: Push, guard: Guard, budget: CallBudget) -> Outcome:
        url = f"{self._list(push.target)}/{quote(push.address, safe='@')}"
        response = await self._http.call("DELETE", url, budget=budget, headers=self._headers, guard=guard)
        if response.status == 404:  # not on the list: already so
            return Accepted(effective=True)
        if response.status == 400:
            return _batch_refused(response)
        self._check(response, push.target)
        if response.status != 204:
            raise DestinationDownError("malformed", f"{response.status} where 204 was due")
        return Accepted(effective=True)

    def _list(self, target: str) -> str:
        return f"{self._root}/suppressions/global" if target == GLOBAL else f"{self._root}/groups/{target}/suppressions"

    def _check(self, response: HttpResponse, target: str) -> None:
        raise_for_status(response)
        if response.status == 404:
            self._checked_at.pop(target, None)
            raise MisconfiguredError("not_found", "SendGrid does not know this path: check `url`")
        if response.status >= 400:
            raise MisconfiguredError(f"http_{response.status}", "SendGrid does not take such calls: check `url`")


def _unknown_target(target: str, why: str) -> UnknownTargetsError:
    return UnknownTargetsError("group", {target: f"group {target} {why}"})


def _batch_refused(response: HttpResponse) -> BatchRefused:
    """What it means for a single address. Only an error about the address is final; any other may succeed later."""
    problem = parsed_error(response, _Errors)
    errors = [] if problem is None else problem.errors
    if response.status == 400 and any("email" in error.message.lower() for error in errors):
        return Refused(code="http_400", detail="SendGrid does not take this address")
    return Retryable(reason=f"http_{response.status}")


def _target_error(target: str) -> str | None:
    if target == GLOBAL or (target.isascii() and target.isdigit()):
        return None
    return "not a list: write an unsubscribe group's number, or `global`"


TYPE = ConnectorType(
    name="sendgrid",
    channels=frozenset({"email"}),
    credentials={"api_key": "an API key with the scopes asm.groups.read and asm.groups.suppressions (and global)"},
    options={
        "recheck_seconds": Option(
            type=int, default=300, help="a group is looked up again before a write when the last check is older"
        )
    },
    capabilities=Capabilities(
        max_batch={SUPPRESS: 1_000, PERMIT: 1},
        mixed=False,
        calls_per_second=9.5,  # with the burst, below 600 in any minute
        burst=20,
        concurrency=CONNECTIONS,
        answer="final",
        readback="list",
        scope="target",
    ),
    target_error=_target_error,
    open=SendGrid,
)
