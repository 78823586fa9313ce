"""SendGrid's suppressions: unsubscribe groups, and the global list that stops everything.

Docs: POST /v3/asm/groups/{id}/suppressions, POST /v3/asm/suppressions/global, DELETE the same with the address
at the end. A write to a group that does not exist goes to the GLOBAL list without a word, so a group is looked
up before it is written to, and again from time to time: groups are deleted in a web page by people.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from urllib.parse import quote

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
from propagator.connectors.splitting import Alone, halving
from propagator.errors import DestinationDown, Misconfigured, WrongTargets

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

    def __init__(self, account: Account) -> None:
        self._root = f"{(account.url or HOST).rstrip('/')}/v3/asm"
        self._headers = {
            "Authorization": f"Bearer {account.credentials['api_key']}",
            "Content-Type": "application/json",
        }
        self._targets = account.targets
        self._recheck_seconds = int(account.options["recheck_seconds"])
        self._seen: dict[str, float] = {}
        self._exchange = Exchange(timeout_seconds=account.timeout_seconds, connections=CONNECTIONS)

    async def verify(self) -> None:
        """Every configured group exists, and the key may read it."""
        wrong: dict[str, str] = {}
        for target in self._targets:
            try:
                await self._look_up(target)
            except WrongTargets as error:
                wrong |= error.targets
        if wrong:
            raise WrongTargets("group", wrong)

    async def push(self, pushes: Sequence[Push], *, guard: Guard) -> Sequence[Outcome]:
        target = pushes[0].target
        if time.monotonic() - self._seen.get(target, -self._recheck_seconds) >= self._recheck_seconds:
            await self._look_up(target)
        if pushes[0].action == PERMIT:
            return [await self._lift(push, guard) for push in pushes]
        return await halving(pushes, lambda part: self._suppress(part, guard))

    async def close(self) -> None:
        await self._exchange.close()

    async def _look_up(self, target: str) -> None:
        if target != GLOBAL:
            answer = await self._exchange.call("GET", f"{self._root}/groups/{target}", headers=self._headers)
            raise_common(answer)
            if answer.status == 404:
                self._seen.pop(target, None)
                raise _wrong(target, "does not exist: SendGrid would suppress globally; correct `purposes`")
            if answer.status != 200 or parsed(answer, _Group).id != int(target):
                raise _wrong(target, f"could not be looked up: answer {answer.status}")
        self._seen[target] = time.monotonic()

    async def _suppress(self, pushes: Sequence[Push], guard: Guard) -> Sequence[Outcome] | Alone:
        body = msgspec.json.encode({"recipient_emails": [push.address for push in pushes]})
        url = self._list(pushes[0].target)
        answer = await self._exchange.call("POST", url, headers=self._headers, body=body, guard=guard)
        if answer.status in (400, 413):
            return _alone(answer)
        self._check(answer, pushes[0].target)
        echoed = {email.lower() for email in parsed(answer, _Echo).recipient_emails}
        return [
            Accepted(effective=True) if push.address.lower() in echoed else TryAgain(reason="unanswered")
            for push in pushes
        ]

    async def _lift(self, push: Push, guard: Guard) -> Outcome:
        url = f"{self._list(push.target)}/{quote(push.address, safe='@')}"
        answer = await self._exchange.call("DELETE", url, headers=self._headers, guard=guard)
        if answer.status == 404:  # not on the list: already so
            return Accepted(effective=True)
        if answer.status == 400:
            return _alone(answer)
        self._check(answer, push.target)
        if answer.status != 204:
            raise DestinationDown("malformed", f"{answer.status} where 204 was due")
        return Accepted(effective=True)

    def _list(self, target: str) -> str:
        return f"{self._root}/suppressions/global" if target == GLOBAL else f"{self._root}/groups/{target}/suppressions"

    def _check(self, answer: Answer, target: str) -> None:
        raise_common(answer)
        if answer.status == 404:
            self._seen.pop(target, None)
            raise Misconfigured("not_found", "SendGrid does not know this path: check `url`")
        if answer.status >= 400:
            raise Misconfigured(f"http_{answer.status}", "SendGrid does not take such calls: check `url`")


def _wrong(target: str, why: str) -> WrongTargets:
    return WrongTargets("group", {target: f"group {target} {why}"})


def _alone(answer: Answer) -> Alone:
    """A single address was refused. Only words about the address are final; any other refusal may pass."""
    try:
        errors = msgspec.json.decode(answer.body, type=_Errors).errors
    except msgspec.DecodeError:
        errors = []
    if answer.status == 400 and any("email" in error.message.lower() for error in errors):
        return Refused(code="http_400", detail="SendGrid does not take this address")
    return TryAgain(reason=f"http_{answer.status}")


def _target_error(target: str) -> str | None:
    if target == GLOBAL or (target.isascii() and target.isdigit()):
        return None
    return "not a list: write an unsubscribe group's number, or `global`"


KIND = Kind(
    name="sendgrid",
    channels=frozenset({"email"}),
    credentials={"api_key": "an API key with the scopes asm.groups.read and asm.groups.suppressions (and global)"},
    options={
        "recheck_seconds": Option(
            type=int, default=300, help="a group is looked up again before a write when the last look is older"
        )
    },
    capabilities=Capabilities(
        max_batch={SUPPRESS: 1_000, PERMIT: 1},
        mixed=False,
        calls_per_second=9.5,  # with the burst, below 600 in any minute
        burst=20,
        concurrency=CONNECTIONS,
        answer="final",
        reads_back="list",
        scope="target",
    ),
    target_error=_target_error,
    build=SendGrid,
)
