from propagator.state.recent_values import RecentValues


def test_the_oldest_values_go_once_all_together_are_too_large() -> None:
    recent = RecentValues[str](100)
    recent.keep("a", "A", 40)
    recent.keep("b", "B", 40)
    recent.keep("a", "A", 40)
    assert recent.get("a") == "A"
    recent.keep("c", "C", 40)
    assert [recent.get(each) for each in "abc"] == [None, "B", "C"]


def test_a_value_that_is_larger_than_all_may_be_is_not_kept() -> None:
    recent = RecentValues[str](100)
    recent.keep("a", "A", 200)
    recent.keep("b", "B", 60)
    assert [recent.get(each) for each in "ab"] == [None, "B"]
