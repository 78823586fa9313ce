"""POST /v1/inbound/{source}: the webhooks of the tools that people write to, or leave.

Tools send a thousand a second. So these are routes of Starlette's own, in front of all others: FastAPI spends more on
finding a route and reading its parameters than the webhook takes.
"""

from collections.abc import Sequence

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import Scope

from consent_api.errors import RefusedWebhook, WebhookNotRecordedError, WebhookRefusedError
from consent_api.inbound.providers import Webhook
from consent_api.inbound.receiver import Inbound, Receiver
from consent_api.inbound.sources import Source
from consent_http import request_body
from consent_http.errors import ProblemError
from consent_http.problem_details import MEDIA_TYPE

_RETRY_SECONDS = "5"
_WRONG_SECONDS = "300"
"""Until an operator may have mended a source's entry."""
_CUT_OFF = (400, 408)
"""Of a body that has not come whole. To such a status some providers never send again."""


class _Route(Route):
    """Known to the metrics by its template. With a slash at its end the same: SNS takes a redirect for delivered."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        match, found = super().matches({**scope, "path": scope["path"].removesuffix("/")})
        return match, {**found, "route": self} if match is not Match.NONE else found


def routes(receiver: Receiver, inbound: Inbound) -> Sequence[Route]:
    """Not in /openapi.json: each body is the provider's own. docs/inbound-webhooks.md describes them."""

    async def answer(request: Request) -> Response:
        source_id = request.path_params["source_id"]
        if source_id not in inbound.sources and inbound.wrong:
            again = inbound.wrong.get(source_id, inbound.wrong.get(None))
            if again is not None:
                return _again(again, _WRONG_SECONDS)
        source = _source(inbound, source_id)
        return await receive(source, request) if request.method == "POST" else probe(source)

    async def receive(source: Source, request: Request) -> Response:
        try:
            with receiver.held(source, declared=request.headers.get("content-length", "")):
                try:
                    body = await request_body.read_any(request, limit=source.called.longest_body)
                except ProblemError as error:
                    if error.status not in _CUT_OFF:
                        raise
                    receiver.cut_off(source)
                    return _again(source.called.again)
                webhook = Webhook(query=request.url.query, headers=dict(request.headers), body=body)
                await receiver.receive(source, webhook)
        except WebhookRefusedError as error:
            return _refused(source, error)
        except WebhookNotRecordedError:
            return _again(source.called.again)
        return Response(source.called.answer, media_type=source.called.media_type)

    def probe(source: Source) -> Response:
        """Mailchimp asks whether the URL is there. Nothing is taken by GET: what it carries would be in URLs."""
        if not source.called.probed:
            raise ProblemError(
                405,
                "method-not-allowed",
                "Webhooks come by POST.",
                cure="Set the webhook's method to POST at the provider.",
                headers={"Allow": "POST"},
            )
        return Response(b"")

    return [_Route("/v1/inbound/{source_id}", answer, methods=["POST", "GET"], include_in_schema=False)]


def _source(inbound: Inbound, source_id: str) -> Source:
    source = inbound.sources.get(source_id)
    if source is None:
        raise ProblemError(
            404,
            "source-not-found",
            "No source has this id.",
            field="source",
            cure="Use the id of an entry of CONSENT_RELAY_INBOUND_FILE.",
        )
    return source


def _refused(source: Source, error: WebhookRefusedError) -> Response:
    status = {RefusedWebhook.UNSIGNED: source.called.unsigned, RefusedWebhook.UNREADABLE: 422}.get(error.reason, 403)
    detail = f"This webhook is refused: {error.reason.value.replace('_', ' ')}. Nothing was recorded."
    return _rendered(
        ProblemError(
            status, f"webhook-{error.reason.value.replace('_', '-')}", detail, field=error.field, cure=error.cure
        )
    )


def _again(status: int, seconds: str = _RETRY_SECONDS) -> Response:
    return _rendered(
        ProblemError(
            status,
            "not-recorded",
            "This webhook could not be recorded now. Nothing of it is acknowledged.",
            cure="Send it again.",
            headers={"Retry-After": seconds},
        )
    )


def _rendered(problem: ProblemError) -> Response:
    """Without a line in the log: anyone can cause one, as often as they like. The receiver logs one a minute."""
    return Response(
        msgspec.json.encode(problem.document()),
        status_code=problem.status,
        headers=problem.headers,
        media_type=MEDIA_TYPE,
    )
