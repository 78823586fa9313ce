"""How often the relay looks at the outbox."""

from hypothesis import given
from hypothesis import strategies as st

from consent_api.outbox_relay.poll_interval import Pace

PACE = Pace(shortest=0.003, longest=0.020, first_retry=0.1, last_retry=5.0)


def test_full_batch_is_followed_at_once() -> None:
    assert PACE.after(found=2_000, limit=2_000, previous=0.02) == 0.0


def test_traffic_is_looked_at_often_and_silence_less_and_less() -> None:
    pause = PACE.after(found=3, limit=2_000, previous=0.02)
    assert pause == 0.003
    pauses = [pause := PACE.after(found=0, limit=2_000, previous=pause) for _ in range(5)]
    assert pauses == sorted(pauses)
    assert pauses[-1] == 0.020


@given(failures=st.integers(min_value=1, max_value=10_000))
def test_retries_spread_and_stay_bounded(failures: int) -> None:
    assert 0.05 <= PACE.retry(failures) <= 5.0
