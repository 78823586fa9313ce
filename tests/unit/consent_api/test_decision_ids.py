"""Decision ids sort by time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from consent_api.ledger.ids import DecisionIds


def test_ids_are_uuid_7_of_their_moment_and_ascend_even_when_the_clock_steps_back() -> None:
    ids = DecisionIds()
    moments = [1_780_000_000_000_000, 1_780_000_000_000_100, 1_780_000_005_000_000, 1_779_999_999_000_000]
    made = [ids.next(moment) for moment in moments]
    assert made == sorted(made)
    assert [str(each) for each in made] == sorted(str(each) for each in made)
    for each in made:
        assert (each.version, each.variant) == (7, "specified in RFC 4122")
    assert made[0].int >> 80 == moments[0] // 1000


def test_threads_never_share_an_id() -> None:
    ids = DecisionIds()
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: ids.next(1_780_000_000_000_000), range(2000)))
    assert len(set(made)) == 2000
