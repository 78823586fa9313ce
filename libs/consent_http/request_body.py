"""Request bodies, read fast and with bounds: size, content type, JSON, shape; each with its own problem."""

import asyncio
import re
from typing import TypeVar

import msgspec
from starlette.requests import ClientDisconnect, Request

from consent_http import json_shapes
from consent_http.errors import ProblemError
from consent_service.json_logs import redact

T = TypeVar("T")
BODY_SECONDS = 20.0
"""Within which a whole body must have arrived."""
_BOM = b"\xef\xbb\xbf"
_UNKNOWN_MEMBER = "Object contains unknown field `"
_MEMBER = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,39}(?=`)", re.ASCII)
_MISSING_MEMBER = re.compile(r"Object missing required field `([A-Za-z0-9_]{1,60})`", re.ASCII)
_PATH = re.compile(r"[A-Za-z0-9_.\[\]]{1,200}", re.ASCII)
"""Of our own members: msgspec shows no key that a caller has chosen."""
_LONGEST_DETAIL = 200
_SURROGATE = re.compile(
    rb"(?<!\\)(?P<before>(?:\\\\)*)\\u(?P<half>[dD][89abAB][0-9a-fA-F]{2}(?P<other>\\u[dD][c-fC-F][0-9a-fA-F]{2})?"
    rb"|[dD][c-fC-F][0-9a-fA-F]{2})"
)
"""An escape of a surrogate, after escaped backslashes: a `half`, with its `other` half where it has one."""
_MOST_SURROGATES = 100_000


async def read_json(request: Request, decoder: msgspec.json.Decoder[T], *, limit: int) -> T:
    """The body as `decoder`'s type. Raises ProblemError 400, 413, 415 or 422; reads no more than `limit` bytes."""
    return decode(await read(request, limit=limit), decoder)


async def read(request: Request, *, limit: int) -> bytes:
    """The bytes of a JSON body. Raises ProblemError 408, 413 or 415."""
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type != "application/json" and not content_type.endswith("+json"):
        raise ProblemError(
            415,
            "unsupported-media-type",
            "The body must be JSON.",
            field="Content-Type",
            cure="Send the header Content-Type: application/json.",
        )
    return await read_any(request, limit=limit)


async def read_any(request: Request, *, limit: int) -> bytes:
    """The bytes of a body of any type, as they came. Raises ProblemError 408, 413 or 415."""
    encoding = request.headers.get("content-encoding", "").strip().lower()
    if encoding not in ("", "identity"):
        raise ProblemError(
            415,
            "unsupported-content-encoding",
            "Compressed bodies are not read.",
            field="Content-Encoding",
            cure="Send the body as it is, without the header Content-Encoding.",
            headers={"Accept-Encoding": "identity"},
        )
    return await read_bytes(request, limit=limit)


async def read_bytes(request: Request, *, limit: int) -> bytes:
    """The bytes of a body of whatever type. Raises Problem 400, 408 or 413."""
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limit:
        raise _too_large(limit)
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.stream():
                size += len(chunk)
                if size > limit:
                    raise _too_large(limit)
                chunks.append(chunk)
    except TimeoutError:
        raise ProblemError(
            408,
            "body-too-slow",
            f"The body did not arrive within {BODY_SECONDS:.0f} s.",
            cure="Send it again.",
            headers={"Connection": "close"},
        ) from None
    except ClientDisconnect:
        raise ProblemError(400, "incomplete-body", "The connection ended before the body did.") from None
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def decode(body: bytes, decoder: msgspec.json.Decoder[T]) -> T:
    """Raises ProblemError 400 for what is no JSON, 422 for JSON of another shape.

    A half of a surrogate pair is read as U+FFFD. JavaScript leaves one where it cuts a text within an emoji, and writes
    it as an escape: it spoils its text, and must not refuse everything else in the body. A byte order mark, which
    Windows puts in front of a text, is skipped.
    """
    body = body.removeprefix(_BOM)
    try:
        try:
            return decoder.decode(body)
        except msgspec.ValidationError:
            raise
        except msgspec.DecodeError:
            whole = _SURROGATE.sub(_without_half, body, count=_MOST_SURROGATES)
            if whole == body:
                raise
            return decoder.decode(whole)
    except msgspec.ValidationError as error:
        raise _of_another_shape(str(error), decoder.type) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ProblemError(
            400,
            "malformed-json",
            "The body is no JSON in UTF-8, or is nested too deeply.",
            field="body",
            cure="Send one JSON object, encoded in UTF-8.",
        ) from None


def _without_half(escape: re.Match[bytes]) -> bytes:
    return escape[0] if escape["other"] is not None else escape["before"] + b"\\ufffd"


def _of_another_shape(text: str, expected: object) -> ProblemError:
    """For msgspec's error about a body that is not of the type `expected`. A member that is not known is named only
    where its name is a plain word: it may be as long as the body, and hold an address."""
    what, _, path = text.rpartition(" - at `$")
    found = _PATH.match(path)
    pointer = json_shapes.pointer_of(found[0]) if found is not None else ""
    cure = "Correct this member; /openapi.json describes what is wanted."
    if text.startswith(_UNKNOWN_MEMBER):
        name = _MEMBER.match(text, len(_UNKNOWN_MEMBER))
        detail = f"{_UNKNOWN_MEMBER}{name[0]}`" if name is not None else "Object contains an unknown field"
        cure = json_shapes.members_cure(expected, pointer) or cure
        pointer = f"{pointer}/{name[0]}" if name is not None else pointer
    else:
        # The value in quotes goes, too: it may be an address, where a caller has mixed up two members.
        detail = (what or text)[:_LONGEST_DETAIL].partition(" '")[0]
        if missing := _MISSING_MEMBER.match(text):
            pointer = f"{pointer}/{missing[1]}"
        cure = json_shapes.values_cure(expected, pointer) or cure
    return ProblemError(422, "invalid-request", redact(detail) + ".", field=redact(pointer) or "body", cure=cure)


def _too_large(limit: int) -> ProblemError:
    return ProblemError(
        413,
        "body-too-large",
        f"The body is larger than {limit} bytes.",
        field="body",
        cure="Send fewer items in one request.",
        headers={"Connection": "close"},
    )
