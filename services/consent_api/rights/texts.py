"""Texts that are kept in the clear beside a request: an operator's word, a reason. They may hold no address (R13)."""

from __future__ import annotations

from consent_api.domain.validation.clear_addresses import shows_address
from consent_api.domain.validation.texts import bounded, printable
from consent_api.errors import FieldViolation, InvalidValueError, SubmissionInvalidError

LONGEST = 1_000


def plain(pointer: str, value: str | None, *, region: str) -> str | None:
    """The text without blanks around it; None for none. SubmissionInvalidError at ``pointer``."""
    try:
        text = printable(bounded(value or "", longest=LONGEST), lines=True).strip()
        if shows_address(text, region):
            raise InvalidValueError("holds_address", "leave the address out: this text is kept in the clear")
    except InvalidValueError as error:
        raise SubmissionInvalidError([FieldViolation(pointer=pointer, code=error.code, cure=error.cure)]) from None
    return text or None


def required(pointer: str, value: str | None, *, region: str) -> str:
    """As `plain`, for a text that has to be there."""
    text = plain(pointer, value, region=region)
    if text is None:
        raise SubmissionInvalidError([FieldViolation(pointer=pointer, code="missing", cure="send a text")])
    return text
