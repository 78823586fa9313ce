"""`consent-relay dead-letters list`: what strangers wrote is shown to an operator, and cannot do more than that."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from consent_api.cli import dead_letters
from consent_api.operations.dead_letters.reader import DeadLetter, DeadLetterReader
from consent_contracts import schemas
from consent_contracts.cloudevents import rfc3339
from consent_kafka.dead_letters import OriginalRecord, record_coordinates
from tests.fuzz.budget import fuzzed
from tests.fuzz.hostile import mutated, raw, texts
from tests.fuzz.outcome import value_or
from tests.fuzz.readers.avro import data
from tests.fuzz.readers.test_avro_records import CODEC, NOW, TOPICS
from tests.fuzz.readers.test_files import KEYS

BIDIRECTIONAL = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
LAST = 253_402_300_799_999_999
"""The last moment that a calendar holds: the reader lets no later one through."""
LINE_ENDS = frozenset("\u2028\u2029")

keys = st.one_of(st.none(), raw, texts.map(lambda text: text.encode("utf-8", "replace")))
submitted = data(schemas.current_schema("ConsentSubmitted")).map(lambda datum: CODEC.encode(TOPICS.inbound, datum))
originals = st.builds(
    OriginalRecord,
    key=keys,
    value=st.one_of(keys, submitted, mutated(submitted)),
    headers=st.lists(st.tuples(texts, keys), max_size=3).map(tuple),
    timestamp=st.integers(-1, 2**62),
)


def sealed(original: OriginalRecord, topic: str) -> bytes:
    return KEYS.seal_record(msgspec.msgpack.encode(original), record_coordinates(topic, 0, 7))


@st.composite
def letters(draw: Any) -> DeadLetter:
    """A dead letter of ours, or one that another client wrote."""
    topic = draw(st.one_of(st.just(TOPICS.inbound), st.just(TOPICS.inbound), texts))
    return DeadLetter(
        coordinates=draw(st.one_of(st.just(f"{topic}:0:7"), texts)),
        service=draw(st.one_of(st.just("consent-api"), texts)),
        topic=topic,
        partition=0,
        offset=7,
        reason=draw(st.one_of(st.just("invalid"), texts)),
        error=draw(texts),
        failed_at=draw(st.integers(0, LAST)),
        sealed_record=draw(st.one_of(originals.map(lambda original: sealed(original, topic)), raw)),
        replayed_at=draw(st.one_of(st.none(), texts)),
    )


class Box:
    """Holds letters as the reader of dead letters gives them."""

    def __init__(self) -> None:
        self.held: list[DeadLetter] = []

    def letters(self, _: object) -> Iterator[DeadLetter]:
        return iter(self.held)


def test_letters_are_listed_one_a_line_without_signs_that_steer_a_terminal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # R13
    box = Box()
    monkeypatch.setattr(dead_letters, "open_reader", lambda: (None, KEYS, CODEC, box))

    @fuzzed(share=4)
    @given(st.lists(letters(), max_size=3), st.booleans())
    def holds(held: list[DeadLetter], show: bool) -> None:
        box.held = held
        with value_or():
            result = CliRunner().invoke(dead_letters.dead_letters, ["list", *(["--show"] if show else [])])
        if result.exception is not None:
            raise result.exception
        assert not steering(result.stdout), result.stdout
        assert result.stdout.count("\n") == len(held) * (2 if show else 1)

    holds()


def steering(text: str) -> set[str]:
    """The characters that move a cursor, colour, hide or turn what follows, but for our own tabs and line ends."""
    return {
        each
        for each in text
        if (unicodedata.category(each) in ("Cc", "Cs") and each not in "\t\n") or each in BIDIRECTIONAL | LINE_ENDS
    }


class Record:
    """A record of a dead letter topic as the reader has it."""

    def __init__(self, key: bytes, value: bytes) -> None:
        self.topic, self.partition, self.offset, self.timestamp = TOPICS.dead_letters("consent-api"), 0, 7, NOW // 1_000
        self.key, self.value, self.mark = key, value, None


letter_values = data(schemas.current_schema("DeadLetter")).map(
    lambda datum: CODEC.encode(TOPICS.dead_letters("consent-api"), datum)
)


@fuzzed(share=2)
@given(st.one_of(letter_values, mutated(letter_values), raw), st.binary(max_size=40))
def test_whatever_is_on_a_topic_of_dead_letters_is_listed(value: bytes, key: bytes) -> None:
    reader = DeadLetterReader(connect=_never, codec=CODEC, topics=TOPICS)
    with value_or():
        letter = reader.letter(Record(key, value), value, None)  # type: ignore[arg-type]
        rfc3339(letter.failed_at)


def _never(*_: Iterable[object]) -> Any:
    raise AssertionError
