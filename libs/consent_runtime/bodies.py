"""Request bodies, read fast and with bounds: size, content type, JSON, shape; each with its own problem."""

import re
from typing import TypeVar

import msgspec
from starlette.requests import ClientDisconnect, Request

from consent_runtime.logs import redact
from consent_runtime.problems import Problem

T = TypeVar("T")
_AT = re.compile(r" - at `\$\.?(?P<path>[^`]*)`$")
_QUOTED = re.compile(r" '.*'", re.DOTALL)
_ESCAPE = re.compile(
    rb"\\(?:u(?P<half>[dD][89abAB][0-9a-fA-F]{2}(?P<other>\\u[dD][c-fC-F][0-9a-fA-F]{2})?|[dD][c-fC-F][0-9a-fA-F]{2})|.)",
    re.DOTALL,
)
"""An escape within JSON; `half`: of a surrogate, with its `other` half where it has one."""


async def read_json(request: Request, decoder: msgspec.json.Decoder[T], *, limit: int) -> T:
    """The body as `decoder`'s type. Raises Problem 400, 413, 415 or 422; reads no more than `limit` bytes."""
    return decode(await read(request, limit=limit), decoder)


async def read(request: Request, *, limit: int) -> bytes:
    """The bytes of a JSON body. Raises Problem 413 or 415."""
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type != "application/json" and not content_type.endswith("+json"):
        raise Problem(
            415,
            "unsupported-media-type",
            "The body must be JSON.",
            field="Content-Type",
            cure="Send the header Content-Type: application/json.",
        )
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limit:
        raise _too_large(limit)
    chunks: list[bytes] = []
    size = 0
    try:
        async for chunk in request.stream():
            size += len(chunk)
            if size > limit:
                raise _too_large(limit)
            chunks.append(chunk)
    except ClientDisconnect:
        raise Problem(400, "incomplete-body", "The connection ended before the body did.") from None
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def decode(body: bytes, decoder: msgspec.json.Decoder[T]) -> T:
    """Raises Problem 400 for what is no JSON, 422 for JSON of another shape.

    A half of a surrogate pair is read as U+FFFD. JavaScript leaves one where it cuts a text within an emoji, and writes
    it as an escape: it spoils its text, and must not refuse everything else in the body.
    """
    try:
        try:
            return decoder.decode(body)
        except msgspec.ValidationError:
            raise
        except msgspec.DecodeError:
            whole = _ESCAPE.sub(_without_half, body)
            if whole == body:
                raise
            return decoder.decode(whole)
    except msgspec.ValidationError as error:
        text = str(error)
        at = _AT.search(text)
        detail = text[: at.start()] if at else text
        raise Problem(
            422,
            "invalid-request",
            # The value in quotes goes: whoever mixes up two members may have put an address there.
            redact(_QUOTED.sub("", detail)) + ".",
            field=(at["path"] if at else "") or "body",
            cure="Correct this member; /openapi.json describes what is wanted.",
        ) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Problem(
            400,
            "malformed-json",
            "The body is no JSON in UTF-8, or is nested too deeply.",
            field="body",
            cure="Send one JSON object, encoded in UTF-8.",
        ) from None


def _without_half(escape: re.Match[bytes]) -> bytes:
    return escape[0] if escape["half"] is None or escape["other"] is not None else b"\\ufffd"


def _too_large(limit: int) -> Problem:
    return Problem(
        413,
        "body-too-large",
        f"The body is larger than {limit} bytes.",
        field="body",
        cure="Send fewer items in one request.",
        headers={"Connection": "close"},
    )
