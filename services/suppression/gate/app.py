"""The HTTP face of the gate: who may ask, what is asked, the answers. Everything it needs is handed in."""

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence

from fastapi import FastAPI, Request, Response
from msgspec import UNSET

from consent_client import Answer, Checker, SuppressionView
from consent_client.answers import Policy
from consent_client.registers import Registers
from consent_contracts.decisions import GIVEN, STATUSES
from consent_contracts.reading import UNKNOWN
from consent_http import api_docs, openapi, problem_details, request_body, request_id_middleware
from consent_http.access_tokens import AccessTokens, looks_like
from consent_http.api_keys import KeyFile, bearer
from consent_http.callers import Caller
from consent_http.errors import InvalidApiKeysError, ProblemError
from consent_http.rate_limits import ConcurrencyLimit, RateLimits
from consent_privacy.addresses import canonical
from consent_privacy.keyring import Keyring
from consent_service.clock import elapsed_micros, now_micros
from suppression.gate.allow_once import AllowOnceApi
from suppression.gate.contract import (
    ALLOW_ONCE,
    CONFIRMATION,
    DENY,
    EXAMPLES,
    MOST_BYTES,
    REQUEST,
    RESPONSE,
    CheckRequest,
    CheckResponse,
    results_of,
)
from suppression.gate.metrics import GateMetrics
from suppression.gate.settings import ADDRESSES, REQUESTS

_SLICE = 25
"""Addresses between two looks at the clock: those that are hard to read take a millisecond each."""
_SLICE_SECONDS = 0.005
"""For which a request may keep others waiting."""
_SCOPE = "check"
_LIFTED = (STATUSES - {GIVEN}) | {UNKNOWN}
"""Reasons for which a confirmation is permitted all the same: not an address that takes no messages, say."""
_RETRY_SECONDS = 5
_CHECKED_AT_ONCE = 64
"""Requests of one tenant, with bodies of up to 4 MiB."""


class Gate:
    """Answers checks; the routes below only call it."""

    def __init__(
        self,
        *,
        views: Mapping[str, SuppressionView],
        keyring: Keyring,
        keys: KeyFile,
        metrics: GateMetrics,
        default_region: str,
        unknown: Callable[[str], Policy],
        limits: RateLimits | None = None,
        allow_once: AllowOnceApi | None = None,
        access_tokens: AccessTokens | None = None,
        registers: Callable[[], Registers] = Registers,
    ) -> None:
        self._registers = registers
        self._views = views
        self._region = default_region
        self._allow_once = allow_once
        self._access_tokens = access_tokens
        self._limits = limits or RateLimits({})
        self._keys = keys
        self._metrics = metrics
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        """By tenant of an API key."""
        self._unknown = unknown
        self._keyring: Keyring | None = None
        self.use(keyring)

    def use(self, keyring: Keyring) -> None:
        """Answer by these hash keys from now on."""
        if keyring is self._keyring:
            return
        self._checkers = {
            (tenant, channel): Checker(
                view,
                keyring,
                tenant,
                default_region=self._region,
                unknown=self._unknown(channel),
                registers=self._registers,
            )
            for tenant in keyring.tenants
            for channel, view in self._views.items()
        }
        self._keyring = keyring

    def keyring_state(self) -> bool | str:
        """True, or which hash key is in use that this gate lacks; that tenant's every answer then is no."""
        lacking = {(tenant, checker.is_older_than()) for (tenant, _), checker in self._checkers.items()}
        named = sorted(f"{key_id} of tenant {tenant}" for tenant, key_id in lacking if key_id is not None)
        return f"lacks hash key {', '.join(named)}, in use already: give it the new keyring" if named else True

    async def caller(self, authorization: str | None) -> Caller:
        """Who asks. Raises ProblemError 401, 403, 429, or 503 when the file of keys cannot be read."""
        caller = await self._find(bearer(authorization))
        if caller is None:
            raise problem_details.missing_api_key()
        if not caller.allows(_SCOPE):
            raise problem_details.missing_scope(_SCOPE)
        self._limits.admit(ADDRESSES, caller, 0.0)
        self._limits.admit(REQUESTS, caller)
        return caller

    async def _find(self, token: str | None) -> Caller | None:
        if self._access_tokens is not None and token is not None and looks_like(token):
            return await self._access_tokens.caller(token)
        try:
            return self._keys.find(token)
        except InvalidApiKeysError:
            raise ProblemError(
                503,
                "keys-unavailable",
                "The gate cannot read its file of API keys.",
                cure="Treat every address as not permitted, and repeat later.",
                headers={"Retry-After": str(_RETRY_SECONDS)},
            ) from None

    async def check(self, caller: Caller, request: CheckRequest, authorization: str = "") -> list[Answer]:
        """The answers, in order. ProblemError 503 where the list cannot be answered from, unless the request has each
        denied then: a campaign would strike out its whole list and call that a success.

        Lets other requests go between slices of time, so that one caller's ten thousand addresses, however hard they
        are to read, do not hold up another's one. The requests of a tenant take turns: however many it sends at once,
        between two slices of another tenant there is one of its own. ``authorization``: the caller's, for a token."""
        checker = self._checker(caller, request)
        clear = bool(request.addresses)
        addresses = request.addresses or request.address_keys
        # Generated clients send an empty list for one that they do not use.
        if not addresses or (clear and request.address_keys):
            raise ProblemError(
                422,
                "invalid-request",
                "Either addresses or address_keys is required.",
                field="/addresses",
                cure="Send one of the two lists.",
            )
        if request.allow_once is not UNSET and (len(addresses) != 1 or request.purpose != CONFIRMATION):
            raise _token_misused()
        self._limits.charge(ADDRESSES, caller, len(addresses))
        answers: list[Answer] = []
        while len(answers) < len(addresses):
            async with self._turns[caller.tenant]:
                began = time.perf_counter()
                while len(answers) < len(addresses) and time.perf_counter() - began < _SLICE_SECONDS:
                    slice_ = addresses[len(answers) : len(answers) + _SLICE]
                    answers += self._check_slice(checker, slice_, request.purpose, clear=clear)
                if time.perf_counter() - began >= _SLICE_SECONDS:
                    await asyncio.sleep(0)
        unusable = next((each for each in answers if each.list_unusable), None)
        if unusable is not None and request.when_stale != DENY:
            self._metrics.answers.labels(request.channel, "false", unusable.reason).inc(len(addresses))
            raise _list_unusable(unusable)
        if request.allow_once is not UNSET:
            answers = [await self._with_token(caller, request, answers[0], authorization)]
        for (permitted, reason), count in Counter((each.permitted, each.reason) for each in answers).items():
            self._metrics.answers.labels(request.channel, str(permitted).lower(), reason).inc(count)
        return answers

    async def _with_token(self, caller: Caller, request: CheckRequest, answer: Answer, authorization: str) -> Answer:
        """What nothing but a person's choice forbids, or nothing, is permitted by the token. It is used up in every
        case: where the STOP has not reached the list yet, too."""
        if answer.list_unusable or not (answer.permitted or answer.reason in _LIFTED) or request.allow_once is UNSET:
            return answer
        if self._allow_once is None:
            return _denied(answer, "unavailable", "this gate has no CONSENT_RELAY_GATE_API_URL")
        if request.address_keys:
            (address_key,) = request.address_keys
        else:
            assert request.addresses
            spelled = canonical(request.channel, request.addresses[0], default_region=self._region)
            assert self._keyring is not None
            address_key = self._keyring.address_key(caller.tenant, request.channel, spelled)
        permitted = await self._allow_once.use(
            authorization, channel=request.channel, address_key=address_key, token=request.allow_once
        )
        if permitted is None:
            return _denied(answer, "unavailable", "the API did not say whether the token is good")
        if not permitted:
            reason = "unknown" if answer.permitted else answer.reason
            return _denied(answer, reason, "the allow_once token is used up, too old, or of another address")
        return answer._replace(permitted=True, reason=ALLOW_ONCE, detail=None, expires_at=None)

    @staticmethod
    def _check_slice(checker: Checker | None, addresses: Sequence[str], purpose: str, *, clear: bool) -> list[Answer]:
        if checker is None:
            now = now_micros()
            denied = Answer(
                permitted=False,
                reason="unavailable",
                detail="this gate has no hash keys of the tenant",
                list_unusable=True,
                as_of=None,
                valid_until=now,
                valid_until_elapsed=elapsed_micros(),
            )
            return [denied] * len(addresses)
        return checker.check(addresses, purpose) if clear else checker.check_keys(addresses, purpose)

    def _checker(self, caller: Caller, request: CheckRequest) -> Checker | None:
        if request.tenant is not UNSET and request.tenant != caller.tenant:
            raise ProblemError(
                403,
                "other-tenant",
                "This API key or access token belongs to another tenant.",
                field="/tenant",
                cure="Leave tenant out, or use a key or token of that tenant.",
            )
        view = self._views.get(request.channel)
        if view is None:
            raise ProblemError(
                422,
                "unknown-channel",
                "There is no such channel here.",
                field="/channel",
                cure=f"Send one of: {', '.join(self._views)}.",
            )
        return self._checkers.get((caller.tenant, view.channel))


def _denied(answer: Answer, reason: str, detail: str) -> Answer:
    return answer._replace(permitted=False, reason=reason, detail=detail)


def _token_misused() -> ProblemError:
    return ProblemError(
        422,
        "invalid-request",
        "A token lets one text through, to one address, that confirms its STOP.",
        field="/allow_once",
        cure=f"Send one address, and the purpose {CONFIRMATION}.",
    )


def _list_unusable(answer: Answer) -> ProblemError:
    return ProblemError(
        503,
        f"list-{answer.reason}",
        f"The list cannot be answered from: {answer.detail}.",
        cure='Contact none of them, and ask again. With "when_stale": "deny" each address is denied.',
        headers={"Retry-After": str(_RETRY_SECONDS)},
    )


def create_app(gate: Gate, metrics: GateMetrics, *, docs: bool = True) -> FastAPI:
    """The application; `gate` may be anything that answers."""
    app = FastAPI(title="Consent Relay gate", version="1", **api_docs.urls(enabled=docs))
    problem_details.install(app)
    request_id_middleware.install(app)
    at_once = ConcurrencyLimit(_CHECKED_AT_ONCE)

    @app.exception_handler(ProblemError)
    async def refuse(_: Request, problem: ProblemError) -> Response:
        metrics.refused.labels(str(problem.status)).inc()
        return problem_details.render(problem)

    @app.post(
        "/v1/check",
        operation_id="checkAddresses",
        summary="May these addresses be contacted on this channel for this purpose, now?",
        description="Every address gets an answer in its place. Contact only where `permitted` is true, and until"
        " `valid_until`; any other answer, any error and no answer at all mean no. 503: the list cannot be answered"
        ' from, as it is stale, say; with "when_stale": "deny" each address is then denied.',
        responses={
            200: openapi.json_response(CheckResponse, "An answer for each address, in the order of the request."),
            **problem_details.responses(400, 401, 403, 408, 413, 415, 422, 429, 503),
        },
        openapi_extra={**openapi.json_body(CheckRequest), "security": [{"apiKey": []}]},
        tags=["check"],
    )
    async def check(request: Request) -> Response:
        caller = await gate.caller(request.headers.get("authorization"))
        with at_once.held(caller):
            body = await request_body.read(request, limit=MOST_BYTES)
            began = time.perf_counter()
            asked = request_body.decode(body, REQUEST)
            answers = await gate.check(caller, asked, request.headers["authorization"])
            content = RESPONSE.encode(CheckResponse(results=results_of(answers)))
        metrics.check_seconds.labels(_size(len(answers))).observe(time.perf_counter() - began)
        return Response(content, media_type="application/json")

    openapi.describe(app, sent=[CheckRequest], answered=[CheckResponse], examples=EXAMPLES)
    api_docs.serve(app)
    return app


def _size(addresses: int) -> str:
    return "one" if addresses == 1 else "many" if addresses <= 1_000 else "bulk"
