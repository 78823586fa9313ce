"""POST and GET /v1/notices: the registry of what persons read before choosing (R60)."""

from collections.abc import Sequence
from typing import Annotated

import msgspec
from fastapi import APIRouter, Depends, Path, Query, Response
from msgspec import Meta, Struct
from sqlalchemy import Connection

from consent_api.domain.validation import rfc3339 as read_time
from consent_api.errors import NoticeChangedError
from consent_api.http import models, rendering
from consent_api.http.dependencies import RequestDependencies
from consent_api.ledger import database, notices
from consent_api.ledger.ledger import Ledger
from consent_api.ledger.notices import Notice, Screenshot
from consent_api.rights import audit
from consent_api.rights.audit import Act
from consent_contracts.cloudevents import rfc3339, rfc3339_or_none
from consent_http import request_body
from consent_http.callers import Caller
from consent_http.errors import ProblemError
from consent_http.openapi import json_body, json_response
from consent_http.problem_details import responses

NAME = r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,149}$"
LANGUAGE = r"^[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8}){0,3}$"
LONGEST_NOTICE = 50_000

NoticeName = Annotated[str, Meta(pattern=NAME, max_length=150, description="As evidence.notice_id has it.")]
NoticeVersion = Annotated[str, Meta(pattern=NAME, max_length=150, description="As evidence.notice_version has it.")]
NoticeLanguage = Annotated[str, Meta(pattern=LANGUAGE, max_length=35, description="BCP 47, such as fr or fr-FR.")]
Sha256 = Annotated[str, Meta(pattern="^sha256:[0-9a-f]{64}$", max_length=71)]


class NoticeScreenshot(Struct, kw_only=True, forbid_unknown_fields=True):
    """A picture of how it looked, which you keep."""

    media_type: Annotated[str, Meta(pattern="^[a-z]+/[a-z0-9.+-]+$", max_length=100)]
    sha256: Sha256
    place: Annotated[str, Meta(min_length=1, max_length=500, description="Where you keep it.")]


class SubmittedNotice(Struct, kw_only=True, forbid_unknown_fields=True):
    """A version of a notice in one language. It can never be changed."""

    notice_id: NoticeName
    version: NoticeVersion
    language: NoticeLanguage
    title: Annotated[str, Meta(min_length=1, max_length=500)]
    text: Annotated[
        str, Meta(min_length=1, max_length=LONGEST_NOTICE, description="Exactly what is shown: it is hashed as sent.")
    ]
    valid_from: Annotated[models.Time, Meta(description="Since when it is shown.")] | None = None
    screenshot: NoticeScreenshot | None = None


class RegisteredNotice(Struct, kw_only=True, omit_defaults=True):
    """A version of a notice, with the hash that evidence.notice_hash is to have."""

    notice_id: NoticeName
    version: NoticeVersion
    language: Annotated[NoticeLanguage, Meta(description="In lower case.")]
    hash: Annotated[Sha256, Meta(description="SHA-256 of the text in UTF-8.")]
    title: str
    text: str
    registered_at: models.Time
    valid_from: models.Time | None = None
    screenshot: NoticeScreenshot | None = None
    stale_at: Annotated[models.Time, Meta(description="No permission rests on this version since then.")] | None = None


class Notices(Struct, kw_only=True, omit_defaults=True):
    """A page, by id, version and language."""

    notices: list[RegisteredNotice]
    more_after: Annotated[str, Meta(description="There are more: send it as after.")] | None = None


_DECODER = msgspec.json.Decoder(SubmittedNotice)
SENT = (SubmittedNotice, NoticeScreenshot)
ANSWERED = (RegisteredNotice, Notices)
_TEXT = "Offres et soldes\nVentes privées et remises.\nPouvons-nous vous écrire par e-mail ?"
_SUBMITTED = {
    "notice_id": "newsletter-signup",
    "version": "2026-03",
    "language": "fr-FR",
    "title": "Offres et soldes",
    "text": _TEXT,
}
_REGISTERED = {
    **_SUBMITTED,
    "language": "fr-fr",
    "hash": notices.notice_hash(_TEXT),
    "registered_at": "2026-01-26T08:00:00.000000Z",
}
EXAMPLES: dict[str, Sequence[object]] = {
    "SubmittedNotice": (_SUBMITTED,),
    "RegisteredNotice": (_REGISTERED,),
    "Notices": ({"notices": [_REGISTERED]},),
}
_EXAMPLE = {name: [str(_REGISTERED[name])] for name in ("notice_id", "version", "language")}

NoticeInPath = Annotated[str, Path(pattern=NAME, max_length=150, examples=_EXAMPLE["notice_id"])]
VersionInPath = Annotated[str, Path(pattern=NAME, max_length=150, examples=_EXAMPLE["version"])]
LanguageInPath = Annotated[str, Path(pattern=LANGUAGE, max_length=35, examples=_EXAMPLE["language"])]


def routes(ledger: Ledger, dependencies: RequestDependencies) -> APIRouter:
    """The routes about notices: read with the scope read, added with admin."""
    router = APIRouter(tags=["notices"], route_class=dependencies.route_class)

    @router.post(
        "/v1/notices",
        operation_id="createNotice",
        summary="Register a version of a notice",
        description="In one language. From then on a permission that names its id is refused where it names a version"
        " or a language that is not registered, or another hash. Needs the scope admin.",
        status_code=201,
        responses={
            201: json_response(RegisteredNotice, "Registered."),
            200: json_response(RegisteredNotice, "The same was registered before."),
            **responses(400, 401, 403, 408, 409, 413, 415, 422, 429, 503),
        },
        openapi_extra=json_body(SubmittedNotice),
    )
    def register(
        key: Annotated[Caller, Depends(dependencies.admin)],
        body: Annotated[bytes, Depends(dependencies.admin_body)],
    ) -> Response:
        sent = request_body.decode(body, _DECODER)
        try:
            valid_from = read_time(sent.valid_from)
        except ValueError as error:
            raise ProblemError(
                422, "invalid-notice", "This is no time.", field="/valid_from", cure=str(error)
            ) from None
        notice = _notice(sent, valid_from)

        def work(connection: Connection) -> tuple[bool, Notice | None]:
            now = database.clock(connection)
            is_new = notices.add(connection, key.tenant, notice, now=now)
            if is_new:
                audit.add(
                    connection,
                    tenant=key.tenant,
                    who=key.who,
                    act=Act.NOTICE_REGISTERED,
                    object_id=notice.name,
                    at=now,
                )
            return is_new, notices.find(connection, key.tenant, notice.notice_id, notice.version, notice.language)

        try:
            is_new, found = ledger.transact(work)
        except NoticeChangedError:
            raise ProblemError(
                409,
                "notice-changed",
                "This version is registered in this language with other content, and never changes.",
                field="/version",
                cure="Register it as a version of its own.",
            ) from None
        assert found is not None
        return rendering.respond(_registered(found), status=201 if is_new else 200)

    @router.get(
        "/v1/notices",
        operation_id="listNotices",
        summary="The notices that are registered",
        responses={200: json_response(Notices, "A page of them."), **responses(401, 403, 422, 429, 503)},
    )
    def listed(
        key: Annotated[Caller, Depends(dependencies.read)],
        after: Annotated[
            str | None, Query(description="more_after of the answer before.", max_length=340, pattern="^[!-~]+$")
        ] = None,
    ) -> Response:
        place = (*(after or "").split("/"), "", "")[:3]
        found = ledger.transact(
            lambda c: notices.listed(c, key.tenant, after=(place[0], place[1], place[2]), most=notices.PAGE + 1)
        )
        page = found[: notices.PAGE]
        last = page[-1] if len(found) > notices.PAGE else None
        more = f"{last.notice_id}/{last.version}/{last.language}" if last is not None else None
        return rendering.respond(Notices(notices=[_registered(each) for each in page], more_after=more))

    @router.get(
        "/v1/notices/{notice_id}/{version}/{language}",
        operation_id="getNotice",
        summary="A version of a notice in one language",
        responses={
            200: json_response(RegisteredNotice, "The notice."),
            **responses(401, 403, 404, 422, 429, 503),
        },
    )
    def one(
        notice_id: NoticeInPath,
        version: VersionInPath,
        language: LanguageInPath,
        key: Annotated[Caller, Depends(dependencies.read)],
    ) -> Response:
        found = ledger.transact(lambda c: notices.find(c, key.tenant, notice_id, version, language))
        if found is None:
            raise rendering.not_found("notice", "Use one of GET /v1/notices.")
        return rendering.respond(_registered(found))

    return router


def _notice(sent: SubmittedNotice, valid_from: int | None) -> Notice:
    shot = sent.screenshot
    return Notice(
        notice_id=sent.notice_id,
        version=sent.version,
        language=sent.language,
        title=sent.title,
        text=sent.text,
        valid_from=valid_from,
        screenshot=Screenshot(media_type=shot.media_type, sha256=shot.sha256, place=shot.place)
        if shot is not None
        else None,
    )


def _registered(found: Notice) -> RegisteredNotice:
    shot = found.screenshot
    return RegisteredNotice(
        notice_id=found.notice_id,
        version=found.version,
        language=found.language,
        hash=found.hash,
        title=found.title,
        text=found.text,
        registered_at=rfc3339(found.registered_at or 0),
        valid_from=rfc3339_or_none(found.valid_from),
        screenshot=NoticeScreenshot(media_type=shot.media_type, sha256=shot.sha256, place=shot.place)
        if shot is not None
        else None,
        stale_at=rfc3339_or_none(found.stale_at),
    )
