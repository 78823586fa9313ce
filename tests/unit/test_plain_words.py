"""The check of words finds each use, in names too, and passes over quotations."""

import pytest

from tests.plain_words import GLOSSARY, ROOT, banned, faults

WORDS = banned((ROOT / GLOSSARY).read_text())


def test_each_word_of_the_table_has_a_replacement() -> None:
    assert {"anew", "the door"} <= WORDS.keys()
    assert all(WORDS.values())


@pytest.mark.parametrize("line", ["restore_anew()", "class AnewStates:", "# It begins Anew."])
def test_a_word_is_found_in_code_in_names_and_prose(line: str) -> None:
    assert list(faults(f"\n{line}", WORDS, document=False)) == [(2, "anew")]


@pytest.mark.parametrize("line", ["the word `anew`", "https://example.com/anew", "renewed", "anewer"])
def test_a_quotation_or_a_part_of_another_word_is_none(line: str) -> None:
    assert list(faults(line, WORDS, document=True)) == []


def test_data_with_the_mark_is_passed_over() -> None:
    assert list(faults('"anew"  # not our word', WORDS, document=False)) == []
    assert list(faults('"anew"', WORDS, document=False)) == [(1, "anew")]
