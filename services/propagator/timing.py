"""Every duration of the propagator, in seconds, and how they relate."""

from __future__ import annotations

LINGER_SECONDS = 0.025
"""The longest that a push waits for others to share its call (Kafka: linger.ms)."""
RECHECK_SECONDS = 0.25
"""Between two checks whether something that may not be sent now may be sent: permissions, and an unconfirmed sender."""
PROMISE_SECONDS = 5.0
"""A live revocation younger than this can still be delivered within the promise; it goes before older ones."""
RESYNC_SECONDS = 1.0
"""The pending index is read again this often: what fell out of the memory comes back (client-go: resync)."""
QUEUED_RECEIPT_SECONDS = 2.0
"""A live revocation that is not delivered within it gets a `queued` receipt."""
LATE_CHECK_SECONDS = 0.5
"""Between two searches for such revocations."""
FAILED_RECEIPT_SECONDS = 60.0
"""A backoff that passes it for the first time gets a second `failed` receipt."""
MAX_RESYNC_SECONDS = 15.0
"""As RESYNC_SECONDS, where nothing was found the last times."""
GAUGE_SECONDS = 1.0
"""Between two exports of the gauges."""
ERROR_BACKOFF_SECONDS = 10.0
"""Until an address is tried again whose entry could not be read, or whose push could not be built."""

BACKOFF_SECONDS = (0.0, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0)
"""After the first, second, ... failure of an address alone. Front-loaded: a revocation that met a hiccup goes again
within the second. Below a minute with full jitter, from there with equal jitter."""
PROBE_SECONDS = (0.0, 0.25, 0.5, 1.0, 1.5)
"""Between probes of a destination that fails, in its first minute: most outages are short, and whatever waits for the
end of one is delivered that much later."""
FIRST_PROBES_SECONDS = 60.0
"""How long probes follow PROBE_SECONDS; after it they are a tenth of the outage so far apart."""
MAX_PROBE_SECONDS = 15.0
EARLY_PROBE_SECONDS = 1.0
"""After a failure, until a new live push may be tried although the next probe is not due."""
HOLD_SECONDS = 30.0
"""Between probes of a destination that is misconfigured or refuses everything: a person has to act."""
TARGET_CHECK_SECONDS = 30.0
"""Between checks of quarantined targets."""
ACCOUNT_CHECK_SECONDS = 600.0
"""Between checks of an account that is well: people change groups, lists and campaigns in web pages."""
REFUSED_RETRY_SECONDS = 60.0
"""Until a push is tried again that was refused for what is not about its address: others probe its target first."""
MAX_REFUSED_RETRY_SECONDS = 600.0
"""As REFUSED_RETRY_SECONDS, for a push that has been a probe many times."""
VERIFY_MIN_SECONDS = 0.2
THROTTLE_SECONDS = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0)
"""Waits after a 429 that does not give a time."""
MAX_REVOCATION_INTERVAL_SECONDS = 60.0
"""A revocation is tried at least this often, however long the destination asks us to wait."""
TOO_LARGE_SECONDS = 600.0
"""Until an address is delivered again whose row the broker refused for its size."""
STUCK_SECONDS = 300.0
"""A call under way of which no request was made or answered for so long hangs: the heartbeat stops, and the process is
restarted. Longer than the longest time-out of a request, twice."""
SETTLE_CALL_TIMEOUTS = 2.0
"""Call time-outs after which an earlier call without an answer can no longer take effect."""
DRAIN_SECONDS = 1.0
"""What is in flight at the end of a term may still be answered within this time."""
TERM_COMMIT_SECONDS = 3.0
"""What is recorded at the end of a term is committed within this time, or dropped."""
TERM_END_SECONDS = DRAIN_SECONDS + TERM_COMMIT_SECONDS + 2.0
"""A term that has not ended by then ends the process."""
PERMISSION_COMMIT_SECONDS = 2.0
"""For the commit before the call of a permission."""

assert LINGER_SECONDS < RECHECK_SECONDS < RESYNC_SECONDS < QUEUED_RECEIPT_SECONDS < PROMISE_SECONDS
assert RESYNC_SECONDS <= MAX_RESYNC_SECONDS
assert max(PROBE_SECONDS) < MAX_PROBE_SECONDS <= HOLD_SECONDS
assert max(THROTTLE_SECONDS) <= MAX_REVOCATION_INTERVAL_SECONDS
assert TARGET_CHECK_SECONDS < REFUSED_RETRY_SECONDS < MAX_REFUSED_RETRY_SECONDS
assert FAILED_RECEIPT_SECONDS in BACKOFF_SECONDS
