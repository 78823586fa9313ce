"""The header Idempotency-Key of requests that are carried out once."""

from typing import Annotated

from fastapi import Header

from consent_http.errors import ProblemError

# Described as required by the routes; read here, so that one that is missing gets a problem of its own.
IdempotencyKey = Annotated[str | None, Header(alias="Idempotency-Key", include_in_schema=False)]
_LONGEST = 255


def in_flight() -> ProblemError:
    return ProblemError(
        409,
        "idempotency-key-in-flight",
        "A request with this Idempotency-Key is being carried out.",
        field="Idempotency-Key",
        cure="Wait for its answer, or send it again in a second.",
        headers={"Retry-After": "1"},
    )


def reused() -> ProblemError:
    return ProblemError(
        422,
        "idempotency-key-reused",
        "This Idempotency-Key was used for another request.",
        field="Idempotency-Key",
        cure="Send a new key with a new request, and the same key only with the very same body.",
    )


def read(header: str | None) -> str:
    """The key: quoted, as the draft's structured field requires, or bare."""
    key = (header or "").strip()
    if len(key) >= 2 and key[0] == key[-1] == '"':
        key = key[1:-1]
    if not key:
        raise ProblemError(
            400,
            "idempotency-key-missing",
            "This request needs the header Idempotency-Key.",
            field="Idempotency-Key",
            cure="Send a key of your own making, such as a UUID, and the same one when you repeat the request.",
        )
    if len(key) > _LONGEST or not key.isascii() or not key.isprintable():
        raise ProblemError(
            400,
            "idempotency-key-invalid",
            f"The Idempotency-Key is longer than {_LONGEST} characters or not printable ASCII.",
            field="Idempotency-Key",
            cure="Send a shorter key, such as a UUID.",
        )
    return key
