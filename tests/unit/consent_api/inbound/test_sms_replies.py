"""What replies mean: a labelled set of our own sentences, neighbours that must not be taken for one another, bounds."""

from __future__ import annotations

import csv
import random
import re
import time
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest

from consent_api.inbound.sms_replies import LONGEST, Meaning, read

REPLIES = Path(__file__).parent / "sms_replies.tsv"


def labelled() -> list[tuple[Meaning, str, str]]:
    with REPLIES.open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))
    return [(Meaning(row["meaning"]), row["language"], row["reply"]) for row in rows]


@pytest.mark.long
def test_no_stop_is_missed_and_few_are_invented() -> None:  # R18
    replies = labelled()
    assert len(replies) >= 500
    assert {language for _, language, _ in replies} == {"fr", "en", "es", "de", "it", "nl"}
    found = [(label, read(reply), reply) for label, _, reply in replies]
    wrong = [f"{label} -> {got.meaning} ({got.rule}): {reply}" for label, got, reply in found if label != got.meaning]
    withdrawn = [label for label, got, _ in found if got.meaning is Meaning.WITHDRAW]
    meant = [got.meaning for label, got, _ in found if label is Meaning.WITHDRAW]
    precision = withdrawn.count(Meaning.WITHDRAW) / len(withdrawn)
    recall = meant.count(Meaning.WITHDRAW) / len(meant)
    print(f"{len(replies)} replies: recall of withdrawals {recall:.3f}, precision {precision:.3f}; {len(wrong)} wrong")
    print(*wrong, sep="\n")
    assert recall == 1.0
    assert precision >= 0.98
    assert len(wrong) <= len(replies) // 50


ACCENTS = dict.fromkeys(range(0x300, 0x370))
CHANGES: dict[str, Callable[[str], str]] = {
    "shouted": lambda text: f"{text.upper()}!!!",
    "without accents": lambda text: unicodedata.normalize("NFD", text).translate(ACCENTS),
    "without apostrophes": lambda text: text.replace("'", ""),
    "politely": lambda text: f"Bonjour, {text} merci\n\nSent from my phone",
    "with signs": lambda text: f"🙏{text}😡 36111",
    "full width": lambda text: "".join(chr(ord(each) + 0xFEE0) if "!" <= each <= "~" else each for each in text),
    "invisible": "\u200b".join,
}


@pytest.mark.long
@pytest.mark.parametrize("how", CHANGES)
def test_what_is_around_a_withdrawal_does_not_hide_it(how: str) -> None:  # R18
    replies = [reply for label, _, reply in labelled() if label is Meaning.WITHDRAW]
    hidden = [changed for reply in replies if read(changed := CHANGES[how](reply)).meaning is Meaning.OTHER]
    assert not hidden


@pytest.mark.long
def test_a_keyword_after_anything_else_is_never_lost() -> None:
    """A negation or a question ends where a keyword follows: with and without a mark between them."""
    keywords = ("stop", "STOP", "unsubscribe me", "désabonnez-moi", "stopp", "abmelden", "afmelden", "cancellatemi")
    others = [reply for label, _, reply in labelled() if label is Meaning.OTHER]
    lost = [
        f"{reply}{mark} {keyword}"
        for reply in others
        for keyword in keywords
        for mark in ("", ".")
        if not (reply.endswith(("bus", "tram")) and not mark)  # "Bus stop" is a place.
        and read(f"{reply}{mark} {keyword}").meaning is Meaning.OTHER
    ]
    assert not lost


OPENINGS = {
    "en": (
        "I didn't get it",
        "I can't find the link",
        "I don't understand",
        "never received my order",
        "did you stop",
        "don't forget to",
        "don't stop",
        "nothing can stop you",
        "I can't stop",
    ),
    "fr": (
        "j'ai pas reçu",
        "je vois pas comment",
        "je ne trouve pas le lien",
        "je ne comprends rien",
        "n'oubliez pas de",
        "je veux pas rater",
        "n'arrêtez pas",
    ),
    "es": ("no entiendo", "no encuentro el enlace", "no me llegó", "no recibí nada", "no dejen de"),
    "de": ("ich habe nichts bekommen", "habe noch keine", "ich verstehe das nicht", "der Bus hat gestoppt"),
    "it": ("non capisco", "non trovo come", "non ho ricevuto niente", "non smettete"),
    "nl": ("ik heb niets ontvangen", "ik begrijp het niet", "stop nooit", "vergeet niet"),
}


@pytest.mark.long
def test_what_has_not_come_or_is_to_go_on_hides_no_withdrawal_behind_it() -> None:  # R18
    """Without a mark between them. Some words withdraw only when they are all that is said, whatever is around them."""
    anything = "aha aha aha aha"
    withdrawals = [
        (language, reply)
        for label, language, reply in labelled()
        if label is Meaning.WITHDRAW and read(f"{anything} {reply}").meaning is not Meaning.OTHER
    ]
    assert len(withdrawals) >= 1_100
    texts = [f"{opening} {reply}" for language, reply in withdrawals for opening in OPENINGS[language]]
    assert not [text for text in texts if read(text).meaning in (Meaning.OTHER, Meaning.START)]


UNTIL = {
    "en": (
        ("do not contact me", "don't call", "never text me", "no more messages", "don't send anything"),
        ("today", "tonight", "now", "before 9", "before noon", "until monday", "till tomorrow"),
    ),
    "fr": (
        ("ne m'appelez pas", "ne m'envoyez plus rien", "ne m'écrivez jamais", "plus de sms"),
        ("avant 9h", "avant midi", "avant lundi", "maintenant", "aujourd'hui", "ce soir"),
    ),
    "es": (
        ("no me llamen", "no me escriban más", "no más mensajes"),
        ("antes de las 9", "antes de hablar", "hoy", "ahora"),
    ),
    "de": (("nicht anrufen", "bitte nicht schreiben", "keine SMS"), ("vor 9", "vor 10 Uhr", "vor dem Abend", "heute")),
    "it": (
        ("non mi chiami", "non scrivetemi", "non mandate messaggi"),
        ("prima delle 9", "prima di lunedì", "oggi", "ora"),
    ),
    "nl": (("niet bellen", "bel me niet", "geen berichten"), ("voor 9 uur", "voor 10", "vandaag", "nu")),
}


@pytest.mark.parametrize("language", UNTIL)
def test_a_refusal_until_a_time_is_a_refusal(language: str) -> None:  # R18
    refusals, times = UNTIL[language]
    texts = [f"{refusal} {until}{end}" for refusal in refusals for until in times for end in ("", " please", " stop")]
    assert not [text for text in texts if read(text).meaning in (Meaning.OTHER, Meaning.START)]


@pytest.mark.long
def test_a_stop_before_anything_else_is_never_lost() -> None:  # R18
    """Also where what follows makes a place of it, as in "stop in Zukunft": only a negation unmakes it, or a sign."""
    unmade = re.compile(r"(?:bitte )?(?:nicht|nie|niet|nooit)\b|sign\b", re.IGNORECASE)
    others = [reply for label, _, reply in labelled() if label is not Meaning.WITHDRAW and not unmade.match(reply)]
    lost = [
        text
        for reply in others
        for text in (f"STOP {reply}", f"stop {reply}", f"Stop. {reply}", f"stopp, {reply}")
        if read(text).meaning in (Meaning.OTHER, Meaning.START)
    ]
    assert not lost


@pytest.mark.parametrize(
    ("reply", "meaning"),
    [
        ("", Meaning.OTHER),
        ("\u200b\u2060\u202e", Meaning.OTHER),
        ("S\u200bT\u200bO\u200bP", Meaning.WITHDRAW),
        ("s\u0336t\u0336o\u0336p\u0336", Meaning.WITHDRAW),
        ("\u202epots\u202c", Meaning.OTHER),
        ("\ud800stop", Meaning.WITHDRAW),
        ("𝐒𝐓𝐎𝐏", Meaning.WITHDRAW),
        ("stop\u00a0svp", Meaning.WITHDRAW),
        ("stop\x00", Meaning.WITHDRAW),
        ("Tout va bien.\n\nSTOP", Meaning.WITHDRAW),
        ("Oui, j'adore. Mais stop", Meaning.WITHDRAW),
        ("Loved “your shop” but please stop", Meaning.WITHDRAW),
        ("Loved “Sale! Reply STOP to opt ou…", Meaning.OTHER),
    ],
)
def test_what_telephones_put_into_texts_does_not_hide_a_stop(reply: str, meaning: Meaning) -> None:
    assert read(reply).meaning is meaning


def test_a_reply_longer_than_a_message_is_not_read_to_its_end_and_is_in_doubt() -> None:
    assert read("ok " * LONGEST).meaning is Meaning.UNCLEAR
    assert read("stop " + "x" * 10 * LONGEST).meaning is not Meaning.OTHER
    assert read("\ufdfa" * 10 * LONGEST).meaning is Meaning.UNCLEAR


@pytest.mark.long
def test_no_text_takes_long() -> None:
    letters = random.Random(13)
    texts = [
        "stop " * 400,
        "a" * 2_000,
        "s t o p " * 250,
        "ne me " * 300,
        "je veux plus " * 130,
        "no more of these your the " * 60,
        "not " * 400,
        "you don't stop " * 110,
        "je ne veux pas me desabonner " * 55,
        "remove the non vedo recu rien habe noch kein has they stopped " + "x " * 770,
        "".join(letters.choice("stop arretx'.-\u0301") for _ in range(2_000)),
    ]
    begun = time.process_time()
    for text in texts:
        read(text)
    assert time.process_time() - begun < 3.0
