"""References: the ids of persons and events, as their systems of origin made them.

A reference has one spelling, whatever it went through on its way here. A placeholder for a missing reference is
refused: all whose reference was missing would become one person, and one's choice would count for the others.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection

from consent_api.domain.validation.invisible import normalised
from consent_api.domain.validation.texts import bounded, printable
from consent_api.errors import InvalidValueError

LONGEST_REFERENCE = 200
_LONGEST_RAW = 4 * LONGEST_REFERENCE

_NO_ONE = frozenset(
    {
        # Programs and their serialisers.
        *("undefined", "null", "none", "nil", "nan", "void", "true", "false", "-1", "\\n", "string"),
        *("object object", "object undefined", "object null"),
        # Spreadsheets.
        *("#n/a", "#null!", "#ref!", "#value!", "#name?", "#num!", "#div/0!"),
        # People, and forms filled in by them.
        *("n/a", "na", "n.a", "not available", "not applicable", "not set", "not known", "unknown", "unspecified"),
        *("anonymous", "anon", "guest", "no one", "missing", "empty", "blank", "deleted", "default", "test"),
        "nobody",  # not our word
        *("todo", "tbd"),
        # The header of a column, read as data.
        *("id", "uuid", "subject_ref", "customer_id", "contact_id", "user_id", "event_id"),
    }
)
"""What is written where there is no reference. Compared without case, and without the punctuation around it: (null),
<Unknown> and "none" are in it too. So is what has neither a letter nor a digit but 0: 0, 000, -, the nil UUID."""

_ONE_DIGIT_UUID = re.compile(r"(?:urn:uuid:)?\W?([0-9a-f])\1{7}(?:-?\1{4}){3}-?\1{12}\W?")
MISSING_PART = re.compile(r".*[\W_](?:undefined|null|NULL|None|NaN|object Object)[\W_]*", re.DOTALL)
"""What comes of a template whose value was missing: crm-undefined, user:null. By case, as Nan is a name."""
TEMPLATE = re.compile(r"\{[a-z_.]+\}|<[a-z_ ]+>|%\([a-z_]+\)s|%s(?!\w)|%%\w+%%|\*\|\w+\|\*", re.IGNORECASE | re.ASCII)
_TEMPLATE_BRACKETS = (("${", "}"), ("{{", "}}"), ("<%", "%>"), ("[[", "]]"))
"""A template that was never filled in: {{ customer_id }}, ${id}, %s."""
PUNCTUATION_AROUND = re.compile(r"^[\W_]+|(?<![\W_])[\W_]+$")


def reference(value: object, refused: Collection[str] = ()) -> str:
    """The one spelling of a reference. InvalidValueError when there is none, or when it identifies no one.

    ``refused``: further references that identify no one, in this installation.
    """
    # The limit counts what is kept; much more than that is not even normalised.
    text = printable(bounded(normalised(bounded(value, longest=_LONGEST_RAW)), longest=LONGEST_REFERENCE))
    if not text:
        raise InvalidValueError("empty", "send the reference, or leave it out")
    if "\ufffd" in text:
        raise InvalidValueError("damaged", "send the reference again, in UTF-8: a character of it was lost on its way")
    if identifies_no_one(text, refused):
        raise InvalidValueError(
            "identifies_no_one",
            "send a reference that nothing else has, or leave it out: this is a placeholder for a missing value, which"
            " all that have none would share",
        )
    return text


def identifies_no_one(text: str, refused: Collection[str] = ()) -> bool:
    """Whether ``text``, normalised, is a placeholder for a missing reference."""
    folded = " ".join(text.casefold().split())
    return (
        folded in _NO_ONE
        or PUNCTUATION_AROUND.sub("", folded) in _NO_ONE
        or not any(character.isalnum() and unicodedata.digit(character, 1) for character in folded)
        or _ONE_DIGIT_UUID.fullmatch(folded) is not None
        or MISSING_PART.fullmatch(text) is not None
        or TEMPLATE.search(text) is not None
        or any(_encloses(text, *brackets) for brackets in _TEMPLATE_BRACKETS)
        or any(folded == normalised(each).casefold() for each in refused)
    )


def _encloses(text: str, opening: str, closing: str) -> bool:
    begin = text.find(opening)
    return begin >= 0 and text.find(closing, begin + len(opening)) >= 0
