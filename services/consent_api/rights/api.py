"""/v1/rights: requests of persons, and all that is held about one."""

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Annotated, TypeVar
from uuid import UUID

import anyio
import anyio.to_thread
import msgspec
from fastapi import APIRouter, Depends, Path, Query, Response
from fastapi.responses import StreamingResponse
from sqlalchemy import Connection

from consent_api.domain.validation import ValidationRules
from consent_api.domain.validation import rfc3339 as parse_rfc3339
from consent_api.errors import (
    KeyReusedError,
    RequestExtensionError,
    RequestInFlightError,
    RequestResolvedError,
    RequestUnknownError,
    SubmissionInvalidError,
)
from consent_api.http import idempotency_key as keys
from consent_api.http import rendering
from consent_api.http.dependencies import RequestDependencies
from consent_api.ledger import database, idempotency
from consent_api.ledger.idempotency import IdempotencyClaim, StoredResponse
from consent_api.ledger.lanes import Lane
from consent_api.ledger.ledger import Ledger, patiently
from consent_api.links import theme
from consent_api.links.theme import Themes
from consent_api.rights import audit, exporting, models, opening, requests, texts
from consent_api.rights.access.model import PersonalData
from consent_api.rights.audit import Act
from consent_api.rights.documents import html
from consent_api.rights.exporting import ExportedFile, Format
from consent_api.rights.person_ref import PersonRef
from consent_api.rights.requests import Identity, Kind, NewRequest, RightsRequest, State
from consent_contracts.cloudevents import rfc3339, rfc3339_or_none
from consent_http import request_body
from consent_http.callers import Caller
from consent_http.errors import ProblemError
from consent_http.openapi import IDEMPOTENCY_KEY, json_body, json_response
from consent_http.pages import headers_of
from consent_http.problem_details import responses
from consent_http.words import Language

T = TypeVar("T")

_EXPORTS_AT_ONCE = 2
"""Pages of exports that are read at one moment: the reader of a long one takes few threads from those who record."""
_SUBMISSION = msgspec.json.Decoder(models.RightsRequestSubmission)
_RESOLUTION = msgspec.json.Decoder(models.RightsResolution)
_EXTENSION = msgspec.json.Decoder(models.RightsExtension)
_ACCESS = msgspec.json.Decoder(models.AccessRequest)
_TIME = {"format": "date-time"}
_UNKNOWN = "Use a request_id of GET /v1/rights/requests."

RequestId = Annotated[UUID, Path(description="As the list has it.", examples=["019ac2f1-8d60-7c41-9b52-6f0d3a5e7c18"])]


def routes(ledger: Ledger, rules: ValidationRules, themes: Themes, dependencies: RequestDependencies) -> APIRouter:
    """For API keys with the scopes rights:read (the requests) and rights:write (everything else)."""
    router = APIRouter(tags=["rights"], route_class=dependencies.route_class)
    handler = RightsHandler(ledger, rules, themes)

    @router.post(
        "/v1/rights/requests",
        operation_id="submitRightsRequest",
        summary="Open a request by which a person exercises a right",
        description="It has to be answered within a month (due_at), and is in the list until it is resolved. An"
        " objection is also recorded as a decision on every purpose, and so is in force and done when this answers.",
        status_code=201,
        responses={
            201: json_response(models.RightsRequest, "Opened. The person is not repeated."),
            **responses(400, 401, 403, 408, 409, 413, 415, 422, 429, 503),
        },
        openapi_extra=json_body(models.RightsRequestSubmission, IDEMPOTENCY_KEY),
    )
    def submit(
        key: Annotated[Caller, Depends(dependencies.write_rights)],
        body: Annotated[bytes, Depends(dependencies.rights_body)],
        idempotency_key: keys.IdempotencyKey = None,
    ) -> Response:
        answer = handler.open(key, keys.read(idempotency_key), body)
        return Response(answer.body, status_code=answer.status, media_type="application/json")

    @router.get(
        "/v1/rights/requests",
        operation_id="listRightsRequests",
        summary="The requests of persons, the most urgent first",
        responses={
            200: json_response(models.RightsRequests, "The open ones by due date, then those that are resolved."),
            **responses(401, 403, 422, 429, 503),
        },
    )
    def listed(
        key: Annotated[Caller, Depends(dependencies.read_rights)],
        state: Annotated[
            str | None, Query(description="Only those in this state.", pattern="^(?:open|done|refused)$")
        ] = None,
        after: Annotated[
            str | None,
            Query(
                description="more_after of the answer before.",
                max_length=80,
                pattern=r"^[01]\.\d{1,18}\.[0-9a-f-]{36}$",
            ),
        ] = None,
    ) -> Response:
        return rendering.respond(handler.listed(key, State(state) if state is not None else None, after))

    @router.get(
        "/v1/rights/requests/{request_id:uuid}",
        operation_id="getRightsRequest",
        summary="One request",
        responses={
            200: json_response(models.RightsRequest, "The request."),
            **responses(401, 403, 404, 422, 429, 503),
        },
    )
    def get(request_id: RequestId, key: Annotated[Caller, Depends(dependencies.read_rights)]) -> Response:
        return rendering.respond(handler.get(key, request_id))

    @router.post(
        "/v1/rights/requests/{request_id:uuid}/resolve",
        operation_id="resolveRightsRequest",
        summary="Record that a request is done, or refused",
        description="Sent again it changes nothing. What the request asks for is done by other calls.",
        responses={
            200: json_response(models.RightsRequest, "As it is resolved now."),
            **responses(400, 401, 403, 404, 408, 409, 413, 415, 422, 429, 503),
        },
        openapi_extra=json_body(models.RightsResolution),
    )
    def resolve(
        request_id: RequestId,
        key: Annotated[Caller, Depends(dependencies.write_rights)],
        body: Annotated[bytes, Depends(dependencies.rights_body)],
    ) -> Response:
        return rendering.respond(handler.resolve(key, request_id, body))

    @router.post(
        "/v1/rights/requests/{request_id:uuid}/extend",
        operation_id="extendRightsRequest",
        summary="Give a request two more months",
        description="Once, within its first month, for complex or many requests: inform the person of the reason.",
        responses={
            200: json_response(models.RightsRequest, "With its later due_at."),
            **responses(400, 401, 403, 404, 408, 409, 413, 415, 422, 429, 503),
        },
        openapi_extra=json_body(models.RightsExtension),
    )
    def extend(
        request_id: RequestId,
        key: Annotated[Caller, Depends(dependencies.write_rights)],
        body: Annotated[bytes, Depends(dependencies.rights_body)],
    ) -> Response:
        return rendering.respond(handler.extend(key, request_id, body))

    @router.get(
        "/v1/rights/audit",
        operation_id="listAuditEntries",
        summary="Who did what: about persons' rights, and to the tenant's keys",
        responses={
            200: json_response(models.AuditEntries, "The newest first."),
            **responses(401, 403, 422, 429, 503),
        },
    )
    def audited(
        key: Annotated[Caller, Depends(dependencies.read_rights)],
        before: Annotated[
            int | None, Query(description="more_before of the answer before.", ge=1, le=2**63 - 1)
        ] = None,
        since: Annotated[
            str | None, Query(description="RFC 3339: entries from then on.", json_schema_extra=_TIME)
        ] = None,
        until: Annotated[str | None, Query(description="RFC 3339: entries before.", json_schema_extra=_TIME)] = None,
        who: Annotated[str | None, Query(description="As an entry has it.", max_length=300)] = None,
        act: Annotated[str | None, Query(description="Of this kind.", json_schema_extra={"enum": [*Act]})] = None,
    ) -> Response:
        wanted = audit.Filter(
            tenant=key.tenant,
            since=_moment("since", since),
            until=_moment("until", until),
            who=who,
            act=_act(act),
        )
        return rendering.respond(handler.audit(wanted, before))

    @router.post(
        "/v1/rights/access",
        operation_id="getPersonalData",
        summary="All that is held about a person",
        description="Decisions with evidence and recipients, addresses in the clear, pauses, requests. Of any length:"
        " the answer is streamed. As JSON, as described here and in docs/personal-data.schema.json; with format csv,"
        " html or pdf as such a file. Where nothing is held, held is false. Each call is in the audit.",
        responses={
            200: json_response(PersonalData, "The file."),
            **responses(400, 401, 403, 404, 408, 413, 415, 422, 429, 503),
        },
        openapi_extra=json_body(models.AccessRequest),
    )
    async def access(
        key: Annotated[Caller, Depends(dependencies.write_rights)],
        body: Annotated[bytes, Depends(dependencies.rights_body)],
    ) -> Response:
        async with dependencies.turns.of(key.tenant):
            return await handler.access(key, body)

    return router


class RightsHandler:
    """Belongs to one event loop; all but `access` block."""

    def __init__(self, ledger: Ledger, rules: ValidationRules, themes: Themes) -> None:
        self._ledger = ledger
        self._rules = rules
        self._themes = themes
        self._at_once = anyio.CapacityLimiter(_EXPORTS_AT_ONCE)

    def open(self, caller: Caller, key: str, body: bytes) -> StoredResponse:
        sent = request_body.decode(body, _SUBMISSION)
        try:
            new = self._new(caller, sent)
            return self._once(
                idempotency.Request(tenant=caller.tenant, key=key, content=b"rights\0" + body),
                lambda c, now: _opened(opening.open_request(c, self._ledger.context, self._rules, new, now=now)),
            )
        except SubmissionInvalidError as error:
            raise rendering.validation_problem(error.faults, kind="invalid-rights-request") from None
        except RequestInFlightError:
            raise keys.in_flight() from None
        except KeyReusedError:
            raise keys.reused() from None

    def listed(self, caller: Caller, state: State | None, after: str | None) -> models.RightsRequests:
        keyring = self._ledger.context.keyring

        def read(connection: Connection) -> tuple[int, list[RightsRequest]]:
            found = requests.listed(
                connection, keyring, tenant=caller.tenant, state=state, after=after, most=requests.PAGE + 1
            )
            return database.clock(connection), found

        try:
            now, found = self._ledger.transact(read)
        except ValueError:
            raise ProblemError(
                422,
                "invalid-request",
                "after is none of ours.",
                field="after",
                cure="Send more_after as it was answered.",
            ) from None
        page = found[: requests.PAGE]
        return models.RightsRequests(
            requests=[to_request(each, now=now) for each in page],
            more_after=page[-1].position if len(found) > requests.PAGE else None,
        )

    def get(self, caller: Caller, request_id: UUID) -> models.RightsRequest:
        return self._changed(
            lambda c, _: requests.find(c, self._ledger.context.keyring, tenant=caller.tenant, request_id=request_id)
        )

    def resolve(self, caller: Caller, request_id: UUID, body: bytes) -> models.RightsRequest:
        sent = request_body.decode(body, _RESOLUTION)
        state = State(sent.state)
        reason = self._text("/reason", sent.reason, needed=state is State.REFUSED)
        return self._changed(
            lambda c, now: requests.resolve(
                c,
                self._ledger.context.keyring,
                tenant=caller.tenant,
                request_id=request_id,
                state=state,
                reason=reason,
                by=caller.who,
                now=now,
            )
        )

    def extend(self, caller: Caller, request_id: UUID, body: bytes) -> models.RightsRequest:
        reason = self._text("/reason", request_body.decode(body, _EXTENSION).reason, needed=True)
        assert reason is not None
        return self._changed(
            lambda c, now: requests.extend(
                c,
                self._ledger.context.keyring,
                tenant=caller.tenant,
                request_id=request_id,
                reason=reason,
                by=caller.who,
                now=now,
            )
        )

    def audit(self, wanted: audit.Filter, before: int | None) -> models.AuditEntries:
        found = self._ledger.transact(lambda c: audit.entries(c, wanted, before=before, most=audit.PAGE + 1))
        page = found[: audit.PAGE]
        return models.AuditEntries(
            entries=[
                models.AuditEntry(
                    entry_id=each.entry_id,
                    at=rfc3339(each.at),
                    who=each.who,
                    act=each.act,
                    object_id=each.object_id,
                )
                for each in page
            ],
            more_before=page[-1].entry_id if len(found) > audit.PAGE else None,
        )

    async def access(self, caller: Caller, body: bytes) -> Response:
        sent = request_body.decode(body, _ACCESS)
        person = self._person(caller, sent)
        of_tenant = theme.of(self._themes, caller.tenant)
        language = sent.language if sent.language is not msgspec.UNSET else of_tenant.language
        request_id = sent.request_id if sent.request_id is not msgspec.UNSET else None

        def begin() -> ExportedFile:
            if request_id is not None:
                self.get(caller, request_id)
            return exporting.export(
                self._ledger,
                person,
                of_tenant,
                format=Format(sent.format),
                language=language,
                who=caller.who,
                request_id=str(request_id) if request_id is not None else None,
            )

        found = await anyio.to_thread.run_sync(begin, limiter=self._at_once)
        return stream(found, of_tenant, language, limiter=self._at_once)

    def _new(self, caller: Caller, sent: models.RightsRequestSubmission) -> NewRequest:
        identity = Identity(sent.identity)
        region = self._rules.default_region
        read = texts.required if identity is Identity.OPERATOR else texts.plain
        note = read("/identity_note", sent.identity_note, region=region)
        return NewRequest(
            person=self._person(caller, sent),
            kind=Kind(sent.kind),
            identity=identity,
            identity_note=note,
            by=caller.who,
        )

    def _person(self, caller: Caller, sent: models.NamedPerson) -> PersonRef:
        try:
            return opening.person(
                caller.tenant, self._rules, subject_ref=sent.subject_ref, channel=sent.channel, address=sent.address
            )
        except SubmissionInvalidError as error:
            raise rendering.validation_problem(error.faults, kind="invalid-person") from None

    def _text(self, pointer: str, value: str | None, *, needed: bool) -> str | None:
        read = texts.required if needed else texts.plain
        try:
            return read(pointer, value, region=self._rules.default_region)
        except SubmissionInvalidError as error:
            raise rendering.validation_problem(error.faults, kind="invalid-text") from None

    def _changed(self, work: Callable[[Connection, int], RightsRequest]) -> models.RightsRequest:
        def with_clock(connection: Connection) -> tuple[int, RightsRequest]:
            now = database.clock(connection)
            return now, work(connection, now)

        try:
            now, found = self._ledger.transact(with_clock)
        except RequestUnknownError:
            raise rendering.not_found("request", _UNKNOWN) from None
        except RequestResolvedError:
            raise _conflict("request-resolved", "This request was resolved before.", "Open another one.") from None
        except RequestExtensionError:
            raise _conflict(
                "request-not-extendable",
                "A request is extended once, and within its first month.",
                "Answer it now, and inform the person why it is late.",
            ) from None
        return to_request(found, now=now)

    def _once(self, request: idempotency.Request, work: Callable[[Connection, int], StoredResponse]) -> StoredResponse:
        def attempt(connection: Connection) -> StoredResponse:
            now, (claim,) = idempotency.claim(
                connection, self._ledger.context.keyring, [request], lane=Lane.LIVE, lock_ms=Lane.LIVE.lock_ms
            )
            if isinstance(claim, StoredResponse):
                return claim
            if not isinstance(claim, IdempotencyClaim):
                raise claim
            answer = work(connection, now)
            idempotency.store(connection, [(claim, answer)], now=now)
            return answer

        return patiently(lambda: self._ledger.transact(attempt, limit_seconds=Lane.LIVE.limit_seconds))


def stream(
    found: ExportedFile, of_tenant: theme.Theme, language: Language, *, limiter: anyio.CapacityLimiter
) -> Response:
    """An export as an answer: read piece by piece, in a thread, as fast as it is taken."""
    style = html.style_of(of_tenant)
    headers = {
        **headers_of(style),
        "Content-Language": language,
        "Content-Disposition": f'attachment; filename="{found.name}"',
    }
    return StreamingResponse(_read(found.pieces, limiter), media_type=found.format.media_type, headers=headers)


async def _read(pieces: Iterator[bytes], limiter: anyio.CapacityLimiter) -> AsyncIterator[bytes]:
    while (piece := await anyio.to_thread.run_sync(next, pieces, None, limiter=limiter)) is not None:
        yield piece


def to_request(found: RightsRequest, *, now: int, with_person: bool = True) -> models.RightsRequest:
    person = found.person if with_person else None
    named = (
        models.NamedPerson(subject_ref=person.subject_ref, channel=person.channel, address=person.address)
        if person is not None
        else None
    )
    return models.RightsRequest(
        request_id=found.request_id,
        kind=found.kind.value,
        state=found.state.value,
        overdue=found.is_overdue(now),
        opened_at=rfc3339(found.opened_at),
        opened_by=found.opened_by,
        due_at=rfc3339(found.due_at),
        identity=found.identity.value,
        identity_note=found.identity_note,
        person=named,
        erasure_id=found.erasure_id,
        extended_at=rfc3339_or_none(found.extended_at),
        extension_reason=found.extension_reason,
        resolved_at=rfc3339_or_none(found.resolved_at),
        resolved_by=found.resolved_by,
        reason=found.reason,
        certificate=dict(found.certificate) if found.certificate is not None else msgspec.UNSET,
    )


def _act(given: str | None) -> Act | None:
    try:
        return Act(given) if given is not None else None
    except ValueError:
        cure = f"Send one of {', '.join(Act)}."
        raise ProblemError(422, "invalid-act", "There is no such act.", field="act", cure=cure) from None


def _moment(field: str, given: str | None) -> int | None:
    try:
        return parse_rfc3339(given)
    except ValueError:
        cure = "Send a moment with its offset, such as 2026-03-01T09:30:00Z; encode + as %2B."
        raise ProblemError(422, "invalid-time", "The moment cannot be read.", field=field, cure=cure) from None


def _opened(found: RightsRequest) -> StoredResponse:
    """Without the person: the answer is stored for a day, and no address is at rest."""
    answer = to_request(found, now=found.opened_at, with_person=False)
    return StoredResponse(status=201, body=msgspec.json.encode(answer))


def _conflict(kind: str, detail: str, cure: str) -> ProblemError:
    return ProblemError(409, kind, detail, cure=cure)
