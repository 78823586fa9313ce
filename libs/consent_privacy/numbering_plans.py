"""National numbering plans under which one line has, or had, two numbers (R10). Dated data; nothing here is law.

Two kinds. A plan that was replaced: the former number follows from its form alone, and becomes the current one, so
that both are one key. A line that is written in two ways to this day: both forms stay apart, because a permission
belongs to the form for which it was given, and a refusal reaches both (`same_line`)."""

import re
from collections.abc import Mapping
from typing import NamedTuple

from consent_privacy.errors import NoAreaCodeError


class _Rule(NamedTuple):
    former: re.Pattern[str]
    """National numbers, without the country code, that the current plan does not have."""
    current: str | None
    """The template of the current national number. None: NoAreaCodeError."""


def _rules(*pairs: tuple[str, str | None]) -> tuple[_Rule, ...]:
    return tuple(_Rule(re.compile(former, re.ASCII), current) for former, current in pairs)


_UNCHANGED = r"\g<0>"
"""No rule gives the current number (the operator decided it): the former one is kept, and not refused."""

_FORMER: Mapping[str, tuple[_Rule, ...]] = {
    # Mexico, 2019-08-03 (IFT, Plan Tecnico Fundamental de Numeracion): the 1 of mobiles after +52, and 01, 044 and 045
    # before national numbers, are gone.
    "52": _rules((r"(?:1|01|04[45])([2-9]\d{9})", r"\1")),
    # Argentina: within the country a mobile is dialled with 15 after the area code instead of the 9 before it. The
    # parser resolves that, but not when both are there.
    "54": _rules((r"9((?=\d{12}$)(?:11|[23]\d{2,3})15\d{6,8})", r"\1"), (r"15\d{6,8}", None)),
    # Brazil: a number without its area, which the library takes for possible because service numbers are as short.
    "55": _rules((r"9\d{8}|[25-9]\d{7}", None)),
    # Chile, 2012-10-20 to 2013-07-06 (Subtel): fixed lines get a 2 after the area. 2016-02-06: mobiles have their 9
    # within the country too.
    "56": _rules(
        (r"2\d{7}", r"2\g<0>"),
        (r"[89]\d{7}", r"9\g<0>"),
        (r"(3[345]|4[235]|5[1-3578]|6[13457]|7[1235])(\d{6})", r"\g<1>2\2"),
    ),
    # Colombia, 2021-09-01 (CRC, resolution 5826 of 2019): fixed lines get 60 before their area's digit.
    "57": _rules((r"(?!46)[124-8]\d{7}", r"60\g<0>")),
    # Viet Nam, 2018-09-15 (Ministry of Information and Communications): mobiles of 11 digits get 10, their 0 included.
    "84": _rules(
        (r"120(\d{7})", r"70\1"),
        (r"121(\d{7})", r"79\1"),
        (r"122(\d{7})", r"77\1"),
        (r"12([68]\d{7})", r"7\1"),
        (r"123(\d{7})", r"83\1"),
        (r"124(\d{7})", r"84\1"),
        (r"125(\d{7})", r"85\1"),
        (r"127(\d{7})", r"81\1"),
        (r"129(\d{7})", r"82\1"),
        (r"16([2-9]\d{7})", r"3\1"),
        (r"18([68]\d{7})", r"5\1"),
        (r"199(\d{7})", r"59\1"),
        # Fixed lines, 2017-06-17: Ha Noi. What other areas had begins as mobiles do now.
        (r"4\d{8}", r"2\g<0>"),
    ),
    # Morocco, 2009-03-07 (ANRT), and Senegal, 2007-10 (ARTP): 9 digits.
    "212": _rules((r"\d{8}", _UNCHANGED)),
    "221": _rules((r"\d{7}", _UNCHANGED)),
    # Cote d'Ivoire, 2021-01-31 (ARTCI): 8 digits get 10, by what the digits say of the operator: 01 and 21 Moov,
    # 05 and 25 MTN, 07 and 27 Orange.
    "225": _rules(
        (r"(?:[04-9][1-3]|[457]0)\d{6}", r"01\g<0>"),
        (r"[04-9][4-6]\d{6}", r"05\g<0>"),
        (r"[04-9][7-9]\d{6}", r"07\g<0>"),
        (r"2[0-3]8\d{5}", r"21\g<0>"),
        (r"(?:2[0-4]|3[0-6])0\d{5}", r"25\g<0>"),
        (r"(?:2[0-4][1-79]|3[0-6][1-9])\d{5}", r"27\g<0>"),
        (r"\d{8}", _UNCHANGED),
    ),
    # Benin, 2024-11-30 (ARCEP Benin): 01 before every number of 8 digits.
    "229": _rules((r"\d{8}", r"01\g<0>")),
    # Mauritius, 2013-09-01 (ICTA): 5 before mobiles. Those that began with 7 or 9 are none of the fixed numbers.
    "230": _rules((r"[79]\d{6}", r"5\g<0>")),
    # Cameroon, 2014-11-21 (ART): 6 before mobiles, 2 before fixed lines. 33 became 233 or 243.
    "237": _rules((r"[679]\d{7}", r"6\g<0>"), (r"22\d{6}", r"2\g<0>"), (r"33\d{6}", _UNCHANGED)),
    # Gabon, 2019-11-15 (ARCEP Gabon; 8 digits served until 2024-04-06): 6 (Gabon Telecom), 7 (Airtel) or 1 (fixed)
    # after the 0, and no 0 after +241, where the former plan had it.
    "241": _rules(
        (r"0?([256]\d{6})", r"6\1"), (r"0?([47]\d{6})", r"7\1"), (r"0?(1\d{6})", r"1\1"), (r"0?3\d{6}", _UNCHANGED)
    ),
    # Honduras, 2010-11-14: 2 before fixed lines of 7 digits. Mobiles had 8 already.
    "504": _rules((r"[2-7]\d{6}", r"2\g<0>"), (r"\d{7}", _UNCHANGED)),
    # Nicaragua, 2009-04-22 (TELCOR): 2 before fixed lines, 8 before mobiles.
    "505": _rules((r"\d{7}", _UNCHANGED)),
    # Costa Rica, 2008-03-20 (ICE): 2 before fixed lines, 8 before mobiles, which began with 3, 8 or 9.
    "506": _rules((r"[24-7]\d{6}", r"2\g<0>"), (r"[389]\d{6}", r"8\g<0>")),
}

_SAME_LINE: Mapping[str, tuple[tuple[re.Pattern[str], str], ...]] = {
    # Argentina: mobiles have a 9 after +54 for callers and most providers, and none for some. Fixed and mobile lines
    # share the blocks of numbers, so no other line has the form without the 9.
    "54": (
        (re.compile(r"9(11\d{8}|[23]\d{9})", re.ASCII), r"+54\1"),
        (re.compile(r"11\d{8}|[23]\d{9}", re.ASCII), r"+549\g<0>"),
    ),
    # Brazil, 2012-07-29 to 2016-11-06 (Anatel, resolution 553 of 2010): mobiles of 8 digits, from 6 to 9, got a 9 in
    # front. Messaging systems go on with both forms.
    "55": (
        (re.compile(r"(\d\d)9([6-9]\d{7})", re.ASCII), r"+55\1\2"),
        (re.compile(r"(\d\d)([6-9]\d{7})", re.ASCII), r"+55\g<1>9\2"),
    ),
    # Kosovo, 2016-12-15 (ITU): +383 instead of mobile numbers of Monaco and Slovenia, which may be reassigned.
    "377": ((re.compile(r"4[45]\d{6}", re.ASCII), r"+383\g<0>"),),
    "386": ((re.compile(r"4[39]\d{6}", re.ASCII), r"+383\g<0>"),),
    "383": (
        (re.compile(r"4[45]\d{6}", re.ASCII), r"+377\g<0>"),
        (re.compile(r"4[39]\d{6}", re.ASCII), r"+386\g<0>"),
    ),
}
"""By country code: national numbers, and the template of the other number of the line."""


def is_former(code: str, national: str) -> bool:
    """Whether a replaced plan of the country `code` has this national number, and the current one does not."""
    return any(rule.former.fullmatch(national) for rule in _FORMER.get(code, ()))


def current(number: str) -> str | None:
    """The number, in E.164, under its current plan; itself where no rule gives that. None: no former number.
    Raises NoAreaCodeError."""
    for code, national in _split(number):
        for rule in _FORMER.get(code, ()):
            if (former := rule.former.fullmatch(national)) is not None:
                if rule.current is None:
                    raise NoAreaCodeError
                return f"+{code}{former.expand(rule.current)}"
    return None


def has_other_spellings(number: str) -> bool:
    """Whether the country of the number, in E.164, has a replaced plan or lines with two numbers."""
    return any(code in _FORMER or code in _SAME_LINE for code, _ in _split(number))


def same_line(number: str) -> tuple[str, ...]:
    """Other numbers, in E.164, under which the same line is known. Symmetric: each of them has this one."""
    return tuple(
        match.expand(other)
        for code, national in _split(number)
        for form, other in _SAME_LINE.get(code, ())
        if (match := form.fullmatch(national)) is not None
    )


def _split(number: str) -> tuple[tuple[str, str], tuple[str, str]]:
    """The number with a country code of two and of three digits: at most one is a code, as no code begins another."""
    return (number[1:3], number[3:]), (number[1:4], number[4:])
