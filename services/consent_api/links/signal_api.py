"""POST /v1/gpc: a browser's signal not to sell or share, as a site of the tenant received it (R23)."""

from collections.abc import Callable, Collection, Sequence
from typing import Annotated, TypeVar

import anyio
import anyio.to_thread
import msgspec
from fastapi import APIRouter, Depends, Response
from msgspec import Meta, Struct

from consent_api.domain.addresses import same_place
from consent_api.domain.validation import ValidationRules, named_address, subject_reference
from consent_api.errors import ChoiceRefusedError, FieldViolation, SubmissionInvalidError
from consent_api.http import models, rendering
from consent_api.http.dependencies import RequestDependencies
from consent_api.ledger import database
from consent_api.ledger.ledger import Ledger
from consent_api.links import person, theme
from consent_api.links.person import Person, Setting, State
from consent_api.links.privacy_control import METHOD
from consent_api.links.recording import Choices
from consent_api.links.theme import Theme, Themes
from consent_api.links.token import Link, LinkKind
from consent_contracts.decisions import EVERY_PURPOSE
from consent_http import request_body
from consent_http.callers import Caller
from consent_http.errors import ProblemError
from consent_http.openapi import json_body, json_response
from consent_http.problem_details import responses

T = TypeVar("T")

_AT_ONCE = 2
_AGAIN_SECONDS = "60"
"""Another instance may know it at once, this one when an operator has mended the entry."""


class SubmittedSignal(Struct, kw_only=True, forbid_unknown_fields=True):
    """Whose browser it is: a subject, an address on a channel, or both."""

    subject_ref: models.SubjectRef | None = None
    channel: models.Channel | None = None
    address: models.Address | None = None


class SignalRefusal(Struct, kw_only=True):
    """A refusal that was recorded."""

    decision_id: models.DecisionId
    channel: models.Channel
    purpose: models.Purpose


class SignalRecorded(Struct, kw_only=True):
    """What the signal has refused, and how many purposes on a channel were refused before it."""

    recorded: list[SignalRefusal]
    refused_before: Annotated[int, Meta(ge=0)]


_DECODER = msgspec.json.Decoder(SubmittedSignal)
SENT = (SubmittedSignal,)
ANSWERED = (SignalRecorded, SignalRefusal)
EXAMPLES: dict[str, Sequence[object]] = {
    "SubmittedSignal": ({"subject_ref": "customer-4711"},),
    "SignalRecorded": (
        {
            "recorded": [
                {"decision_id": "019ac2f1-8d60-7c41-9b52-6f0d3a5e7c18", "channel": "email", "purpose": "partners"}
            ],
            "refused_before": 1,
        },
    ),
}


def routes(
    ledger: Ledger, rules: ValidationRules, themes: Themes, choices: Choices, dependencies: RequestDependencies
) -> APIRouter:
    router = APIRouter(tags=["decisions"])
    at_once = anyio.CapacityLimiter(_AT_ONCE)

    async def in_thread(work: Callable[[], T]) -> T:
        return await anyio.to_thread.run_sync(work, limiter=at_once)

    @router.post(
        "/v1/gpc",
        operation_id="createSignalRefusals",
        summary="Record that a browser asks not to sell or share",
        description="For your site, when it gets Sec-GPC: 1 from someone it knows. Refuses the purposes that the theme"
        " marks sale_or_share, where the person has not refused them: of a subject on each channel, for addresses that"
        " are linked later too, else at the address. Sent again, it records nothing more. It lifts nothing; do not send"
        " it for other values or for none.",
        responses={
            200: json_response(SignalRecorded, "Recorded; empty where there is nothing to refuse."),
            **responses(400, 401, 403, 408, 413, 415, 422, 429, 503),
        },
        openapi_extra=json_body(SubmittedSignal),
    )
    async def submit(
        key: Annotated[Caller, Depends(dependencies.submit)],
        body: Annotated[bytes, Depends(dependencies.submit_body)],
    ) -> Response:
        link = _whose(request_body.decode(body, _DECODER), key.tenant, rules)
        of_tenant = theme.of(themes, key.tenant)
        if not of_tenant.known:
            raise _not_known()
        marked = _marked(of_tenant)
        keyring = ledger.context.keyring

        def read() -> tuple[Person, frozenset[tuple[str, str]]]:
            return ledger.transact(
                lambda c: (
                    person.read(c, keyring, link, marked, now=database.clock(c)),
                    person.refused_everywhere(c, link),
                )
            )

        found, everywhere = await in_thread(read)
        settings = [*found.settings, *_to_come(link, marked, found)]
        concerned = [each for each in settings if choices.takes(each.channel)]
        to_refuse = [each for each in concerned if not _is_refused(link, each, everywhere)]
        fields = [_refusal(link, marked, each, key) for each in to_refuse]
        try:
            recorded = await choices.record(key.tenant, lambda now: fields) if fields else []
        except ChoiceRefusedError:
            raise ProblemError(
                422,
                "invalid-decision",
                "A rule of this installation refuses it: nothing was recorded.",
                cure="Ask the operator: the log names the rule.",
            ) from None
        return rendering.respond(
            SignalRecorded(
                recorded=[
                    SignalRefusal(decision_id=result.decision_id, channel=each.channel, purpose=each.purpose)
                    for each, result in zip(to_refuse, recorded, strict=True)
                ],
                refused_before=len(concerned) - len(to_refuse),
            )
        )

    return router


def _whose(sent: SubmittedSignal, tenant: str, rules: ValidationRules) -> Link:
    """As the link of that person. A problem where it names no person."""
    try:
        if sent.address is None and sent.subject_ref is None:
            cure = "send subject_ref, channel and address, or all three: whose browser is it?"
            raise SubmissionInvalidError([FieldViolation(pointer="/subject_ref", code="missing", cure=cure)])
        address = None
        if sent.address is not None:
            address = named_address(sent.channel or "", sent.address, rules)
        subject_ref = None
        if sent.subject_ref is not None:
            named = [address] if address is not None else []
            subject_ref = subject_reference(sent.subject_ref, rules, addresses=named)
    except SubmissionInvalidError as error:
        raise rendering.validation_problem(error.faults) from None
    channel = sent.channel if address is not None else None
    return Link(tenant=tenant, kind=LinkKind.PREFERENCES, channel=channel, address=address, subject_ref=subject_ref)


def _not_known() -> ProblemError:
    return ProblemError(
        503,
        "theme-not-known",
        "The tenant's entry in the theme file is wrong, so what the signal refuses is not known. Nothing was recorded.",
        cure="Send it again, or each refusal by name to /v1/decisions; ask the operator to mend the entry.",
        headers={"Retry-After": _AGAIN_SECONDS},
    )


def _marked(of_tenant: Theme) -> Theme:
    """With what is for sale or sharing alone."""
    purposes = tuple(each for each in of_tenant.purposes if each.sale_or_share)
    return Theme(name=of_tenant.name, controller=of_tenant.controller, purposes=purposes)


def _to_come(link: Link, marked: Theme, found: Person) -> list[Setting]:
    """Of a subject, what is not shown: an address that is linked later inherits what is refused now."""
    if link.subject_ref is None:
        return []
    known = {each.key for each in found.settings}
    settings = (
        Setting(purpose=purpose.id, channel=channel, state=State.OFF)
        for purpose in marked.purposes
        for channel in purpose.channels
    )
    return [each for each in settings if each.key not in known]


def _is_refused(link: Link, setting: Setting, everywhere: Collection[tuple[str, str]]) -> bool:
    """At the addresses of now and, of a subject, at those to come."""
    is_everywhere = any((setting.channel, each) in everywhere for each in (setting.purpose, EVERY_PURPOSE))
    return setting.state is State.OFF and (is_everywhere or link.subject_ref is None)


def _refusal(link: Link, marked: Theme, setting: Setting, key: Caller) -> dict[str, object]:
    fields: dict[str, object] = {"channel": setting.channel, "purpose": setting.purpose, "status": "withdrawn"}
    if link.subject_ref is not None:
        fields["subject_ref"] = link.subject_ref
    if link.address is not None and (link.subject_ref is None or setting.channel in same_place(link.channel or "")):
        fields["address"] = link.address
    evidence = {"capture_method": METHOD, "source_system": key.sender.replace(" ", "-"), "actor": "data-subject"}
    return {**fields, "evidence": {"controller": marked.controller, **evidence}}
