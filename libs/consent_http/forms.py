"""Bodies of HTML forms, with bounds."""

from __future__ import annotations

import email.policy
from email.parser import BytesParser
from urllib.parse import parse_qsl

from fastapi import Request

from consent_http import request_body

LONGEST_FORM = 131_072
_MOST_FIELDS = 1_000


async def read(request: Request) -> dict[str, str]:
    """The fields of a form, urlencoded or multipart; of those that are there twice the last. What is neither has none.
    Problem 400, 408 or 413 for a body that does not arrive or is too large."""
    body = await request_body.read_bytes(request, limit=LONGEST_FORM)
    return parse(request.headers.get("content-type", ""), body)


def parse(content_type: str, body: bytes) -> dict[str, str]:
    """The fields of a body; none of what is no form. Pure."""
    try:
        if content_type.strip().lower().startswith("multipart/form-data"):
            return _multipart(content_type, body)
        return dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=_MOST_FIELDS))
    except ValueError:
        return {}


def _multipart(content_type: str, body: bytes) -> dict[str, str]:
    head = f"Content-Type: {content_type}\r\nMIME-Version: 1.0\r\n\r\n".encode("latin-1", "replace")
    message = BytesParser(policy=email.policy.HTTP).parsebytes(head + body)
    found: dict[str, str] = {}
    for part in message.iter_parts() if message.is_multipart() else ():
        name = part.get_param("name", header="content-disposition")
        content = part.get_payload(decode=True)
        if isinstance(name, str) and isinstance(content, bytes):
            found[name] = content.decode("utf-8", "replace").strip("\r\n")
    return found
