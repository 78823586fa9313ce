"""Which dead letters the status page lists. # R39"""

from __future__ import annotations

from status_page.dead_letters import AT, MOST, OFFSET, last
from status_page.samples import Sample, Samples


def exported(*letters: tuple[str, str, float, float], reason: str = "invalid") -> Samples:
    """By (topic, partition, offset, time)."""
    labels = [{"service": "s", "topic": topic, "partition": part, "reason": reason} for topic, part, _, _ in letters]
    return {
        OFFSET: [Sample(of, letter[2]) for of, letter in zip(labels, letters, strict=True)],
        AT: [Sample(of, letter[3]) for of, letter in zip(labels, letters, strict=True)],
    }


def test_the_newest_of_all_processes_comes_first() -> None:
    answers = {
        "ingest": exported(("in", "0", 5, 100.0), ("in", "1", 9, 300.0)),
        "propagator": exported(("list", "3", 2**40, 200.0), reason="undecodable"),
    }
    found = [(each.about, each.coordinates, each.reason, each.at) for each in last(answers)]
    assert found == [
        ("ingest", "in:1:9", "invalid", 300.0),
        ("propagator", f"list:3:{2**40}", "undecodable", 200.0),
        ("ingest", "in:0:5", "invalid", 100.0),
    ]


def test_no_more_than_ten_are_listed() -> None:
    many = exported(*(("in", str(number), 1, float(number + 1)) for number in range(MOST * 3)))
    found = last({"ingest": many})
    assert [each.at for each in found] == [float(3 * MOST - number) for number in range(MOST)]


def test_what_cannot_be_a_dead_letter_is_left_out() -> None:
    without_offset = {AT: exported(("in", "0", 1, 5.0))[AT]}
    odd = exported(("in", "0", 1, -1.0), ("in", "1", 1, 1e300), ("in", "2", 1, 0.0))
    assert last({"a": without_offset, "b": odd, "c": {}}) == []
