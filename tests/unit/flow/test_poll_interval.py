"""How often the relay reads the outbox."""

from consent_api.outbox_relay.poll_interval import PollInterval

INTERVAL = PollInterval(shortest=0.003, longest=0.020)


def test_a_full_batch_is_followed_at_once() -> None:
    assert INTERVAL.next(found=2_000, limit=2_000, previous=0.02) == 0.0


def test_the_outbox_is_read_often_under_traffic_and_less_and_less_when_idle() -> None:
    pause = INTERVAL.next(found=3, limit=2_000, previous=0.02)
    assert pause == 0.003
    pauses = [pause := INTERVAL.next(found=0, limit=2_000, previous=pause) for _ in range(5)]
    assert pauses == sorted(pauses)
    assert pauses[-1] == 0.020
