"""Phone numbers as people write them, to E.164 (R10), with Google's metadata (`phonenumbers`).

A number needs to be possible, not valid: the library calls reserved ranges, and ranges newer than its data,
invalid, and a refusal must not bounce for that. Nor for a number of a plan that was replaced: `numbering_plans`."""

import re
import unicodedata
from functools import lru_cache
from typing import NamedTuple

import phonenumbers
from phonenumbers import COUNTRY_CODE_TO_REGION_CODE, PhoneMetadata, ValidationResult

from consent_privacy import numbering_plans
from consent_privacy.errors import NoAreaCodeError, NotANumberError

# Numbers that France's plan gives to the overseas departments. Dialled nationally they look like any French
# number, and careless systems put +33 before them, where no such number exists: both mean the overseas one.
_OVERSEAS = {
    "692": "262",
    "693": "262",
    "639": "262",
    "262": "262",
    "263": "262",
    "269": "262",
    "690": "590",
    "691": "590",
    "590": "590",
    "694": "594",
    "594": "594",
    "696": "596",
    "697": "596",
    "596": "596",
}
# 06 39 98 is the range that the regulator reserves for fiction. It is metropolitan, although 06 39 is Mayotte's.
_FICTION = "63998"
_FRENCH_PLAN = frozenset({"FR", "RE", "YT", "GP", "BL", "MF", "MQ", "GF"})

_FRENCH = re.compile(r"(?:0|\+33)([1-9]\d{8})", re.ASCII)
_INTERNATIONAL = re.compile(r"\+([1-9]\d{6,14})", re.ASCII)
WRITTEN = re.compile(r"[(\s]*(?:[+\d).\-/][\d\s().\-/]*)?", re.ASCII)
_LONGEST_WRITTEN = 128
"""Characters of a number with all that people write around its fifteen digits at most."""
_AFTER_PLUS = re.compile(r"\+[\s(\[{]{0,3}\d(?:[\s()\[\]{}./_-]{0,4}\d){7,14}(?!\d)", re.ASCII)
_AFTER_SCHEME = re.compile(
    r"(?:(?<![a-z])(?:tel|sms(?:to)?|mms(?:to)?|callto|sips?|whatsapp|fax|facetime|(?:tele)?phone|msisdn|mobile|gsm|cell|portable)\s?[:=]|wa\.me)"
    r"[\s/()\[\]{}<>\"']{0,4}\d(?:[\s()\[\]{}./_-]{0,4}\d){7,14}(?!\d)",
    re.IGNORECASE | re.ASCII,
)
"""A number in a link, or named as one. Its country code has no + there."""
_NUMBER_ALONE = re.compile(r"[\d\W_]+")
"""Without letters of any script."""
_AS_DIALLED = re.compile(r"[\s()\[\]{}<>]|(?:\d+[\W_]+){3}\d", re.ASCII)
"""What sets a number apart from an id: a blank, brackets, or four groups at least."""
_FRENCH_GROUPED = re.compile(r"(?:(?:00)?33)?0?[1-9]\d{8}", re.ASCII)
_THIRDS = re.compile(r"\s*\d{3}[\W_]\d{3}[\W_]\d{3}\s*", re.ASCII)
"""Written so, nine digits are the number of a company (SIREN)."""
_DIGITS = re.compile(r"\d+", re.ASCII)
_FRENCH_ONLY = re.compile(
    r"""
    0 (?:
        (?<!\d0) (?<!\d[./-]0)                                   # no part of a moment: 2026-01-05-09-30-00
        (?: 0[\s./-]?33[\s./-]? (?:\(0\)[\s./-]?)? )? [1-9]
        ([\s./-]) \d\d (?:\1\d\d){3} (?!\d) (?![./-]\d)         # 06 39 98 00 01
      | (?: (?<![\w:/.\#-]0) | (?<=tel:0) | (?<=sms:0) )         # no part of a name: crm-0639980001
        (?:033)? [1-9]\d{8} (?![\w:/\#-])                        # 0639980001
    )
    | (?<![\w./-]) 33 [\s./-] (?:\(0\)[\s./-]?)? [1-9]
      ([\s./-]) \d\d (?:\2\d\d){3} (?!\d) (?![./-]\d)           # 33 6 39 98 00 01
    """,
    re.VERBOSE | re.IGNORECASE | re.ASCII,
)
_NO_DIGITS = bytes(set(range(128)) - set(b"0123456789"))
_SCHEME = re.compile(r"\s*(?:tel|sms|callto):", re.IGNORECASE | re.ASCII)
_DECIMAL = re.compile(r".*\d{5}\.0+|[^.]*\d\s*\.0{1,2}", re.ASCII)
"""The fraction of a spreadsheet. Written in pairs, `06.39.98.10.00` has other dots too."""
_QUOTES = " '\"`"
_NO_REGION = "ZZ"
_DIGITS_ONLY = "send the digits of the number, best as in +33639980001"
_WHOLE = "send the whole number with its country code, as in +33639980001"


class _NumberingPlan(NamedTuple):
    lengths: frozenset[int]
    prefix: re.Pattern[str] | None  # what a parser would take off the national number


def fast_e164(written: str, region: str) -> str | None:
    """What `e164` would answer for a number already plain, or None. Some 30 times faster: it examines only what
    the library would where there is nothing to remove."""
    if (french := _FRENCH.fullmatch(written)) is not None:
        return _french(french[1]) if written[0] == "+" or region in _FRENCH_PLAN else None
    if (international := _INTERNATIONAL.fullmatch(written)) is None:
        return None
    digits = international[1]
    for length in (1, 2, 3):
        plan = _plan(digits[:length])
        if plan is not None:
            national = digits[length:]
            if numbering_plans.is_former(digits[:length], national):
                return None
            if len(national) not in plan.lengths or national[0] == "0":
                return None
            return None if plan.prefix is not None and plan.prefix.match(national) else written
    return None


def e164(written: str, region: str) -> str:
    """`written` in E.164. Raises NotANumberError."""
    text = _ascii(written).strip(_QUOTES)
    if (scheme := _SCHEME.match(text)) is not None:
        text = text[scheme.end() :]
    if len(text) > _LONGEST_WRITTEN or not WRITTEN.fullmatch(text):
        raise NotANumberError("not_a_phone_number", _DIGITS_ONLY)
    if _DECIMAL.fullmatch(text):
        raise NotANumberError("not_a_phone_number", "send the number as text: a spreadsheet has made it end in .0")
    if (french := _FRENCH.fullmatch(re.sub(r"[^\d+]", "", text))) is not None and (
        french[0][0] == "+" or region in _FRENCH_PLAN
    ):
        return _french(french[1])
    try:
        number = phonenumbers.parse(text, region)
    except phonenumbers.NumberParseException:
        raise NotANumberError("not_a_phone_number", _DIGITS_ONLY) from None
    spelled = str(phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164))
    try:
        current = numbering_plans.current(spelled)
    except NoAreaCodeError:
        raise NotANumberError("too_short", _WHOLE) from None
    if current is not None:
        return current
    reason = phonenumbers.is_possible_number_with_reason(number)
    if reason != ValidationResult.IS_POSSIBLE:
        code = {
            ValidationResult.TOO_SHORT: "too_short",
            ValidationResult.TOO_LONG: "too_long",
            ValidationResult.IS_POSSIBLE_LOCAL_ONLY: "too_short",
        }.get(reason, "impossible_number")
        raise NotANumberError(code, _WHOLE)
    french = _FRENCH.fullmatch(spelled)
    return _french(french[1]) if french is not None else spelled


def contains_phone_number(text: str, region: str) -> bool:
    """Whether `text` contains a number that is written as nothing else is: after a + or `tel:`, or, where `region` is
    of the French plan, from its 0 or 0033 in pairs or as a word of its own; or whether `text` is a number in groups
    and nothing else. Bare digits of any other form, and of the many plans without a fixed form, could as well be a
    customer's number."""
    plainly = _ascii(text)
    if _AFTER_PLUS.search(plainly) or _AFTER_SCHEME.search(plainly) or _is_grouped(plainly, region):
        return True
    return region in _FRENCH_PLAN and bool(_FRENCH_ONLY.search(plainly))


def _is_grouped(text: str, region: str) -> bool:
    """Whether `text` is a number as it is dialled, in groups: nationally, from the 0 where there is one, or with its
    country code without a + as a group of its own. Most digits in other groups are valid numbers of some country."""
    bare = digits(text)
    if not 8 <= len(bare) <= 17 or _NUMBER_ALONE.fullmatch(text) is None or _AS_DIALLED.search(text) is None:
        return False
    if region in _FRENCH_PLAN and _FRENCH_GROUPED.fullmatch(bare) and _THIRDS.fullmatch(text) is None:
        return True
    national = _parsed(bare, region) if bare.startswith(_trunk_prefix(region)) else None
    international = _parsed(f"+{bare.removeprefix('00')}", _NO_REGION)
    first = _DIGITS.findall(text)[0].removeprefix("00")
    return national is not None or (international is not None and first in ("", str(international.country_code)))


def _parsed(number: str, region: str) -> phonenumbers.PhoneNumber | None:
    """None unless it is valid."""
    try:
        found = phonenumbers.parse(number, region)
    except phonenumbers.NumberParseException:
        return None
    return found if phonenumbers.is_valid_number(found) else None


def _trunk_prefix(region: str) -> str:
    """The trunk prefix of a national number; empty where there is none, or it is optional."""
    plan = phonenumbers.PhoneMetadata.metadata_for_region(region)
    return "0" if plan is not None and plan.national_prefix == "0" else ""


def digits(text: str) -> str:
    """All digits in `text`, of any script, as ASCII."""
    return _ascii(text).encode("ascii", "ignore").translate(None, _NO_DIGITS).decode()


def last_digits(number: str) -> str:
    """What every spelling of `number`, in E.164, ends with: under a replaced plan, or another of its line, fewer."""
    return number[-7:] if numbering_plans.has_other_spellings(number) else number[-9:]


def _french(national: str) -> str:
    """Nine digits of the French plan, with the country code under which they exist."""
    code = "33" if national.startswith(_FICTION) else _OVERSEAS.get(national[:3], "33")
    return f"+{code}{national}"


def _ascii(written: str) -> str:
    """Digits of any script, full-width signs, every dash and space, as plain ASCII."""
    return written if written.isascii() else "".join(map(_ascii_sign, written))


@lru_cache(maxsize=4_096)
def _ascii_sign(character: str) -> str:
    if character.isascii():
        return character
    category = unicodedata.category(character)
    if category == "Nd":
        return str(unicodedata.decimal(character))
    if category == "Zs":
        return " "
    if category == "Pd" or character == "\u2212":
        return "-"
    folded = unicodedata.normalize("NFKC", character)
    return folded if folded in ("+", "(", ")", ".", "/") else character


@lru_cache(maxsize=2048)
def _plan(code: str) -> _NumberingPlan | None:
    regions = COUNTRY_CODE_TO_REGION_CODE.get(int(code))
    if not regions or code[0] == "0":
        return None
    metadata = PhoneMetadata.metadata_for_region_or_calling_code(int(code), regions[0])
    if metadata is None or metadata.general_desc is None:
        return None
    prefix = metadata.national_prefix_for_parsing
    return _NumberingPlan(frozenset(metadata.general_desc.possible_length), re.compile(prefix) if prefix else None)


def country_of(number: str) -> str | None:
    """The country of a number in E.164 (ISO 3166-1, two letters), FR for the overseas departments too; None for one of
    no country."""
    region = phonenumbers.region_code_for_country_code(phonenumbers.parse(number).country_code or 0)
    if region in _FRENCH_PLAN:
        return "FR"
    return None if region in ("001", "ZZ") else str(region)
