"""How people and systems write a text, an e-mail address or a phone number, other than plainly.

A spelling is one that a person reads as the same text: whatever the system makes of it, the plain one is meant. A soft
hyphen is only added, as docs/addresses.md has it, and never in the place of a hyphen.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from urllib.parse import quote

Spelling = Callable[[str, Random], str]

INVISIBLE = "\u00ad\u034f\u115f\u1160\u180e\u200b\u200c\u200d\u200e\u200f\u202a\u202c\u2060\u2061\u2062\u2063\u2064"
INVISIBLE += "\u2066\u2069\u206a\u206f\u3164\ufe00\ufe0f\ufeff\uffa0\U000e0001\U000e0061\U000e007f\U000e0100"
BLANKS = " \t\n\r\u00a0\u1680\u2000\u2003\u2009\u200a\u2028\u2029\u202f\u205f\u3000\u0085\u2800\x0b\x0c\x1f"
WRECKAGE = "\x00\x01\x1a\x7f\ufffd\ufffe\ud800"
NO_LETTERS = [
    chr(code) for code in range(0x110000) if unicodedata.category(chr(code)) in ("Cc", "Cf", "Zs", "Zl", "Zp")
]


def _somewhere(character: str) -> Callable[[str, Random], str]:
    def spell(text: str, rng: Random) -> str:
        at = rng.randrange(1, len(text))
        return text[:at] + character + text[at:]

    return spell


def _around(before: str, after: str) -> Callable[[str, Random], str]:
    return lambda text, _: f"{before}{text}{after}"


def _put(old: str, new: str) -> Callable[[str, Random], str]:
    return lambda text, _: text.replace(old, new)


def _local(spell: Callable[[str], str]) -> Callable[[str, Random], str]:
    def apply(text: str, _: Random) -> str:
        local, _, domain = text.rpartition("@")
        return f"{spell(local)}@{domain}"

    return apply


def _shifted(text: str, lower: int, upper: int) -> str:
    return "".join(
        chr(ord(c) - ord("a") + lower) if "a" <= c <= "z" else chr(ord(c) - ord("A") + upper) if "A" <= c <= "Z" else c
        for c in text
    )


def wide(text: str) -> str:
    return "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in text)


ANY_TEXT: list[Spelling] = [
    *(_somewhere(each) for each in INVISIBLE),
    *(_around("", each) for each in INVISIBLE[::3]),
    *(_around(each, "") for each in (*BLANKS[:8], "\ufeff", "\u200e", "\u2800")),
    *(_around("", each) for each in BLANKS),
    *(_somewhere(each) for each in (*WRECKAGE, "\u00a0", "\t", "\n")),
    *(_around(each, each) for each in "'\"`\u201d\u00ab|*_"),
    _around("\u202a", "\u202c"),
    _around('="', '"'),
    _around("[", "]"),
    _around("", ","),
    _around("", ";"),
    _around("", "\\n"),
    lambda text, _: unicodedata.normalize("NFD", text),
    lambda text, _: unicodedata.normalize("NFKD", text),
    lambda text, _: quote(text, safe=""),
    lambda text, _: quote(text),
    lambda text, _: "".join(f"&#{ord(c)};" if not c.isalnum() else c for c in text),
    lambda text, _: text.encode().decode("latin-1"),
    lambda text, _: text.encode("latin-1", "replace").decode("ascii", "replace"),
    lambda text, _: text.encode("ascii", "replace").decode(),
    lambda text, _: f"{text}, {text}",
    lambda text, _: f"{text}\x00",
    lambda text, _: "\u200b".join(text),
    lambda text, rng: "".join(c + rng.choice(INVISIBLE) if rng.random() < 0.2 else c for c in text),
    *[lambda text, rng: _somewhere(rng.choice(NO_LETTERS))(text, rng)] * 8,
    *[lambda text, rng: text + rng.choice(NO_LETTERS)] * 4,
]
EMAIL: list[Spelling] = [
    lambda text, _: text.upper(),
    lambda text, _: text.title(),
    lambda text, _: text.replace("i", "\u0130").upper(),
    lambda text, _: unicodedata.normalize("NFD", text.upper()),
    *(_put("'", each) for each in "\u2018\u2019\u201b\u2032\u00b4\u02b9\u02bb\u02bc\u02bd\u02be\u02c8\u02ca\u02cb"),
    *(_put("'", each) for each in "\u055a\uff07\u0374\ua78c\u07f4\u2035\u201a\u1fbf\u05f3"),
    *(_put("'", each) for each in ("&#39;", "&apos;", "\\'", "%27", "''", "\u2019\ufe0f")),
    *(_put("-", each) for each in "\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe63\uff0d\u02d7\u30fc\uff70\u3161"),
    *(_put("@", each) for each in ("\uff20", "\ufe6b", " @ ", "@@", "(at)", "%40", "&#64;", "\\@")),
    *(_put(".", each) for each in ("\u3002", "\uff0e", "\uff61", "\u2024", " . ")),
    _put("+", "\uff0b"),
    _put("+", "%2B"),
    _put("+", " "),
    _put("example", "exam\u00adple"),
    _put("example", "ex\u200cample"),
    _put("fi", "\ufb01"),
    _put("l", "\u217c"),
    _put("a", "\u0430"),
    _put("o", "\u03bf"),
    _put("s", "\u017f"),
    _put("k", "\u212a"),
    _put("n", "\u207f"),
    _local(wide),
    lambda text, _: wide(text),
    _local(lambda text: _shifted(text, 0x24D0, 0x24B6)),
    _local(lambda text: _shifted(text, 0x1D41A, 0x1D400)),
    _local(lambda text: _shifted(text, 0x1D5BA, 0x1D5A0)),
    _local(lambda text: _shifted(text, 0x1F130, 0x1F130)),
    _local(lambda text: f'"{text}"'),
    _local(lambda text: f"{text}(home)"),
    _local(lambda text: f"\U0001f600{text}"),
    _around("<", ">"),
    _around("Jean <", ">"),
    _around('"Doe, Jean" <', ">"),
    _around("Jean Doe ", ""),
    _around("mailto:", ""),
    _around("MAILTO:", ""),
    _around("mailto:", "?subject=stop"),
    _around("smtp:", ""),
    _around("", "."),
    _around("", ".."),
    _around("", ":25"),
    _around("", ">"),
    _around("'", ""),
    _around("=?UTF-8?Q?", "?="),
    lambda text, _: f"Jean <{text.upper()}>,",
    lambda text, _: f"{text} <{text}>",
    lambda text, _: f"{text};{text}",
    lambda text, _: text.encode("utf-16-le").decode("latin-1"),
]
PHONE: list[Spelling] = [
    lambda text, _: " ".join(text),
    lambda text, _: "-".join(text),
    lambda text, _: ".".join((text[:3], text[3:6], text[6:])),
    lambda text, _: "00" + text[1:],
    lambda text, _: "+00" + text[1:],
    lambda text, _: "00 " + text[1:],
    lambda text, _: "000" + text[1:],
    lambda text, _: "011" + text[1:],
    lambda text, _: "+" + text,
    lambda text, _: "00" + text,
    lambda text, _: "(" + text[:3] + ") " + text[3:],
    lambda text, _: text[:3] + "/" + text[3:],
    lambda text, _: text[:3] + "\u2013" + text[3:6] + "\u2011" + text[6:],
    lambda text, _: text[:3] + "\u00a0" + text[3:6] + "\u202f" + text[6:],
    lambda text, _: "".join(chr(0x660 + int(c)) if c.isdigit() else c for c in text),
    lambda text, _: "".join(chr(0x6F0 + int(c)) if c.isdigit() else c for c in text),
    lambda text, _: "".join(chr(0x966 + int(c)) if c.isdigit() else c for c in text),
    lambda text, _: "".join(chr(0x1D7CE + int(c)) if c.isdigit() else c for c in text),
    lambda text, _: "".join(chr(0x245F + int(c)) if c in "123456789" else c for c in text),
    lambda text, _: wide(text),
    *(_around(each, "") for each in ("tel:", "TEL:", "tel://", "sms:", "callto:", "whatsapp:", "p:", "Mob. ", "*")),
    *(_around("", each) for each in (".0", ".00", "#", " x12", ";ext=1", ";phone-context=+33", " (mobile)", "E0")),
    lambda text, _: text.replace("0", "O"),
    lambda text, _: text.replace("1", "l"),
    lambda text, _: f"{int(text[1:]):.10E}",
    lambda text, _: f"{int(text[1:]):,}",
    lambda text, _: f"{text}/{text}",
]
FRENCH: list[Spelling] = [
    lambda text, _: text[1:],
    lambda text, _: "0" + text[3:],
    lambda text, _: text[3:],
    lambda text, _: " ".join(("0" + text[3:])[at : at + 2] for at in range(0, 10, 2)),
    lambda text, _: "-".join(("0" + text[3:])[at : at + 2] for at in range(0, 10, 2)),
    lambda text, _: "+33 (0)" + text[3:],
    lambda text, _: "+33(0) " + text[3:],
    lambda text, _: "+330" + text[3:],
    lambda text, _: "0033 (0) " + text[3:],
    lambda text, _: "33 0" + text[3:],
    lambda text, _: "00" + text[3:],
    lambda text, _: "(0)" + text[3:],
    lambda text, _: "'0" + text[3:],
    lambda text, _: "\u20190" + text[3:],
    lambda text, _: "+0" + text[3:],
    lambda text, _: "+33 0 " + text[3:],
]


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """Addresses of one kind: how each is written plainly, and how else."""

    channel: str
    plain: str
    """With {n} for a number of four digits."""
    spellings: Sequence[Spelling]


def _as(template: str) -> Spelling:
    """Another number of the line, with {n} for the last four digits."""
    return lambda text, _: template.format(n=text[-4:], a=text[-4:-2], b=text[-2:])


LINES: Sequence[Line] = [
    Line(channel="email", plain="jean-luc.o'neil+fil{n}@mail.example.com", spellings=[*EMAIL, *ANY_TEXT]),
    Line(channel="email", plain="\u00e9lodie.m\u00fcller{n}@example.com", spellings=[*EMAIL[:4], *ANY_TEXT]),
    Line(
        channel="email", plain="inci{n}@xn--strae-oqa.de", spellings=[_put("xn--strae-oqa", "stra\u00dfe"), *EMAIL[:4]]
    ),
    Line(
        channel="email",
        plain="ann{n}@xn--bcher-kva.example",
        spellings=[
            _put("xn--bcher-kva", "b\u00fccher"),
            _put("xn--bcher-kva", "bu\u0308cher"),
            _put("xn--bcher-kva", "B\u00dcCHER"),
            _put("xn--", "XN--"),
            _put("xn--bcher-kva.", "b\u00fccher\u3002"),
            _put("xn--bcher-kva", "b\u00fc\u00adcher"),
            _put("xn--bcher-kva", "b\u00c3\u00bccher"),
            _put("xn--bcher-kva", "b?cher"),
        ],
    ),
    Line(channel="sms", plain="+3363998{n}", spellings=[*PHONE, *FRENCH, *ANY_TEXT]),
    Line(channel="voice", plain="+3363998{n}", spellings=[*FRENCH, *PHONE[:12], *ANY_TEXT[::4]]),
    Line(
        channel="sms",
        plain="+549115678{n}",
        spellings=[
            _as(t) for t in ("+54 11 5678 {n}", "+54 9 11 5678-{n}", "+54 9 11 15 5678 {n}", "+54 (11) 15-5678-{n}")
        ],
    ),
    Line(channel="sms", plain="+54115678{n}", spellings=[_as("+54 9 11 5678 {n}"), _as("+54 11 15 5678 {n}")]),
    Line(
        channel="sms",
        plain="+551198765{n}",
        spellings=[_as(t) for t in ("+55 11 8765 {n}", "+55 (11) 98765-{n}", "+55 011 98765 {n}", "+55 0 11 8765-{n}")],
    ),
    Line(channel="sms", plain="+55118765{n}", spellings=[_as("+55 11 98765-{n}"), _as("0055 11 9 8765 {n}")]),
    Line(
        channel="sms",
        plain="+52551234{n}",
        spellings=[_as(t) for t in ("+52 1 55 1234 {n}", "+521551234{n}", "+52 044 55 1234 {n}", "0052 55 1234 {n}")],
    ),
    Line(channel="sms", plain="+225070712{n}", spellings=[_as("+225 07 12 {a} {b}"), _as("0022507 12{n}")]),
    Line(channel="sms", plain="+229019712{n}", spellings=[_as("+229 97 12 {a} {b}"), _as("+22997 12{n}")]),
    Line(channel="sms", plain="+2417712{n}", spellings=[_as("+241 07 12 {a} {b}"), _as("+241 7 12{n}")]),
    Line(channel="sms", plain="+23767712{n}", spellings=[_as("+237 77 12 {a} {b}")]),
    Line(channel="sms", plain="+8432345{n}", spellings=[_as("+84 162 345 {n}"), _as("+84 0 162 345 {n}")]),
    Line(channel="voice", plain="+57300412{n}", spellings=[_as("+57 300 412 {n}"), _as("0057300412{n}")]),
    Line(channel="sms", plain="+3834412{n}", spellings=[_as("+377 44 12{n}"), _as("+383 44 12{n}")]),
    Line(channel="sms", plain="+1201555{n}", spellings=[*PHONE[:12], _as("+1 (201) 555-{n}"), _as("001-201-555-{n}")]),
    Line(channel="sms", plain="+44770090{n}", spellings=[_as("+44 (0)7700 90 {n}"), _as("0044 7700 90{n}")]),
    Line(
        channel="sms", plain="+26269212{n}", spellings=[_as("0692 12 {n}"), _as("+33 692 12 {n}"), _as("+262692 12{n}")]
    ),
    Line(channel="sms", plain="+39066982{n}", spellings=[_as("+39 06 6982 {n}"), _as("0039 06 6982 {n}")]),
]
