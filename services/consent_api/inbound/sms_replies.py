"""What a person means by a reply to a text message (R18). Pure.

People write "Stop svp", "ARRÊT!!" or "plus de sms", and "je m'arrête à Paris" in the same breath. A withdrawal that is
missed reaches the person again; one that is invented ends what they asked for. So what is clear decides, what is not
clear is `UNCLEAR` (the address is paused, and a person decides), and nothing that is said here permits anything.

A reply is read clause by clause, and the most protective clause counts. No list of phrases is ever whole, so a clause
that no rule knows is looked at once more for a refusal in its words (`REFUSAL_PERHAPS`), which waits for a person.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import zip_longest

from consent_api.inbound import sms_words as words

LONGEST = 1_600
"""Characters that are read: what Twilio takes for one message. What is behind them is in doubt."""
_LONGEST_WORD = 24
_NOT_ALL_OF_IT = "good"
"""Before words that are not all that is said. Of praise: that they speak of our messages is no complaint about them."""
_LONGEST_REQUEST = 12
"""Words behind a negation that are read by themselves: what it takes with it, and a phrase that begins there."""
_SHORT = 6
"""Words within which a keyword at either end speaks for the whole clause."""


class Meaning(StrEnum):
    """In the order of protection."""

    WITHDRAW = "withdraw"
    UNCLEAR = "unclear"
    START = "start"
    """The person asks for messages: never a permission, which needs evidence."""
    OTHER = "other"


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """What a reply means, and the rule that decided."""

    meaning: Meaning
    rule: str


_RANK = {meaning: rank for rank, meaning in enumerate(Meaning)}
_IN_EFFECT = (Meaning.WITHDRAW, Meaning.UNCLEAR)
_NOTHING = Reading(meaning=Meaning.OTHER, rule="nothing")
_SPACED = re.compile(r"(?<!\w)(?:\w[\W_]{1,3}){2,}\w(?!\w)")
_APOSTROPHES = re.compile(r"['’‘`´ʼ′-]|\u2010|\u2011")
_CLAUSE = re.compile(r"[.,;:!?…|/\n\r()\[\]\"«»“”„]+")
_WORD = re.compile(r"\w+")
_LETTERS_AND_LEET = re.compile(r"[^\w@$]+")
_NO_WORD = re.compile(r"[^\w]+|_+")
_RUN = re.compile(r"([^\W\d])\1{2,}")
_PAIR = re.compile(r"(\w)\1")
_AGAIN = re.compile(r"(\w{4,}?)\1+")
_WITH_NUMBER = re.compile(r"([a-z]{4,})(\d{1,6})([a-z]{0,12})")
_SHORTEST_GLUED = 3
"""Letters of a courtesy that is written in one word with a keyword."""
_SINGLE_LETTERS = {_PAIR.sub(r"\1", word): word for word in words.TYPO_PRONE | {"baja", "basta"}}
"""Keywords by what is left of them where a doubled letter counts once."""
_SHOUTED = re.compile(r"(?<![A-Z])STOP(?![A-Z])")
_LEET = str.maketrans("013457@$", "oleastas")
_LOOKALIKES = str.maketrans("аеорсухіјѕԛԁтοαρτνικεѵꜱᴛᴏᴘᴀʀᴇ", "aeopcyxijsqdtoaptvikevstopare")
"""Cyrillic and Greek letters that look Latin, and small capitals."""
_BOXED = {first + n: chr(ord("a") + n) for first in (0x1F150, 0x1F170) for n in range(26)}
"""White letters on black, round and square, which Unicode does not decompose."""
_ALTERNATIVES = {"ſ": "s", "ı": "i", "ø": "o", "ł": "l", "œ": "oe", "æ": "ae"}


def read(text: str) -> Reading:
    """The meaning of a reply as it came: any length, any Unicode."""
    whole = len(text) <= LONGEST
    text = text[:LONGEST]
    signs = any(sign in text for sign in words.REFUSING_SIGNS)
    for sign, word in words.SIGNS.items():
        text = text.replace(sign, word)
    plain = _plain(text)
    if words.REACTION.match(plain):
        return Reading(meaning=Meaning.OTHER, rule="reaction")
    plain = _joined(plain)
    about = words.INSTRUCTION.search(_words(plain))
    clauses = [known for clause in _CLAUSE.split(plain) if (known := _words(clause))]
    together = " ".join(left for clause in clauses if (left := _without_negations(clause)))
    pieces = [piece for clause in dict.fromkeys([*clauses, together]) for piece in _pieces(clause)]
    variants = dict.fromkeys([*pieces, *(words.POLITE.sub("", piece) for piece in pieces)])
    found = min(
        (_clause(piece, about=about is not None) for piece in variants if piece),
        key=lambda reading: _RANK[reading.meaning],
        default=_NOTHING,
    )
    if found.meaning in _IN_EFFECT:
        return found
    if about is None and _SHOUTED.search(text) and not text.isupper() and "stop" in together:
        return Reading(meaning=Meaning.WITHDRAW, rule="shouted")
    if about is not None:
        return Reading(meaning=Meaning.UNCLEAR, rule="spoken about")
    if not whole:
        return Reading(meaning=Meaning.UNCLEAR, rule="too long")
    if signs and all(word in words.COURTESY for word in together.split()):
        return Reading(meaning=Meaning.UNCLEAR, rule="sign")
    return found


def _clause(clause: str, *, about: bool) -> Reading:
    if about:
        clause = words.INSTRUCTION.sub(" ", clause)
    left = _without_negations(clause)
    if left != clause and not left.strip():
        return Reading(meaning=Meaning.OTHER, rule="to go on")
    left = " ".join(words.NOT_ARRIVED.sub(" ", left).split())
    for_now = [found[0] for found in words.FOR_NOW.finditer(left)]
    reading = _left(" ".join(words.FOR_NOW.sub(" ", left).split()), clause, about=about)
    if reading.meaning in _IN_EFFECT:
        return reading
    if any(_left(each, each, about=about).meaning in _IN_EFFECT for each in for_now):
        return Reading(meaning=Meaning.UNCLEAR, rule="for now")
    return reading


def _left(left: str, clause: str, *, about: bool) -> Reading:
    """What is left of a clause without negations, complaints and times."""
    if not about and words.STOP_MESSAGES.search(left):
        return Reading(meaning=Meaning.WITHDRAW, rule="phrase")
    if words.NOT_STOP in left and [w for w in left.split() if w not in words.COURTESY] == words.NOT_STOP.split():
        return Reading(meaning=Meaning.UNCLEAR, rule="phrase in doubt")
    left = " ".join(words.OTHER_STOPS.sub(" ", left).split())
    said = [word for word in left.split() if word not in words.COURTESY and not word.isdigit()]
    if said and all(_is_keyword(word, alone=len(said) <= 2) for word in said):
        return Reading(meaning=Meaning.UNCLEAR if about else Meaning.WITHDRAW, rule="keyword")
    if " " in left and any(_is_one_word(_written_out("".join(parts))) for parts in (said, left.split())):
        return Reading(meaning=Meaning.UNCLEAR if about else Meaning.WITHDRAW, rule="keyword in parts")
    if (at_an_end := _at_an_end(said, left.split())) is not None:
        return at_an_end
    if said and all(word in words.WEAK or _is_keyword(word) for word in said):
        return Reading(meaning=Meaning.UNCLEAR, rule="weak keyword")
    if words.IN_DOUBT.search(left):
        return Reading(meaning=Meaning.UNCLEAR, rule="phrase in doubt")
    if any(_is_keyword(word) for word in said if word not in words.ONLY_ALONE):
        return Reading(meaning=Meaning.UNCLEAR, rule="keyword within")
    if said and len(said) <= _SHORT and said[0] not in words.KEYWORDS and _is_keyword(said[0], alone=True):
        return Reading(meaning=Meaning.UNCLEAR, rule="begins with a misspelt keyword")
    if words.REFUSAL_PERHAPS.search(left) or words.REFUSAL_PERHAPS.search(" ".join(said)) or words.WHY.search(left):
        return Reading(meaning=Meaning.UNCLEAR, rule="refusal perhaps")
    if words.BEGINS_WITH_STOP.match(clause):
        return Reading(meaning=Meaning.UNCLEAR, rule="begins with keyword")
    if words.RESTART.search(left) or (said and all(word in words.START for word in said)):
        return Reading(meaning=Meaning.START, rule="start")
    return _NOTHING


def _pieces(clause: str) -> Iterator[str]:
    """The clause, and what is behind each negation or complaint in it, by itself: "don't forget to", and "remove me".

    A negation takes the next words with it. Where they are a request of their own, it must not be lost.
    """
    yield clause
    for pattern in (words.KEEP, words.NOT_ARRIVED, words.OTHER_STOPS):
        taken = list(pattern.finditer(clause))
        for found, following in zip_longest(taken, taken[1:]):
            end = following.start() if following is not None else len(clause)
            behind = found.end() if found.lastindex is None else found.start(found.lastindex)
            if request := clause[behind:end].split()[:_LONGEST_REQUEST]:
                yield from _pieces(" ".join([_NOT_ALL_OF_IT, *request]))


def _without_negations(clause: str) -> str:
    """Without the negations of its writer: without "don't stop", and with "you guys don't stop"."""

    def instead(found: re.Match[str]) -> str:
        return found[0] if words.OF_OTHERS.search(clause[: found.start()]) else " "

    return " ".join(words.KEEP.sub(instead, clause).split())


_ING = re.compile(r"\w{2,}ing")
_SHORTEST_SPLIT = 6
"""Letters of a keyword other than stop that is looked for in parts of it: af melden."""


def _is_one_word(word: str) -> bool:
    return word in words.STOPS or (len(word) >= _SHORTEST_SPLIT and word in words.KEYWORDS)


def _at_an_end(said: list[str], clause: list[str]) -> Reading | None:
    """A clause that begins or ends with a word for stop; ``clause`` has the courtesies, too."""
    if len(said) < 2:
        return None
    if _is_keyword(said[0]) and said[0] in words.STOPS:
        if _ING.fullmatch(said[1]):
            return Reading(meaning=Meaning.UNCLEAR, rule="stop something")
        return Reading(meaning=Meaning.WITHDRAW, rule="begins with keyword")
    if said[-1] in words.STOPS and said[-1] not in words.ONLY_ALONE:
        noun = clause[clause.index(said[-1]) - 1] in words.ARTICLES
        meaning = Meaning.WITHDRAW if len(said) <= _SHORT and not noun else Meaning.UNCLEAR
        return Reading(meaning=meaning, rule="ends with keyword")
    return None


def _is_keyword(word: str, *, alone: bool = False) -> bool:
    """``alone``: little else is said, so that a typing error is looked for."""
    if word in words.KEYWORDS:
        return True
    if len(word) > _LONGEST_WORD:
        return False
    if not alone or word in words.NO_TYPO or word in words.WEAK or word in words.START:
        return False
    return any(_near(word, each) for each in words.TYPO_PRONE)


def _near(word: str, keyword: str) -> bool:
    """Within one slip of the thumb (two in long words): a letter missing, doubled, wrong, or two exchanged."""
    most = 2 if len(keyword) >= 9 else 1
    if word[1:] == keyword[1:]:
        return True
    if abs(len(word) - len(keyword)) > most or len(word) < 3 or word[0] not in keyword[:2]:
        return False
    before: list[int] = []
    row = list(range(len(keyword) + 1))
    for i, letter in enumerate(word, 1):
        last, before, row = before, row, [i]
        for j, other in enumerate(keyword, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (letter != other))
            if i > 1 and j > 1 and letter == keyword[j - 2] and word[i - 2] == other:
                cost = min(cost, last[j - 2] + 1)
            row.append(cost)
    return row[-1] <= most


def _plain(text: str) -> str:
    """Lower case, without accents, invisible characters and foreign letters that look Latin."""
    text = text.translate(_BOXED)
    text = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", text)[: 2 * LONGEST].casefold())
    text = "".join(
        _ALTERNATIVES.get(each, each)
        for each in text
        if (kind := unicodedata.category(each)) not in ("Mn", "Me", "Cf", "Cs") and (kind != "Cc" or each in "\n\r\t")
    )
    return text if text.isascii() else _WORD.sub(lambda found: _latin(found[0]), text.replace("\u00a0", " "))


def _latin(word: str) -> str:
    latin = word.translate(_LOOKALIKES)
    return latin if any("a" <= letter <= "z" for letter in word) or latin in words.KEYWORDS else word


def _joined(text: str) -> str:
    """With letters that are spelled apart put together where they spell a keyword: s.t.o.p."""

    def join(found: re.Match[str]) -> str:
        letters = "".join(filter(str.isalnum, found[0]))
        return letters if _written_out(letters) in words.KEYWORDS else found[0]

    return _SPACED.sub(join, text)


def _words(clause: str) -> str:
    """Its words, with one space between them, and drawn-out or decorated keywords as they are meant."""
    text = _APOSTROPHES.sub(" ", clause)
    kept = [
        words.ELIDED.sub(r"\1 \2", _written_out(word))
        for raw in _LETTERS_AND_LEET.split(text)
        for word in _NO_WORD.sub(" ", _deleeted(raw)).split()
    ]
    return " ".join(kept)


def _deleeted(word: str) -> str:
    if word.isalpha():
        return word
    plain = word.translate(_LEET)
    if plain in words.KEYWORDS:
        return plain
    numbered = _WITH_NUMBER.fullmatch(word)  # As in stop36111, a short code, and stop2end.
    return " ".join(numbered.groups()) if numbered is not None and numbered[1] in words.STOPS else word


def _written_out(word: str) -> str:
    if (again := _AGAIN.fullmatch(word)) is not None and again[1] in words.KEYWORDS:
        return again[1]
    for keyword in words.STOPS:  # As in stopsvp.
        rest = word.removeprefix(keyword)
        known = rest in words.COURTESY or words.MESSAGE.fullmatch(rest) is not None
        if rest != word and len(rest) >= _SHORTEST_GLUED and known:
            return keyword
    shorter = _RUN.sub(r"\1", word)
    if word in words.KEYWORDS or shorter in words.KEYWORDS:
        return word if word in words.KEYWORDS else shorter
    return _SINGLE_LETTERS.get(_PAIR.sub(r"\1", shorter), shorter)
