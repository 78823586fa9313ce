"""One spelling for each address: E.164 for phones (R10), lower-case with an ASCII domain for e-mail (R11).

`canonical` is idempotent. What it cannot read it refuses; it never guesses a letter into a digit. The rule is published
in docs/addresses.md, with vectors: an implementation in another language computes the same address keys."""

import re
import unicodedata
from collections.abc import Callable, Mapping

import idna

from consent_privacy import numbering_plans, phones
from consent_privacy.errors import InvalidAddressError, NotANumberError
from consent_privacy.invisible import JOINERS, REMOVED, REMOVED_BUT_JOINERS

PHONE_CHANNELS = frozenset({"sms", "voice"})

# A sign in front or a % or ? takes the long way, which may refuse it.
PLAIN_EMAIL = re.compile(
    r"(?=.{3,254}\Z)(?!['`]|.*'')[a-z0-9!#$&'*+/=^_`{|}~.-]{1,64}@"
    r"(?:(?!..--)[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+(?!..--)[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?",
    re.ASCII,
)
_LOCAL_ASCII = frozenset("abcdefghijklmnopqrstuvwxyz0123456789!#$%&'*+/=^_`{|}~.-")
_LETTERS_MARKS_DIGITS = frozenset({"Ll", "Lu", "Lt", "Lm", "Lo", "Mn", "Mc", "Nd"})
_COMPATIBILITY = frozenset(
    {
        "<wide>",
        "<narrow>",
        "<small>",
        "<font>",
        "<circle>",
        "<compat>",
        "<noBreak>",
        "<vertical>",
        "<initial>",
        "<medial>",
        "<final>",
        "<isolated>",
    }
)
"""Unicode's kinds of compatibility characters that are only another form of a plain one: full-width letters, ligatures,
circled and mathematical letters. The other kinds (superscripts, squared words, fractions) are refused."""
_TYPOGRAPHIC = {
    **dict.fromkeys(
        map(ord, "\u2018\u2019\u201b\u2032\u00b4\u02b9\u02bb\u02bc\u02bd\u02c8\u0374\u055a\ua78b\ua78c\uff07"), "'"
    ),
    **dict.fromkeys(map(ord, "\u201c\u201d\u201e\u201f\u2033\uff02"), '"'),
    **dict.fromkeys(map(ord, "\u2010\u2011\u2012\u2212\ufe63\uff0d"), "-"),
    **dict.fromkeys(map(ord, "\u3002\uff0e\uff61"), "."),
    **dict.fromkeys(map(ord, "\uff20\ufe6b"), "@"),
    **dict.fromkeys(map(ord, "\u2329\u27e8\u3008\uff1c"), "<"),
    **dict.fromkeys(map(ord, "\u232a\u27e9\u3009\uff1e"), ">"),
}
"""What word processors and keyboards make of the signs of an address. A long dash is none of them: it may have been
one hyphen or two."""
_NAMED = re.compile(r"([^<>]*)<([^<>]+)>")
_DOTTED_CAPITAL = re.compile("\u0130|[Ii]\u0307")
"""The Turkish capital, which is İ also where a system has put a domain into capitals."""
_MAILTO = re.compile(r"mailto:/{0,2}", re.IGNORECASE | re.ASCII)
_QUOTED = re.compile(r"""(['"])([^'"].*)\1""")
_MOST_LABELS_ENCODED = 36
"""Labels of a domain that are not ASCII: each takes seven bytes or more of the 254, and as long as fifty letters to
encode."""
_LONGEST_LABEL = 63
"""Some rules for digits take quadratic time in the length of a label, and are applied before it is looked at."""
_ALPHABETS = ("LATIN ", "GREEK ", "CYRILLIC ", "ARMENIAN ")
"""Those whose letters are mistaken for one another's, as Unicode names them."""
_WRITTEN_BESIDE_LATIN = ("LATIN ", "CJK ", "HIRAGANA ", "KATAKANA", "IDEOGRAPHIC ", "BOPOMOFO ", "HANGUL ")
"""Scripts with which Latin letters share a word, as in Unicode's profile *Highly Restrictive* (UTS 39)."""
_LETTER_FOR_A_HYPHEN = re.compile(r"(?<=[a-z0-9])[\u30fc\u1173\u4e00]+(?=[a-z0-9])", re.IGNORECASE | re.ASCII)
"""What Japanese, Korean and Chinese keyboards give for a hyphen, compatibility forms resolved."""
_ENCODED = re.compile(
    r"%(?:[01][0-9a-f]|2[0-9a-f]|3[a-f]|40|5[b-e]|60|7[b-f]|[c-f][0-9a-f]%[89ab][0-9a-f])", re.IGNORECASE
)
"""Percent-encoding of what has to be encoded. `50%deal` is none."""
_NO_REGION = "ZZ"
_UNREADABLE = "\ufffd"
_BARE = "send the bare address, without name, quotes or spaces"
_LONGEST = 254  # RFC 5321 through RFC 3696 erratum 1690
_LONGEST_LOCAL_PART = 64
_LONGEST_WRITTEN = 4 * _LONGEST
"""Characters of an address as it is sent, with all that comes along."""


def canonical(channel: str, address: str, *, default_region: str) -> str:
    """The one spelling of `address` on `channel`: e-mail on `email`, E.164 on `sms` and `voice`, the trimmed
    NFC text on any other. National numbers are read in `default_region`. Raises InvalidAddressError.

    Whatever is sent, the work is bounded: length comes before any pattern, and no pattern takes quadratic time."""
    if len(address) > _LONGEST_WRITTEN:
        raise InvalidAddressError("too_long", "send one address")
    if channel == "email":
        if address.isascii():
            lowered = address.strip().lower()
            if PLAIN_EMAIL.fullmatch(lowered):
                return lowered
        return _respell_until_stable(_email, address)
    if channel in PHONE_CHANNELS:
        plain = phones.fast_e164(address, default_region)
        return plain if plain is not None else _respell_until_stable(lambda text: _phone(text, default_region), address)
    return _respell_until_stable(_nfc_text, address)


def aliases(channel: str, address: str) -> tuple[str, ...]:
    """Other canonical addresses of the same person's line as `address`, which is canonical: a refusal reaches them too,
    a permission does not (R11's rule for what may widen). Symmetric."""
    if channel not in PHONE_CHANNELS:
        return ()
    return tuple(other for other in numbering_plans.same_line(address) if _is_canonical(other))


def _is_canonical(number: str) -> bool:
    try:
        return phones.e164(number, _NO_REGION) == number
    except NotANumberError:
        return False


def _respell_until_stable(spell: Callable[[str], str], address: str) -> str:
    """Spell until nothing changes, so that the canonical form is its own canonical form by construction."""
    before = spell(address)
    for _ in range(4):
        after = spell(before)
        if after == before:
            return after
        before = after
    raise InvalidAddressError("invalid_characters", "send the address without special forms of letters")


def _phone(address: str, default_region: str) -> str:
    digits = _without_invisible(address)
    try:
        return phones.e164(digits, default_region)
    except NotANumberError as error:
        raise InvalidAddressError(error.reason, error.cure) from None


def _email(address: str) -> str:
    if _decoded_wrongly(address):
        raise InvalidAddressError("unreadable_characters", "send the address again, in UTF-8: it was read as Latin-1")
    text = _bare(_without_invisible(address, REMOVED_BUT_JOINERS))
    if _ENCODED.search(text) or _holds_encoded_word(text):
        raise InvalidAddressError("encoded", "send the address decoded: @ for %40, + for %2B")
    local, at, domain = text.rpartition("@")
    if len(unicodedata.normalize("NFKC", text)) > 2 * _LONGEST:
        raise InvalidAddressError("too_long", "send an e-mail address of at most 254 bytes")
    if _mixes_alphabets(text) or _mixes_latin(local):
        raise InvalidAddressError(
            "mixed_alphabets", "type the address again: one of its words has letters of two alphabets"
        )
    if not at or not domain:
        raise InvalidAddressError("no_domain", "send the whole e-mail address, as in name@example.com")
    local = _local_part(local)
    spelled = f"{local}@{_domain(domain)}"
    if len(spelled.encode()) > _LONGEST:
        raise InvalidAddressError("too_long", "send an e-mail address of at most 254 bytes")
    return spelled


def _holds_encoded_word(text: str) -> bool:
    """Whether a word of it is encoded for a mail header (RFC 2047)."""
    begin = text.find("=?")
    return begin >= 0 and text.find("?=", begin + 2) >= 0


def _bare(text: str) -> str:
    """Without what is pasted along: a display name and its brackets, `mailto:`, quotes around, a comma at the end."""
    text = text.translate(_TYPOGRAPHIC).rstrip(",; \t")
    if (named := _NAMED.fullmatch(text)) is not None:
        name, text = named[1].strip(), _bare(named[2].strip())
        if "@" in name and _bare(name).lower() != text.lower():
            raise InvalidAddressError("invalid_local_part", "send one address: the name in front holds another one")
    if (scheme := _MAILTO.match(text)) is not None:
        text = text[scheme.end() :].strip()
    if (quoted := _QUOTED.fullmatch(text)) is not None:
        text = quoted[2].strip()
    return text


def _local_part(written: str) -> str:
    """Letters, marks and digits of any script, and the ASCII signs of RFC 5322 `atext`, in lower case and NFC.

    Not the question mark, although RFC 5322 has it: no provider gives it, and lossy conversions put it for a letter.
    A dot over an i is that of the Turkish capital, whose small letter is the plain i.

    As in PRECIS (RFC 8265), no mailbox has a compatibility character, so it is read as the plain one. Letters with
    diacritics are letters of their own: müller is not muller."""
    text = unicodedata.normalize("NFC", written.translate(REMOVED))
    plain = "".join(_plain(character) for character in text).translate(_TYPOGRAPHIC)
    local = unicodedata.normalize("NFC", unicodedata.normalize("NFC", plain).lower().replace("i\u0307", "i"))
    if not local:
        raise InvalidAddressError("no_local_part", "send the whole e-mail address, as in name@example.com")
    if local[0] in "'`" or "''" in local or unicodedata.category(local[0])[0] == "M":
        raise InvalidAddressError("invalid_local_part", _BARE)
    if "?" in local:
        raise InvalidAddressError(
            "unreadable_characters", "send the address again, in UTF-8: a ? is in place of a letter"
        )
    if not all(map(_may_be_in_a_mailbox, local)):
        raise InvalidAddressError(
            "invalid_local_part", f"{_BARE}: only letters, digits and ASCII signs can be before the @"
        )
    if len(local.encode()) > _LONGEST_LOCAL_PART:
        raise InvalidAddressError("too_long", "send an e-mail address of at most 64 bytes before the @")
    return local


def _plain(character: str) -> str:
    kind = "" if character.isascii() else unicodedata.decomposition(character).partition(" ")[0]
    return unicodedata.normalize("NFKC", character) if kind in _COMPATIBILITY else character


def _may_be_in_a_mailbox(character: str) -> bool:
    if character.isascii():
        return character in _LOCAL_ASCII
    is_plain = unicodedata.normalize("NFKC", character) == unicodedata.normalize("NFC", character)
    is_plain = is_plain and "SMALL CAPITAL" not in unicodedata.name(character, "")
    return is_plain and unicodedata.category(character) in _LETTERS_MARKS_DIGITS


def _mixes_alphabets(text: str) -> bool:
    """Whether a word has letters of two alphabets that look alike: a Cyrillic а in a Latin name."""
    if text.isascii():
        return False
    text = unicodedata.normalize("NFKC", text)
    return _LETTER_FOR_A_HYPHEN.search(text) is not None or any(len(_alphabets(word)) > 1 for word in _words(text))


def _mixes_latin(local: str) -> bool:
    """Whether a word has a letter beside its Latin ones that is none and is not written among them. Some look like an
    apostrophe: o\u02beneil."""
    if local.isascii():
        return False
    return any(
        any(name.startswith("LATIN ") for name in names) and not all(map(_is_beside_latin, names))
        for names in map(_letters, _words(unicodedata.normalize("NFKC", local)))
    )


def _is_beside_latin(name: str) -> bool:
    return name.startswith(_WRITTEN_BESIDE_LATIN)


def _words(text: str) -> list[str]:
    return re.split(r"[\W\d_]+", text)


def _letters(word: str) -> list[str]:
    """Their names."""
    return [unicodedata.name(character, "") for character in word if unicodedata.category(character)[0] == "L"]


def _alphabets(word: str) -> set[str]:
    names = _letters(word)
    return {alphabet for alphabet in _ALPHABETS if any(name.startswith(alphabet) for name in names)}


def _decoded_wrongly(text: str) -> bool:
    """Whether `text` is UTF-8 that was decoded as Latin-1 or Windows-1252: mÃ¼ller."""
    if text.isascii():
        return False
    for encoding in ("cp1252", "latin-1"):
        try:
            text.encode(encoding).decode()
        except UnicodeError:
            continue
        return True
    return False


def _domain(domain: str) -> str:
    """IDNA 2008 with the mapping of UTS 46, non-transitional: ß stays itself and is never taken for ss."""
    if len(domain) > _LONGEST or sum(not label.isascii() for label in domain.split(".")) > _MOST_LABELS_ENCODED:
        raise InvalidAddressError("too_long", "send an e-mail address of at most 254 bytes")
    domain = "".join(each for at, each in enumerate(domain) if each not in JOINERS or _distinguishes(domain, at))
    domain = _DOTTED_CAPITAL.sub("i", domain)
    try:
        mapped = idna.uts46_remap(domain, std3_rules=True, transitional=False)
        if any(len(label) > _LONGEST_LABEL for label in mapped.split(".")):
            raise InvalidAddressError("invalid_domain", "send an e-mail address whose domain can exist")
        ascii_domain = idna.encode(mapped, std3_rules=True).decode("ascii")
    except (idna.IDNAError, UnicodeError):
        raise InvalidAddressError("invalid_domain", "send an e-mail address whose domain can exist") from None
    ascii_domain = ascii_domain.rstrip(".").lower()
    if "." not in ascii_domain or ascii_domain.rpartition(".")[2].isdigit():
        raise InvalidAddressError(
            "invalid_domain", "send an e-mail address whose domain can exist, such as example.com"
        )
    return ascii_domain


def _distinguishes(domain: str, at: int) -> bool:
    """Whether a joiner is part of the name: where RFC 5892 (CONTEXTJ) permits it, and nowhere else."""
    try:
        return idna.valid_contextj(domain, at)
    except ValueError:
        return False


def _nfc_text(address: str) -> str:
    text = unicodedata.normalize("NFC", _without_invisible(address))
    if len(text) > _LONGEST:
        raise InvalidAddressError("too_long", "send an address of at most 254 characters")
    return text


def _without_invisible(address: str, removed: Mapping[int, None] = REMOVED) -> str:
    """Trimmed and without invisible characters; refuses what no address holds: controls, halves of surrogates, and
    the replacement character U+FFFD."""
    text = address.translate(removed).strip()
    if not text:
        raise InvalidAddressError("empty", "send an address")
    if _UNREADABLE in text:
        raise InvalidAddressError("unreadable_characters", "send the address again, in UTF-8: a part of it is lost")
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in text):
        raise InvalidAddressError("invalid_characters", "send an address without control characters")
    return text
